"""What can be made to go wrong, where, and how often; and the short grammar in which to say it.

    KIND[:page=N|N-M|any|count|lookup|all][:times=N|forever][:after=N][:seconds=S][:retry_after=TEXT]
        [:location=URL][:mib=N]

`500:page=3:times=2` fails page 3 twice. Of the faults that match a call, every delay and every change of the
content applies; if one replaces the whole answer, only the first such fault does, and the content faults
keep their turn. A fault counts its turns by the calls that it applied to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

FOREVER = math.inf


class Group(Enum):
    """At which moment of an answer a fault acts."""

    DELAY = "delay"
    PAGING = "paging"
    ROWS = "rows"
    COUNT = "count"
    ANSWER = "answer"


KINDS: dict[str, tuple[Group, str]] = {
    "slow": (Group.DELAY, "the answer comes after `seconds` (1); for ever unless `times` is given"),
    "last_page_forever": (Group.PAGING, "pages past the end repeat the last one (for ever)"),
    "ignore_paging": (Group.PAGING, "every page is page 1 (for ever)"),
    "ignore_filters": (Group.PAGING, "filters are ignored, also of a look-up with page=lookup (for ever)"),
    "empty": (Group.ROWS, "200 with no rows"),
    "short": (Group.ROWS, "200 with only the first half of the page's rows"),
    "nul_escape": (Group.ROWS, "poison: \\u0000 in a name"),
    "lone_surrogate": (Group.ROWS, "poison: \\ud800 in a name"),
    "invalid_utf8": (Group.ROWS, "poison: the bytes FF FE in a name"),
    "no_id": (Group.ROWS, "poison: a row without id"),
    "long_id": (Group.ROWS, "poison: the id is a string of 300 characters"),
    "deep": (Group.ROWS, "poison: a field nested 10,000 deep"),
    "huge_number": (Group.ROWS, "poison: sale_price 1e999999"),
    "big_record": (Group.ROWS, "poison: a row of more than `mib` (5) MiB"),
    "duplicate_id": (Group.ROWS, "poison: a row's place is taken by other bytes with its neighbour's id"),
    "duplicate_id_extra": (Group.ROWS, "poison: one row more, other bytes with the id of a row of the page"),
    "hostile_text": (Group.ROWS, "ANSI escapes and HTML in a row's name (for ever)"),
    "wrong_count": (Group.COUNT, "count is 7 too high"),
    "missing_count": (Group.COUNT, "count answers 404, as if there were no such route"),
    "is_error": (Group.ANSWER, "200 with isError true"),
    "hostile_error": (Group.ANSWER, "200 with isError true, ANSI escapes and HTML in the message"),
    "missing_is_error": (Group.ANSWER, "200 with the rows but without the key isError"),
    "blocked_ip": (Group.ANSWER, "200 with isError true, ERROR: Invalid vendor ip [1.2.3.4]"),
    "html": (Group.ANSWER, "200 with an HTML maintenance page"),
    "401": (Group.ANSWER, "401 as without credentials"),
    "403": (Group.ANSWER, "403 as with wrong credentials"),
    "429": (Group.ANSWER, "429 with Kong's body, and Retry-After if `retry_after` is given"),
    "500": (Group.ANSWER, "500 with an HTML body"),
    "502": (Group.ANSWER, "502 with an HTML body"),
    "503": (Group.ANSWER, "503 with an HTML body, and Retry-After if `retry_after` is given"),
    "504": (Group.ANSWER, "504 with an HTML body"),
    "redirect": (Group.ANSWER, "302 to `location` (default: this port under another host name)"),
    "truncated": (Group.ANSWER, "half a body, Content-Length of the whole"),
    "truncated_eof": (Group.ANSWER, "half a body that ends with the connection, without any length"),
    "truncated_chunked": (Group.ANSWER, "half a body in chunks, without the last chunk"),
    "truncated_gzip": (Group.ANSWER, "half a gzip stream that ends with the connection"),
    "too_large": (Group.ANSWER, "a body of `mib` (17) MiB, padded with blanks"),
    "gzip_bomb": (Group.ANSWER, "under 1 MiB of gzip that unpacks to `mib` (300) MiB"),
    "drip": (Group.ANSWER, "1 byte of the body every `seconds` (0.5)"),
    "hang": (Group.ANSWER, "no answer at all, the connection stays open"),
    "reset": (Group.ANSWER, "the connection is reset"),
}
"""Kind → when it acts, and what it does. Once, unless said otherwise; poison rows stay for ever."""

POISONS = (
    "nul_escape", "lone_surrogate", "invalid_utf8", "no_id", "long_id", "deep", "huge_number", "big_record",
    "duplicate_id", "duplicate_id_extra",
)  # fmt: skip
_LASTING = frozenset((*POISONS, "slow", "last_page_forever", "ignore_paging", "ignore_filters", "hostile_text"))
_PAGES = re.compile(r"(\d+)(?:-(\d+))?")
_NAMED_PAGES = frozenset({"any", "count", "lookup", "all"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call goes: `page` as asked for; `lookup` = a read with an id filter; `count` = the count route."""

    page: int
    lookup: bool = False
    count: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ValueError if it makes no sense.

    page: a page number, a range "3-7", "any" list page, "count", "lookup", or "all" calls. None = any, but
    count for the kinds that concern count. times: calls it applies to, `FOREVER`; None = as KINDS says.
    after: matching calls that are let through first. The other fields are for the kinds that name them.
    """

    kind: str
    page: int | str | None = None
    times: float | None = None
    after: int = 0
    seconds: float | None = None
    retry_after: str | None = None
    location: str | None = None
    mib: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}: expected one of {', '.join(KINDS)}")
        if self.page is not None and self.page not in _NAMED_PAGES and not _PAGES.fullmatch(str(self.page)):
            raise ValueError(
                f"fault {self.kind}: page={self.page} is no page: expected N, N-M, any, count, lookup, all"
            )

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read the grammar above; ValueError says what was expected."""
        kind, *settings = re.split(r":(?=[a-z_]+=)", text.strip())
        fault = cls(kind)
        for setting in settings:
            name, _, value = setting.partition("=")
            if name not in _READERS:
                raise ValueError(f"fault {text!r}: no setting {name!r}: expected one of {', '.join(_READERS)}")
            try:
                fault = replace(fault, **{name: _READERS[name](value)})
            except (ValueError, OverflowError) as error:
                raise ValueError(f"fault {text!r}: {name}={value}: {error}") from error
        return fault

    def __str__(self) -> str:
        """The fault in the grammar above, without what is left to the defaults."""
        settings = {name: getattr(self, name) for name in _READERS}
        settings["times"] = "forever" if self.times == FOREVER else self.times
        given = (
            f":{name}={value}"
            for name, value in settings.items()
            if value is not None and (name, value) != ("after", 0)
        )
        return self.kind + "".join(given)

    @property
    def group(self) -> Group:
        """When it acts."""
        return KINDS[self.kind][0]

    @property
    def turns(self) -> float:
        """To how many calls it applies."""
        if self.times is not None:
            return self.times
        return FOREVER if self.kind in _LASTING else 1

    def matches(self, place: Place) -> bool:
        """Whether a call goes where this fault waits."""
        page = self.page if self.page is not None else "count" if self.group is Group.COUNT else "any"
        if page == "all" or place.count or place.lookup:
            return page == "all" or (place.count and page == "count") or (place.lookup and page == "lookup")
        if page == "any":
            return True
        if (range_ := _PAGES.fullmatch(str(page))) is None:
            return False
        return int(range_[1]) <= place.page <= int(range_[2] or range_[1])


