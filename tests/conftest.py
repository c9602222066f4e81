"""What all tests share: assertions of the shipped contract kit are rewritten, and soaks run only when asked for."""

import pytest

pytest.register_assert_rewrite("hansard.testing")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        soaks = [item for item in items if "soak" in item.keywords]
        config.hook.pytest_deselected(items=soaks)
        items[:] = [item for item in items if "soak" not in item.keywords]
