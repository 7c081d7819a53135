"""Where the demo lives, and what keeps it apart from everything else on this machine.

    FOLDER/            made and marked by EmbeddedPostgres, which also removes it
      syncd.toml       what `--config` names
      demo.env         what `--env-file` names: where database and marketplace are just now
      credentials/     nobody else's are read; control-token, made anew with every start
      control.header   the same token as curl reads it
      daemon/          what the daemon leaves for `syncd stop`
      sandbox.log, daemon.log, monitor.log

The commands get all three places by name, and none of our environment's settings: a demo started in the shell
of a production host must not see that host's database or marketplace account.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

FOREIGN_PREFIXES = ("DATABASE_", "DB_", "EMAG_", "PG")
"""Variables that would lead to another database or marketplace; libpq reads the last ones by itself."""
FOREIGN = ("DISABLE_AUTO_SYNC", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM")
"""And one that would stop the daemon, and those that would have it talk to somebody else's service manager."""

_TOML = """\
# The demo's settings. Database and login are in demo.env, which changes with every start.
[accounts.emag.main]
currency = "RON"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """The demo's folder and the paths in it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "syncd.toml"

    @property
    def env_file(self) -> Path:
        return self.folder / "demo.env"

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"

    @property
    def sandbox_log(self) -> Path:
        return self.folder / "sandbox.log"

    @property
    def daemon_log(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def monitor_log(self) -> Path:
        return self.folder / "monitor.log"

    @property
    def header(self) -> Path:
        return self.folder / "control.header"

    @property
    def runtime(self) -> Path:
        return self.folder / "daemon"

    def write_settings(self, conninfo: str, marketplace: dict[str, str], *, control_port: int, page_port: int) -> None:
        """All files, for a database and a marketplace that run now, and a daemon that will."""
        for folder in (self.credentials, self.runtime):
            folder.mkdir(mode=0o700, exist_ok=True)
        token = secrets.token_urlsafe(24)
        _write_secret(self.credentials / "control-token", token)
        _write_secret(self.header, f"Authorization: Bearer {token}\n")
        self.config.write_text(_TOML, "utf-8")
        lines = {
            "DATABASE_URL": conninfo,
            "EMAG_API_BASE_URL": marketplace["base_url"],
            "EMAG_API_USERNAME": marketplace["username"],
            "EMAG_API_PASSWORD": marketplace["password"],
            "EMAG_SYNC_CONTROL_PORT": str(control_port),
            "EMAG_SYNC_METRICS_PORT": str(page_port),
        }
        _write_secret(self.env_file, "".join(f"{name}='{value}'\n" for name, value in lines.items()))


def _write_secret(path: Path, text: str) -> None:
    """Nobody else may read it, not even while it is being written."""
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")


def default_folder() -> Path:
    """For root a folder that the server's user can reach; else one in the home, or where there is none, beside it."""
    if os.geteuid() == 0:
        return Path("/var/tmp/syncd-demo")  # noqa: S108  # refused if it belongs to somebody else
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    nearest = next(folder for folder in (state, *state.parents) if folder.exists())
    if state.is_absolute() and os.access(nearest, os.W_OK | os.X_OK):
        return state / "syncd" / "demo"
    return Path(f"/var/tmp/syncd-demo-{os.geteuid()}")  # noqa: S108  # the same


def forget_foreign_settings(environ: MutableMapping[str, str], place: Place) -> None:
    """Take every setting out of the environment that could lead a command of ours elsewhere."""
    for name in list(environ):
        if name.startswith(FOREIGN_PREFIXES) or name in FOREIGN:
            del environ[name]
    environ["RUNTIME_DIRECTORY"] = str(place.runtime)
    environ["CREDENTIALS_DIRECTORY"] = str(place.credentials)
