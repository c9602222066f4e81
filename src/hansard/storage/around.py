"""A storage around another one: every verb passed on. What changes some of them begins here. Knows the port only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hansard.appends import Append, Appended
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.port import Capability, Dialect, InlineHook, ResultT, Storage, StorageTransaction, Ticket
from hansard.streams import StreamInfo


class Around:
    """See Storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def durability(self) -> str:
        return self._storage.durability

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._storage.capabilities

    @property
    def control(self) -> Any:
        """Of a cluster's node: the cluster from outside. None for other engines."""
        return getattr(self._storage, "control", None)

    @property
    def dialect(self) -> Dialect:
        return self._storage.dialect

    def append(self, append: Append) -> Appended:
        return self._storage.append(append)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        self._storage.submit(tickets)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        return self._storage.read(query, after=after, before=before, backwards=backwards, limit=limit)

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        return self._storage.read_stream(
            stream, after_version=after_version, before_version=before_version, backwards=backwards, limit=limit
        )

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        return self._storage.events(ids)

    def head(self) -> int:
        return self._storage.head()

    def stream(self, name: str) -> StreamInfo:
        return self._storage.stream(name)

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        return self._storage.streams(category=category, after=after, limit=limit)

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._storage.get(collection, keys)

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        return self._storage.scan(collection, after=after, limit=limit)

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._storage.rows(statement, parameters)

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        return self._storage.transact(work)

    def set_inline(self, hook: InlineHook | None) -> None:
        self._storage.set_inline(hook)

    def wait(self, after: int, timeout_s: float) -> int:
        return self._storage.wait(after, timeout_s)

    def barrier(self) -> None:
        self._storage.barrier()

    def check(self) -> list[str]:
        return self._storage.check()

    def backup(self, target: str) -> int:
        return self._storage.backup(target)

    def close(self) -> None:
        self._storage.close()


class AroundTransaction:
    """See StorageTransaction."""

    def __init__(self, transaction: StorageTransaction) -> None:
        self._transaction = transaction

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._transaction.get(collection, keys)

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        return self._transaction.scan(collection, after=after, limit=limit)

    def put(self, collection: str, documents: Mapping[str, bytes | None]) -> None:
        self._transaction.put(collection, documents)

    def drop(self, collection: str) -> None:
        self._transaction.drop(collection)

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        return self._transaction.append(append, then=then)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        return self._transaction.read(query, after=after, before=before, backwards=backwards, limit=limit)

    def head(self) -> int:
        return self._transaction.head()

    @property
    def dialect(self) -> Dialect:
        return self._transaction.dialect

    @property
    def connection(self) -> Any:
        return self._transaction.connection
