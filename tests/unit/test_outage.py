"""An outage is said once when it begins and once when it ends."""

from __future__ import annotations

import logging
from uuid import UUID

import pytest

from syncd.contract.words import Stream
from syncd.runtime.log import about, configure_log
from syncd.runtime.outage import QUIET_SECONDS, Outage


def test_an_outage_that_many_notice_is_said_once_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log(target="stderr")
    now = 100.0
    outage = Outage(lambda: now)
    outage.succeeded()
    outage.failed(OSError("cut"))
    outage.succeeded()
    now += QUIET_SECONDS - 1
    outage.failed(OSError("an idle connection finds it late"))
    now += QUIET_SECONDS - 1
    outage.succeeded()
    assert capsys.readouterr().err.count("database.") == 1
    now += 1
    outage.succeeded()
    outage.succeeded()
    assert capsys.readouterr().err.count("database.came_back") == 1
    outage.failed(OSError("again"))
    assert capsys.readouterr().err.count("database.went_away") == 1


def test_an_outage_is_not_told_of_the_one_run_that_noticed_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log(target="stderr")
    with about(Stream("emag", "main", "offers"), UUID(int=7)):
        Outage(lambda: 100.0).failed(OSError("cut"))
    said = capsys.readouterr().err
    assert "error=cut" in said
    assert "run=" not in said
    assert "stream=" not in said


def test_the_reason_of_the_pool_is_kept_for_whoever_waits_for_it_in_vain() -> None:
    outage = Outage(lambda: 100.0)
    pool = logging.getLogger("psycopg.pool")
    refused = pool.makeRecord(
        pool.name, logging.WARNING, "", 0, "error connecting in %r: %s", ("pool-1", OSError("refused\nhint")), None
    )
    assert not outage.overhear(refused)
    assert outage.reason == "refused"
    assert not outage.overhear(logging.makeLogRecord({"msg": "discarding closed connection: %s"}))
    assert outage.reason == "refused"
    outage.succeeded()
    assert outage.reason is None


def test_what_psycopg_does_about_an_outage_is_its_own_affair(capsys: pytest.CaptureFixture[str]) -> None:
    configure_log(target="stderr")
    logging.getLogger("psycopg.pool").warning("reconnection attempt in pool %r failed after %s sec", "pool-1", 2.0)
    logging.getLogger("psycopg").warning("query cancellation interrupted (%s): closing connection", "CancelledError")
    assert capsys.readouterr().err == ""
    logging.getLogger("psycopg").warning("something else")
    assert "something else" in capsys.readouterr().err
