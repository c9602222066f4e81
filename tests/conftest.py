"""What all tests share: assertions of the shipped kit are rewritten, soaks run when asked for, CI allows no skip."""

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

pytest.register_assert_rewrite("hansard.testing")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        soaks = [item for item in items if "soak" in item.keywords]
        config.hook.pytest_deselected(items=soaks)
        items[:] = [item for item in items if "soak" not in item.keywords]


@pytest.fixture(autouse=True)
def _stop_servers() -> Generator[None]:
    """Servers that a test has asked for end after it."""
    yield
    if servers := sys.modules.get("servers"):
        servers.stop_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where HANSARD_NO_SKIPS is set, as in CI, a test that skips itself has failed: something that it needs is missing."""
    report: Any = yield
    if os.environ.get("HANSARD_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report
