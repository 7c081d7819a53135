"""Where a setting may be written, and which place wins.

    command line > environment > --env-file > credentials > TOML file > default

An empty variable or credential counts as not set. `--env-file` defaults to `syncd.env`, the TOML file to
`syncd.toml`, both in the system's folder, so that a command typed there reads what the units read.

Invariants:
    1. What a person wrote wrongly never raises here: it becomes a problem, and all are reported at once.
    2. No text made here holds the value of a secret, nor what a parser said about a file with secrets in it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from syncd.contract.errors import ConfigError
from syncd.runtime.settings.text import did_you_mean, parse_env, parse_toml, shown, toml_name

SYSTEM_DIRECTORY = Path("/etc/syncd")
FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
HIDDEN = "(hidden)"
_OTHERS_READ = 0o004

Model = TypeVar("Model", bound=BaseModel)


class Rank(IntEnum):
    """The places of a setting, the one that wins first."""

    COMMAND_LINE = 0
    ENVIRONMENT = 1
    ENV_FILE = 2
    CREDENTIAL = 3
    FILE = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A value as it was written: `name` in the words of its place, `path` of its file if it lies in one."""

    value: object = field(repr=False)
    name: str
    rank: Rank
    path: Path | None = None

    @property
    def where(self) -> str:
        """The place, for people: `in the environment`."""
        if self.path is not None:
            return f"in {self.path}"
        return "on the command line" if self.rank is Rank.COMMAND_LINE else "in the environment"


@dataclass(slots=True)
class Layers:
    """All places, read once; every later question about a setting goes through `find`.

    problems    the program cannot start with these
    warnings    it can, but a person should know
    unreadable  default files that we may not read: a problem only if something else is missing
    """

    command_line: Mapping[str, object] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    env_path: Path
    config_path: Path
    credentials: Path
    env_file: dict[str, str] = field(default_factory=dict, repr=False)
    document: dict[str, object] = field(default_factory=dict, repr=False)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def find(
        self,
        *,
        option: str = "",
        variable: str = "",
        credential: str = "",
        keys: Sequence[tuple[str, ...]] = (),
    ) -> Found | None:
        """The value that wins, or None where no place has one. `keys` are paths in the TOML file, first wins."""
        return next(self.find_all(option=option, variable=variable, credential=credential, keys=keys), None)

    def find_all(
        self,
        *,
        option: str = "",
        variable: str = "",
        credential: str = "",
        keys: Sequence[tuple[str, ...]] = (),
    ) -> Iterator[Found]:
        """Every place that has a value, the one that wins first."""
        if option and self.command_line.get(option) is not None:
            yield Found(self.command_line[option], f"--{option.replace('_', '-')}", Rank.COMMAND_LINE)
        if variable and self.environ.get(variable):
            yield Found(self.environ[variable], variable, Rank.ENVIRONMENT)
        if variable and self.env_file.get(variable):
            yield Found(self.env_file[variable], variable, Rank.ENV_FILE, self.env_path)
        if credential and (text := self._read_credential(credential)):
            yield Found(text, f"credential {credential}", Rank.CREDENTIAL, self.credentials / credential)
        for key in keys:
            table = self.table(key[:-1])
            if key[-1] in table:
                yield Found(table[key[-1]], toml_name(*key), Rank.FILE, self.config_path)

    def table(self, path: Sequence[str]) -> Mapping[str, object]:
        """A table of the TOML file; empty where it is missing or no table."""
        here: object = self.document
        for part in path:
            here = here.get(part) if isinstance(here, dict) else None
        return here if isinstance(here, dict) else {}

    def build(
        self,
        model: type[Model],
        found: Mapping[str, Found],
        *,
        fixed: Mapping[str, object] | None = None,
        hidden: Collection[str] = (),
    ) -> Model | None:
        """The model of these values, or None after noting a problem for each that does not fit.

        `hidden` names fields which are no secrets but may hold one when written wrongly. What a field
        expects is its description; a validator's ValueError adds why, and must not quote the value.
        """
        secret = {name for name, info in model.model_fields.items() if _is_secret(info)}
        for name in secret & found.keys():
            self.warn_if_open(found[name])
        try:
            return model.model_validate({**{name: item.value for name, item in found.items()}, **(fixed or {})})
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
        for fault in faults:
            name = str(fault["loc"][0])
            expected = model.model_fields[name].description or "another value"
            why = fault["msg"].removeprefix("Value error, ") if fault["type"] == "value_error" else ""
            value = HIDDEN if name in secret or name in hidden else shown(found[name].value)
            self.reject(found[name], value, f"{expected} ({why})" if why else expected)
        return None

    def reject(self, found: Found, value: str, expected: str) -> None:
        """Note a problem: what was found (already hidden where it must be), what was expected."""
        self.problem(f"{found.name}: found {value} {found.where}, expected {expected}")

    def problem(self, text: str) -> None:
        """Note a reason why the program cannot start, once."""
        if text not in self.problems:
            self.problems.append(text)

    def warn(self, text: str) -> None:
        """Note something that a person should know, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def check_keys(self, path: Sequence[str], known: Collection[str], hints: Mapping[str, str] | None = None) -> None:
        """Every key of this TOML table must be a known one; `hints` say more about tempting wrong ones."""
        parent = self.table(path[:-1])
        if path and path[-1] in parent and not isinstance(parent[path[-1]], dict):
            self.problem(f"{toml_name(*path)}: found no table in {self.config_path}, expected [{'.'.join(path)}]")
        for key in self.table(path):
            if key not in known:
                hint = (hints or {}).get(key) or did_you_mean(key, known)
                self.problem(f"{toml_name(*path, key)}: found an unknown key in {self.config_path}, expected {hint}")

    def aside(self) -> Layers:
        """The same layers with lists of their own: for a question whose answer is not needed."""
        return replace(self, problems=[], warnings=[], unreadable=[])

    def finish(self) -> tuple[str, ...]:
        """Raise ConfigError if anything is wrong; otherwise hand out the warnings."""
        if self.problems:
            raise ConfigError([*self.problems, *self.unreadable])
        return tuple(dict.fromkeys([*self.unreadable, *self.warnings]))

    def _read_credential(self, name: str) -> str:
        path = self.credentials / name
        try:
            return path.read_text("utf-8").rstrip("\r\n")
        except FileNotFoundError:
            pass
        except PermissionError:
            self.note_unreadable(path if _is_searchable(self.credentials) else self.credentials)
        except (OSError, UnicodeDecodeError):
            self.problem(f"credential {name}: found no readable text in {path}, expected a file of UTF-8 text")
        return ""

    def note_unreadable(self, path: Path) -> None:
        """Note a default file that we may not read."""
        text = f"{path}: found no permission to read it, expected root or a member of its group to run this"
        if text not in self.unreadable:
            self.unreadable.append(text)

    def warn_if_open(self, found: Found) -> None:
        """Warn where a secret lies in a file that every user may read."""
        try:
            is_open = found.path is not None and found.path.stat().st_mode & _OTHERS_READ
        except OSError:
            return
        if is_open:
            self.warn(f"{found.path}: holds {found.name} and every user may read it; chmod o-r {found.path}")


def read_layers(
    *,
    environ: Mapping[str, str],
    command_line: Mapping[str, object],
    config_path: Path | None,
    env_file: Path | None,
    system_directory: Path = SYSTEM_DIRECTORY,
) -> Layers:
    """Read all places. A file that was named must be there and readable, a default one may be missing."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    layers = Layers(
        command_line=command_line,
        environ=environ,
        env_path=env_file or system_directory / "syncd.env",
        config_path=config_path or system_directory / "syncd.toml",
        credentials=Path(directory) if directory else system_directory / "credentials",
    )
    if directory and not os.path.isdir(directory):
        layers.problem(f"CREDENTIALS_DIRECTORY: found {shown(directory)}, expected a folder")
    _parse_env(layers, _read(layers, layers.env_path, "--env-file", is_named=env_file is not None))
    _parse_toml(layers, _read(layers, layers.config_path, "--config", is_named=config_path is not None))
    return layers


