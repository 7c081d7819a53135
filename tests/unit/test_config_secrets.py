"""A canary in every secret: no repr, no warning, no error and no traceback may sing."""

from __future__ import annotations

import logging
import pickle
import traceback
from pathlib import Path

import pytest

from syncd.config import AccountSettings, Settings, load_settings
from syncd.contract.errors import ConfigError

CANARY = "canary7f3a"
SECRETS = {
    "DATABASE_URL": f"postgresql://u:{CANARY}@h/d",
    "EMAG_API_USERNAME": f"user-{CANARY}",
    "EMAG_API_PASSWORD": CANARY,
    "EMAG_SYNC_CONTROL_TOKEN": CANARY,
    "EMAG_SYNC_CONTROL_TOKEN_PREVIOUS": CANARY,
    "EMAG_SYNC_WEBHOOK_URL": f"https://hooks.example/{CANARY}",
    "EMAG_SYNC_PING_URL": f"https://ping.example/{CANARY}",
}


def everything_said(error: BaseException) -> str:
    texts = [repr(error), *traceback.format_exception(error)]
    while (context := error.__context__) is not None:
        texts.append(repr(context))
        error = context
    return "\n".join(texts)


def test_settings_show_no_secret(tmp_path: Path) -> None:
    settings = load_settings(environ=SECRETS, system_directory=tmp_path)
    account = settings.accounts[0]
    shown = [repr(settings), str(settings), "\n".join(settings.warnings), repr(account), str(account)]
    shown += [account.sync.model_dump_json(), repr(account.model_dump(exclude={"username"}))]
    assert CANARY not in "\n".join(shown)
    assert account.password.get_secret_value() == CANARY
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("damage", ["\x00{}", "{} {}", "{}\n", "{}\udcff", "a:{}", "{}%zz@[", "{}@{}", "é {}", "://{}"])
def test_no_wrong_secret_is_ever_quoted(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    try:
        said = repr(load_settings(environ={**SECRETS, name: damage.format(CANARY, CANARY)}, system_directory=tmp_path))
    except ConfigError as error:
        said = everything_said(error)
    output = capfd.readouterr()
    assert CANARY not in said + caplog.text + output.out + output.err


URLS = ["https://u:{}@h", "http://h/{}", "https://h/?k={}", "https://h:{}", "http://{}:80@h", "{}", "https://h/ {}"]


@pytest.mark.parametrize("url", URLS)
def test_no_wrong_base_url_is_ever_quoted(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={**SECRETS, "EMAG_API_BASE_URL": url.format(CANARY)}, system_directory=tmp_path)
    assert CANARY not in everything_said(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"[sync]\ncontrol_token = {CANARY}", f"[sync]\ncontrol_token = ['{CANARY}']", f"[sync]\nping_url = '{CANARY}'",
        f"[accounts.emag.main]\npassword = '{CANARY}'", f"[accounts.emag.main]\nusername = ['{CANARY}']",
        f"[database]\nurl = 'postgresql://u:{CANARY} @h'", f"[database]\nurl = ['{CANARY}']",
        f"[database]\npassword = '{CANARY}'", f"[accounts.emag.main]\nusername = '''{CANARY}",
    ],
)  # fmt: skip
def test_no_secret_of_the_file_is_ever_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "syncd.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, system_directory=tmp_path)
    assert CANARY not in everything_said(caught.value)


def test_no_wrong_argument_of_an_account_is_quoted() -> None:
    with pytest.raises(ValueError, match="username") as caught:
        AccountSettings.model_validate({"name": "main", "username": f"a:{CANARY}", "password": f"{CANARY}\n"})
    assert CANARY not in everything_said(caught.value)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings: Settings = load_settings(environ=SECRETS, system_directory=tmp_path)
    for thing, name in ((settings, "sync"), (settings.sync, "max_pages"), (settings.accounts[0], "name")):
        with pytest.raises((AttributeError, ValueError)):
            setattr(thing, name, 1)
    assert len({settings.sync, settings.accounts[0].sync}) == 1
