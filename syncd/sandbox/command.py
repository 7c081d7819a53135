"""`syncd sandbox`: the simulated marketplace in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import click

from syncd.sandbox.calls import Call
from syncd.sandbox.drift import AfterPage
from syncd.sandbox.fault import KINDS, Fault
from syncd.sandbox.marketplace import CountMode, Over100
from syncd.sandbox.offer import BIG_DESCRIPTION_ID
from syncd.sandbox.parameters import Wrap
from syncd.sandbox.sandbox import Sandbox

_TELL_SECONDS = 0.1
_EPILOG = (
    "\b\nFaults: KIND[:page=N|N-M|any|count|lookup|all][:times=N|forever][:after=N]\n"
    "        [:seconds=S][:retry_after=TEXT][:location=URL][:mib=N]\n"
    "page: a list page, any of them (the default), the count, a look-up by id, or all calls.\n"
    "times: once unless given or said below; after: matching calls let through first.\n"
    "Example: --fault 500:page=3:times=2 --fault slow:page=all:seconds=8\n\n\b\n"
) + "\n".join(f"  {kind:<20}{text}" for kind, (_, text) in KINDS.items())


def _faults(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Fault, ...]:
    try:
        return tuple(Fault.parse(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _after_pages(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[AfterPage, ...]:
    if wrong := [text for text in texts if text != "every" and not text.isdecimal()]:
        raise click.BadParameter(f"{wrong[0]!r} is neither a page number nor 'every'")
    return tuple("every" if text == "every" else int(text) for text in texts)


def _seconds_or_none(_: click.Context, __: click.Parameter, text: str) -> str | None:
    if text != "none" and not text.isdecimal():
        raise click.BadParameter(f"{text!r} is neither a number of seconds nor 'none'")
    return None if text == "none" else text


def _option(*names: str, text: str = "", **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(*names, help=text, show_default="default" in settings, **settings)


def _choice(words: type[Wrap] | type[Over100] | type[CountMode]) -> click.Choice[str]:
    return click.Choice([str(word) for word in words])


_AT_LEAST_1 = click.IntRange(min=1)
_OPTIONS = (
    _option("--offers", type=click.IntRange(0, 1_000_000), default=2350, text="Offers to begin with."),
    _option("--seed", type=int, default=1, text="Same seed, same bytes."),
    _option("--port", type=click.IntRange(0, 65535), default=0, text="0 = any free port."),
    _option("--username", default="sandbox"),
    _option("--password", default="sandbox"),
    _option("--json", "as_json", is_flag=True, text="Print one line of JSON: base_url, username, password, port."),
    _option("--control", is_flag=True, text="Serve /_sandbox/mutate, faults, log, offers too, without credentials."),
    _option("--wrap", type=_choice(Wrap), default="both", text="Where parameters are honoured, elsewhere ignored."),
    _option("--over-100", type=_choice(Over100), default="clamp", text="What itemsPerPage above 100 does."),
    _option("--count", type=_choice(CountMode), default="ok", text="What product_offer/count does; wrong: 7 too many."),
    _option("--per-second", type=_AT_LEAST_1, default=3, text="Calls in any second, of one login."),
    _option("--per-minute", type=_AT_LEAST_1, default=180, text="Calls in any minute, of one login."),
    _option("--no-rate-limit", is_flag=True, text="For benchmarks."),
    _option("--retry-after", default="none", metavar="S|none", callback=_seconds_or_none, text="On a real 429."),
    _option("--latency", type=click.FloatRange(min=0), metavar="S", text="Short for --fault slow:page=all:seconds=S."),
    _option("--big-description", is_flag=True, text=f"Offer {BIG_DESCRIPTION_ID} has a description of 1 MiB."),
    _option(
        "--drift", multiple=True, metavar="PAGE|every", callback=_after_pages,
        text="After this page was served, one offer already read vanishes, a new one appears at the end. Repeatable.",
    ),
    _option(
        "--mutate-every", type=click.FloatRange(min=0.01), metavar="S",
        text="Every S seconds 1 % of the offers change, one vanishes, one appears, one moves to the front.",
    ),
    _option("-v", "--verbose", count=True, text="A line on standard error for each call that was answered."),
    _option("--fault", "faults", multiple=True, callback=_faults, text="Something goes wrong; see below. Repeatable."),
)  # fmt: skip


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("sandbox", epilog=_EPILOG)
@_with_options
def sandbox(
    *, as_json: bool, no_rate_limit: bool, per_second: int, per_minute: int, latency: float | None,
    faults: tuple[Fault, ...], verbose: int, **options: Any,
) -> None:  # fmt: skip
    """A simulated eMAG marketplace on 127.0.0.1, to try syncd without an account.

    Prints where it listens as lines to paste into a shell, and serves until Ctrl-C.
    """
    if latency is not None:
        faults = (*faults, Fault("slow", page="all", seconds=latency))
    try:
        asyncio.run(
            _serve(
                Sandbox(
                    per_second=None if no_rate_limit else per_second,
                    per_minute=None if no_rate_limit else per_minute,
                    faults=faults,
                    **options,
                ),
                as_json,
                verbose=verbose > 0,
            )
        )
    except OSError as error:
        raise click.ClickException(f"cannot listen on 127.0.0.1:{options['port']}: {error}") from error


async def _serve(served: Sandbox, as_json: bool, *, verbose: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    # before the first line is printed: whoever reads it may send a signal at once
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, ended.set)
    async with served:
        click.echo(_announcement(served, as_json))
        telling = asyncio.create_task(_tell_calls(served.log)) if verbose else None
        await ended.wait()
        if telling is not None:
            telling.cancel()


async def _tell_calls(log: deque[Call]) -> None:
    """Each call once it is answered; read from the log, so that telling never delays an answer."""
    told_until = float("-inf")
    unanswered: list[Call] = []
    while True:
        arrived = _since(log, told_until)
        told_until = arrived[-1].at_seconds if arrived else told_until
        unanswered += arrived
        for call in unanswered:
            if call.status is not None:
                page = f" page {call.page}: {call.rows} rows" if call.page else ""
                fault = f" ({call.fault})" if call.fault else ""
                click.echo(f"{call.at:%H:%M:%S} {call.method} {call.route}{page} HTTP {call.status}{fault}", err=True)
        unanswered = [call for call in unanswered if call.status is None]
        await asyncio.sleep(_TELL_SECONDS)


def _since(log: deque[Call], at_seconds: float) -> list[Call]:
    """The calls that arrived later than this, the oldest first."""
    return list(takewhile(lambda call: call.at_seconds > at_seconds, reversed(log)))[::-1]


def _announcement(served: Sandbox, as_json: bool) -> str:
    if as_json:
        names = ("base_url", "username", "password", "port")
        return json.dumps({name: getattr(served, name) for name in names})
    variables = {
        "EMAG_API_BASE_URL": served.base_url,
        "EMAG_API_USERNAME": served.username,
        "EMAG_API_PASSWORD": served.password,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
