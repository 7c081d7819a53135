"""Which database: the ways to write it, which wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from syncd.config import DatabaseSettings, Settings, load_settings
from syncd.contract.errors import ConfigError
from syncd.runtime.settings.database import parse_conninfo


def load(etc: Path, environ: dict[str, str], *, toml: str = "", env: str = "") -> Settings:
    for name, text in {"syncd.toml": toml, "syncd.env": env}.items():
        (etc / name).write_text(text)
        (etc / name).chmod(0o640)
    return load_settings(environ=environ, system_directory=etc, need={"database"})


def parts(settings: Settings) -> dict[str, object]:
    return dict(conninfo_to_dict(settings.database.conninfo.get_secret_value()))


def problem_of(etc: Path, environ: dict[str, str], **places: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(etc, environ, **places)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgres+psycopg", "postgresql+psycopg2", "PostgreSQL"]
)
def test_a_driver_in_the_scheme_is_dropped(scheme: str) -> None:
    parsed = conninfo_to_dict(parse_conninfo(f"{scheme}://u:p%40%3F@h:5433/d?sslmode=verify-full&sslrootcert=/ca.pem"))
    assert parsed == {
        "user": "u", "password": "p@?", "host": "h", "port": "5433", "dbname": "d",
        "sslmode": "verify-full", "sslrootcert": "/ca.pem",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("postgresql:///syncd", None), ("postgresql://%2Fvar%2Frun/d", "/var/run"), ("postgresql://[::1]:1/d", "::1"),
        ("postgresql://a:1,b:2/d", "a,b"), ("host=/tmp dbname=d password='a b\\''", "/tmp"),
        (" postgresql://h/d\n", "h"),
    ],
)  # fmt: skip
def test_what_libpq_reads_is_accepted(text: str, host: str | None) -> None:
    assert conninfo_to_dict(parse_conninfo(text)).get("host") == host


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("postgresql://u:canary@[bad/d", "IPv6"), ("postgresql://u:can ary@h/d", "a space"),
        ("postgresql://u:canary%zz@h/d", "hexadecimal"), ("postgresql://u:canary%00@h/d", "hexadecimal"),
        ("postgresql://u:p@canary@h/d", "a host with"), ("postgresql://u:canary/x@h/d", "a port that"),
        ("postgresql://u:1/canary@h/d", "a database name"), ("postgresql://u:canary@h:99999/d", "a port that"),
        ("postgresql://u:canary@h/d?ssl=require", "parameter ssl, which PostgreSQL's libpq does not have: write ssl"),
        ("postgresql://u:canary@h/d?sslmod=require", "did you mean sslmode?"),
        ("postgresql://u:canary@h/d?sslmode=canary", "an unknown sslmode"),
        ("postgresql://u:x@h/d?canary=1", "parameter"),
        ("mysql://u:canary@h/d", "another scheme"), ("canary", "neither"), ("host=h password='canary", "key=value"),
        ("host=h canary=1", "a parameter"), ("postgresql://u:canary\x00@h/d", "control"),
        ("postgresql://u:canary\udcff@h/d", "UTF-8"), ("postgresql://h/d?canary", "a parameter"),
    ],
)  # fmt: skip
def test_a_malformed_one_is_explained_without_quoting_it(tmp_path: Path, text: str, why: str) -> None:
    problem = problem_of(tmp_path, {"DATABASE_URL": text})
    assert problem.startswith("DATABASE_URL: found (hidden) in the environment, expected postgresql://")
    assert why in problem
    assert "canary" not in problem
    with pytest.raises(ValueError, match=r".") as caught:
        parse_conninfo(text)
    assert caught.value.__context__ is None, "libpq's own text holds the password"


def test_the_name_for_this_program_wins_in_one_place(tmp_path: Path) -> None:
    environ = {"DATABASE_SYNC_URL": "postgresql:///ours", "DATABASE_URL": "postgresql:///theirs", "DB_NAME": "parts"}
    assert parts(load(tmp_path, environ, toml='[database]\nurl = "postgresql:///toml"'))["dbname"] == "ours"
    del environ["DATABASE_SYNC_URL"]
    assert parts(load(tmp_path, environ))["dbname"] == "theirs"
    del environ["DATABASE_URL"]
    assert parts(load(tmp_path, environ, toml='[database]\nurl = "postgresql:///toml"'))["dbname"] == "parts"


def test_a_higher_place_wins_over_the_name_and_says_so(tmp_path: Path) -> None:
    settings = load(tmp_path, {"DATABASE_URL": "postgresql:///env"}, env="DATABASE_SYNC_URL=postgresql:///file")
    assert parts(settings)["dbname"] == "env"
    assert "DATABASE_SYNC_URL" in settings.warnings[0]
    assert "is not used" in settings.warnings[0]


def test_five_parts_make_a_connection_even_from_two_places(tmp_path: Path) -> None:
    environ = {"DB_HOST": "h", "DB_PORT": "5433", "DB_USER": "u s", "DB_NAME": "d"}
    assert parts(load(tmp_path, environ, env=r"""DB_PASS='p" = @'""")) == {
        "host": "h", "port": "5433", "user": "u s", "dbname": "d", "password": 'p" = @',
    }  # fmt: skip


def test_a_stray_part_does_not_hide_a_whole_url(tmp_path: Path) -> None:
    assert parts(load(tmp_path, {"DB_PASS": "x"}, env="DATABASE_URL=postgresql:///file")) == {"dbname": "file"}


@pytest.mark.parametrize(
    ("environ", "start"),
    [
        ({"DB_HOST": "h", "DB_USER": "u"}, "DB_NAME: found nothing beside DB_HOST, DB_USER"),
        ({"DB_NAME": "d", "DB_PORT": "canary"}, "DB_PORT: found (hidden)"),
        ({"DB_NAME": "d", "DB_HOST": "canary@h"}, "DB_HOST: found (hidden)"),
        ({"DB_NAME": "d", "DB_PASS": "canary\udcff"}, "DB_PASS: found (hidden)"),
        ({}, "DATABASE_SYNC_URL: found nothing"),
    ],
)
def test_missing_and_wrong_parts_are_named(tmp_path: Path, environ: dict[str, str], start: str) -> None:
    problem = problem_of(tmp_path, environ)
    assert problem.startswith(start)
    assert "canary" not in problem


@pytest.mark.parametrize("name", ["Sync", "1a", "a-b", "a" * 64, "pg_x", "information_schema", "a;drop", "sync\n"])
def test_a_schema_has_a_plain_name(tmp_path: Path, name: str) -> None:
    environ = {"DATABASE_URL": "postgresql:///x", "DB_SCHEMA": name}
    assert problem_of(tmp_path, environ).startswith("DB_SCHEMA: found ")


def test_the_place_is_shown_without_user_and_password() -> None:
    database = DatabaseSettings.model_validate({"conninfo": parse_conninfo("postgresql://u:canary@h/d")})
    assert database.place == "h:5432/d"
    assert "canary" not in repr(database)
