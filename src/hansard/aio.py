"""The same face for asyncio: same names, same signatures, one hop each and no logic of its own.

Appends of one turn of the event loop go to the writer together, and their callers are woken once per commit.
Reads run page by page in a few threads. Cancelling an append that is under way does not take it back: it may still be
stored. Append again with the same events (the same ids) to find out; nothing is stored twice.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar, overload
from uuid import UUID

from hansard import causation
from hansard.appends import Append, Appended, StreamAppend, append_of, checked_parts, recorded_events, restored
from hansard.async_appends import AsyncAppends
from hansard.errors import StoreClosed
from hansard.event_types.registry import checked_types
from hansard.events import NO_TAGS, Event, RecordedEvent, check_event_id, event_of, first_of, unfolded
from hansard.handlers import Handlers, HandlerT, call_handlers_async
from hansard.limits import EXECUTE_ATTEMPTS, LEASE_S, PAGE_STREAMS_MAX, READERS_MAX
from hansard.names import check_name, check_path, check_type
from hansard.processors.calls import Calls
from hansard.processors.definitions import check_lease
from hansard.processors.keeper import Keeper
from hansard.projections.definition import Projection, check_projection
from hansard.query import AppendCondition, Query, check_category, check_query
from hansard.reading import Page, Paging
from hansard.storage.opening import open_storage
from hansard.storage.port import Capability, ResultT, Storage
from hansard.storage.typed import recorded_as_seen, typed
from hansard.store import EVERYTHING, Definition, Types, with_recorded
from hansard.streams import ANY, StreamInfo, check_bound, check_stream, check_timeout
from hansard.subscriptions.async_drivers import AsyncSubscription, Live
from hansard.subscriptions.drivers import Callback, checked_callbacks
from hansard.subscriptions.tail import Tail
from hansard.timers import Timers
from hansard.transactions import Transaction

if TYPE_CHECKING:
    from hansard.deciders.aggregates import Aggregate
    from hansard.deciders.definition import Decider, Executed, Loaded, View
    from hansard.deciders.execution import Execution, Step
    from hansard.processors.async_face import AsyncConsumer, AsyncReaderControl, AsyncRunning, AsyncTimers
    from hansard.processors.control import ReaderStatus
    from hansard.processors.definitions import KeyOf, Retry
    from hansard.processors.runner import OnError
    from hansard.projections.async_face import AsyncModel, AsyncProjectionControl
    from hansard.projections.control import ProjectionStatus
    from hansard.storage.cluster.control import AsyncClusterControl

_T = TypeVar("_T")
CommandT = TypeVar("CommandT")
StateT = TypeVar("StateT")
AggregateT = TypeVar("AggregateT", bound="Aggregate")


def open(
    place: str | os.PathLike[str],
    *,
    read_only: bool = False,
    must_exist: bool = False,
    durability: str = "fsync",
    types: Types | None = None,
) -> "_Opening":
    """Open the store at a place: `async with open(...) as store`, or `store = await open(...)`. See `hansard.open`."""
    return _Opening(lambda: open_storage(place, read_only=read_only, must_exist=must_exist, durability=durability), types)


class _Opening:
    def __init__(self, open_it: Callable[[], Storage], types: Types | None) -> None:
        self._open_it = open_it
        self._types = checked_types(types)
        self._store: AsyncStore | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: the store is not open yet; write `async with open(…) as store` or `store = await open(…)`")

    def __await__(self) -> Generator[Any, None, "AsyncStore"]:
        return self._opened().__await__()

    async def _opened(self) -> "AsyncStore":
        loop = asyncio.get_running_loop()
        return AsyncStore(await loop.run_in_executor(None, self._open_it), self._types)

    async def __aenter__(self) -> "AsyncStore":
        self._store = await self._opened()
        return self._store

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._store is not None:
            await self._store.close()


class AsyncStore:
    """One log, in one engine, for the tasks of one event loop; an async context manager."""

    def __init__(self, storage: Storage, types: Types | None = None) -> None:
        self._types = checked_types(types)
        self._untyped = storage
        self._storage = storage = typed(storage, self._types)
        self._handlers = Handlers(are_async_allowed=True)
        self._deciding: Execution | None = None
        self._loop = asyncio.get_running_loop()
        self._appends = AsyncAppends(storage, self._loop)
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="hansard-reader")
        self._waiters = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="hansard-waiter")
        self._tail = Tail(storage)
        self._keeper = Keeper()
        self._live = Live(self._tail, self._loop, self._in_thread)
        self._is_closed = False

    # Three verbs to begin with

    async def add(
        self,
        stream: str | None,
        type: Any,
        data: Any = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = NO_TAGS,
        id: UUID | str | None = None,
    ) -> RecordedEvent:
        """See `Store.add`."""
        event = Event(type, data, metadata, tags, id) if type.__class__ is str else event_of(type, data, metadata, tags, id)
        append = Append((StreamAppend(stream, (event,)),))
        appended = await self._appends.begin(append)
        causation.note(appended)
        if appended.is_repeat:
            return first_of((await self._in_thread(self._storage.events, [event.id_bytes]))[event.id_bytes])
        (recorded,) = events = recorded_events(append, appended)
        if self._types is not None:
            events = self._recorded(append, appended)
            recorded = events[0] if events else recorded
        if self._handlers:
            await call_handlers_async(self._handlers, events, recorded)
        return recorded

    async def all(self, stream: str) -> list[RecordedEvent]:
        """See `Store.all`."""
        return [event async for event in self.read_stream(stream)]

    @overload
    def on(self, type: str | type) -> Callable[[HandlerT], HandlerT]: ...
    @overload
    def on(self, type: str | type, handler: HandlerT) -> HandlerT: ...
    def on(self, type: str | type, handler: HandlerT | None = None) -> HandlerT | Callable[[HandlerT], HandlerT]:
        """See `Store.on`. A handler may be async; it is awaited before the next one is called."""
        if handler is not None:
            return self._handlers.on(type, handler)
        check_type("type", type)
        return lambda decorated: self._handlers.on(type, decorated)

    def off(self, type: str | type, handler: Callable[[RecordedEvent], Any]) -> None:
        """See `Store.off`."""
        self._handlers.off(type, handler)

    # Appending

    async def append(
        self,
        stream: str | None,
        events: Iterable[Event | Any] | Event | Any,
        *,
        expected_version: int = ANY,
        condition: AppendCondition | None = None,
    ) -> Appended:
        """See `Store.append`."""
        return await self._append(append_of((StreamAppend(stream, events, expected_version),), condition))  # type: ignore[arg-type]

    async def append_streams(self, appends: Iterable[StreamAppend], *, condition: AppendCondition | None = None) -> Appended:
        """See `Store.append_streams`."""
        return await self._append(append_of(checked_parts(appends), condition))

    async def restore(self, events: Iterable[RecordedEvent], *, condition: AppendCondition | None = None) -> Appended:
        """See `Store.restore`."""
        return await self._appends.begin(restored(events, condition))

    async def _append(self, append: Append) -> Appended:
        appended = await self._appends.begin(append)
        causation.note(appended)
        if self._handlers and not appended.is_repeat:
            await call_handlers_async(self._handlers, self._recorded(append, appended), appended)
        return appended

    def _recorded(self, append: Append, appended: Appended) -> list[RecordedEvent]:
        """See `Store._recorded`."""
        return recorded_as_seen(append, appended, self._types)

    def _seen(self, events: list[RecordedEvent]) -> list[RecordedEvent]:
        return events if self._types is None else self._types.read_own(events)

    async def transact(self, work: Callable[[Transaction], ResultT]) -> ResultT:
        """See `Store.transact`. `work` is no coroutine: it runs in a thread."""
        done: tuple[ResultT, list[RecordedEvent]]
        done = await self._in_waiting_thread(self._storage.transact, with_recorded(work))
        result, recorded = done
        if self._handlers and recorded:
            await call_handlers_async(self._handlers, self._seen(recorded), recorded)
        return result

    # Deciding

    @overload
    async def execute(
        self,
        decider: "Decider[CommandT, StateT, Any]",
        target: "str | Query",
        command: CommandT,
        *,
        stream: str | None = None,
        command_id: UUID | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = EXECUTE_ATTEMPTS,
    ) -> "Executed[StateT]": ...
    @overload
    async def execute(
        self,
        decider: "type[AggregateT]",
        target: "str | Query",
        command: "Callable[[AggregateT], Any]",
        *,
        stream: str | None = None,
        command_id: UUID | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = EXECUTE_ATTEMPTS,
    ) -> "Executed[AggregateT]": ...
    @overload
    async def execute(
        self,
        decider: "Callable[[CommandT, Any], Iterable[Any]]",
        target: "Mapping[str, View]",
        command: CommandT,
        *,
        stream: str | None = None,
        command_id: UUID | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = EXECUTE_ATTEMPTS,
    ) -> "Executed[Any]": ...
    async def execute(
        self,
        decider: Any,
        target: "str | Query | Mapping[str, View]",
        command: Any,
        *,
        stream: str | None = None,
        command_id: UUID | str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = EXECUTE_ATTEMPTS,
    ) -> "Executed[Any]":
        """See `Store.execute`."""
        steps = self._execution.steps(
            decider, target, command, stream=stream, command_id=command_id, metadata=metadata, attempts=attempts
        )
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._done(step)
                except Exception as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as done:
            executed: Executed[Any] = done.value
            return executed

    async def _done(self, step: "Step") -> Any:
        if isinstance(step, float):
            await asyncio.sleep(step)
            return None
        return await (self._append(step) if isinstance(step, Append) else self._in_thread(step))

    @overload
    async def load(self, decider: "Decider[Any, StateT, Any]", target: "str | Query") -> "Loaded[StateT]": ...
    @overload
    async def load(self, decider: "type[AggregateT]", target: "str | Query") -> "Loaded[AggregateT]": ...
    @overload
    async def load(self, decider: "Callable[[Any, Any], Iterable[Any]]", target: "Mapping[str, View]") -> "Loaded[Any]": ...
    async def load(self, decider: Any, target: "str | Query | Mapping[str, View]") -> "Loaded[Any]":
        """See `Store.load`."""
        return await self._in_thread(self._execution.load, decider, target)

    @property
    def _execution(self) -> "Execution":
        if self._deciding is None:
            from hansard.deciders.execution import Execution  # with all that it needs, only where something is decided

            self._deciding = Execution(self._storage, self._types)
        return self._deciding

    # Reading

    def read_stream(
        self,
        stream: str,
        *,
        after_version: int = 0,
        before_version: int | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[RecordedEvent]:
        """See `Store.read_stream`."""
        check_stream(stream)
        paging = Paging(after=after_version, before=before_version, backwards=backwards, limit=limit, of_stream=True)

        def fetch(page: Page) -> list[RecordedEvent]:
            return self._storage.read_stream(
                stream, after_version=page.after, before_version=page.before, backwards=backwards, limit=page.limit
            )

        return self._pages(paging, fetch, lambda: self._storage.stream(stream).version)

    def read(
        self,
        query: Query = EVERYTHING,
        *,
        after: int = 0,
        before: int | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[RecordedEvent]:
        """See `Store.read`."""
        check_query("query", query)
        paging = Paging(after=after, before=before, backwards=backwards, limit=limit)

        def fetch(page: Page) -> list[RecordedEvent]:
            return self._storage.read(query, after=page.after, before=page.before, backwards=backwards, limit=page.limit)

        return self._pages(paging, fetch, self._storage.head)

    async def _pages(
        self, paging: Paging, fetch: Callable[[Page], list[RecordedEvent]], last: Callable[[], int]
    ) -> AsyncIterator[RecordedEvent]:
        while (page := paging.next_page) is not None:
            events = await self._in_thread(fetch, page)
            paging.took(events)
            if paging.needs_end:
                paging.end_at(await self._in_thread(last))
            for event in events if self._types is None else unfolded(events, backwards=paging.backwards):
                yield event

    async def event(self, id: UUID | str) -> RecordedEvent | None:
        """See `Store.event`."""
        id_bytes = check_event_id("id", id).bytes
        found = await self._in_thread(self._storage.events, [id_bytes])
        return next(unfolded(found.values()), None)

    async def head(self) -> int:
        """See `Store.head`."""
        return await self._in_thread(self._storage.head)

    async def stream(self, name: str) -> StreamInfo:
        """See `Store.stream`."""
        return await self._in_thread(self._storage.stream, check_stream(name))

    def streams(self, *, category: str | None = None) -> AsyncIterator[StreamInfo]:
        """See `Store.streams`."""
        if category is not None:
            check_category(category)
        return self._stream_pages(category)

    async def _stream_pages(self, category: str | None) -> AsyncIterator[StreamInfo]:
        after = ""
        while page := await self._in_thread(self._streams_after, category, after):
            for stream in page:
                yield stream
            after = page[-1].name

    def _streams_after(self, category: str | None, after: str) -> list[StreamInfo]:
        return self._storage.streams(category=category, after=after, limit=PAGE_STREAMS_MAX)

    # Reacting

    def subscribe(
        self,
        query: Query = EVERYTHING,
        *,
        after: int = 0,
        on_caught_up: Callback | None = None,
        on_idle: Callback | None = None,
        idle_s: float = 10.0,
    ) -> AsyncSubscription:
        """See `Store.subscribe`. Callbacks may be async."""
        callbacks = checked_callbacks(on_caught_up, on_idle, idle_s)
        return AsyncSubscription(self._live, check_query("query", query), check_bound("after", after), callbacks)

    def run(
        self,
        *definitions: Definition,
        threads: int = 4,
        lease_s: float = LEASE_S,
        on_error: "OnError | None" = None,
    ) -> "AsyncRunning":
        """See `Store.run`: `async with store.run(...) as running`. Async handlers run in a loop of their own."""
        from hansard.processors.async_face import AsyncRunning  # with all that it needs, only where something is run
        from hansard.processors.runner import Running
        from hansard.processors.sources import sources_of

        check_lease(lease_s)
        sources = sources_of(definitions)
        return AsyncRunning(
            lambda: Running(
                self._storage,
                self._tail,
                sources,
                threads=threads,
                lease_s=lease_s,
                on_error=on_error,
                calls=Calls(self._tell),
            ),
            self._in_waiting_thread,
        )

    def join(
        self,
        name: str,
        query: Query = EVERYTHING,
        *,
        partitions: int = 16,
        partition_by: "KeyOf | None" = None,
        after: int | Literal["head"] = 0,
        lease_s: float = LEASE_S,
        retry: "Retry | None" = None,
        member: str = "",
    ) -> "AsyncConsumer":
        """See `Store.join`: `async with store.join(...) as consumer: async for event in consumer: ...`."""
        from hansard.processors.async_face import AsyncConsumer  # as above
        from hansard.processors.consumer import Consumer
        from hansard.processors.definitions import check_group

        check_name("name", name)
        if member:
            check_name("member", member)
        check_query("query", query)
        retry = check_group(partitions=partitions, partition_by=partition_by, lease_s=lease_s, retry=retry)
        begin = None if after == "head" else check_bound("after", after)

        def start() -> Consumer:
            return Consumer(
                self._storage,
                self._tail,
                self._keeper,
                name,
                query,
                partitions=partitions,
                partition_by=partition_by,
                after=begin,
                lease_s=lease_s,
                retry=retry,
                member=member,
            )

        return AsyncConsumer(start, self._live, self._in_waiting_thread)

    async def catch_up(self, *definitions: Definition, timeout_s: float | None = None) -> None:
        """See `Store.catch_up`."""
        from hansard.processors.runner import Crew  # as above
        from hansard.processors.sources import sources_of

        crew = Crew(self._storage, self._tail, sources_of(definitions), calls=Calls(self._tell))

        def work() -> None:
            try:
                crew.run_until_caught_up(None if timeout_s is None else check_timeout(timeout_s))
            finally:
                crew.leave()

        working = asyncio.ensure_future(self._in_waiting_thread(work))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            crew.stop()
            await asyncio.wait([working])
            raise

    async def project(self, projection: Projection, *, key: str | None = None, before: int | None = None) -> Any:
        """See `Store.project`."""
        from hansard.projections.live import fold_all, fold_into  # as above

        check_projection(projection)
        query, states = projection.events, fold_all(projection, [])
        by_stream = key is not None and projection.is_by_stream
        events = self.read_stream(key) if by_stream and key is not None else self.read(query, before=before)
        async for event in events:
            if not by_stream or (query.matches(event, key) and (before is None or event.position < before)):
                fold_into(projection, states, event)
        return states if key is None else states.get(key)

    async def inline(self, *projections: Projection) -> None:
        """See `Store.inline`."""
        from hansard.projections.inline import Inline  # as above

        hook = Inline([check_projection(projection) for projection in projections])
        if projections:
            await self.catch_up(*projections)
        await self._in_thread(self._storage.set_inline, hook if projections else None)

    def model(self, name: str, *, build: str | None = None) -> "AsyncModel":
        """See `Store.model`; its verbs are awaited."""
        from hansard.projections.async_face import AsyncModel  # as above

        return AsyncModel(self._storage, name, build, self._in_waiting_thread)

    def projection(self, name: str) -> "AsyncProjectionControl":
        """See `Store.projection`; its verbs are awaited."""
        from hansard.projections.async_face import AsyncProjectionControl  # as above

        return AsyncProjectionControl(self._storage, name, self._in_waiting_thread)

    def projections(self) -> "AsyncIterator[ProjectionStatus]":
        """See `Store.projections`."""
        return self._projections()

    async def _projections(self) -> "AsyncIterator[ProjectionStatus]":
        from hansard.projections.control import statuses  # as above

        for status in await self._in_thread(lambda: list(statuses(self._storage))):
            yield status

    def _tell(self, stored: Sequence[RecordedEvent]) -> None:
        """Called on a runner's thread; the handlers run on the loop's."""
        if self._handlers:
            asyncio.run_coroutine_threadsafe(call_handlers_async(self._handlers, stored, stored), self._loop).result()

    @property
    def timers(self) -> "AsyncTimers":
        """See `Store.timers`."""
        from hansard.processors.async_face import AsyncTimers  # as above

        return AsyncTimers(Timers(self._storage), self._in_waiting_thread)

    @property
    def cluster(self) -> "AsyncClusterControl":
        """See `Store.cluster`; its verbs are awaited."""
        from hansard.storage.cluster.control import AsyncClusterControl, control_of  # as above

        return AsyncClusterControl(control_of(self._storage), self._in_waiting_thread)

    def reader(self, name: str) -> "AsyncReaderControl":
        """See `Store.reader`; its verbs are awaited."""
        from hansard.processors.async_face import AsyncReaderControl  # as above

        return AsyncReaderControl(self._storage, name, self._in_waiting_thread)

    async def _readers(self) -> "AsyncIterator[ReaderStatus]":
        from hansard.processors.control import statuses  # as above

        for status in await self._in_thread(lambda: list(statuses(self._storage))):
            yield status

    def readers(self) -> "AsyncIterator[ReaderStatus]":
        """See `Store.readers`."""
        return self._readers()

    async def wait(self, after: int, timeout_s: float) -> int:
        """See `Store.wait`."""
        check_bound("after", after)
        deadline = self._loop.time() + check_timeout(timeout_s)
        while True:
            moved = self._live.moved()
            head = await self._in_thread(self._storage.head)
            left = deadline - self._loop.time()
            if head > after:
                return head
            self._tail.check_goes_on()
            if left <= 0:
                return head
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await moved

    # Keeping

    async def barrier(self) -> None:
        """See `Store.barrier`."""
        await self._in_waiting_thread(self._storage.barrier)

    async def branch(self, at: int | None = None) -> "AsyncStore":
        """See `Store.branch`: `async with await store.branch() as branch`."""
        from hansard.storage.branch import BranchStorage  # as above

        begin = None if at is None else check_bound("at", at)
        return AsyncStore(await self._in_thread(lambda: BranchStorage(self._untyped, begin)), self._types)

    @property
    def durability(self) -> str:
        """See `Store.durability`."""
        return self._storage.durability

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Store.capabilities`."""
        return self._storage.capabilities

    async def check(self) -> list[str]:
        """See `Store.check`."""
        return await self._in_thread(self._storage.check)

    async def backup(self, target: str | os.PathLike[str]) -> int:
        """See `Store.backup`."""
        return await self._in_thread(self._storage.backup, check_path("target", target))

    async def close(self) -> None:
        """See `Store.close`."""
        self._is_closed = True
        await self._loop.run_in_executor(None, self._close_storage)
        self._live.close()
        self._threads.shutdown(wait=False)
        self._waiters.shutdown(wait=False)

    def _close_storage(self) -> None:
        if self._deciding is not None:
            self._deciding.snapshots.close()
        self._keeper.close()
        self._tail.close()
        self._storage.close()
        self._tail.join()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def _in_thread(self, call: Callable[..., _T], *arguments: Any) -> Awaitable[_T]:
        self._check_open()
        return self._loop.run_in_executor(self._threads, copy_context().run, call, *arguments)

    def _in_waiting_thread(self, call: Callable[..., _T], *arguments: Any) -> Awaitable[_T]:
        """Waiting has threads of its own, so that it never keeps a read from running."""
        self._check_open()
        return self._loop.run_in_executor(self._waiters, copy_context().run, call, *arguments)

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")
