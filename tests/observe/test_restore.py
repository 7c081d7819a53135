"""The backup and the restore of the runbook, by the very commands that stand there, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from syncd.runtime.embedded import EmbeddedPostgres
from tests.acceptance.monitoring import watching
from tests.acceptance.processes import running, until
from tests.acceptance.scene import Scene, Start, outcome
from tests.observe.papers import FOLDER, section, typed
from tests.postgres import state_of

KEPT = "/var/backups/syncd"
LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}


class Operator:
    """Types what the page says, at this database and with this folder for backups."""

    def __init__(self, scene: Scene, folder: Path, binaries: Path) -> None:
        self._scene = scene
        self._folder = folder
        self._binaries = binaries
        self.done: list[str] = []

    def type(self, words: list[str]) -> None:
        """One command; it must end with 0. What concerns the machine's own services is left out."""
        name, *rest = words
        rest = [word.replace(KEPT, str(self._folder)) for word in rest]
        if name == "syncd":
            done = self._scene.program.call(*rest, "--config", str(self._scene.program.config))
        elif name == "sync-monitor":
            done = self._scene.program.monitor(*rest)
        elif name in {"psql", "pg_dump", "pg_restore"}:
            database = self._scene.program.database
            rest = [
                database if word == "syncd" else word.replace("--dbname=syncd", f"--dbname={database}") for word in rest
            ]
            redirected = [word for word in rest if word.startswith(("<", ">"))]
            plain = [word for word in rest if word not in redirected]
            command = ["bash", "-c", f'exec "$@" {" ".join(redirected)}', "bash", str(self._binaries / name), *plain]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        else:
            assert name in {"systemctl", "tar", "chmod", "chown", "install"}, words
            return
        self.done.append(name)
        assert done.returncode == 0, (words, done.stdout, done.stderr)


PAGE = FOLDER / "backup.md"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1"


def content(scene: Scene, schema: str) -> dict[str, tuple[int, str | None]]:
    """Of each table: how many rows, and one hash over all of them in any order."""
    with psycopg.connect(scene.program.database, autocommit=True) as connection:
        return {
            table: connection.execute(
                f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {schema}.{table} t"
            ).fetchone()  # type: ignore[dict-item]
            for (table,) in connection.execute(TABLES, [schema])
        }


async def fill(scene: Scene) -> None:
    """Two syncs with changes in between, and a pause."""
    assert outcome(await scene.sync())[0] == 0
    scene.sandbox.catalogue.change(20)
    assert outcome(await scene.sync())[0] == 0
    arguments = ("pause", "--reason", "kept in the copy", "--config", str(scene.program.config))
    assert (await asyncio.to_thread(scene.program.call, *arguments)).returncode == 0


@pytest.mark.prove
async def test_what_the_runbook_says_brings_everything_back(
    start: Start, cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Also a run that was open when the copy was made: it is ended, and the next one completes the sweep."""
    if not (cluster.binaries.folder / "pg_dump").exists():
        pytest.skip("this PostgreSQL has no pg_dump")
    scene = await start(offers=450)
    operator = Operator(scene, tmp_path, cluster.binaries.folder)
    await fill(scene)
    scene.sandbox.faults.add("slow:page=all:seconds=0.3")
    async with running(scene, "--force", **LEASE) as process:
        await until(lambda: scene.query("SELECT 1 FROM run WHERE status = 'running' AND pages > 1"), "a page is stored")
        process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(process.pid) == "T", "the process has stopped")
        before = content(scene, "sync")
        for words in typed(section(PAGE, "Backup")):
            await asyncio.to_thread(operator.type, words)
    scene.sandbox.faults.clear()
    scene.query("DELETE FROM record RETURNING 1")
    steps = list(typed(section(PAGE, "Restore")))
    at = next(number for number, words in enumerate(steps) if words[:2] == ["syncd", "migrate"])
    for words in steps[:at]:
        await asyncio.to_thread(operator.type, words)
    assert content(scene, "sync") == before
    assert all(before[table][0] for table in ("record", "change", "run", "sweep_page", "accumulator"))
    await asyncio.to_thread(operator.type, steps[at])
    async with watching(scene, tmp_path, **LEASE):  # as the page says: start the services
        await until(lambda: not scene.query("SELECT 1 FROM run WHERE status = 'running'"), "the open run is ended")
        for words in steps[at + 1 :]:
            await asyncio.to_thread(operator.type, words)
    assert " ".join(operator.done) == "pg_dump syncd psql pg_restore syncd syncd sync-monitor syncd psql"
    assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    assert scene.live == scene.served
