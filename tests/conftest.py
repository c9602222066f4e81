"""What all tests share: assertions of the shipped contract kit are rewritten, and soaks run only when asked for."""

import pytest

pytest.register_assert_rewrite("hansard.testing")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        for item in items:
            if "soak" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes; run with --soak"))
