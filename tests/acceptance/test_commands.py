"""The commands as people type them: what they print, and the codes with which they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.program import Program, wait_until
from tests.second_marketplace.server import SecondMarketplace

OFFERS = 250


@pytest.fixture
def market() -> Iterator[SecondMarketplace]:
    with SecondMarketplace(offers=OFFERS, rate_limit=False) as api:
        yield api


@pytest.fixture
def program(database: str, market: SecondMarketplace, tmp_path: Path) -> Program:
    """Against the second marketplace, as fast as it goes."""
    config = tmp_path / "syncd.toml"
    config.write_text("[accounts.emag.main]\ncalls_per_second = 1000\n")
    return Program(database, market.base_url, "seller", "secret", config=config)


def one(database: str, query: str) -> Any:
    with psycopg.connect(database) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def test_a_sync_its_summary_and_what_the_ledger_says_of_it(program: Program, database: str) -> None:
    """run, then status, runs, explain: the same facts everywhere."""
    done = program.call("run")
    assert done.returncode == 0, done.stderr
    assert f"{OFFERS} read: {OFFERS} new, 0 changed" in done.stdout
    assert "read page" in done.stderr
    (run,) = json.loads(program.call("runs", "--json").stdout)
    assert (run["status"], run["cause"], run["inserted"], run["pages"]) == ("complete", "end_of_data", OFFERS, 4)
    assert run["sync_id"] in done.stdout
    (stream,) = json.loads(program.call("status", "--json").stdout)
    assert (stream["stream"], stream["run"]["sync_id"]) == ("emag/main/offers", run["sync_id"])
    explained = program.call("explain", run["sync_id"][:18])
    assert "the counts agree" in explained.stdout
    assert "starts a new sweep" in explained.stdout
    assert one(database, "SELECT count(*) FROM sync.emag_product_offers") == OFFERS


def test_a_dry_run_calls_nothing(program: Program, market: SecondMarketplace) -> None:
    """Before the first sync and in the middle of a capped one."""
    first = program.call("run", "--dry-run")
    assert first.returncode == 0
    assert "the first run counts" in first.stdout
    assert market.calls == []
    assert program.sync("--max-pages", "1")["exit_code"] == 3
    calls = len(market.calls)
    facts = json.loads(program.call("run", "--dry-run", "--json").stdout)["streams"][0]
    assert (facts["checkpoint_page"], facts["expected_records"], facts["expected_pages"]) == (1, OFFERS, 3)
    assert len(market.calls) == calls


def test_a_plan_reads_everything_and_writes_no_record(
    program: Program, market: SecondMarketplace, database: str
) -> None:
    """Insert, update, unchanged, would vanish, and the largest jumps."""
    planned = json.loads(program.call("plan", "--json").stdout)[0]
    assert (planned["inserted"], planned["would_vanish"], planned["needs_approval"]) == (OFFERS, 0, False)
    assert one(database, "SELECT (SELECT count(*) FROM sync.record) + (SELECT count(*) FROM sync.run)") == 0
    assert program.sync()["exit_code"] == 0
    changed, gone = list(market.documents)[:2]
    document = json.loads(market.documents[changed]) | {"sale_price": 999999}
    market.documents[changed] = json.dumps(document).encode()
    del market.documents[gone]
    planned = json.loads(program.call("plan", "--json").stdout)[0]
    assert (planned["updated"], planned["unchanged"], planned["would_vanish"]) == (1, OFFERS - 2, 1)
    assert (planned["largest_jumps"][0]["key"], planned["largest_jumps"][0]["new"]) == (changed, "999999")
    assert one(database, "SELECT count(*) FROM sync.change") == 0


def test_a_plan_that_meets_a_cap_says_so(program: Program) -> None:
    """It does not pretend to know what vanished."""
    done = program.call("plan", "--max-pages", "1")
    assert done.returncode == 3
    assert "did not reach the end (cap_pages" in done.stdout


def test_check_has_a_line_for_each_thing(program: Program) -> None:
    """All well; then the API's refusal; then the database's absence."""
    well = program.call("check")
    assert well.returncode == 0, well.stdout
    assert [line.split()[0] for line in well.stdout.splitlines()] == ["ok", "ok", "ok"]
    refused = program.call("check", EMAG_API_PASSWORD="wrong-password")
    assert refused.returncode == 1
    assert "FAIL" in refused.stdout
    assert "wrong-password" not in refused.stdout + refused.stderr
    away = program.call("check", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert away.returncode == 1
    assert "database" in away.stdout


def test_another_host_or_login_is_refused_until_it_is_confirmed(program: Program, market: SecondMarketplace) -> None:
    """A sandbox URL on a production stream must not overwrite real offers."""
    assert program.sync()["exit_code"] == 0
    other = {"EMAG_API_BASE_URL": market.base_url.replace("127.0.0.1", "localhost")}
    calls = len(market.calls)
    refused = program.call("run", **other)
    assert refused.returncode == 78
    assert "syncd check --confirm-account main" in refused.stderr
    assert len(market.calls) == calls
    assert program.call("check", "--confirm-account", "main", **other).returncode == 0
    assert program.sync(**other)["exit_code"] == 0
    assert program.call("run").returncode == 78


def test_cancel_and_approve_refuse_what_they_cannot_do(program: Program) -> None:
    """With a sentence that says why, and exit 1."""
    run = program.sync()["sync_id"]
    for command, said in (("cancel", "has ended already"), ("approve", "asked for no consent")):
        refused = program.call(command, run)
        assert refused.returncode == 1
        assert said in refused.stderr
    assert program.call("explain", "no-such-run").returncode == 78


def test_a_cancelled_run_ends_and_its_sweep_goes_on_later(
    database: str, market: SecondMarketplace, program: Program
) -> None:
    """`syncd cancel` from another terminal."""
    for number in range(OFFERS, 3000):
        market.documents[str(number + 1)] = b'{"id":%d}' % (number + 1)
    with program.started("run", "--json", EMAG_SYNC_REQUEST_DELAY="0.3") as process:
        running = "SELECT run_id FROM sync.run WHERE status = 'running' AND pages > 0 UNION ALL SELECT NULL LIMIT 1"
        run = wait_until(lambda: one(database, running), what="a page of the run is stored")
        assert program.call("cancel", str(run)).returncode == 0
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    facts = json.loads(out)["syncs"][0]
    assert (facts["status"], facts["cause"]) == ("cancelled", "cancelled")
    assert "cancelled by cli:" in facts["error_message"]
    again = program.sync()
    assert (again["status"], again["start_page"]) == ("complete", facts["checkpoint_page"] + 1)


def test_every_problem_of_the_configuration_is_told_at_once(program: Program) -> None:
    """Name, found, expected; exit 78; no secret."""
    refused = program.call(
        "run", EMAG_SYNC_MAX_PAGES="many", EMAG_SYNC_ITEMS_PER_PAGE="500", EMAG_API_BASE_URL="http://evil.example/api"
    )
    assert refused.returncode == 78
    for name in ("EMAG_SYNC_MAX_PAGES", "EMAG_SYNC_ITEMS_PER_PAGE", "EMAG_API_BASE_URL"):
        assert name in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unknown_stream_is_named_with_the_known_ones(program: Program) -> None:
    """Exit 78."""
    refused = program.call("run", "emag/fbe/offers")
    assert refused.returncode == 78
    assert "expected one of emag/main/offers" in refused.stderr


def test_without_our_tables_everything_points_to_migrate(empty_database: str, market: SecondMarketplace) -> None:
    """Then migrate makes them, once, and says so."""
    program = Program(empty_database, market.base_url, "seller", "secret")
    for command in ("run", "status", "plan", "runs"):
        refused = program.call(command)
        assert refused.returncode == 78, command
        assert "syncd migrate" in refused.stderr
    assert "(was empty)" in program.call("migrate").stdout
    assert "already at version" in program.call("migrate").stdout
    assert program.sync()["exit_code"] == 0


def test_migrate_leaves_foreign_tables_of_our_names_alone(empty_database: str, market: SecondMarketplace) -> None:
    """A schema `sync` of somebody else's."""
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE SCHEMA sync; CREATE TABLE sync.run (mine int); INSERT INTO sync.run VALUES (1)")
    refused = Program(empty_database, market.base_url, "seller", "secret").call("migrate")
    assert refused.returncode == 78
    assert "DB_SCHEMA" in refused.stderr
    assert one(empty_database, "SELECT mine FROM sync.run") == 1
    elsewhere = Program(empty_database, market.base_url, "seller", "secret", settings={"DB_SCHEMA": "offers_sync"})
    assert elsewhere.call("migrate").returncode == 0
    assert elsewhere.sync()["exit_code"] == 0
    assert one(empty_database, "SELECT count(*) FROM offers_sync.record") == OFFERS
