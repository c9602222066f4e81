"""The memory engine: the contract in its shortest form. Other engines are compared with it; nothing here is durable."""

import threading
from collections.abc import Callable, Sequence
from copy import copy

from hansard import consistency
from hansard.appends import Append, Appended
from hansard.errors import AppendConditionFailed, CapabilityMissing, HansardError, StoreClosed
from hansard.events import Event, RecordedEvent, tags_text
from hansard.query import AppendCondition, Query
from hansard.storage.clock import now_us
from hansard.storage.port import Capability, Ticket
from hansard.streams import StreamInfo, category_of


class MemoryStorage:
    """A log in lists and dicts, behind one lock."""

    durability = "none: memory only"
    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, *, clock_us: Callable[[], int] = now_us) -> None:
        self._clock_us = clock_us
        self._log: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._by_id: dict[bytes, RecordedEvent] = {}
        self._lock = threading.Lock()
        self._appended = threading.Condition(self._lock)
        self._waiting = 0
        self._is_closed = False

    # Appending

    def append(self, append: Append) -> Appended:
        with self._lock:
            self._check_open()
            consistency.check_ids_once(append)
            ids = [event.id_bytes for part in append.parts for event in part.events]
            if not self._by_id.keys().isdisjoint(ids) and (place := consistency.repeated(append, self._known(ids))):
                return place
            self._check_versions(append)
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

    def _check_versions(self, append: Append) -> None:
        versions: dict[str, int] = {}
        for part in append.parts:
            if part.stream is not None:
                current = versions.get(part.stream)
                if current is None:
                    current = len(self._streams.get(part.stream, ()))
                consistency.check_version(part.stream, part.expected_version, current)
                versions[part.stream] = current + len(part.events)

    def _check_condition(self, condition: AppendCondition) -> None:
        for event in self._log[condition.after :]:
            if condition.fail_if.matches(event, event.stream):
                raise AppendConditionFailed(condition.fail_if, condition.after, event.position, event.type)

    def _store(self, append: Append) -> Appended:
        log = self._log
        before = len(log)
        last_us = log[-1].timestamp_us if log else 0
        count = sum([len(part.events) for part in append.parts])
        times = consistency.commit_times(append, count, now_us=self._clock_us(), last_us=last_us)
        versions: dict[str, int] = {}
        for part in append.parts:
            for event in part.events:
                self._record(part.stream, event, times[len(log) - before])
            if part.stream is not None:
                versions[part.stream] = len(self._streams[part.stream])
        if self._waiting:
            self._appended.notify_all()
        return consistency.placed(before + 1, len(log), versions, times[-1])

    def _record(self, stream: str | None, event: Event, time_us: int) -> None:
        of_stream = self._streams.setdefault(stream, []) if stream is not None else None
        recorded = RecordedEvent(
            len(self._log) + 1,
            stream,
            None if of_stream is None else len(of_stream) + 1,
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
            return self._page(self._log, query, after, before, backwards, limit)

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        with self._lock:
            of_stream = self._streams.get(stream, [])
            return self._page(of_stream, None, after_version, before_version, backwards, limit)

    def _page(
        self,
        events: list[RecordedEvent],
        query: Query | None,
        after: int,
        before: int | None,
        backwards: bool,
        limit: int,
    ) -> list[RecordedEvent]:
        self._check_open()
        end = len(events) if before is None else min(max(before - 1, 0), len(events))
        places = range(end - 1, after - 1, -1) if backwards else range(after, end)
        page: list[RecordedEvent] = []
        for place in places:
            if len(page) == limit:
                break
            event = events[place]
            if query is None or query.matches(event, event.stream):
                page.append(copy(event))
        return page

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
            return len(self._log)

    def stream(self, name: str) -> StreamInfo:
        with self._lock:
            return self._stream_now(name)

    def _stream_now(self, name: str) -> StreamInfo:
        self._check_open()
        events = self._streams.get(name)
        if not events:
            return StreamInfo(name, 0)
        return StreamInfo(name, len(events), events[-1].position, events[-1].timestamp_us)

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        with self._lock:
            self._check_open()
            wanted = [name for name in self._streams if name > after and category in (None, category_of(name))]
            return [self._stream_now(name) for name in sorted(wanted)[:limit]]

    def wait(self, after: int, timeout_s: float) -> int:
        with self._appended:
            self._waiting += 1
            try:
                self._appended.wait_for(lambda: len(self._log) > after or self._is_closed, timeout_s)
            finally:
                self._waiting -= 1
            self._check_open()
            return len(self._log)

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
