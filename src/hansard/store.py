"""The face: a store that you open, append to, read and react to. Checks what it is given; leaves the rest to the engine."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload
from uuid import UUID

from hansard import causation
from hansard.appends import Append, Appended, StreamAppend, append_of, checked_parts, recorded_events, restored
from hansard.errors import InvalidType
from hansard.event_types.registry import EventTypes, checked_types
from hansard.events import NO_TAGS, Event, RecordedEvent, check_event_id, event_of, first_of, unfolded
from hansard.handlers import Handlers, HandlerT, call_handlers
from hansard.limits import EXECUTE_ATTEMPTS, LEASE_S, PAGE_STREAMS_MAX
from hansard.names import check_name, check_path, check_type
from hansard.processors.definitions import Processor, check_lease
from hansard.processors.keeper import Keeper
from hansard.projections.definition import Projection, check_projection
from hansard.query import AppendCondition, Query, check_category, check_query
from hansard.reading import Page, Paging
from hansard.storage.opening import open_storage
from hansard.storage.port import Capability, ResultT, Storage, StorageTransaction
from hansard.storage.typed import recorded_as_seen, typed
from hansard.streams import ANY, StreamInfo, check_bound, check_stream, check_timeout
from hansard.subscriptions.drivers import Callback, Subscription, checked_callbacks
from hansard.subscriptions.tail import Tail
from hansard.timers import Timers
from hansard.transactions import Transaction

if TYPE_CHECKING:
    from hansard.deciders.aggregates import Aggregate
    from hansard.deciders.definition import Decider, Executed, Loaded, View
    from hansard.deciders.execution import Execution
    from hansard.processors.consumer import Consumer
    from hansard.processors.control import ReaderControl, ReaderStatus
    from hansard.processors.definitions import KeyOf, Retry
    from hansard.processors.runner import OnError, Running
    from hansard.projections.control import ProjectionControl, ProjectionStatus
    from hansard.projections.model import Model
    from hansard.storage.cluster.control import ClusterControl

CommandT = TypeVar("CommandT")
StateT = TypeVar("StateT")
AggregateT = TypeVar("AggregateT", bound="Aggregate")

EVERYTHING = Query()

Types = EventTypes | Iterable[type]
"""What a store may be given as its event types."""

Definition = Processor | Projection | type[Timers]
"""What can be run: see `Store.run`."""


def open(
    place: str | os.PathLike[str],
    *,
    read_only: bool = False,
    must_exist: bool = False,
    durability: str = "fsync",
    types: "Types | None" = None,
) -> "Store":
    """Open the store at a place, and make it if there is none.

    - `place`: the path of a SQLite file, or ":memory:".
    - `read_only`: refuse appends, and do not make a new file. `must_exist`: do not make a new file.
    - `durability`: "fsync" (an acknowledged append is on the disk), or "page-cache" (it survives a crash of the program,
      but maybe not of the machine; faster).
    - `types`: the classes of its events, marked by `hansard.event`: an EventTypes, or the classes alone.

    Raises OpenFailed: StoreNotFound, NotAStore or NewerFormat; StoreReadOnly where there is no permission.

    >>> with open(":memory:") as store:
    ...     store.add("customer-1", "created", {"name": "Jo"}).position
    1
    """
    return Store(open_storage(place, read_only=read_only, must_exist=must_exist, durability=durability), types)


class Store:
    """One log, in one engine. Safe to use from many threads; a context manager."""

    def __init__(self, storage: Storage, types: "Types | None" = None) -> None:
        self._types = checked_types(types)
        self._untyped = storage
        self._storage = storage = typed(storage, self._types)
        self._tail = Tail(storage)
        self._keeper = Keeper()
        self._handlers = Handlers(are_async_allowed=False)
        self._deciding: Execution | None = None

    # Three verbs to begin with

    def add(
        self,
        stream: str | None,
        type: Any,
        data: Any = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = NO_TAGS,
        id: UUID | str | None = None,
    ) -> RecordedEvent:
        """Store one event and return it as recorded. Parameters: see Event. Raises what `append` raises.

        In place of type and data, a value may be given whose class is marked by `hansard.event`.

        >>> store = open(":memory:")
        >>> store.add("customer-1", "created", {"name": "Jo"})
        RecordedEvent(position=1, stream='customer-1', version=1, type='created', data={'name': 'Jo'})
        """
        event = Event(type, data, metadata, tags, id) if type.__class__ is str else event_of(type, data, metadata, tags, id)
        append = Append((StreamAppend(stream, (event,)),))
        appended = self._storage.append(append)
        causation.note(appended)
        if appended.is_repeat:
            return first_of(self._storage.events([event.id_bytes])[event.id_bytes])
        (recorded,) = events = recorded_events(append, appended)
        if self._types is not None:
            events = self._recorded(append, appended)
            recorded = events[0] if events else recorded
        if self._handlers:
            call_handlers(self._handlers, events, recorded)
        return recorded

    def all(self, stream: str) -> list[RecordedEvent]:
        """All events of a stream, in order; an empty list for an unknown stream."""
        return list(self.read_stream(stream))

    @overload
    def on(self, type: str | type) -> Callable[[HandlerT], HandlerT]: ...
    @overload
    def on(self, type: str | type, handler: HandlerT) -> HandlerT: ...
    def on(self, type: str | type, handler: HandlerT | None = None) -> HandlerT | Callable[[HandlerT], HandlerT]:
        """Call a function with each event of a type ("*": of every type) right after this store object has stored it.

        Handlers run after the commit, in the caller's thread, in the order registered. One that raises undoes nothing and
        stops no other: all run, then the append raises HandlersFailed. Events that a handler appends are handled next.

        >>> store = open(":memory:")
        >>> @store.on("created")
        ... def greet(event):
        ...     print("Hello", event.data["name"])
        >>> _ = store.add("customer-1", "created", {"name": "Jo"})
        Hello Jo
        """
        if handler is not None:
            return self._handlers.on(type, handler)
        check_type("type", type)
        return lambda decorated: self._handlers.on(type, decorated)

    def off(self, type: str | type, handler: Callable[[RecordedEvent], Any]) -> None:
        """Forget a handler that was registered for a type."""
        self._handlers.off(type, handler)

    # Appending

    def append(
        self,
        stream: str | None,
        events: Iterable[Event | Any] | Event | Any,
        *,
        expected_version: int = ANY,
        condition: AppendCondition | None = None,
    ) -> Appended:
        """Store events at the end of a stream (None: of no stream), all of them or none, durably.

        - `expected_version`: ANY, NO_STREAM, STREAM_EXISTS, or the exact version that the stream must have.
        - `condition`: fail if an event that matches its query stands after its position.

        Appending the same events (the same ids) again gives the first result, stores nothing and calls no handler.
        Raises WrongExpectedVersion, AppendConditionFailed or DuplicateEventId (nothing is stored), InvalidInput, StoreBusy,
        StorageFailed; HandlersFailed after the events were stored.

        >>> store = open(":memory:")
        >>> store.append("order-7", [Event("placed"), Event("paid")], expected_version=0).version
        2
        """
        return self._append(append_of((StreamAppend(stream, events, expected_version),), condition))  # type: ignore[arg-type]

    def append_streams(self, appends: Iterable[StreamAppend], *, condition: AppendCondition | None = None) -> Appended:
        """Store events at the ends of several streams, all of them or none, in the order given.

        >>> store = open(":memory:")
        >>> store.append_streams([StreamAppend("a-1", [Event("sent")]), StreamAppend("b-2", [Event("got")])]).versions
        {'a-1': 1, 'b-2': 1}
        """
        return self._append(append_of(checked_parts(appends), condition))

    def restore(self, events: Iterable[RecordedEvent], *, condition: AppendCondition | None = None) -> Appended:
        """Store recorded events of another log, all of them or none: their ids, order, timestamps and JSON text stay,
        positions and versions are those of this log. No handler is called, because nothing new has happened.

        Repeating it stores nothing twice. Raises InvalidInput if a timestamp lies before the last one of this log.

        >>> old, new = open(":memory:"), open(":memory:")
        >>> _ = old.add("customer-1", "created", {"name": "Jo"})
        >>> _ = new.restore(old.read())
        >>> old.all("customer-1") == new.all("customer-1")
        True
        """
        return self._storage.append(restored(events, condition))

    def _append(self, append: Append) -> Appended:
        appended = self._storage.append(append)
        causation.note(appended)
        if self._handlers and not appended.is_repeat:
            call_handlers(self._handlers, self._recorded(append, appended), appended)
        return appended

    def _recorded(self, append: Append, appended: Appended) -> list[RecordedEvent]:
        """The events of a first append, as handlers see them."""
        return recorded_as_seen(append, appended, self._types)

    def _seen(self, events: list[RecordedEvent]) -> list[RecordedEvent]:
        return events if self._types is None else self._types.read_own(events)

    def transact(self, work: Callable[[Transaction], ResultT]) -> ResultT:
        """Call `work` in one write transaction, commit durably, and return what it returned: appends, timers, documents, and SQL
        on your own tables in the same file or database happen together, or not at all.

        What it raises comes out, and nothing of it happens. It may be called again after a lost connection: it must have no
        effects but those through its transaction.

        >>> store = open(":memory:")
        >>> def transfer(transaction):
        ...     _ = transaction.add("account-1", "withdrawn", 5)
        ...     return transaction.add("account-2", "deposited", 5).last_position
        >>> store.transact(transfer)
        2
        """
        result, recorded = self._storage.transact(with_recorded(work))
        if self._handlers and recorded:
            call_handlers(self._handlers, self._seen(recorded), recorded)
        return result

    # Deciding

    @overload
    def execute(
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
    def execute(
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
    def execute(
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
    def execute(
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
        """Load the state, decide the command, and append what happens, on condition that nothing has come in between.

        - `decider`: a Decider, an Aggregate class, or (where the target is views) a function of command and state.
        - `target`: a stream's name; or a query; or views by name, whose states `decide` gets as `state.name`.
        - `stream`: where the events of a query or of views go (None: to no stream).
        - `command_id`: a command of the same id is done once, however often it is sent; one that led to nothing is decided anew.
        - `metadata`: of every event, such as {"correlation_id": ...}.
        - `attempts`: how often to decide anew when others were faster. Then WrongExpectedVersion or AppendConditionFailed.

        Whatever `decide` raises comes out, and nothing is stored.

        >>> from hansard import Decider
        >>> def decide(amount, balance):
        ...     if amount > balance:
        ...         raise ValueError(f"only {balance} left")
        ...     return [Event("withdrawn", {"amount": amount})]
        >>> account = Decider("account", initial=10, decide=decide, evolve=lambda balance, event: balance - event.data["amount"])
        >>> store = open(":memory:")
        >>> store.execute(account, "account-1", 7).state
        3
        >>> store.execute(account, "account-1", 7)
        Traceback (most recent call last):
        ValueError: only 3 left
        """
        from hansard.deciders.execution import driven  # with all that it needs, only where something is decided

        steps = self._execution.steps(
            decider, target, command, stream=stream, command_id=command_id, metadata=metadata, attempts=attempts
        )
        return driven(steps, self._append)

    @overload
    def load(self, decider: "Decider[Any, StateT, Any]", target: "str | Query") -> "Loaded[StateT]": ...
    @overload
    def load(self, decider: "type[AggregateT]", target: "str | Query") -> "Loaded[AggregateT]": ...
    @overload
    def load(self, decider: "Callable[[Any, Any], Iterable[Any]]", target: "Mapping[str, View]") -> "Loaded[Any]": ...
    def load(self, decider: Any, target: "str | Query | Mapping[str, View]") -> "Loaded[Any]":
        """The state of a decider: `load(account, "account-1").state`; and the version, or head, that it was read at."""
        return self._execution.load(decider, target)

    @property
    def _execution(self) -> "Execution":
        if self._deciding is None:
            from hansard.deciders.execution import Execution  # as above

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
    ) -> Iterator[RecordedEvent]:
        """The events of a stream with after_version < version < before_version, in order or backwards; lazily.

        >>> store = open(":memory:")
        >>> _ = store.append("order-7", [Event("placed"), Event("paid"), Event("sent")])
        >>> [event.type for event in store.read_stream("order-7", after_version=1)]
        ['paid', 'sent']
        """
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
    ) -> Iterator[RecordedEvent]:
        """The events of the log that match, with after < position < before, in order or backwards; lazily.

        The read ends at the head as it stood when its first page was read.

        >>> store = open(":memory:")
        >>> _ = store.append("order-7", [Event("placed", tags={"customer:1"}), Event("paid")])
        >>> [event.type for event in store.read(Query(tags={"customer:1"}))]
        ['placed']
        """
        check_query("query", query)
        paging = Paging(after=after, before=before, backwards=backwards, limit=limit)

        def fetch(page: Page) -> list[RecordedEvent]:
            return self._storage.read(query, after=page.after, before=page.before, backwards=backwards, limit=page.limit)

        return self._pages(paging, fetch, self._storage.head)

    def _pages(
        self, paging: Paging, fetch: Callable[[Page], list[RecordedEvent]], last: Callable[[], int]
    ) -> Iterator[RecordedEvent]:
        while (page := paging.next_page) is not None:
            events = fetch(page)
            paging.took(events)
            if paging.needs_end:
                paging.end_at(last())
            yield from events if self._types is None else unfolded(events, backwards=paging.backwards)

    def event(self, id: UUID | str) -> RecordedEvent | None:
        """The event of an id; None if there is none."""
        id_bytes = check_event_id("id", id).bytes
        found = self._storage.events([id_bytes])
        return next(unfolded(found.values()), None)

    def head(self) -> int:
        """The last position; 0 in an empty log."""
        return self._storage.head()

    def stream(self, name: str) -> StreamInfo:
        """One stream: its version, and where its last event is. Version 0 if there is no such stream."""
        return self._storage.stream(check_stream(name))

    def streams(self, *, category: str | None = None) -> Iterator[StreamInfo]:
        """All streams, or those of a category, in the order of their names; lazily."""
        if category is not None:
            check_category(category)
        return self._stream_pages(category)

    def _stream_pages(self, category: str | None) -> Iterator[StreamInfo]:
        after = ""
        while page := self._storage.streams(category=category, after=after, limit=PAGE_STREAMS_MAX):
            yield from page
            after = page[-1].name

    # Reacting

    def subscribe(
        self,
        query: Query = EVERYTHING,
        *,
        after: int = 0,
        on_caught_up: Callback | None = None,
        on_idle: Callback | None = None,
        idle_s: float = 10.0,
    ) -> Subscription:
        """Events that match, from a position on, for ever: first what is there, then what comes, from any process.

        - `on_caught_up`: called with the position whenever all that is there was handed out.
        - `on_idle`: called with the position each time that nothing has come for `idle_s` seconds.

        >>> store = open(":memory:")
        >>> _ = store.add("customer-1", "created")
        >>> with store.subscribe() as events:
        ...     print(next(events).type)
        created
        """
        callbacks = checked_callbacks(on_caught_up, on_idle, idle_s)
        return Subscription(self._tail, check_query("query", query), check_bound("after", after), callbacks)

    def run(
        self,
        *definitions: Definition,
        threads: int = 4,
        lease_s: float = LEASE_S,
        on_error: "OnError | None" = None,
    ) -> "Running":
        """Run processors in the background, on a few threads, until the `with` block is left, or `stop()`.

        Several processes may run the same ones: each event is handled by one of them. `lease_s`: how long a member may be
        silent before others take over. `on_error(name, error)` is told what stops or disturbs one.

        >>> store, seen = open(":memory:"), []
        >>> _ = store.add("order-7", "placed")
        >>> with store.run(Processor("printer", lambda event: seen.append(event.type))) as running:
        ...     running.wait_until_caught_up()
        >>> seen
        ['placed']
        """
        from hansard.processors.calls import Calls  # with all that it needs (asyncio), only where something is run
        from hansard.processors.runner import Running
        from hansard.processors.sources import sources_of

        check_lease(lease_s)
        return Running(
            self._storage,
            self._tail,
            sources_of(definitions),
            threads=threads,
            lease_s=lease_s,
            on_error=on_error,
            calls=Calls(self._tell),
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
    ) -> "Consumer":
        """Join a group of consumers that share one subscription: each event goes to one of them, until it is acked.

        Order is kept within a stream, or within the keys that `partition_by` gives. At most `partitions` consumers work at once.
        A consumer that dies has its events taken over, at once on the same machine, elsewhere after its lease. `member` is what
        it is called in `reader(name).status()`; without it, the process's number.

        >>> store = open(":memory:")
        >>> _ = store.add("order-7", "placed")
        >>> with store.join("billing") as consumer:
        ...     event = next(consumer)
        ...     consumer.ack(event)
        >>> event.type
        'placed'
        """
        from hansard.processors.consumer import Consumer  # as above
        from hansard.processors.definitions import check_group

        check_name("name", name)
        if member:
            check_name("member", member)
        retry = check_group(partitions=partitions, partition_by=partition_by, lease_s=lease_s, retry=retry)
        begin = None if after == "head" else check_bound("after", after)
        return Consumer(
            self._storage,
            self._tail,
            self._keeper,
            name,
            check_query("query", query),
            partitions=partitions,
            partition_by=partition_by,
            after=begin,
            lease_s=lease_s,
            retry=retry,
            member=member,
        )

    def catch_up(self, *definitions: Definition, timeout_s: float | None = None) -> None:
        """Run processors here and now, until they have handled everything that is in the log. For scripts and tests.

        Raises ProcessorStopped if one of them stops at an event.

        >>> store, seen = open(":memory:"), []
        >>> _ = store.add("order-7", "placed")
        >>> store.catch_up(Processor("printer", lambda event: seen.append(event.type)))
        >>> seen
        ['placed']
        """
        from hansard.processors.calls import Calls  # as above
        from hansard.processors.runner import Crew
        from hansard.processors.sources import sources_of

        crew = Crew(self._storage, self._tail, sources_of(definitions), calls=Calls(self._tell))
        try:
            crew.run_until_caught_up(None if timeout_s is None else check_timeout(timeout_s))
        finally:
            crew.leave()

    def project(self, projection: Projection, *, key: str | None = None, before: int | None = None) -> Any:
        """Fold the log here and now: the states of all keys as a dict, or the state of one key (None if there is none).

        `before`: only events before a position, for a look at the past. Raises FoldFailed.

        >>> store = open(":memory:")
        >>> _ = store.add("account-1", "paid", {"amount": 5}), store.add("account-1", "paid", {"amount": 7})
        >>> total = Projection("total", lambda total, event: total + event.data["amount"], initial=0)
        >>> store.project(total), store.project(total, key="account-1")
        ({'account-1': 12}, 12)
        """
        from hansard.projections.live import fold_all  # as above

        check_projection(projection)
        query = projection.events
        if key is not None and projection.is_by_stream:
            events = (event for event in self.read_stream(key) if query.matches(event, key))
            states = fold_all(projection, (e for e in events if before is None or e.position < before))
        else:
            states = fold_all(projection, self.read(query, before=before))
        return states if key is None else states.get(key)

    def inline(self, *projections: Projection) -> None:
        """Fold these projections in the transaction of every append of this store object from now on.

        What is in the log already is folded first. What other programs append without them is folded by the next append
        that has them. An append whose fold raises is refused with InlineFailed.

        >>> store = open(":memory:")
        >>> store.inline(Projection("total", lambda total, event: total + event.data["amount"], initial=0))
        >>> _ = store.add("account-1", "paid", {"amount": 5})
        >>> store.model("total")["account-1"]
        5
        """
        from hansard.projections.inline import Inline  # as above

        hook = Inline([check_projection(projection) for projection in projections])
        if projections:
            self.catch_up(*projections)
        self._storage.set_inline(hook if projections else None)

    def model(self, name: str, *, build: str | None = None) -> "Model":
        """The read model of a projection: `store.model("totals")["account-1"]`; also `get`, `items`, `wait_for`.

        Raises InvalidInput if nothing of this name was ever run.
        """
        from hansard.projections.model import Model  # as above

        return Model(self._storage, name, build)

    def projection(self, name: str) -> "ProjectionControl":
        """A projection from outside: status, rebuild, promote, drop, diff. Raises InvalidInput if the name is not known."""
        from hansard.projections.control import ProjectionControl  # as above

        return ProjectionControl(self._storage, name)

    def projections(self) -> "Iterator[ProjectionStatus]":
        """The status of every projection, with its builds, in the order of their names."""
        from hansard.projections.control import statuses  # as above

        return statuses(self._storage)

    def _tell(self, stored: Sequence[RecordedEvent]) -> None:
        call_handlers(self._handlers, stored, stored)

    @property
    def timers(self) -> Timers:
        """Durable timers: "store this event at that time, unless ...". Run `Timers`, or a process manager, to have them fired.

        >>> from datetime import timedelta
        >>> from hansard import Timer
        >>> store = open(":memory:")
        >>> reminder = Timer("remind-7", timedelta(0), "order-7", Event("reminder-due"), unless=Query(types={"paid"}))
        >>> store.timers.set(reminder)
        >>> store.catch_up(Timers)
        >>> store.all("order-7")[0].type
        'reminder-due'
        """
        return Timers(self._storage)

    def reader(self, name: str) -> "ReaderControl":
        """A named reader, run by whichever process: its status, its dead letters, pause, resume, throttle, reset, wait_for.

        Raises InvalidInput if nothing of this name was ever run.
        """
        from hansard.processors.control import ReaderControl  # as above

        return ReaderControl(self._storage, name)

    def readers(self) -> "Iterator[ReaderStatus]":
        """The status of every named reader, in the order of their names."""
        from hansard.processors.control import statuses  # as above

        return statuses(self._storage)

    def wait(self, after: int, timeout_s: float) -> int:
        """Wait until the head is beyond a position, or the time is over. Returns the head."""
        return self._storage.wait(check_bound("after", after), check_timeout(timeout_s))

    @property
    def cluster(self) -> "ClusterControl":
        """The cluster that this store is a node of, from outside: `status()`, `trim(...)`. CapabilityMissing for other stores."""
        from hansard.storage.cluster.control import control_of  # as above

        return control_of(self._untyped)

    def barrier(self) -> None:
        """Return once everything can be read here that was acknowledged anywhere before the call.

        On a cluster it is a message through the log, so that reads after it are linearizable; elsewhere it costs nothing.
        """
        self._storage.barrier()

    def branch(self, at: int | None = None) -> "Store":
        """A store that begins as this one was at a position (None: the head), and goes its own way from there, in memory.

        Nothing is copied, and nothing that is done there is seen here. Named readers and projections begin anew there. For tests,
        and for what-if questions. Close it before this store.

        >>> store = open(":memory:")
        >>> _ = store.add("order-7", "placed")
        >>> with store.branch() as branch:
        ...     branch.add("order-7", "cancelled").version, store.stream("order-7").version
        (2, 1)
        """
        from hansard.storage.branch import BranchStorage  # as above

        return Store(BranchStorage(self._untyped, None if at is None else check_bound("at", at)), self._types)

    # Keeping

    @property
    def durability(self) -> str:
        """What an acknowledged append has survived, in plain words."""
        return self._storage.durability

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the engine can do beyond the contract."""
        return self._storage.capabilities

    def check(self) -> list[str]:
        """Verify every invariant of what is stored; one sentence for each that does not hold."""
        return self._storage.check()

    def backup(self, target: str | os.PathLike[str]) -> int:
        """Copy the log as it is at one moment to a new file, while others append. Returns the head of the copy."""
        return self._storage.backup(check_path("target", target))

    def close(self) -> None:
        """Finish the appends under way and release files and threads. May be called again."""
        if self._deciding is not None:
            self._deciding.snapshots.close()
        self._keeper.close()
        self._tail.close()
        self._storage.close()
        self._tail.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def with_recorded(work: Callable[[Transaction], ResultT]) -> Callable[[StorageTransaction], tuple[ResultT, list[RecordedEvent]]]:
    """The work on a user's transaction, and what it has stored."""
    if not callable(work):
        raise InvalidType("work", work, "expected a function of one argument, the transaction")

    def run(transaction: StorageTransaction) -> tuple[ResultT, list[RecordedEvent]]:
        given = Transaction(transaction)
        return work(given), given.recorded

    return run
