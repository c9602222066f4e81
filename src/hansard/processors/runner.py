"""Runs many readers on a few threads: steps them, wakes them, beats for them, listens to orders for them."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from hansard.errors import HandlerTimedOut, HansardError, InvalidInput, ProcessorStopped, StoreClosed, StoreForked, WaitTimedOut
from hansard.limits import LEASE_S, PAGE_DOCUMENTS_MAX, RUNNER_THREADS_MAX
from hansard.processors.calls import Calls
from hansard.processors.control import ReaderControl
from hansard.processors.documents import ORDERS, OrderDocument, decoded
from hansard.processors.handling import Work
from hansard.processors.keeper import Keeper
from hansard.processors.membership import Membership
from hansard.processors.reader import Reader
from hansard.processors.shares import register
from hansard.storage.clock import now_us
from hansard.storage.port import Storage
from hansard.subscriptions.tail import Tail

_LOOK_S = 0.25
"""How often orders are looked for, and sources asked for readers that have come or gone."""

_AFTER_ERROR_S = 0.5
_FOREGROUND_PAUSE_S = 0.02

OnError = Callable[[str, Exception], Any]


class Runnable(Protocol):
    """Something that is stepped: a reader, or the timers."""

    name: str
    order: OrderDocument
    stopped: ProcessorStopped | None
    is_stopping: bool
    is_retiring: bool

    @property
    def position(self) -> int: ...
    def step(self) -> float | None: ...
    def is_behind(self, head: int) -> bool: ...
    def flush(self) -> None: ...
    def leave(self) -> None: ...


class Context(NamedTuple):
    """What the readers of one crew share."""

    storage: Storage
    tail: Tail
    membership: Membership
    calls: Calls
    clock_s: Callable[[], float]
    clock_us: Callable[[], int]


class Wanted(NamedTuple):
    """Something that is to be run: its name, and how it is made when it is not there yet."""

    name: str
    make: Callable[[Context], Runnable]


class Source(Protocol):
    """What a user declares and a runner runs: a processor has one reader, a projection one for each build under way."""

    name: str

    def wanted(self, storage: Storage, calls: Calls) -> Sequence[Wanted]:
        """What is to run now."""


def reader_of(work: Work, *, after: int | None, begins_anew: bool) -> Wanted:
    """A reader; `after`: where a new one begins (None: at the head); `begins_anew`: whether a new version goes back there."""

    def make(context: Context) -> Runnable:
        register(context.storage, work.document, after=after, begins_anew=begins_anew)
        return Reader(context.storage, context.tail, work, context.membership, clock_s=context.clock_s, now_us=context.clock_us)

    return Wanted(work.document.name, make)


class Crew:
    """The readers of one member, without threads: what a runner drives, and a simulation too."""

    def __init__(
        self,
        storage: Storage,
        tail: Tail,
        sources: Sequence[Source],
        *,
        lease_s: float = LEASE_S,
        clock_s: Callable[[], float] = time.monotonic,
        clock_us: Callable[[], int] = now_us,
        membership: Membership | None = None,
        calls: Calls | None = None,
    ) -> None:
        self._storage = storage
        self._sources = sources
        self._clock_s = clock_s
        self.calls = calls or Calls()
        self.membership = membership or Membership(storage, lease_s=lease_s, clock_s=clock_s)
        self._is_stopping = False
        self._context = Context(storage, tail, self.membership, self.calls, clock_s, clock_us)
        self.readers: dict[str, Runnable] = {}

    def muster(self) -> list[Runnable]:
        """Ask the sources what is to run. Returns what is no longer wanted: it is to be stepped once more."""
        storage, calls = self._context.storage, self.calls
        wanted = {one.name: one for source in self._sources for one in source.wanted(storage, calls)}
        retired = [self.readers.pop(name) for name in list(self.readers) if name not in wanted]
        for reader in retired:
            reader.is_retiring = True
        new = {name: wanted[name].make(self._context) for name in wanted if name not in self.readers}
        if new or retired:
            self.membership.run(wanted)
            self.membership.beat()
        self.readers |= new
        return retired

    def listen(self) -> None:
        """Hand the orders from outside to their readers."""
        orders = {name: decoded(text, OrderDocument) for name, text in self._storage.scan(ORDERS, limit=PAGE_DOCUMENTS_MAX)}
        for name, reader in self.readers.items():
            reader.order = orders.get(name, OrderDocument())

    def withdraw(self, name: str) -> None:
        """A reader has stopped here: others may try."""
        self.membership.withdraw(name)
        self.membership.beat()

    def stop(self) -> None:
        """End `run_until_caught_up`, from any thread."""
        self._is_stopping = True
        for reader in list(self.readers.values()):
            reader.is_stopping = True

    def leave(self, readers: Iterable[Runnable] | None = None) -> list[tuple[str, Exception]]:
        """Save everything and give everything back. Returns what could not be saved, and why: it will be done again."""
        failed: list[tuple[str, Exception]] = []
        try:
            for reader in list(self.readers.values() if readers is None else readers):
                reader.is_stopping = True
                failed += _tried(reader.name, reader.leave)
            failed += _tried("member", self.membership.leave)
        finally:
            self.calls.close()
        return failed

    def run_until_caught_up(self, timeout_s: float | None = None) -> None:
        """Step in this thread until every reader has come to the head as it is now. Raises what stops one of them."""
        keeper = Keeper()
        stop_beats = keeper.every(self.membership.lease_s / 3, self.membership.beat)
        try:
            self._run_until_caught_up(timeout_s)
        finally:
            stop_beats()

    def _run_until_caught_up(self, timeout_s: float | None) -> None:
        deadline = None if timeout_s is None else self._clock_s() + timeout_s
        self._muster_here()
        self.listen()
        for reader in self.readers.values():
            reader.step()
        head = self._storage.head()
        while not self._is_stopping and (behind := [reader for reader in self.readers.values() if reader.is_behind(head)]):
            steps = [reader.step() for reader in behind]
            for reader in behind:
                if reader.stopped is not None:
                    raise reader.stopped
            self.listen()
            self._muster_here()
            if deadline is not None and self._clock_s() > deadline:
                raise WaitTimedOut(behind[0].name, head, behind[0].position, timeout_s or 0.0)
            if all(step is None or step > 0 for step in steps):
                time.sleep(_FOREGROUND_PAUSE_S)
        for reader in self.readers.values():
            if reader.stopped is not None:
                raise reader.stopped
            reader.flush()

    def _muster_here(self) -> None:
        for reader in self.muster():
            reader.step()


def _tried(name: str, work: Callable[[], None]) -> list[tuple[str, Exception]]:
    try:
        work()
    except HansardError as error:
        return [(name, error)]
    return []


class _Entry:
    """One reader on the runner's lists."""

    def __init__(self, reader: Runnable) -> None:
        self.reader = reader
        self.is_running = False
        self.is_listed = False
        self.was_woken = False
        self.turn = 0
        self.thread: int | None = None
        self.is_over = False


