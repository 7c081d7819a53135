"""A pytest plugin for CI: a skipped test is a failure. `make` loads it where the variable CI is set.

A skip says "not tried here"; on a machine that nobody watches it reads like "works". One thing a machine may lack that
nobody can install: the right to namespaces, in which a systemd boots.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

NO_SYSTEMD = "no systemd boots here"

Report = pytest.TestReport | pytest.CollectReport


def _fail_if_skipped(report: Report) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_SYSTEMD in reason:
            return
        report.outcome = "failed"
        report.longrepr = f"in CI a skipped test is a failure: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report
