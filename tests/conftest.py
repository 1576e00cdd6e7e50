"""Fixtures shared by all tests.

``EXTRAP_EVAL_STRICT=1`` (set by ``.ci/run``) turns every skip into a failure, so that a missing component cannot hide
a test.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.engine_servers"]

REPO = Path(__file__).resolve().parents[1]


# A machine under load is slow, and that is no finding.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    # A job started in the background ignores Ctrl-C, one under nohup the end of its terminal, and so would the
    # processes of tests that send these.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Real third-party completions, kept beside the checkout and never committed."""
    path = REPO.parent / "shared" / "fixtures"
    if not path.is_dir():
        pytest.skip(f"real completions are not here ({path})")
    return path


def _strictly(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("EXTRAP_EVAL_STRICT") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped in strict mode: {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    outcome = yield
    _strictly(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    outcome = yield
    _strictly(outcome.get_result())
