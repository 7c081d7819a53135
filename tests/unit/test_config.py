"""Which place wins, what a wrong setting is told, and which accounts there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from syncd.config import Settings, load_settings
from syncd.contract.errors import ConfigError

Load = Callable[..., Settings]
BASIC = {"DATABASE_URL": "postgresql:///x", "EMAG_API_USERNAME": "seller", "EMAG_API_PASSWORD": "secret"}
SAMPLE = """
[database]
url = "postgresql:///syncd"
schema = "sync"

[sync]
interval_seconds = 600
max_pages = 100

[accounts.emag.main]
base_url = "https://marketplace-api.emag.ro/api-3"
username = "seller"
currency = "RON"
paging = "top"
count = "trust"
calls_per_second = 3
interval_seconds = 900
ignore_changes = ["buy_button_rank", "number_of_offers", "best_offer_sale_price", "best_offer_recommended_price"]
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "credentials").mkdir()
    return tmp_path


@pytest.fixture
def load(etc: Path) -> Load:
    """load(environ, toml=…, env=…, credentials={…}, **the other arguments), in a folder of its own."""

    def loaded(
        environ: Mapping[str, str] = BASIC,
        *,
        toml: str = "",
        env: str = "",
        credentials: Mapping[str, str] | None = None,
        **arguments: object,
    ) -> Settings:
        for name, text in {"syncd.toml": toml, "syncd.env": env}.items():
            (etc / name).write_text(text)
        for name, text in (credentials or {}).items():
            (etc / "credentials" / name).write_text(text)
        for path in [etc / "syncd.toml", etc / "syncd.env", *(etc / "credentials").iterdir()]:
            path.chmod(0o640)
        return load_settings(environ=environ, system_directory=etc, **arguments)  # type: ignore[arg-type]

    return loaded


def problems_of(load: Load, *arguments: object, **others: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **others)
    return caught.value.problems


def test_the_sample_of_the_contract_is_read_in_full(load: Load) -> None:
    settings = load({}, toml=SAMPLE, credentials={"emag-main-password": "p w\n"})
    (account,) = settings.accounts
    assert (account.source, account.name, account.username) == ("emag", "main", "seller")
    assert account.password.get_secret_value() == "p w"
    assert (account.sync.interval_seconds, settings.sync.interval_seconds) == (900, 600)
    assert settings.database.conninfo.get_secret_value() == "dbname=syncd"
    assert settings.database.schema_name == "sync"
    assert settings.warnings == ()


def test_without_any_setting_the_defaults_hold(load: Load) -> None:
    settings = load()
    sync, (account,) = settings.sync, settings.accounts
    assert (sync.max_pages, sync.max_requests, sync.timeout_hours, sync.batch_size) == (100, 500, 2.0, 1000)
    assert (sync.lease_seconds, sync.concurrency, sync.max_attempts, sync.request_delay) == (60, 5, 5, 0.0)
    assert sync.allowed_hosts == ("127.0.0.1", "localhost")
    assert (account.base_url, account.currency) == ("https://marketplace-api.emag.ro/api-3", "RON")
    assert (account.paging, account.count, account.calls_per_second) == ("top", "trust", 3.0)
    assert not settings.disable_auto_sync


def test_each_place_wins_over_those_below_it(load: Load, etc: Path) -> None:
    toml = "[sync]\nmax_pages = 5\n[accounts.emag.main]\nmax_pages = 4\n"
    assert load(toml="[sync]\nmax_pages = 5\n").accounts[0].sync.max_pages == 5
    assert load(toml=toml).accounts[0].sync.max_pages == 4
    assert load(toml=toml).sync.max_pages == 5
    assert load(toml=toml, env="EMAG_SYNC_MAX_PAGES=3").accounts[0].sync.max_pages == 3
    environ = {**BASIC, "EMAG_SYNC_MAX_PAGES": "2"}
    assert load(environ, toml=toml, env="EMAG_SYNC_MAX_PAGES=3").accounts[0].sync.max_pages == 2
    settings = load(environ, toml=toml, env="EMAG_SYNC_MAX_PAGES=3", command_line={"max_pages": 1})
    assert settings.accounts[0].sync.max_pages == settings.sync.max_pages == 1