class Running:
    """Readers at work, on a few threads, until `stop()`: from `store.run(...)`. A context manager."""

    def __init__(
        self,
        storage: Storage,
        tail: Tail,
        sources: Sequence[Source],
        *,
        threads: int = 4,
        lease_s: float = LEASE_S,
        on_error: OnError | None = None,
        calls: Calls | None = None,
    ) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= RUNNER_THREADS_MAX:
            raise InvalidInput("threads", threads, f"expected 1 to {RUNNER_THREADS_MAX}")
        self._storage = storage
        self._tail = tail
        self._crew = Crew(storage, tail, sources, lease_s=lease_s, calls=calls)
        self._on_error = on_error
        self._changed = threading.Condition()
        self._progress = threading.Condition()
        self._entries: dict[str, _Entry] = {}
        self._ready: deque[_Entry] = deque()
        self._due: list[tuple[float, int, _Entry, int]] = []
        self._order = count()
        self._is_stopping = False
        self.errors: list[tuple[str, Exception]] = []
        self._muster()
        self._unlisten = tail.listen(self._wake_all)
        self._threads: list[threading.Thread] = []
        self._hanging: list[threading.Thread] = []
        for _ in range(threads):
            self._start_worker()
        self._keeper = threading.Thread(target=self._keep, name="hansard-keeper", daemon=True)
        self._keeper.start()

    @property
    def stopped(self) -> dict[str, ProcessorStopped]:
        """Processors that have stopped at an event, and why."""
        return {name: entry.reader.stopped for name, entry in list(self._entries.items()) if entry.reader.stopped is not None}

    def position(self, name: str) -> int:
        """How far a reader that runs here is; 0 if another process has a share of it."""
        entry = self._entries.get(name)
        return entry.reader.position if entry is not None else 0

    def wait_for(self, name: str, position: int, timeout_s: float = 10.0) -> None:
        """Until a reader that runs here has done everything up to a position, alone or with other members.

        Raises WaitTimedOut or ProcessorStopped.
        """
        if name not in self._entries:
            raise InvalidInput("name", name, f"runs here are {', '.join(self._entries) or 'none'}")
        deadline = time.monotonic() + timeout_s
        with self._progress:
            while self.position(name) < position:
                if (stopped := self.stopped.get(name)) is not None:
                    raise stopped
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitTimedOut(name, position, self.position(name), timeout_s)
                self._progress.wait(min(left, _LOOK_S))
                if self.position(name) == 0 and self._is_done_elsewhere(name, position):
                    return

    def _is_done_elsewhere(self, name: str, position: int) -> bool:
        """Whether other members, who have shares of it, have come so far."""
        try:
            ReaderControl(self._storage, name).wait_for(position, 0.0)
        except (InvalidInput, WaitTimedOut):
            return False
        return True

    def wait_until_caught_up(self, timeout_s: float = 60.0) -> None:
        """Until every reader that runs here has come to the head as it is now."""
        head = self._storage.head()
        deadline = time.monotonic() + timeout_s
        for name in list(self._entries):
            self.wait_for(name, head, max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Let the events under way end, save all checkpoints and give the shares back. May be called again."""
        with self._changed:
            if self._is_stopping:
                return
            self._is_stopping = True
            for entry in self._entries.values():
                entry.reader.is_stopping = True
            self._changed.notify_all()
        self._unlisten()
        for thread in (self._keeper, *self._threads):
            if thread is not threading.current_thread():
                thread.join()
        for name, error in self._crew.leave([entry.reader for entry in self._entries.values() if not entry.is_running]):
            if not isinstance(error, StoreClosed | StoreForked):
                self._report(name, error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    # The workers

    def _work(self) -> None:
        while (entry := self._next()) is not None:
            try:
                pause = entry.reader.step()
            except (StoreClosed, StoreForked):
                return
            except Exception as error:
                self._report(entry.reader.name, error)
                pause = _AFTER_ERROR_S
            if entry.reader.stopped is not None:
                pause, entry.is_over = None, True
                self._report(entry.reader.name, entry.reader.stopped)
                self._withdraw(entry.reader.name)
            self._put_back(entry, pause)
            with self._progress:
                self._progress.notify_all()

    def _next(self) -> _Entry | None:
        with self._changed:
            while not self._is_stopping:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    _, _, entry, turn = heapq.heappop(self._due)
                    if turn == entry.turn:
                        self._list(entry)
                if self._ready:
                    entry = self._ready.popleft()
                    entry.is_listed, entry.is_running, entry.was_woken = False, True, False
                    entry.turn += 1
                    entry.thread = threading.get_ident()
                    return entry
                self._changed.wait(self._due[0][0] - now if self._due else None)
            return None

    def _put_back(self, entry: _Entry, pause: float | None) -> None:
        with self._changed:
            entry.is_running, entry.thread = False, None
            if entry.reader.stopped is not None or self._entries.get(entry.reader.name) is not entry:
                return
            if entry.was_woken or pause == 0:
                self._list(entry)
                self._changed.notify()
            elif pause is not None:
                heapq.heappush(self._due, (time.monotonic() + pause, next(self._order), entry, entry.turn))
                self._changed.notify()

    def _list(self, entry: _Entry) -> None:
        if not entry.is_listed and not entry.is_running and not entry.is_over:
            entry.is_listed = True
            self._ready.append(entry)

    def _wake_all(self) -> None:
        self._wake(self._entries.values())

    def _wake(self, entries: Iterable[_Entry]) -> None:
        with self._changed:
            for entry in list(entries):
                entry.was_woken = True
                self._list(entry)
            self._changed.notify_all()

    def _withdraw(self, name: str) -> None:
        try:
            self._crew.withdraw(name)
        except HansardError as error:  # the next beat says it
            self._report(name, error)

    def _report(self, name: str, error: Exception) -> None:
        self.errors = [*self.errors[-99:], (name, error)]
        if self._on_error is not None:
            try:
                self._on_error(name, error)
            except Exception as raised:  # the user's own callback must not end the thread that it is told from
                self.errors = [*self.errors[-99:], ("on_error", raised)]

    # The keeper

    def _keep(self) -> None:
        next_beat = time.monotonic() + self._crew.membership.lease_s / 3
        while not self._waits_for_stop(min(_LOOK_S, self._crew.membership.lease_s / 6)):
            try:
                if time.monotonic() >= next_beat:
                    self._crew.membership.beat()
                    next_beat = time.monotonic() + self._crew.membership.lease_s / 3
                    self._wake_all()
                self._listen()
                self._muster()
                self._replace_hanging()
            except (StoreClosed, StoreForked):
                return
            except Exception as error:
                self._report("keeper", error)

    def _replace_hanging(self) -> None:
        """A thread that a handler never gives back is replaced, so that the other readers go on."""
        for thread in [thread for thread in self._threads if thread.ident in self._crew.calls.watchdog.hanging()]:
            name = next((name for name, entry in self._entries.items() if entry.thread == thread.ident), "?")
            self._report(name, HandlerTimedOut("the handler does not return, and cannot be stopped; its thread was replaced"))
            self._threads.remove(thread)
            self._hanging.append(thread)
            self._start_worker()

    def _start_worker(self) -> None:
        thread = threading.Thread(target=self._work, name=f"hansard-runner-{next(self._order)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _waits_for_stop(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._is_stopping, timeout_s)

    def _listen(self) -> None:
        before = {name: entry.reader.order for name, entry in self._entries.items()}
        self._crew.listen()
        self._wake([entry for name, entry in self._entries.items() if entry.reader.order != before[name]])

    def _muster(self) -> None:
        retired = {reader.name for reader in self._crew.muster()}
        if not retired and self._entries.keys() == self._crew.readers.keys():
            return
        last_steps = [entry for name, entry in self._entries.items() if name in retired]
        entries = {
            name: self._entries[name] if name in self._entries and name not in retired else _Entry(reader)
            for name, reader in self._crew.readers.items()
        }
        with self._changed:
            self._entries = entries
        self._wake([*last_steps, *entries.values()])