_READERS: dict[str, Callable[[str], Any]] = {
    "page": str,
    "times": lambda value: FOREVER if value == "forever" else int(value),
    "after": int,
    "seconds": float,
    "retry_after": str,
    "location": str,
    "mib": int,
}


@dataclass(slots=True)
class Armed:
    """A fault with the matching calls it has `seen` and those it was `applied` to."""

    fault: Fault
    seen: int = 0
    applied: int = 0

    def ready(self) -> bool:
        """Count a matching call; whether it is this fault's turn."""
        self.seen += 1
        return self.seen > self.fault.after and self.applied < self.fault.turns


class Faults:
    """The faults in force, in the order in which they were added."""

    def __init__(self, faults: Iterable[Fault | str] = ()) -> None:
        self._armed: list[Armed] = []
        self.add(*faults)

    def __iter__(self) -> Iterator[Armed]:
        return iter(self._armed)

    def __len__(self) -> int:
        return len(self._armed)

    def add(self, *faults: Fault | str) -> None:
        """Add faults; text is read by the grammar."""
        read = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
        self._armed.extend(Armed(fault) for fault in read)

    def clear(self) -> None:
        """From now on everything works."""
        self._armed.clear()

    def take(self, place: Place) -> list[Fault]:
        """The faults that apply to this call; their turn is used up."""
        if not self._armed:
            return []
        ready = [armed for armed in self._armed if armed.fault.matches(place) and armed.ready()]
        if answer := next((armed for armed in ready if armed.fault.group is Group.ANSWER), None):
            ready = [armed for armed in ready if armed.fault.group is Group.DELAY] + [answer]
        for armed in ready:
            armed.applied += 1
        return [armed.fault for armed in ready]
