"""Fixtures for pytest: `store`, `async_store`, an empty one for each test, on the engines that a test is marked with.

- `@pytest.mark.hansard("memory", "sqlite", "postgresql")`: the test runs once on each. Without it: memory.
- A fixture `hansard_types` of yours gives the event classes that the stores know.
- PostgreSQL's address comes from the environment variable HANSARD_POSTGRESQL; its tables are dropped after the run.
- `async_store` is opened by the test: `async with async_store as store`. So any runner of async tests will do.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import hansard
from hansard.testing.frozen import FrozenClock, FrozenStore

_ENGINES = ("memory", "sqlite", "postgresql")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hansard(*engines): the engines that `store` and `async_store` are to be on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "hansard_engine" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("hansard")
    engines = marker.args if marker is not None and marker.args else ("memory",)
    for engine in engines:
        if engine not in _ENGINES:
            raise pytest.UsageError(f"@pytest.mark.hansard: {engine!r}: expected some of {', '.join(_ENGINES)}")
    metafunc.parametrize("hansard_engine", engines)


@pytest.fixture
def hansard_types() -> Any:
    """The event classes that stores know: override it."""
    return None


@pytest.fixture(scope="session")
def hansard_database() -> Iterator[str | None]:
    """The database of HANSARD_POSTGRESQL, with tables of this run's own, which are gone after it; None: there is none."""
    url = os.environ.get("HANSARD_POSTGRESQL")
    if url is None:
        yield None
        return
    import psycopg  # only where it is used

    schema = f"hansard_test_{uuid4().hex[:12]}"
    yield f"{url}{'&' if '?' in url else '?'}schema={schema}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def hansard_place(hansard_engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the test's store is."""
    if hansard_engine == "memory":
        return ":memory:"
    if hansard_engine == "sqlite":
        return str(tmp_path / "log.db")
    database = request.getfixturevalue("hansard_database")  # of no other engine's concern
    if database is None:
        pytest.skip("set HANSARD_POSTGRESQL to the address of a database, such as postgresql://localhost/test")
    return f"{database}&log=test-{uuid4()}"


@pytest.fixture
def store(hansard_place: str, hansard_types: Any) -> Iterator[hansard.Store]:
    """An empty store."""
    with hansard.open(hansard_place, types=hansard_types) as store:
        yield store


@pytest.fixture
def async_store(hansard_place: str, hansard_types: Any) -> Any:
    """An empty store for asyncio, to be opened by the test: `async with async_store as store`."""
    return hansard.aio.open(hansard_place, types=hansard_types)


@pytest.fixture
def clock() -> FrozenClock:
    """Time that moves only when it is told to; `frozen_store` is on it."""
    return FrozenClock()


@pytest.fixture
def frozen_store(clock: FrozenClock, hansard_types: Any) -> Iterator[FrozenStore]:
    """An empty store in memory, on `clock`."""
    with FrozenStore(hansard_types, clock) as store:
        yield store
