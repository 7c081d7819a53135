"""The demo's monitor: `sync-monitor serve` beside the daemon, its page, and a rescue to see.

It is started as a process, by its name: syncd never imports it.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from uuid import UUID

import click
import psycopg

from syncd.contract.errors import FatalError
from syncd.demo.children import ended, exchange, start_process, tail_of, wait_until_ready
from syncd.demo.control import Control
from syncd.demo.place import Place

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
"""For daemon and monitor: nobody wants to watch a demo for the minute that it is by default."""
_RESCUE_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_ANSWER_SECONDS = 10.0


class Page:
    """The status page of the demo's monitor."""

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"
        self.url = f"http://{self._address}/"
        self.curl = shlex.join(["curl", "-s", "-H", "Accept: text/plain", self.url])

    def sentence(self) -> str:
        """How all is: its first line. FatalError where it does not answer."""
        try:
            status, text = exchange(
                self._address, "GET", "/", body=None, headers={"Accept": "text/plain"}, seconds=_ANSWER_SECONDS
            )
        except (OSError, HTTPException) as error:
            raise FatalError(f"the monitor at {self._address} did not answer: {error}") from error
        if status != 200:
            raise FatalError(f"the monitor answered with HTTP {status} {text}")
        return text.partition("\n")[0]


@contextmanager
def monitor(place: Place, options: list[str], port: int) -> Iterator[Page]:
    """`sync-monitor serve`, ready; told to end (SIGTERM) at the end of the block."""
    command = [sys.executable, "-m", "monitor", "serve", *options]
    with place.monitor_log.open("w", encoding="utf-8") as log:
        process = start_process(command, stdout=log, stderr=log, extra=LEASE)
    with ended(process):
        page = Page(port)
        wait_until_ready(process, "the monitor", page.sentence, lambda: tail_of(place.monitor_log))
        yield page


def show_rescue(connection: psycopg.Connection[tuple[object, ...]], control: Control) -> str | None:
    """Freeze the daemon in the middle of a sync, see the monitor end it, wake the daemon.

    The id of the run that goes on; None where the sync was over before.
    """
    run_id = control.call("/sync", method="POST", body="{}")["sync_id"]
    _wait_for(connection, "SELECT FROM sync.sweep_page WHERE run_id = %s", run_id, "its first page is stored")
    with control.frozen() as pid:
        froze_at = time.monotonic()
        living = "SELECT FROM sync.run WHERE run_id = %s AND completed_at IS NULL"
        if connection.execute(living, [run_id]).rowcount == 0:
            click.echo("The sync was over before the daemon could be frozen.")
            return None
        click.echo(f"kill -STOP {pid}: the daemon is frozen in the middle of a sync.")
        found = "SELECT why, cause, successor FROM sync.rescue WHERE run_id = %s AND ended_at IS NOT NULL"
        ((why, cause, successor),) = _wait_for(connection, found, run_id, "the monitor ends the run")
        click.echo(f"{time.monotonic() - froze_at:.1f} s later the monitor has ended its run, which {why} ({cause}),")
        click.echo("and queued the one that goes on from its checkpoint.")
    click.echo(
        f"kill -CONT {pid}: the daemon wakes up. For the old run it may write nothing more; it takes the new one."
    )
    assert isinstance(successor, UUID)  # noqa: S101  # nothing holds a stream of the demo back
    return str(successor)


def _wait_for(
    connection: psycopg.Connection[tuple[object, ...]], query: str, run_id: str, what: str
) -> list[tuple[object, ...]]:
    until = time.monotonic() + _RESCUE_SECONDS
    while True:
        cursor = connection.execute(query.encode(), [run_id])
        if cursor.rowcount:
            return cursor.fetchall() if cursor.description else [()]
        if time.monotonic() > until:
            raise FatalError(f"not within {_RESCUE_SECONDS:.0f} s: {what}")
        time.sleep(_LOOK_SECONDS)
