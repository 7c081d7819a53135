"""The files of settings: their syntax, their absence, their permissions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.config import Settings, load_settings
from syncd.contract.errors import ConfigError

BASIC = {"DATABASE_URL": "postgresql:///x", "EMAG_API_USERNAME": "seller", "EMAG_API_PASSWORD": "secret"}


def load(etc: Path, **arguments: object) -> Settings:
    return load_settings(**{"environ": BASIC, "system_directory": etc, **arguments})  # type: ignore[arg-type]


def problems_of(etc: Path, **arguments: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(etc, **arguments)
    return "\n".join(caught.value.problems)


def write(path: Path, text: str | bytes, mode: int = 0o640) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.fixture
def without_rights() -> Iterator[None]:
    """Root may read everything; so be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_env_file_has_exports_quotes_comments_and_no_variables(tmp_path: Path) -> None:
    text = """\ufeff# a comment\r
export EMAG_API_USERNAME="a seller" # why\r
EMAG_API_PASSWORD='p$HOME${X} # "q"'
EMAG_SYNC_MAX_PAGES = 7

NOTHING
"""
    file = write(tmp_path / "other.env", text)
    settings = load(tmp_path, environ={"DATABASE_URL": "postgresql:///x"}, env_file=file)
    assert settings.accounts[0].username == "a seller"
    assert settings.accounts[0].password.get_secret_value() == 'p$HOME${X} # "q"'
    assert settings.sync.max_pages == 7
    assert settings.warnings == ()


@pytest.mark.parametrize("value", ["a\\b", 'a"b', "a #b"])
def test_a_value_that_systemd_reads_differently_is_a_warning(tmp_path: Path, value: str) -> None:
    write(tmp_path / "syncd.env", f"# first\nSOME_PASSWORD={value}\n")
    (warning,) = load(tmp_path).warnings
    assert "line 2: SOME_PASSWORD" in warning
    assert value not in warning


def test_a_line_that_is_none_is_named_by_its_number(tmp_path: Path) -> None:
    file = write(tmp_path / "bad.env", "A=1\n'canary\n")
    problem = problems_of(tmp_path, env_file=file)
    assert "bad.env line 2" in problem
    assert "canary" not in problem


@pytest.mark.parametrize("text", ["a = canary", "a = 1\na = 2", "[x", "x = '''canary", "x = " + "[" * 5000])
def test_a_fault_in_toml_is_placed_but_not_quoted(tmp_path: Path, text: str) -> None:
    problem = problems_of(tmp_path, config_path=write(tmp_path / "x.toml", text))
    assert "x.toml: found " in problem
    assert "canary" not in problem


def test_default_files_may_be_missing(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere").warnings == ()


def test_named_files_must_be_there_and_be_text(tmp_path: Path) -> None:
    text = problems_of(tmp_path, config_path=tmp_path / "no.toml", env_file=write(tmp_path / "b", b"A=\xff"))
    assert f"--config: found no such file at {tmp_path / 'no.toml'}" in text
    assert "--env-file: found bytes that are not UTF-8" in text
    assert "--config: found Is a directory" in problems_of(tmp_path, config_path=tmp_path)


def test_credentials_must_be_text_in_a_folder_that_exists(tmp_path: Path) -> None:
    text = problems_of(tmp_path, environ={**BASIC, "CREDENTIALS_DIRECTORY": str(tmp_path / "none")})
    assert "CREDENTIALS_DIRECTORY: found " in text
    write(tmp_path / "credentials" / "control-token", b"\xff")
    assert "credential control-token: found no readable text" in problems_of(tmp_path)


def test_a_secret_in_a_file_that_everyone_reads_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "credentials" / "control-token", "canary-canary-canary", mode=0o644)
    write(tmp_path / "syncd.env", "EMAG_SYNC_MAX_PAGES=1\n", mode=0o644)
    (warning,) = load(tmp_path).warnings
    assert "control-token: holds credential control-token and every user may read it" in warning


def test_default_files_that_we_may_not_read_are_a_warning(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for name in ("syncd.toml", "syncd.env", "credentials/control-token"):
        write(tmp_path / name, "", mode=0)
    (tmp_path / "credentials").chmod(0)
    request.addfinalizer(lambda: (tmp_path / "credentials").chmod(0o700))
    request.getfixturevalue("without_rights")
    warnings = load(tmp_path).warnings
    assert len(warnings) == 3
    assert all("found no permission to read it" in text for text in warnings)


def test_files_that_we_may_not_read_are_named_beside_what_is_missing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write(tmp_path / "credentials" / "emag-main-password", "canary", mode=0)
    request.getfixturevalue("without_rights")
    text = problems_of(tmp_path, environ={"DATABASE_URL": "postgresql:///x", "EMAG_API_USERNAME": "s"})
    assert "EMAG_API_PASSWORD: found nothing" in text
    assert "found no permission to read it" in text
