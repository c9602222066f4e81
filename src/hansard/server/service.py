"""What the operations work on: one store, with what the server keeps around it. Made inside the event loop that serves it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from hansard.aio import AsyncStore
from hansard.async_appends import AsyncAppends
from hansard.domain import NO_DOMAIN, Domain
from hansard.events import RecordedEvent
from hansard.limits import READERS_MAX, SHARED_BYTES_MAX, SHARED_EVENTS_MAX
from hansard.server.access.gate import Gate
from hansard.server.groups import HeldConsumers
from hansard.server.metrics import Metrics
from hansard.server.requests import HeldBytes
from hansard.server.settings import Settings
from hansard.server.transactions import OpenTransactions
from hansard.storage.instrumented import Instrumented
from hansard.storage.port import Storage
from hansard.storage.typed import typed
from hansard.store import Store
from hansard.wire.recorded import form_of

_T = TypeVar("_T")
_KEEPING_S = 0.5


class Service:
    def __init__(self, storage: Storage, settings: Settings, gate: Gate, domain: Domain = NO_DOMAIN) -> None:
        self.begun_s = time.monotonic()
        self.domain = domain
        self.metrics = Metrics(settings.slow_ms)
        storage = self.storage = Instrumented(storage, self.metrics)
        self.gate = gate
        self.settings = settings
        self.store = AsyncStore(storage)
        self.seen = typed(storage, domain.types)
        """The storage as the page shows it: through the domain's event types. Programs get what is stored."""
        self.seen_store = AsyncStore(storage, domain.types)
        self.held = HeldBytes()
        self.frames = Frames()
        self.stopping = asyncio.Event()
        self.requests_under_way = 0
        self._loop = asyncio.get_running_loop()
        self.control = Store(storage)
        """For what is done now and then, in threads: readers, projections, timers."""
        self.groups = HeldConsumers(self.store)
        self.appends = AsyncAppends(storage, self._loop)
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="hansard-server")
        self.transactions = OpenTransactions(storage, self._loop)

    async def keep(self) -> None:
        """For as long as it serves: what is to be done now and then."""
        while True:
            await asyncio.sleep(_KEEPING_S)
            if self.groups:
                await self.groups.end_silent()

    def in_thread(self, call: Callable[..., _T], *arguments: Any) -> Awaitable[_T]:
        """Run what may wait for the disk."""
        return self._loop.run_in_executor(self._threads, copy_context().run, call, *arguments)

    async def unless_stopping(self, waiting: Coroutine[Any, Any, _T], otherwise: _T) -> _T:
        """What is waited for; if the server stops before it is there, something else at once."""
        task = asyncio.ensure_future(waiting)
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else otherwise
        finally:
            task.cancel()
            stopping.cancel()

    def stop(self) -> None:
        """End all streams that have no end, and take no more requests."""
        self.stopping.set()

    async def close(self) -> None:
        self.stop()
        await self.transactions.close()
        await self.groups.close()
        await self.in_thread(self.control.close)
        await self.seen_store.close()
        await self.store.close()
        self._threads.shutdown(wait=False)


class Frames:
    """Server-sent events of the last events, made once for all subscribers."""

    def __init__(self) -> None:
        self._frames: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    def of(self, event: RecordedEvent) -> bytes:
        frame = self._frames.get(event.position)
        if frame is None:
            frame = frame_of(event)
            self._frames[event.position] = frame
            self._bytes += len(frame)
            while len(self._frames) > SHARED_EVENTS_MAX or (self._bytes > SHARED_BYTES_MAX and len(self._frames) > 1):
                _, old = self._frames.popitem(last=False)
                self._bytes -= len(old)
        return frame


def frame_of(event: RecordedEvent) -> bytes:
    """One server-sent event: its id is the position to go on from (Last-Event-ID)."""
    return b"id: %d\ndata: %b\n\n" % (event.position, form_of(event))
