"""Functions of this process that are called right after events were stored by this store object.

Handlers run after the commit, in the order registered, **breadth first**: events that a handler appends are handled
after all handlers of the present event, by the outermost append. One that raises stops neither the others nor the append.
"""

import inspect
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

from hansard.errors import HandlerLoop, HandlersFailed, InvalidType
from hansard.events import RecordedEvent
from hansard.limits import HANDLER_CASCADE_MAX
from hansard.names import check_type

Handler = Callable[[RecordedEvent], Any]
HandlerT = TypeVar("HandlerT", bound=Handler)

EVERY_TYPE = "*"


class Handlers:
    """The handlers of one store object."""

    def __init__(self, *, are_async_allowed: bool) -> None:
        self._registered: list[tuple[str, Handler]] = []
        self._are_async_allowed = are_async_allowed

    def on(self, type: str | type, handler: HandlerT) -> HandlerT:
        name = check_type("type", type)
        if not callable(handler):
            raise InvalidType("handler", handler, "expected a function of one argument, the recorded event")
        if not self._are_async_allowed and inspect.iscoroutinefunction(handler):
            raise InvalidType("handler", handler, "an async handler needs a store of hansard.aio")
        self._registered = [*self._registered, (name, handler)]
        return handler

    def off(self, type: str | type, handler: Handler) -> None:
        """Forget one registration; nothing happens if there is none."""
        one = (check_type("type", type), handler)
        if one in self._registered:
            registered = list(self._registered)
            registered.remove(one)
            self._registered = registered

    def __bool__(self) -> bool:
        return bool(self._registered)

    def of(self, event: RecordedEvent) -> list[Handler]:
        return [handler for type, handler in self._registered if type in (EVERY_TYPE, event.type)]


class Dispatch:
    """One outermost append and all that its handlers cause: the events still to be handled, and what was raised."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        self.thread = threading.get_ident()
        self.is_running = True
        self._waiting: deque[RecordedEvent] = deque()
        self._raised: list[Exception] = []
        self._caused = 0

    def put(self, events: Iterable[RecordedEvent], *, are_caused: bool) -> None:
        """More events to handle; those that handlers caused are counted, so that a loop ends."""
        for event in events:
            self._caused += are_caused
            if self._caused > HANDLER_CASCADE_MAX:
                self._end_loop(event)
                return
            self._waiting.append(event)

    def next_calls(self) -> list[tuple[Handler, RecordedEvent]] | None:
        """The calls for the next event; None when nothing waits."""
        if not self._waiting:
            return None
        event = self._waiting.popleft()
        return [(handler, event) for handler in self.handlers.of(event)]

    def failed(self, handler: Handler, event: RecordedEvent, error: Exception) -> None:
        name = getattr(handler, "__qualname__", repr(handler))
        error.add_note(f"in handler {name} for {event.type!r} at position {event.position}")
        self._raised.append(error)

    def end(self, recorded: object) -> None:
        """Raises HandlersFailed if a handler has raised."""
        if self._raised:
            raise HandlersFailed.of(self._raised, recorded)

    def _end_loop(self, event: RecordedEvent) -> None:
        if not self._raised or not isinstance(self._raised[-1], HandlerLoop):
            self._raised.append(HandlerLoop(HANDLER_CASCADE_MAX, event.position))


_running: ContextVar[Dispatch | None] = ContextVar("hansard_running_dispatch", default=None)


def call_handlers(handlers: Handlers, events: Iterable[RecordedEvent], recorded: object) -> None:
    """Call the handlers of these events; within a handler, leave them to the append that is being handled."""
    if _left_to_outer(handlers, events):
        return
    dispatch = Dispatch(handlers)
    dispatch.put(events, are_caused=False)
    token = _running.set(dispatch)
    try:
        while (calls := dispatch.next_calls()) is not None:
            for handler, event in calls:
                try:
                    handler(event)
                except Exception as error:
                    dispatch.failed(handler, event, error)
    finally:
        dispatch.is_running = False
        _running.reset(token)
    dispatch.end(recorded)


async def call_handlers_async(handlers: Handlers, events: Iterable[RecordedEvent], recorded: object) -> None:
    """The same; a handler may be async, and is awaited before the next one is called."""
    if _left_to_outer(handlers, events):
        return
    dispatch = Dispatch(handlers)
    dispatch.put(events, are_caused=False)
    token = _running.set(dispatch)
    try:
        while (calls := dispatch.next_calls()) is not None:
            for handler, event in calls:
                try:
                    result = handler(event)
                    if isinstance(result, Awaitable):
                        await result
                except Exception as error:
                    dispatch.failed(handler, event, error)
    finally:
        dispatch.is_running = False
        _running.reset(token)
    dispatch.end(recorded)


def _left_to_outer(handlers: Handlers, events: Iterable[RecordedEvent]) -> bool:
    running = _running.get()
    if running is None or not running.is_running or running.handlers is not handlers:
        return False
    if running.thread != threading.get_ident():  # a thread with a copied context handles its own events
        return False
    running.put(events, are_caused=True)
    return True
