"""`syncd stop`: the emergency stop, which ends with 0 only when everything was reached that could start a sync.

1. through the daemon, or straight on the ledger: hold every stream back, ask what runs to end
2. where the ledger did not answer, or a daemon of this machine lives and does not answer:
   SIGTERM to it, SIGKILL after 30 s; exit 1
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field

import click

from syncd.cli.ledger import DATABASE
from syncd.cli.options import Place, place_of, with_place
from syncd.cli.steer import TO_COME_PAUSED
from syncd.cli.way import NoAnswerError, Way, on_way, open_door
from syncd.config import Settings
from syncd.contract.errors import SyncError
from syncd.contract.text import escape
from syncd.ledger import pauses
from syncd.runtime.command import EXIT_FAILED, initiator, json_option, print_json
from syncd.runtime.postgres import Postgres
from syncd.runtime.presence import LivingDaemon, Presence, find_daemons

ALIVE_SECONDS = 5.0
"""A daemon that says nothing for so long is ended: more patience than a busy machine needs."""
KILL_AFTER_SECONDS = 30.0
AFTER_KILL_SECONDS = 5.0


@dataclass(slots=True)
class Stopped:
    """What was done. way None: the ledger was not reached; missed: what was not reached, in sentences."""

    paused: list[str] = field(default_factory=list)
    cancelled: int = 0
    way: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    signalled: list[str] = field(default_factory=list)


@click.command()
@click.option("--reason", default="emergency stop", show_default=True, help="Why.")
@json_option
@with_place
def stop(place: Place, reason: str, as_json: bool) -> None:
    """Emergency stop: hold every stream back, and ask what runs to end.

    \b
    Where the ledger, or a daemon of this machine, does not answer: ends that daemon (SIGTERM, SIGKILL after 30 s).
    Exit codes: 0 stopped until `syncd resume`, 1 something could not be reached; it says what.
    """
    settings = place.load(need=DATABASE)
    done = Stopped()
    try:
        _halt(settings, escape(reason).strip()[:500] or "emergency stop", done)
    except SyncError as error:
        done.missed.append(f"the ledger: {error}")
    _end_those_who_do_not_answer(settings, done)
    code = EXIT_FAILED if done.missed else 0
    if as_json:
        facts = {"paused": done.paused, "cancelled": done.cancelled, "not_reached": done.missed}
        print_json({**facts, "signalled": done.signalled, "exit_code": code, **done.way})
    else:
        _say(done)
    sys.exit(code)


def _halt(settings: Settings, reason: str, done: Stopped) -> None:
    """Step 1. Raises SyncError where the ledger does not answer."""

    async def halt(postgres: Postgres, way: Way) -> None:
        told = await way.post("/stop", {"reason": reason})
        if told is not None and told.is_done:
            done.paused, done.cancelled = list(told.document["paused"]), int(told.document["cancelled"])
        else:
            held = await pauses.pause(postgres, None, by=initiator(), reason=reason)
            done.paused = [str(stream) for stream in held]
            done.cancelled = len(await pauses.cancel_open(postgres, None, by=initiator()))
        done.way = way.facts

    on_way(settings, halt)


def _end_those_who_do_not_answer(settings: Settings, done: Stopped) -> None:
    """Step 2: the daemons of this machine on this database; all of them where the ledger was not reached."""
    ledger_reached = not done.missed
    with find_daemons(os.environ) as found:
        ours = [daemon for daemon in found if daemon.presence.database == place_of(settings)]
        for daemon in ours:
            if ledger_reached and asyncio.run(_answers(settings, daemon.presence)):
                continue
            if ledger_reached:
                done.missed.append(f"the daemon of this machine (process {daemon.presence.pid}): it does not answer")
            done.signalled.append(end_daemon(daemon))
    if not ledger_reached and not ours:
        done.signalled.append("no daemon of this database was found on this machine: nothing was signalled")


async def _answers(settings: Settings, presence: Presence) -> bool:
    """Whether its control port answers anything; one whose port is not known counts as answering."""
    if not presence.control_port:
        return True
    at = {"control_address": presence.control_address, "control_port": presence.control_port}
    async with open_door(settings) as door:
        try:
            await door.elsewhere(settings.sync.model_copy(update=at)).ask("GET", "/livez", seconds=ALIVE_SECONDS)
        except NoAnswerError as error:
            return not error.silent
    return True


def end_daemon(daemon: LivingDaemon, *, kill_after_seconds: float = KILL_AFTER_SECONDS) -> str:
    """Ask it to end, then make it; what came of it, in words."""
    name = f"the daemon of this machine (process {daemon.presence.pid})"
    try:
        daemon.signal(signal.SIGTERM)
        if daemon.wait(kill_after_seconds):
            return f"{name} has ended after SIGTERM"
        daemon.signal(signal.SIGKILL)
        if daemon.wait(AFTER_KILL_SECONDS):
            return f"{name} did not end within {kill_after_seconds:.0f} s of SIGTERM, and was killed"
        return f"{name} was sent SIGKILL and has not ended yet"
    except ProcessLookupError:
        return f"{name} has ended by itself"
    except OSError as error:
        return f"{name} could not be signalled: {error.strerror}; end it as its user or as root"


def _say(done: Stopped) -> None:
    for name in done.paused:
        click.echo(f"{name}: paused")
    if done.way:
        if not done.paused:
            click.echo("no stream is registered yet")
        runs = f"{done.cancelled} run{'s' if done.cancelled != 1 else ''}"
        click.echo(TO_COME_PAUSED)
        click.echo(f"asked {runs} to end; `syncd resume` lets them go on")
        click.echo(f"({done.way['way']})", err=True)
    for missed in done.missed:
        click.echo(f"syncd: not reached: {missed}", err=True)
    for sentence in done.signalled:
        click.echo(f"  {sentence}", err=True)
    if done.missed:
        if not done.way:
            click.echo("  nothing was paused: daemons of other hosts go on; again when the ledger answers", err=True)
        click.echo("  a service manager may start a daemon again; against that: systemctl stop syncd", err=True)
