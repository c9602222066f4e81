"""Traces and measurements around any engine: how long each verb took, how many events it moved, what it failed with.

The engine and all that is built on it know nothing of this.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from hansard.appends import Append, Appended
from hansard.errors import HansardError
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.around import Around
from hansard.storage.port import ResultT, Storage, StorageTransaction, Ticket
from hansard.streams import StreamInfo
from hansard.tracing import measured, span


class Observer(Protocol):
    def observed(self, verb: str, seconds: float, *, events: int, error: HansardError | None, what: Callable[[], str]) -> None:
        """A verb has ended. `what` says, when asked, what was wanted. Called on any thread."""


class Instrumented(Around):
    """See Storage. What is not here is not worth observing."""

    def __init__(self, storage: Storage, observer: Observer) -> None:
        super().__init__(storage)
        self._observer = observer

    def append(self, append: Append) -> Appended:
        with self._observing("append", lambda: _of_append(append)) as events:
            appended = self._storage.append(append)
            events.append(appended.last_position - appended.first_position + 1)
            return appended

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Each ticket is observed from here to its outcome. They share what settles them, as before."""
        settle = _ObservedSettling(self._observer, time.perf_counter())
        by_settled: dict[Any, Callable[[Sequence[Ticket]], None]] = {}
        for ticket in tickets:
            settled = ticket.settled
            if settled not in by_settled:
                by_settled[settled] = settle.around(settled)
            ticket.settled = by_settled[settled]
        self._storage.submit(tickets)

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        with self._observing("read", lambda: f"{query} after {after}") as events:
            found = self._storage.read(query, after=after, before=before, backwards=backwards, limit=limit)
            events.append(len(found))
            return found

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        with self._observing("read_stream", lambda: f"stream {stream!r} after {after_version}") as events:
            found = self._storage.read_stream(
                stream, after_version=after_version, before_version=before_version, backwards=backwards, limit=limit
            )
            events.append(len(found))
            return found

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        with self._observing("events", lambda: f"{len(ids)} ids") as events:
            found = self._storage.events(ids)
            events.append(len(found))
            return found

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        with self._observing("streams", lambda: f"category {category!r}"):
            return self._storage.streams(category=category, after=after, limit=limit)

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        with self._observing("transact", lambda: "a transaction"):
            return self._storage.transact(work)

    @contextmanager
    def _observing(self, verb: str, what: Callable[[], str]) -> Iterator[list[int]]:
        started, events = time.perf_counter(), list[int]()
        error: HansardError | None = None
        try:
            with span(f"hansard.{verb}"):
                yield events
        except HansardError as raised:
            error = raised
            raise
        finally:
            seconds, count = time.perf_counter() - started, sum(events)
            self._observer.observed(verb, seconds, events=count, error=error, what=what)
            measured(verb, seconds, count, None if error is None else error.code)


class _ObservedSettling:
    """Observes tickets when they are settled, then settles them."""

    def __init__(self, observer: Observer, started: float) -> None:
        self._observer = observer
        self._started = started

    def around(self, settled: Callable[[Sequence[Ticket]], None]) -> Callable[[Sequence[Ticket]], None]:
        def observe(tickets: Sequence[Ticket]) -> None:
            seconds = time.perf_counter() - self._started
            for ticket in tickets:
                count = 0 if ticket.appended is None else ticket.appended.last_position - ticket.appended.first_position + 1
                append = ticket.append
                measured("append", seconds, count, None if ticket.error is None else ticket.error.code)
                self._observer.observed(
                    "append",
                    seconds,
                    events=count,
                    error=ticket.error,
                    what=lambda append=append: _of_append(append),  # type: ignore[misc]
                )
            settled(tickets)

        return observe


def _of_append(append: Append) -> str:
    return (
        f"{sum(len(part.events) for part in append.parts)} events to {', '.join(str(part.stream) for part in append.parts[:3])}"
    )