def test_a_credential_stands_between_the_env_file_and_the_toml_file(load: Load) -> None:
    toml, credentials = '[sync]\ncontrol_token = "toml-toml-toml-toml"\n', {"control-token": "file-file-file-file\n"}

    def token(**places: object) -> str:
        secret = load(**places).sync.control_token
        assert secret is not None
        return secret.get_secret_value()

    assert token(toml=toml) == "toml-toml-toml-toml"
    assert token(toml=toml, credentials=credentials) == "file-file-file-file"
    env = "EMAG_SYNC_CONTROL_TOKEN=env-env-env-env-env"
    assert token(toml=toml, credentials=credentials, env=env) == "env-env-env-env-env"


def test_systemds_folder_of_credentials_replaces_ours(load: Load, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "emag-main-password").write_text("from systemd")
    (given / "emag-main-password").chmod(0o400)
    environ = {"DATABASE_URL": "postgresql:///x", "EMAG_API_USERNAME": "s", "CREDENTIALS_DIRECTORY": str(given)}
    settings = load(environ, credentials={"emag-main-password": "from etc"})
    assert settings.accounts[0].password.get_secret_value() == "from systemd"


def test_an_empty_variable_counts_as_not_set(load: Load) -> None:
    assert load({**BASIC, "EMAG_SYNC_MAX_PAGES": ""}, env="EMAG_SYNC_MAX_PAGES=7").sync.max_pages == 7


def test_an_option_that_was_not_given_changes_nothing(load: Load) -> None:
    assert load(command_line={"max_pages": None}).sync.max_pages == 100


