"""Of the examples, tests are collected and nothing else: the modules are programs."""

from pathlib import Path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path.suffix == ".py" and not collection_path.name.startswith("test_") else None
