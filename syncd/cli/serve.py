"""`syncd serve`: the daemon; systemd runs this."""

from __future__ import annotations

import asyncio
import os
import sys

import click
import structlog

from syncd.cli.options import Place, place_of, secrets_of, with_place
from syncd.contract.errors import SyncError
from syncd.daemon.service import Daemon
from syncd.runtime.command import EXIT_FAILED
from syncd.runtime.log import configure_log
from syncd.runtime.presence import announced
from syncd.runtime.service import reader_of
from syncd.runtime.systemd import Notifier

log = structlog.get_logger()


@click.command()
@with_place
def serve(place: Place) -> None:
    """Sync on a schedule and on demand, until SIGTERM.

    \b
    SIGHUP reads the configuration anew; a second SIGTERM ends at once.
    Exit codes: 0 told to stop, 78 configuration or schema, 70 an event loop that hung.
    """
    first = place.read()
    configure_log(secrets=secrets_of(first), level="debug" if place.verbose else first.sync.log_level)

    load = reader_of(place.read, secrets_of, verbose=place.verbose)

    async def run() -> None:
        await Daemon(load, Notifier()).run()

    address, port = first.sync.control_address, first.sync.control_port
    try:
        with announced(os.environ, database=place_of(first), control_address=address, control_port=port):
            asyncio.run(run())
    except SyncError:
        raise
    except Exception:  # the supervisor: Python's own traceback would pass the journal and its filter by
        log.critical("daemon.crashed", exc_info=True)
        sys.exit(EXIT_FAILED)
