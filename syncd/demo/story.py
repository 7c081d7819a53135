"""The demo from its first line to its last.

    PostgreSQL → marketplace → migrate → sync → the marketplace changes → sync → what changed → queries
        → monitor: its page → daemon: a sync through its control API, its status
        → the daemon freezes in the middle of a sync, the monitor ends and resumes it → the end of both

Started again, it finds the database of the last time, while the marketplace begins anew with the same offers:
the first sync then shows what has changed back, or goes on where an interrupted one stopped. Another number
of offers gets a database of its own, or thousands would seem to vanish.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
import psycopg
from psycopg import sql

from syncd.contract.errors import FatalError
from syncd.demo import queries
from syncd.demo.children import Marketplace, marketplace, run, syncd
from syncd.demo.control import Control, daemon, free_ports
from syncd.demo.place import Place, default_folder, forget_foreign_settings
from syncd.demo.watch import LEASE, Page, monitor, show_rescue
from syncd.runtime.embedded import EmbeddedPostgres
from syncd.runtime.embedded.binaries import Source

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

EXIT_PARTIAL = 3
_PAGES_A_RUN = 99  # the default cap, less the empty page at the end
_SPARE_RUNS = 3
_AGAIN_SECONDS = 0.05


class Stopped(KeyboardInterrupt):
    """A signal asked us to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Demo:
    """One demonstration in one folder. FatalError says what did not work."""

    def __init__(self, folder: Path, *, offers: int, prefer: Source, verbose: int = 0) -> None:
        self._place = Place(folder.absolute())
        self._offers = offers
        self._verbose = ["-" + "v" * verbose] if verbose else []
        self._server = EmbeddedPostgres(self._place.folder, durable=False, prefer=prefer)
        self._control_port = self._page_port = 0

    def play(self, *, keep_running: bool) -> None:
        """From nothing to two syncs, their results, both services, a rescue. Whatever ends it, nothing goes on."""
        forget_foreign_settings(os.environ, self._place)
        with _signals_as_exceptions():
            click.echo(f"Everything lies in {self._place.folder}: `{self._again('--remove')}` deletes it.")
            try:
                with self._server, marketplace(self._offers, self._place.sandbox_log) as shop:
                    self._tell_of_syncs(shop)
                    self._tell_of_services(keep_running=keep_running)
                    _ignore_signals()
            except psycopg.Error as error:
                raise FatalError(f"the demo's PostgreSQL: {str(error).strip()}") from error
        click.echo("\nPostgreSQL, the marketplace, daemon and monitor have stopped; the data stays where it is.")
        click.echo(f"  connect to it   {self._again('--keep-running')}")
        click.echo(f"  delete it       {self._again('--remove')}")

    def remove(self) -> bool:
        """Delete the folder; whether there was one."""
        existed = self._place.folder.exists()
        self._server.remove()
        return existed

    def _tell_of_syncs(self, shop: Marketplace) -> None:
        database = f"demo_{self._offers}"
        conninfo = self._server.conninfo(database)
        made_by = {"local": "this machine's", "wheel": "the wheel's"}[self._server.binaries.source]
        _title("A PostgreSQL and a marketplace of its own")
        click.echo(f"PostgreSQL {self._server.version} ({made_by}), reached by a socket in the folder")
        click.echo(
            f"{shop.facts['base_url']} with {self._offers:,} offers, 100 a page, 3 calls a second: as the real one"
        )
        is_new = self._create_database(database)
        self._control_port, self._page_port = free_ports(2)
        self._place.write_settings(conninfo, shop.facts, control_port=self._control_port, page_port=self._page_port)
        self._command("migrate")

        _title("First sync" if is_new else "First sync, into the data of an earlier demo")
        if not is_new:
            click.echo("The marketplace has begun anew: what the earlier demo changed there has changed back.")
        self._sync()
        _title("The marketplace changes")
        click.echo(_mutate(shop, self._offers))
        _title("Second sync: only what changed is written")
        self._sync()

        _title("What to look at")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for query in (queries.CHANGE_LOG, *queries.QUERIES):
                queries.show(connection, query)

    def _tell_of_services(self, *, keep_running: bool) -> None:
        options = [*self._options(), *self._verbose]
        _title("The monitor: `sync-monitor serve` watches every sync, and is right when the daemon is wrong")
        with monitor(self._place, options, self._page_port) as page:
            click.echo(f"Its page, for a browser: {page.url}")
            self._tell_of_the_page(page)
            _title("The daemon: `syncd serve` syncs on a schedule and on demand")
            with daemon(self._place, options, self._control_port, LEASE) as control:
                self._tell_of_the_daemon(control)
                _title("The daemon freezes; the monitor ends what is stuck, and resumes it")
                self._tell_of_the_rescue(control, page)
                if keep_running:
                    self._wait(control, page)

    def _tell_of_the_page(self, page: Page) -> None:
        _show_command(f"{page.curl} | head -1")
        click.echo(page.sentence())

    def _tell_of_the_rescue(self, control: Control, page: Page) -> None:
        conninfo = self._server.conninfo(f"demo_{self._offers}")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            successor = show_rescue(connection, control)
        if successor is not None:
            run = control.follow(successor)
            click.echo(json.dumps({name: run[name] for name in ("triggered_by", "status", "cause", "fetched")}))
        self._tell_of_the_page(page)

    def _tell_of_the_daemon(self, control: Control) -> None:
        click.echo(f"It answers at {control.address}. The token for calls that change something is in the folder.")
        _show_command(control.curl("/sync", method="POST", body="{}"))
        started = control.call("/sync", method="POST", body="{}")
        click.echo(json.dumps(started, indent=2))
        run = control.follow(started["sync_id"])
        _show_command(control.curl(started["poll_url"]))
        shown = ("status", "cause", "duration_seconds", "requests", "fetched", "inserted", "updated", "skipped")
        click.echo(json.dumps({name: run[name] for name in shown}))
        self._command("status")

    def _again(self, option: str) -> str:
        """This demo once more, with an option, as a command to type."""
        folder = self._place.folder
        return _shown("demo", *([] if folder == default_folder() else ["--folder", str(folder)]), option)

    def _create_database(self, name: str) -> bool:
        """Whether it was not there yet."""
        with psycopg.connect(self._server.conninfo(), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
                return False
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            return True

    def _options(self) -> list[str]:
        return ["--config", str(self._place.config), "--env-file", str(self._place.env_file)]

    def _command(self, name: str, *, allowed: tuple[int, ...] = (0,)) -> int:
        _show_command(_shown(name, *self._options(), *self._verbose))
        code = run(syncd(name, *self._options(), *self._verbose))
        if code not in allowed:
            raise FatalError(f"`syncd {name}` ended with exit code {code}; logs are in {self._place.folder}")
        return code

    def _sync(self) -> None:
        """Sync until complete: a run may end at its cap, and the next one goes on."""
        runs = self._offers // (100 * _PAGES_A_RUN) + _SPARE_RUNS
        for _ in range(runs):
            if self._command("run", allowed=(0, EXIT_PARTIAL)) == 0:
                return
            click.echo(f"Exit code {EXIT_PARTIAL}, partial: the same command once more.")
        raise FatalError(f"no sync was complete after {runs} runs; logs are in {self._place.folder}")

    def _wait(self, control: Control, page: Page) -> None:
        psql = self._server.binaries.folder / "psql"
        program = str(psql) if psql.exists() else "psql"
        _title("It keeps running until you press Ctrl-C")
        click.echo(f"In a browser:  {page.url}")
        click.echo("In another terminal:")
        click.echo(f"  {shlex.join([program, self._server.conninfo(f'demo_{self._offers}')])}")
        click.echo(f"  {_shown('status', *self._options(), '--watch')}")
        click.echo(f"  {control.curl('/sync', method='POST', body='{}')}")
        click.echo(f"  {control.curl('/sync/progress')}")
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            click.echo()


def _mutate(shop: Marketplace, offers: int) -> str:
    """Less than what would need a person's consent; as words."""
    some = max(1, min(40, offers // 20))
    few = max(1, min(5, offers // 50))
    priced = shop.mutate(change=some)["changed"]
    named = shop.mutate(change=few, fields=["name"])["changed"]
    moved = shop.mutate(vanish=few, appear=few + 2)
    return (
        f"{len(priced)} offers get another price and stock, {len(named)} another name, "
        f"{len(moved['vanished'])} vanish, {len(moved['appeared'])} appear: {moved['offers']:,} now"
    )


def _show_command(command: str) -> None:
    click.echo(click.style(f"$ {command}", fg="green"))


def _title(text: str) -> None:
    click.echo(f"\n{click.style(f'== {text}', bold=True)}")


def _shown(*arguments: str) -> str:
    """A command of ours as it can be typed in this folder."""
    own = Path(sys.executable).parent / "syncd"
    on_path = shutil.which("syncd")
    if on_path is not None and Path(on_path) == own:
        program = "syncd"
    elif own.exists():
        program = str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
    else:
        program = "python -m syncd"
    return f"{program} {shlex.join(arguments)}"


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    def stop(number: int, _: FrameType | None) -> None:
        _ignore_signals()
        raise Stopped(number)

    def raise_again(lost: UnraisableHookArgs) -> None:
        """What is raised in a callback (a finalizer, logging's at a fork) is swallowed there, signal or not."""
        if isinstance(stopped := lost.exc_value, Stopped):
            signal.signal(signal.SIGALRM, lambda _, frame: stop(stopped.number, frame))
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            sys.__unraisablehook__(lost)

    # SIGINT too: a shell starts background jobs with it ignored
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, stop)
    hook, sys.unraisablehook = sys.unraisablehook, raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    """From the first signal on: everything ends within seconds, and an impatient second one must not cut it short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
