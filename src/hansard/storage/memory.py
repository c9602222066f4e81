"""The memory engine: the contract in its shortest form. Other engines are compared with it; nothing here is durable."""

import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from heapq import nsmallest
from typing import Any

from hansard import consistency
from hansard.appends import Append, Appended, recorded_events
from hansard.errors import AppendConditionFailed, CapabilityMissing, HansardError, InlineFailed, StoreClosed, StoreUnusable
from hansard.events import Event, RecordedEvent, tags_text
from hansard.query import AppendCondition, Query
from hansard.storage.clock import now_us
from hansard.storage.port import Capability, Dialect, InlineHook, ResultT, StorageTransaction, Ticket
from hansard.streams import StreamInfo, category_of


class MemoryStorage:
    """A log in lists and dicts, behind one lock."""

    durability = "none: memory only"
    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, *, clock_us: Callable[[], int] = now_us) -> None:
        self._clock_us = clock_us
        self._before, self._before_us = 0, 0
        """The position and time of what the log goes on from: of nothing, but in a branch."""
        self._log: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._by_id: dict[bytes, RecordedEvent] = {}
        self._documents: dict[str, dict[str, bytes]] = {}
        self._inline: InlineHook | None = None
        self._lock = threading.RLock()  # re-entrant, so that user code inside a transaction may read
        self._appended = threading.Condition(self._lock)
        self._owner: int | None = None
        self._waiting = 0
        self._is_closed = False

    # Appending

    def append(self, append: Append) -> Appended:
        if self._inline is not None:
            return self.transact(lambda transaction: transaction.append(append))
        self._check_not_inside()
        with self._lock:
            self._check_open()
            return self._append(append)

    def _append(self, append: Append) -> Appended:
        consistency.check_ids_once(append)
        ids = [event.id_bytes for part in append.parts for event in part.events]
        if (self._before or not self._by_id.keys().isdisjoint(ids)) and (place := consistency.repeated(append, self._known(ids))):
            return place
        consistency.check_versions(append.parts, self._version)
        if append.condition is not None:
            self._check_condition(append.condition)
        return self._store(append)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            try:
                ticket.appended = self.append(ticket.append)
            except HansardError as error:
                ticket.error = error
            ticket.settled((ticket,))

    def _version(self, stream: str) -> int:
        version = len(self._streams.get(stream, ()))
        return version + self._version_before(stream) if self._before else version

    def _version_before(self, stream: str) -> int:
        return 0

    def _check_condition(self, condition: AppendCondition) -> None:
        for event in self._log[max(0, condition.after - self._before) :]:
            if condition.fail_if.matches(event, event.stream):
                raise AppendConditionFailed(condition.fail_if, condition.after, event.position, event.type)

    def _store(self, append: Append) -> Appended:
        log = self._log
        before = len(log)
        last_us = log[-1].timestamp_us if log else self._before_us
        count = sum([len(part.events) for part in append.parts])
        times = consistency.commit_times(append, count, now_us=self._clock_us(), last_us=last_us)
        versions: dict[str, int] = {}
        for part in append.parts:
            for event in part.events:
                self._record(part.stream, event, times[len(log) - before])
            if part.stream is not None:
                versions[part.stream] = self._version(part.stream)
        if self._waiting:
            self._appended.notify_all()
        return consistency.placed(self._before + before + 1, self._head(), versions, times[-1])

    def _record(self, stream: str | None, event: Event, time_us: int) -> None:
        of_stream, version = None, None
        if stream is not None:
            of_stream = self._streams.setdefault(stream, [])
            version = len(of_stream) + 1
            if self._before:
                version += self._version_before(stream)
        recorded = RecordedEvent(
            self._before + len(self._log) + 1,
            stream,
            version,
            event.type,
            time_us,
            event.id_bytes,
            tags_text(event.tags) if event.tags else None,
            event.metadata_json,
            event.data_json,
        )
        self._log.append(recorded)
        self._by_id[event.id_bytes] = recorded
        if of_stream is not None:
            of_stream.append(recorded)

    # Reading. What is handed out are copies: a reader that changes decoded data changes nothing here.

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        with self._lock:
            return self._read(query, after=after, before=before, backwards=backwards, limit=limit)

    def _read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        return self._page(self._log, self._before, query, after, before, backwards, limit)

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        with self._lock:
            of_stream = self._streams.get(stream, [])
            return self._page(of_stream, self._version_before(stream), None, after_version, before_version, backwards, limit)

    def _page(
        self,
        events: list[RecordedEvent],
        first: int,
        query: Query | None,
        after: int,
        before: int | None,
        backwards: bool,
        limit: int,
    ) -> list[RecordedEvent]:
        """`first`: the place before the first of these events."""
        self._check_open()
        end = len(events) if before is None else min(max(before - 1 - first, 0), len(events))
        start = max(after - first, 0)
        places = range(end - 1, start - 1, -1) if backwards else range(start, end)
        page: list[RecordedEvent] = []
        for place in places:
            if len(page) == limit:
                break
            event = events[place]
            if query is None or query.matches(event, event.stream):
                page.append(copy(event))
        return page

    # Documents

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        with self._lock:
            self._check_open()
            return self._get(collection, keys)

    def _get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        documents = self._documents.get(collection, {})
        return {key: documents[key] for key in keys if key in documents}

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        with self._lock:
            self._check_open()
            return self._scan(collection, after, limit)

    def _scan(self, collection: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        documents = self._documents.get(collection, {})
        return nsmallest(limit, (item for item in documents.items() if item[0] > after))

    @property
    def dialect(self) -> Dialect:
        raise CapabilityMissing(Capability.CONNECTION, "memory")

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        raise CapabilityMissing(Capability.CONNECTION, "memory")

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        self._check_not_inside()
        with self._lock:
            self._check_open()
            self._owner = threading.get_ident()
            transaction = _MemoryTransaction(self)
            try:
                return work(transaction)
            except BaseException:
                transaction.undo()
                raise
            finally:
                self._owner = None

    def set_inline(self, hook: InlineHook | None) -> None:
        self._inline = hook

    def _append_inline(self, transaction: "_MemoryTransaction", append: Append, then: InlineHook | None) -> Appended:
        hook = then or self._inline
        appended = self._append(append)
        if hook is not None and not appended.is_repeat:
            try:
                hook(transaction, recorded_events(append, appended))
            except Exception as error:
                raise InlineFailed(f"{type(error).__name__}: {error}") from error
        return appended

    def _cut(self, head: int) -> None:
        """Take back the events after a position, which nobody has seen."""
        while len(self._log) > head:
            event = self._log.pop()
            del self._by_id[event.id_bytes]
            if event.stream is not None:
                self._streams[event.stream].pop()
                if not self._streams[event.stream]:
                    del self._streams[event.stream]

    def _check_not_inside(self) -> None:
        if self._owner == threading.get_ident():
            raise StoreUnusable("inside a transaction of this store, use the transaction that you were given")

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        with self._lock:
            self._check_open()
            return {id: copy(event) for id, event in self._known(ids).items()}

    def _known(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        by_id = self._by_id
        return {id: by_id[id] for id in ids if id in by_id}

    def head(self) -> int:
        with self._lock:
            self._check_open()
            return self._head()

    def _head(self) -> int:
        return self._before + len(self._log)

    def stream(self, name: str) -> StreamInfo:
        with self._lock:
            return self._stream_now(name)

    def _stream_now(self, name: str) -> StreamInfo:
        self._check_open()
        events = self._streams.get(name)
        if not events:
            return StreamInfo(name, 0)
        return StreamInfo(name, self._version(name), events[-1].position, events[-1].timestamp_us)

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        with self._lock:
            self._check_open()
            wanted = [name for name in self._streams if name > after and category in (None, category_of(name))]
            return [self._stream_now(name) for name in sorted(wanted)[:limit]]

    def wait(self, after: int, timeout_s: float) -> int:
        with self._appended:
            self._waiting += 1
            try:
                self._appended.wait_for(lambda: self._head() > after or self._is_closed, timeout_s)
            finally:
                self._waiting -= 1
            self._check_open()
            return self._head()

    def barrier(self) -> None:
        """There is one copy of the log."""

    def check(self) -> list[str]:
        raise CapabilityMissing(Capability.CHECK, "memory")

    def backup(self, target: str) -> int:
        raise CapabilityMissing(Capability.BACKUP, "memory")

    def close(self) -> None:
        with self._appended:
            self._is_closed = True
            self._appended.notify_all()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")


class _MemoryTransaction:
    """Changes in place, under the storage's lock, with what it takes to undo them."""

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage
        self._head = len(storage._log)
        self._before: dict[tuple[str, str], bytes | None] = {}

    def undo(self) -> None:
        self._storage._cut(self._head)
        self._undo_documents({})

    def _undo_documents(self, kept: Mapping[tuple[str, str], bytes | None]) -> None:
        """Back to the beginning, or to what the transaction had changed by then."""
        for place, value in {**self._before, **kept}.items():
            self._set(*place, value)

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._storage._get(collection, keys)

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        return self._storage._scan(collection, after, limit)

    def put(self, collection: str, documents: Mapping[str, bytes | None]) -> None:
        for key, value in documents.items():
            before = self._storage._documents.get(collection, {}).get(key)
            self._before.setdefault((collection, key), before)
            self._set(collection, key, value)

    def drop(self, collection: str) -> None:
        self.put(collection, dict.fromkeys(self._storage._documents.get(collection, {})))

    def _set(self, collection: str, key: str, value: bytes | None) -> None:
        documents = self._storage._documents.setdefault(collection, {})
        if value is None:
            documents.pop(key, None)
        else:
            documents[key] = value

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        head, changed = len(self._storage._log), {place: self._now(*place) for place in self._before}
        try:
            return self._storage._append_inline(self, append, then)
        except BaseException:
            self._storage._cut(head)
            self._undo_documents(changed)
            raise

    def _now(self, collection: str, key: str) -> bytes | None:
        return self._storage._documents.get(collection, {}).get(key)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        return self._storage._read(query, after=after, before=before, backwards=backwards, limit=limit)

    def head(self) -> int:
        return self._storage._head()

    @property
    def dialect(self) -> Dialect:
        raise CapabilityMissing(Capability.CONNECTION, "memory")

    @property
    def connection(self) -> Any:
        raise CapabilityMissing(Capability.CONNECTION, "memory")
