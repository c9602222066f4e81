"""Process managers: what is to happen next, decided event by event, for each business process by its key.

Few small functions: which events start, continue and stop a process; `evolve` folds an event into its state; `handle` says
what is to be done. What it says (appends, timers) happens in the transaction of its progress: once, or not at all.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from hansard.appends import StreamAppend
from hansard.errors import InvalidInput, InvalidType
from hansard.events import Event, RecordedEvent
from hansard.names import check_types
from hansard.processors.definitions import STOP, OnFailure, Processor, Retry
from hansard.query import Query
from hansard.timers import CancelTimer, Timer
from hansard.transactions import Transaction

Action = StreamAppend | Timer | CancelTimer

_TYPES_MAX = 1_000


class ProcessManager(Processor):
    """Run it as any processor: `store.run(manager)`. It fires timers, too.

    - `key(event)`: the process that an event belongs to; None for none.
    - `starts`, `continues`, `stops`: event types. An event of a process that has not started is ignored, unless it starts it.
      A process that has stopped is forgotten.
    - `evolve(state, event)` returns the new state (a JSON value); the state before the first event is `initial`.
      Without it, the state is a list of the types seen.
    - `handle(state, event)`, called with the new state, returns what is to be done: StreamAppend, Timer, CancelTimer.
      It has no effects of its own, so it is tested by calling it.

    Appended events carry `causation_id` and `correlation_id` in their metadata.

    >>> def handle(state, event):
    ...     if event.type == "order-placed":
    ...         return [StreamAppend(f"payment-{event.stream}", [Event("payment-requested")])]
    ...     return []
    >>> manager = ProcessManager("payment", key=lambda event: event.stream, handle=handle,
    ...                          starts={"order-placed"}, stops={"order-paid"})
    """

    kind = "process manager"

    def __init__(
        self,
        name: str,
        *,
        key: Callable[[RecordedEvent], str | None],
        handle: Callable[[Any, RecordedEvent], Iterable[Action]],
        starts: Iterable[str | type],
        continues: Iterable[str | type] = (),
        stops: Iterable[str | type] = (),
        evolve: Callable[[Any, RecordedEvent], Any] | None = None,
        initial: Any = None,
        version: int = 1,
        partitions: int = 1,
        retry: Retry | None = None,
        on_failure: OnFailure | str = STOP,
        timeout_s: float | None = None,
    ) -> None:
        for field, function in (("key", key), ("handle", handle), ("evolve", evolve or key)):
            if not callable(function):
                raise InvalidType(field, function, "expected a function")
        self.starts = check_types("starts", starts, _TYPES_MAX)
        self.continues = check_types("continues", continues, _TYPES_MAX)
        self.stops = check_types("stops", stops, _TYPES_MAX)
        if not self.starts:
            raise InvalidInput("starts", starts, "expected at least one event type that starts a process")
        self.key, self.decide, self.evolve, self.initial = key, handle, evolve or _types_seen, initial
        super().__init__(
            name,
            self._handle,
            query=Query(types=self.starts | self.continues | self.stops),
            version=version,
            exactly_once=True,
            partitions=partitions,
            partition_by=key,
            retry=retry,
            on_failure=on_failure,
            timeout_s=timeout_s,
        )

    def _handle(self, event: RecordedEvent, transaction: Transaction) -> None:
        key = self.key(event)
        if key is None:
            return
        collection, missing = f"process/{self.name}", object()
        state = transaction.get(collection, key, missing)
        if state is missing and event.type not in self.starts:
            return
        state = self.evolve(copy.deepcopy(self.initial) if state is missing else state, event)
        for action in _checked(self.decide(state, event)):
            _do(transaction, action, event)
        if event.type in self.stops:
            transaction.delete(collection, key)
        else:
            transaction.put(collection, key, state)


def _types_seen(state: Any, event: RecordedEvent) -> list[str]:
    return [*(state or []), event.type]


def _checked(actions: object) -> list[Action]:
    if not isinstance(actions, Iterable) or isinstance(actions, str | bytes | dict):
        raise InvalidType("handle", actions, "expected a list of StreamAppend, Timer and CancelTimer, or an empty one")
    checked = list(actions)
    for action in checked:
        if not isinstance(action, Action):
            raise InvalidType("handle", action, "expected StreamAppend, Timer or CancelTimer")
    return checked


def _do(transaction: Transaction, action: Action, cause: RecordedEvent) -> None:
    if isinstance(action, StreamAppend):
        events = [caused_by(event, cause) for event in action.events]
        transaction.append(action.stream, events, expected_version=action.expected_version)
    elif isinstance(action, Timer):
        event = caused_by(action.event, cause)
        transaction.set_timer(Timer(action.name, action.due, action.stream, event, action.unless), from_us=cause.timestamp_us)
    else:
        transaction.cancel_timer(action.name)


def caused_by(event: Event, cause: RecordedEvent) -> Event:
    """The event, with where it comes from in its metadata, unless it says so itself."""
    metadata = {
        "causation_id": str(cause.id),
        "correlation_id": cause.metadata.get("correlation_id", str(cause.id)),
        **event.metadata,
    }
    return Event(event.type, None, metadata, event.tags, event.id, data_json=event.data_json)
