"""The end of the log, shared by all who are live on one store object: one thread follows the head and wakes them.

With many live readers the thread also reads what is new, once for all, and keeps the last events in memory; with few,
each reads through its own index range. Knows the port, no subscriptions.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy

from hansard.errors import HansardError, RequestRefused, StoreClosed, StoreCorrupt, StoreForked, StoreUnusable
from hansard.events import RecordedEvent
from hansard.limits import PAGE_EVENTS_MAX, SHARED_BYTES_MAX, SHARED_EVENTS_MAX
from hansard.query import Query
from hansard.storage.port import Storage

_SHARED_FROM = 5
"""Live readers from which on what is new is read once for all."""

_TURN_S = 1.0
_AFTER_ERROR_S = 0.1


class Tail:
    """Made with the store object; its thread runs only while somebody listens."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._head = 0
        self._shared = _Shared()
        self._is_closed = False
        self._failure: HansardError | None = None

    def page(self, query: Query, after: int) -> tuple[list[RecordedEvent], int]:
        """The next events that match, and the position up to which no other one matches. May read from the storage."""
        if (found := self.recent(query, after)) is not None:
            return found
        # The head first: events that match are then looked for up to it only, so that none at or below it is missing.
        head = self._storage.head()
        if head <= after:
            self.check_goes_on()
            return [], after
        events = self._storage.read(query, after=after, before=head + 1, backwards=False, limit=PAGE_EVENTS_MAX)
        return events, events[-1].position if len(events) == PAGE_EVENTS_MAX else head

    @property
    def head(self) -> int:
        """The head as last seen by the thread."""
        return self._head

    def recent(self, query: Query, after: int) -> tuple[list[RecordedEvent], int] | None:
        """The same from memory alone; None if it is not there."""
        return self._shared.page(query, after)

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake`, on the tail's thread, whenever the head has moved or the store is closed. Returns what ends it."""
        with self._changed:
            self._check_open()
            self._listeners = [*self._listeners, wake]
            self._start()

        def stop() -> None:
            with self._changed:
                self._listeners = [listener for listener in self._listeners if listener is not wake]

        return stop

    def wait(self, after: int, timeout_s: float | None, is_over: Callable[[], bool]) -> None:
        """Until the head is beyond a position, the time is over, `is_over` says so (see `wake`), or the store is closed."""
        with self._changed:
            self._check_open()
            self._waiting += 1
            try:
                self._start()
                self._changed.wait_for(lambda: self._head > after or self._is_closed or self._failure or is_over(), timeout_s)
            finally:
                self._waiting -= 1
            self._check_open()
            if self._head <= after:
                self.check_goes_on()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            listeners = self._listeners
        for wake in listeners:
            wake()

    def join(self) -> None:
        """Wait for the end of the thread, once the storage is closed too."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")

    def check_goes_on(self) -> None:
        """Nobody is to wait for events that will never come."""
        if self._failure is not None:
            raise copy(self._failure)

    # The thread

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="hansard-tail", daemon=True)
            self._thread.start()

    def _follow(self) -> None:
        try:
            self._follow_until_idle()
        finally:
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _follow_until_idle(self) -> None:
        """The first look is no wait, and wakes everybody: they came before it was known where the head is."""
        idle, is_first = 0, True
        while self._goes_on(idle):
            try:
                head = self._storage.head() if is_first else self._storage.wait(self._head, _TURN_S)
                if head > self._head and not is_first:
                    self._share(head)
                is_first, self._failure = False, None
            except (StoreClosed, StoreForked):
                return
            except (HansardError, OSError) as error:  # such as StoreBusy: those who wait will meet it themselves if it lasts
                idle = 0 if self._listeners or self._waiting else idle + 1
                self._failure = error if isinstance(error, StoreUnusable | StoreCorrupt) else None
                if self._failure is not None or isinstance(error, RequestRefused):
                    self._tell_all()
                time.sleep(_AFTER_ERROR_S)
                continue
            idle = 0 if self._listeners or self._waiting else idle + 1
            self._tell(head)

    def _goes_on(self, idle: int) -> bool:
        """Ends itself when nobody has listened for a turn."""
        with self._changed:
            if self._is_closed or (idle > 1 and not self._listeners and not self._waiting):
                self._thread = None
                self._shared.clear()
                return False
            return True

    def _share(self, head: int) -> None:
        if len(self._listeners) + self._waiting < _SHARED_FROM:
            self._shared.clear()
            return
        self._shared.follow_from(max(self._head, head - SHARED_EVENTS_MAX))
        while self._shared.last < head:
            after = self._shared.last
            page = self._storage.read(Query(), after=after, before=head + 1, backwards=False, limit=PAGE_EVENTS_MAX)
            self._shared.add(page)

    def _tell(self, head: int) -> None:
        with self._changed:
            if head <= self._head:
                return
            self._head = head
        self._tell_all()

    def _tell_all(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = self._listeners
        for wake in listeners:
            with suppress(RuntimeError):  # an event loop that was closed meanwhile
                wake()


class _Shared:
    """The last events of the log, without gaps. One thread adds, others read: a list is replaced, never changed."""

    def __init__(self) -> None:
        self._first = 1
        self._events: list[RecordedEvent] = []
        self._is_on = False

    @property
    def last(self) -> int:
        return self._first + len(self._events) - 1

    def follow_from(self, after: int) -> None:
        if not self._is_on or self.last < after:
            self._first, self._events, self._is_on = after + 1, [], True

    def add(self, page: list[RecordedEvent]) -> None:
        events = [*self._events, *page][-SHARED_EVENTS_MAX:]
        while len(events) > 1 and sum(len(event.data_json) for event in events) > SHARED_BYTES_MAX:
            events = events[len(events) // 2 :]
        self._events, self._first = events, events[0].position

    def clear(self) -> None:
        self._is_on, self._events = False, []

    def page(self, query: Query, after: int) -> tuple[list[RecordedEvent], int] | None:
        events = self._events
        if not events or not events[0].position - 1 <= after < events[-1].position:
            return None
        new = events[after + 1 - events[0].position :]
        matching = new if query.is_everything else [event for event in new if query.matches(event, event.stream)]
        if len(matching) > PAGE_EVENTS_MAX:
            matching = matching[:PAGE_EVENTS_MAX]
            return matching, matching[-1].position
        return matching, events[-1].position
