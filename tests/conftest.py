"""Databases for tests: one server a session, one database a test, cloned from a migrated template.

database         conninfo of a new database with the schema `sync`
empty_database   conninfo of a new database without it
own_postgres     a server that the test may stop, start, freeze and crash (see postgres.py)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from syncd.runtime.embedded import EmbeddedPostgres
from tests.postgres import new_folder, temporary_database, temporary_postgres

# No example is judged by how long it took: beside other work that says nothing.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

TEMPLATE = "migrated"


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """The session's server. Tests share it: no stopping, no freezing."""
    with temporary_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(cluster: EmbeddedPostgres) -> str:
    """The name of a database with this release's schema. Nobody connects to it, or it cannot be cloned."""
    from syncd.ledger.schema import migrate  # the unit tests need no ledger

    with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate(cluster.conninfo(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database(cluster: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    with temporary_database(cluster, migrated_template) as conninfo:
        yield conninfo


@pytest.fixture
def empty_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    with temporary_database(cluster) as conninfo:
        yield conninfo


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """A new empty folder for a server; a test that starts one there also stops it."""
    folder = new_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
