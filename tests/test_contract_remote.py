"""A server is one more engine: the whole contract, through the wire."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hansard.storage.opening import open_storage
from hansard.storage.port import Storage
from hansard.storage.sqlite.storage import SqliteStorage
from hansard.testing.contract import StorageContract
from servers import served


class TestRemote(StorageContract):
    @pytest.fixture(autouse=True)
    def _servers(self) -> Iterator[None]:
        with ExitStack() as self.servers:
            yield

    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        url = self.servers.enter_context(served(SqliteStorage(str(folder / "log.db"), clock_us=clock_us)))
        return open_storage(url)
