"""Mutants of the client commands."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_TESTS = "tests/acceptance/test_daemon_commands.py"
_ANY_LEDGER = Replacement(
    "syncd/cli/way.py",
    "if await self._door.find_ledger() != self._ledger_id:",
    "if not await self._door.find_ledger():",
)

COMMANDS = (
    Mutant(
        "a command goes through the daemon of another database",
        (_ANY_LEDGER,),
        (f"{_TESTS}::test_the_daemon_of_another_database_is_left_alone",),
    ),
    Mutant(
        "the token goes to whatever answers on the port",
        (_ANY_LEDGER, Replacement("syncd/cli/way.py", "        if not is_ours:\n", "        if False:\n")),
        (f"{_TESTS}::test_the_token_goes_to_nobody_but_a_daemon_of_ours",),
    ),
    Mutant(
        "without the ledger stop signals nobody",
        (
            Replacement(
                "syncd/cli/stop.py", "if ledger_reached and asyncio.run(", "if not ledger_reached or asyncio.run("
            ),
        ),
        (f"{_TESTS}::test_stop_ends_the_local_daemon_where_the_ledger_does_not_answer",),
    ),
    Mutant(
        "a frozen daemon counts as one that answers",
        (Replacement("syncd/cli/stop.py", "return not error.silent", "return True"),),
        (f"{_TESTS}::test_stop_ends_a_local_daemon_that_does_not_answer",),
    ),
    Mutant(
        "trigger does not look for a pause",
        (Replacement("syncd/cli/steer.py", "None if force else await find_obstacle(postgres, stream)", "None"),),
        (f"{_TESTS}::test_with_the_daemon_down_they_go_straight_on_the_ledger",),
    ),
    Mutant(
        "a file that nobody holds stands for a daemon",
        (
            Replacement(
                "syncd/runtime/presence.py",
                "        pid = _holder(descriptor)\n        if pid is None:\n            return None\n",
                '        pid = int(path.stem.removeprefix("daemon-"))\n',
            ),
            Replacement("syncd/runtime/presence.py", "if _holder(descriptor) != pid:", "if False:"),
        ),
        ("tests/integration/test_presence.py::test_no_file_can_name_a_process_that_does_not_hold_it",),
    ),
)
