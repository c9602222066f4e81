"""Every engine is held to the contract."""

from collections.abc import Callable
from pathlib import Path

from hansard.storage.branch import BranchStorage
from hansard.storage.memory import MemoryStorage
from hansard.storage.port import Storage
from hansard.storage.postgres.address import parse
from hansard.storage.postgres.storage import PostgresStorage
from hansard.storage.sqlite.storage import SqliteStorage
from hansard.testing.contract import StorageContract
from postgres_server import log_url


class TestMemory(StorageContract):
    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        return MemoryStorage(clock_us=clock_us)


class TestBranch(StorageContract):
    """Of an empty log; see test_branches.py for others."""

    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        return BranchStorage(MemoryStorage(), clock_us=clock_us)


class TestSqlite(StorageContract):
    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        return SqliteStorage(str(folder / "log.db"), clock_us=clock_us)


class TestPostgres(StorageContract):
    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        return PostgresStorage(parse(log_url(folder)), clock_us=clock_us)
