"""The never-skip proof: whatever happens to readers, each event has its effect, once or at least once, in order."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hansard.storage.memory import MemoryStorage
from hansard.storage.port import Storage
from hansard.storage.sqlite.storage import SqliteStorage
from hansard.testing.schedules import Schedule

CHUNK = 50


def simulate(open_storage: Callable[[], Storage], seed: int) -> None:
    try:
        Schedule(open_storage, seed).run(150)
    except BaseException as error:
        error.add_note(f"to run it again: seed {seed}")
        raise


@pytest.mark.parametrize("first", range(0, 1_000, CHUNK))
def test_members_come_and_go_in_memory(first: int) -> None:
    """A reader would skip an event, or handle it twice, in one order of a thousand."""
    for seed in range(first, first + CHUNK):
        storage = MemoryStorage()
        simulate(lambda: storage, seed)  # noqa: B023


@pytest.mark.parametrize("first", range(10_000, 11_000, CHUNK))
def test_members_come_and_go_on_a_file(first: int, tmp_path: Path) -> None:
    """The same, where each member has connections and caches of its own."""
    for seed in range(first, first + CHUNK):
        opened: list[Storage] = []

        def open_storage() -> Storage:
            opened.append(SqliteStorage(str(tmp_path / f"{seed}.db"), synchronous="NORMAL"))  # noqa: B023
            return opened[-1]  # noqa: B023

        simulate(open_storage, seed)
        for storage in opened:
            storage.close()
        (tmp_path / f"{seed}.db").unlink()
