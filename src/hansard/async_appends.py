"""Appends of one event loop: those of one turn go to the writer together, and their callers are woken once per commit."""

import asyncio
from collections.abc import Callable, Sequence

from hansard.appends import Append, Appended
from hansard.errors import HansardError
from hansard.limits import QUEUE_APPENDS_MAX
from hansard.storage.port import Storage, Ticket

_UNDER_WAY_MAX = QUEUE_APPENDS_MAX // 2


class _AsyncTicket(Ticket):
    __slots__ = ("future",)

    def __init__(self, append: Append, settled: Callable[[Sequence[Ticket]], None], future: "asyncio.Future[Appended]") -> None:
        super().__init__(append, settled)
        self.future = future


class AsyncAppends:
    """To be used on the loop's thread."""

    def __init__(self, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        self._storage = storage
        self._loop = loop
        self._outgoing: list[Ticket] = []
        self._under_way = 0

    def begin(self, append: Append) -> "asyncio.Future[Appended]":
        """Under way; the result is there once it is committed, or the error that refused it."""
        future: asyncio.Future[Appended] = self._loop.create_future()
        if not self._outgoing and self._under_way < _UNDER_WAY_MAX:
            self._loop.call_soon(self._send)
        self._outgoing.append(_AsyncTicket(append, self._settled, future))
        return future

    def _send(self) -> None:
        """Hand over what has gathered, never more than the writer's queue takes without waiting: this is the loop's thread."""
        room = _UNDER_WAY_MAX - self._under_way
        tickets, self._outgoing = self._outgoing[:room], self._outgoing[room:]
        self._under_way += len(tickets)
        try:
            self._storage.submit(tickets)
        except HansardError as error:
            for ticket in tickets:
                ticket.error = error
            self._resolve(tickets)

    def _settled(self, tickets: Sequence[Ticket]) -> None:
        """Called by the writer, on its thread."""
        try:
            self._loop.call_soon_threadsafe(self._resolve, tickets)
        except RuntimeError:
            # The loop was closed while appends were under way: nobody is left to be told.
            return

    def _resolve(self, tickets: Sequence[Ticket]) -> None:
        self._under_way -= len(tickets)
        if self._outgoing:
            self._loop.call_soon(self._send)
        for ticket in tickets:
            assert isinstance(ticket, _AsyncTicket)
            if ticket.future.done():
                continue
            if ticket.error is not None:
                ticket.future.set_exception(ticket.error)
            elif ticket.appended is not None:
                ticket.future.set_result(ticket.appended)
