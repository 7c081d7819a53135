"""Mutants of the monitor."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_PORT = "tests/integration/test_monitor_port.py"

MONITOR = (
    Mutant(
        "the page shows names to everybody, wherever it is bound",
        (Replacement("syncd/http/access.py", "access.loopback or has_token(request, access)", "True"),),
        (f"{_PORT}::test_bound_beyond_loopback_the_page_names_nothing_without_the_token",),
    ),
    Mutant(
        "why the ledger cannot be read is told to everybody",
        (
            Replacement(
                "monitor/port.py", "facts_of(picture) if shows_all else counts_of(picture)", "facts_of(picture)"
            ),
        ),
        (f"{_PORT}::test_why_the_ledger_cannot_be_read_is_not_told_to_everybody",),
    ),
    Mutant(
        "a scrape waits until a hanging query notices that it is not wanted",
        (
            Replacement(
                "monitor/view.py",
                "await give_up_after(LONGEST_READ_SECONDS, self._read())",
                "await asyncio.wait_for(self._read(), LONGEST_READ_SECONDS)",
            ),
        ),
        (f"{_PORT}::test_a_ledger_that_hangs_costs_a_scrape_some_seconds_and_a_probe_nothing",),
    ),
    Mutant(
        "half-open clients of the monitor make no room for others",
        (Replacement("syncd/http/connections.py", "if not self._waiting:", "if self._waiting is not None:"),),
        (f"{_PORT}::test_half_open_clients_make_room_for_those_that_ask",),
    ),
)