def _read(layers: Layers, path: Path, option: str, *, is_named: bool) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        why = "no such file"
        if not is_named:
            return ""
    except PermissionError:
        why = "no permission to read it"
        if not is_named:
            layers.note_unreadable(path)
            return ""
    except UnicodeDecodeError:
        why = "bytes that are not UTF-8"
    except OSError as error:
        why = error.strerror or "an error of the system"
    layers.problem(f"{option}: found {why} at {path}, expected a readable text file")
    return ""


def _parse_toml(layers: Layers, text: str) -> None:
    try:
        layers.document = parse_toml(text)
    except ValueError as error:
        layers.problem(f"{layers.config_path}: found {error}, expected TOML (text goes in quotes)")


def _parse_env(layers: Layers, text: str) -> None:
    for line in parse_env(text):
        place = f"{layers.env_path} line {line.number}"
        if line.name is None:
            layers.problem(f"{place}: found a line that cannot be read, expected NAME=VALUE")
            continue
        layers.env_file[line.name] = line.value
        if line.is_read_otherwise_by_systemd:
            layers.warn(
                f"{place}: {line.name} has a quote, a backslash or a # which systemd reads differently; "
                "put the value in single quotes, or the secret in a credential file"
            )


def _is_searchable(directory: Path) -> bool:
    try:
        os.stat(f"{directory}/.")  # asks with the rights that open() has; os.access() asks for the real user
    except OSError:
        return False
    return True


def _is_secret(info: FieldInfo) -> bool:
    return SecretStr in (info.annotation, *get_args(info.annotation))
