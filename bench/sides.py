"""The sides: how each is set up, run, and where its rows lie. All read the same API but the floor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import psycopg

from bench.floor import write_rows
from bench.offers import PRICES, catalogues, contents_query
from bench.peers_environment import program
from bench.server import PASSWORD, USERNAME
from bench.surroundings import ROOT, ApiServer, Cost, Database, SideFailedError, measure

TIMEOUT_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a side works: its database, the API, and a folder of its own that begins empty."""

    database: Database
    api: ApiServer
    folder: Path


class Side(ABC):
    """One program that is measured."""

    name: ClassVar[str]
    table: ClassVar[str]
    key = "id"
    prices = PRICES
    cold_only = False
    note: ClassVar[str]

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def prepare(self) -> None:
        """What its operator does once, before the first run. Not measured."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """The pipeline of one run."""

    def environment(self) -> dict[str, str]:
        """The commands' whole environment."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
        return kept | {"HOME": str(self.place.folder), "PYTHONPATH": str(ROOT)}

    def run(self) -> Cost:
        """One measured run."""
        return measure(
            self.place.database,
            self.place.api,
            self.commands(),
            environment=self.environment(),
            table=self.table,
            log=self.place.folder / "log",
            timeout_seconds=TIMEOUT_SECONDS,
        )

    @property
    def query(self) -> str:
        """Count and digest of what the side has stored."""
        return contents_query(self.table, self.key, self.prices)

    @property
    def compression(self) -> str:
        """Type and compression of the columns that hold more than a number."""
        (shown,) = self.place.database.ask(
            "SELECT string_agg(DISTINCT format_type(atttypid, NULL) || ' ' || CASE attcompression"
            " WHEN 'l' THEN 'lz4' WHEN 'p' THEN 'pglz' ELSE current_setting('default_toast_compression') END, ', ')"
            f" FROM pg_attribute WHERE attrelid = '{self.table}'::regclass AND attnum > 0 AND NOT attisdropped"
            " AND atttypid IN ('json'::regtype, 'jsonb'::regtype)"
        )
        return shown or "no JSON column"


class Ours(Side):
    """`syncd run`, as installed; only the caps and the rate limit are lifted."""

    name = "ours"
    table = "sync.record"
    key = "key"
    note = "syncd run --json, batch_size 1000, concurrency 5, page size 100; documents kept, 13 typed columns, changes"

    def prepare(self) -> None:
        settings = "[accounts.emag.main]\ncalls_per_second = 100000\n"
        (self.place.folder / "syncd.toml").write_text(settings)
        subprocess.run([*self._syncd("migrate")], env=self.environment(), cwd=ROOT, check=True, capture_output=True)

    def commands(self) -> list[list[str]]:
        return [[*self._syncd("run"), "--json"]]

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "DATABASE_URL": self.place.database.url,
            "EMAG_API_BASE_URL": self.place.api.base_url,
            "EMAG_API_USERNAME": USERNAME,
            "EMAG_API_PASSWORD": PASSWORD,
            "EMAG_SYNC_MAX_PAGES": "1000000",
            "EMAG_SYNC_MAX_REQUESTS": "1000000",
        }

    def run(self) -> Cost:
        cost = super().run()
        facts = json.loads(cost.output)["syncs"][0]
        if facts["status"] != "complete":
            raise SideFailedError(f"{facts['status']}/{facts['cause']}: {facts['error_message']}")
        return cost

    def _syncd(self, command: str) -> list[str]:
        return [sys.executable, "-m", "syncd", command, "--config", str(self.place.folder / "syncd.toml")]


class Floor(Side):
    """Bare COPY: what PostgreSQL itself needs to take the documents."""

    name = "bare COPY"
    table = "offer"
    key = "document->>'id'"
    prices = tuple(f"(document->>'{name}')::numeric" for name in PRICES)  # type: ignore[assignment]
    cold_only = True
    note = "binary COPY from memory into one json column, one transaction; the rate counts COPY and COMMIT only"

    def prepare(self) -> None:
        with psycopg.connect(self.place.database.url) as connection:
            connection.execute("CREATE TABLE offer (document json NOT NULL)")
        with psycopg.connect(self.place.database.url) as connection:
            try:
                connection.execute("ALTER TABLE offer ALTER COLUMN document SET COMPRESSION lz4")
            except psycopg.errors.FeatureNotSupported:  # as ours: this build has pglz only
                connection.rollback()
        rows = self.place.folder.parent / "rows"
        if not rows.exists():
            write_rows(rows, list(catalogues(self.place.api.offers)[0].values()))

    def commands(self) -> list[list[str]]:
        return [[sys.executable, "-m", "bench.floor", str(self.place.folder.parent / "rows")]]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"DATABASE_URL": self.place.database.url}

    def run(self) -> Cost:
        cost = super().run()
        seconds = float(cost.output)
        return replace(cost, seconds=seconds, work_seconds=seconds)


class Dlt(Side):
    """dlt: its REST API source into PostgreSQL, merged by id."""

    name = "dlt"
    table = "offers.offers"
    note = "rest_api → postgres, write_disposition merge by id, max_table_nesting 0, prices as decimal"

    def prepare(self) -> None:
        pass

    def commands(self) -> list[list[str]]:
        return [[program("python"), str(ROOT / "bench/peers/dlt_load.py")]]

    def environment(self) -> dict[str, str]:
        return super().environment() | peer_environment(self.place)


class Singer(Side):
    """A Singer tap made with its SDK, and Meltano's PostgreSQL target."""

    name = "Singer"
    table = "offers.offers"
    note = "tap with singer-sdk (RESTStream) | meltanolabs-target-postgres, upsert by id, JSON as jsonb"

    def prepare(self) -> None:
        database = self.place.database
        target = {
            "sqlalchemy_url": f"postgresql+psycopg://syncd@/{database.name}?host={database.socket}",
            "default_target_schema": "offers",
            "add_record_metadata": False,
            "activate_version": False,
        }
        tap = {"base_url": self.place.api.base_url, "username": USERNAME, "password": PASSWORD}
        (self.place.folder / "target.json").write_text(json.dumps(target))
        (self.place.folder / "tap.json").write_text(json.dumps(tap))

    def commands(self) -> list[list[str]]:
        folder = self.place.folder
        return [
            [program("python"), str(ROOT / "bench/peers/tap_offers.py"), "--config", str(folder / "tap.json")],
            [program("target-postgres"), "--config", str(folder / "target.json")],
        ]


def peer_environment(place: Place) -> dict[str, str]:
    """What dlt's script reads."""
    return {
        "BENCH_API": place.api.base_url,
        "BENCH_USERNAME": USERNAME,
        "BENCH_PASSWORD": PASSWORD,
        "BENCH_DATABASE": place.database.name,
        "BENCH_SOCKET": place.database.socket,
        "DLT_DATA_DIR": str(place.folder / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }


SIDES: tuple[type[Side], ...] = (Ours, Floor, Dlt, Singer)