def test_every_wrong_setting_is_reported_at_once_with_what_was_found_and_expected(load: Load) -> None:
    environ = {"EMAG_SYNC_MAX_REQUESTS": "3", "EMAG_SYNC_TIMEOUT_HOURS": "0", "DISABLE_AUTO_SYNC": "maybe"}
    problems = problems_of(load, environ, toml="[sync]\nmax_pages = 1.5\n[accounts.emag.main]\ncount = 'no'\n")
    text = "\n".join(problems)
    assert "EMAG_SYNC_MAX_REQUESTS: found '3' in the environment, expected a whole number, at least 4" in problems
    assert "EMAG_SYNC_TIMEOUT_HOURS: found '0'" in text
    assert "DISABLE_AUTO_SYNC: found 'maybe'" in text
    assert "[sync] max_pages: found 1.5 in " in text
    assert "[accounts.emag.main] count: found 'no'" in text
    assert "DATABASE_SYNC_URL: found nothing" in text
    assert "EMAG_API_USERNAME: found nothing" in text
    assert "EMAG_API_PASSWORD: found nothing" in text
    assert len(problems) == len(set(problems)) == 8


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_PAGES", "1.0"), ("MAX_PAGES", "1_000"), ("MAX_PAGES", "0"), ("MAX_PAGES", "-1"),
        ("MAX_PAGES", "9" * 5000),
        ("MAX_PAGES", "٣"), ("ITEMS_PER_PAGE", "101"), ("CONCURRENCY", "33"), ("LEASE_SECONDS", "4"),
        ("TIMEOUT_HOURS", "nan"), ("TIMEOUT_HOURS", "inf"), ("TIMEOUT_HOURS", "2,5"), ("REQUEST_DELAY", "-0.1"),
        ("METRICS_PORT", "65536"), ("CONTROL_ADDRESS", "127.0.0.1:80"), ("ALLOWED_HOSTS", "a,b c"),
        ("LOG_LEVEL", "loud"), ("WEBHOOK_URL", "ftp://x"), ("CONTROL_TOKEN", "two words"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_by_name(load: Load, variable: str, value: str) -> None:
    (problem,) = problems_of(load, {**BASIC, f"EMAG_SYNC_{variable}": value})
    assert problem.startswith(f"EMAG_SYNC_{variable}: found ")
    assert len(problem) < 250


@pytest.mark.parametrize("value", ["true", "1", "yes", "on", "TRUE", " On "])
def test_a_switch_is_set_by_any_usual_word(load: Load, value: str) -> None:
    assert load({**BASIC, "DISABLE_AUTO_SYNC": value}).disable_auto_sync


@pytest.mark.parametrize("value", ["false", "0", "no", "off", ""])
def test_a_switch_is_cleared_by_any_usual_word(load: Load, value: str) -> None:
    assert not load({**BASIC, "DISABLE_AUTO_SYNC": value}).disable_auto_sync


def test_a_toml_truth_value_is_no_number(load: Load) -> None:
    assert "[sync] max_pages: found True" in problems_of(load, toml="[sync]\nmax_pages = true\n")[0]


def test_an_unknown_toml_key_is_an_error_that_guesses_what_was_meant(load: Load) -> None:
    toml = "[sync]\nmax_page = 1\n[databse]\n[accounts.emag.fbe]\nusername = 'x'\npassword = 'y'\ncurency = 'RON'\n"
    text = "\n".join(problems_of(load, toml=toml))
    assert "[sync] max_page: found an unknown key" in text
    assert "did you mean max_pages?" in text
    assert "did you mean database?" in text
    assert "did you mean currency?" in text
    assert "expected the password in the credential emag-fbe-password" in text


def test_a_table_that_is_no_table_and_a_bad_account_name_are_errors(load: Load) -> None:
    text = "\n".join(problems_of(load, toml="sync = 3\n[accounts.emag]\nfbe = 4\n[accounts.emag.'A B']\n"))
    assert "sync: found no table" in text
    assert "[accounts.emag] fbe: found no table" in text
    assert "[accounts.emag]: found the name 'A B'" in text


def test_an_account_without_its_source_is_told_where_it_belongs(load: Load) -> None:
    assert "expected [accounts.emag.main]" in problems_of(load, toml="[accounts.main]\nusername = 'x'\n")[0]


def test_an_unknown_variable_is_only_a_warning(load: Load) -> None:
    (warning,) = load({**BASIC, "EMAG_SYNC_MAX_PAGE": "1"}).warnings
    assert warning.startswith("EMAG_SYNC_MAX_PAGE: an unknown variable")
    assert "did you mean EMAG_SYNC_MAX_PAGES?" in warning


def test_a_short_lease_and_a_key_without_effect_are_warnings(load: Load) -> None:
    warnings = load(
        {**BASIC, "EMAG_SYNC_LEASE_SECONDS": "20"}, toml="[accounts.emag.main]\nmetrics_port = 1\n"
    ).warnings
    assert [text.partition(":")[0] for text in warnings] == [
        "[accounts.emag.main] metrics_port",
        "EMAG_SYNC_LEASE_SECONDS",
    ]


def test_variables_override_the_account_of_the_same_name(load: Load) -> None:
    toml = "[accounts.emag.main]\nusername = 'toml'\nbase_url = 'https://a.example'\ncurrency = 'EUR'\n"
    (account,) = load({**BASIC, "EMAG_API_BASE_URL": "https://b.example/"}, toml=toml).accounts
    assert (account.username, account.base_url, account.currency) == ("seller", "https://b.example", "EUR")


def test_main_comes_first_then_fbe_then_the_files_order(load: Load) -> None:
    environ = {**BASIC, "EMAG_FBE_API_USERNAME": "f", "EMAG_FBE_API_PASSWORD": "f"}
    toml = "[accounts.emag.z]\nusername = 'z'\n[accounts.emag.bg]\nusername = 'b'\n"
    accounts = load(environ, toml=toml, credentials={"emag-z-password": "z", "emag-bg-password": "b"}).accounts
    assert [account.name for account in accounts] == ["main", "fbe", "z", "bg"]


def test_an_account_without_a_url_of_its_own_uses_the_common_one(load: Load) -> None:
    environ = {**BASIC, "EMAG_API_BASE_URL": "http://127.0.0.1:8080", "EMAG_FBE_API_USERNAME": "f"}
    toml = "[accounts.emag.hu]\nusername = 'h'\nbase_url = 'https://marketplace-api.emag.hu/api-3'\n"
    credentials = {"emag-fbe-password": "f", "emag-hu-password": "h"}
    accounts = load(environ, toml=toml, credentials=credentials).accounts
    assert [account.host for account in accounts] == ["127.0.0.1", "127.0.0.1", "marketplace-api.emag.hu"]
    assert [account.currency for account in accounts] == [None, None, "HUF"]


def test_half_a_login_names_the_variable_and_the_file_of_the_other_half(load: Load, etc: Path) -> None:
    environ = {"DATABASE_URL": "postgresql:///x", "EMAG_FBE_API_USERNAME": "f"}
    (problem,) = problems_of(load, environ, toml="")
    assert problem.startswith("EMAG_FBE_API_PASSWORD: found nothing, expected the password of account emag/fbe")
    assert str(etc / "credentials" / "emag-fbe-password") in problem


def test_no_account_at_all_is_said_once(load: Load) -> None:
    (problem,) = problems_of(load, {"DATABASE_URL": "postgresql:///x"})
    assert "EMAG_API_USERNAME, EMAG_API_PASSWORD: found nothing" in problem


def test_a_credential_of_no_account_is_mentioned(load: Load) -> None:
    (warning,) = load(credentials={"emag-mian-password": "x"}).warnings
    assert "emag-mian-password: belongs to no account" in warning


def test_what_is_not_needed_may_be_missing_or_broken(load: Load) -> None:
    settings = load({"EMAG_API_USERNAME": "only half", "DATABASE_URL": "postgresql:///x"}, need={"database"})
    assert settings.accounts == ()
    settings = load({**BASIC, "DATABASE_URL": "nonsense"}, need={"accounts"})
    assert [account.name for account in settings.accounts] == ["main"]
    with pytest.raises(ConfigError):
        _ = settings.database


@pytest.mark.parametrize(("url", "fits"), [("http://localhost:1", True), ("https://api.example", False)])
def test_more_than_three_calls_a_second_are_for_loopback_only(load: Load, url: str, fits: bool) -> None:
    toml = f"[accounts.emag.main]\nbase_url = '{url}'\ncalls_per_second = 500\n"
    if fits:
        assert load(toml=toml).accounts[0].calls_per_second == 500
    else:
        assert problems_of(load, toml=toml)[0].startswith("[accounts.emag.main] calls_per_second: found 500 ")


def test_a_login_may_hold_any_text_but_colons_in_the_name_and_control_characters(load: Load) -> None:
    (account,) = load({**BASIC, "EMAG_API_USERNAME": "șef@x", "EMAG_API_PASSWORD": "ț:ă ă"}).accounts
    assert (account.username, account.password.get_secret_value()) == ("șef@x", "ț:ă ă")
    assert "no colon" in problems_of(load, {**BASIC, "EMAG_API_USERNAME": "a:b"})[0]
    assert "control character" in problems_of(load, {**BASIC, "EMAG_API_PASSWORD": "a\nb"})[0]
    assert "not UTF-8" in problems_of(load, {**BASIC, "EMAG_API_PASSWORD": "a\udcff"})[0]


def test_a_misspelt_option_is_a_fault_of_the_program(load: Load) -> None:
    with pytest.raises(ValueError, match="max_page"):
        load(command_line={"max_page": 1})
