"""Running and controlling readers from asyncio: the same verbs, awaited."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hansard.errors import ProcessorStopped
from hansard.events import RecordedEvent
from hansard.processors.consumer import Consumer
from hansard.processors.control import ReaderControl, ReaderStatus
from hansard.processors.dead_letters import DeadLetter, DeadLetters
from hansard.processors.runner import Running
from hansard.storage.port import Storage
from hansard.subscriptions.async_drivers import Live
from hansard.timers import Timer, TimerInfo, Timers

InThread = Callable[..., Awaitable[Any]]


class AsyncRunning:
    """See Running: `async with store.run(...) as running`."""

    def __init__(self, start: Callable[[], Running], in_thread: InThread) -> None:
        self._start = start
        self._in_thread = in_thread
        self._running: Running | None = None

    async def __aenter__(self) -> Self:
        self._running = await self._in_thread(self._start)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def stop(self) -> None:
        if self._running is not None:
            await self._in_thread(self._running.stop)

    @property
    def _started(self) -> Running:
        assert self._running is not None, "write `async with store.run(...) as running`"
        return self._running

    @property
    def errors(self) -> list[tuple[str, Exception]]:
        return self._started.errors

    @property
    def stopped(self) -> dict[str, ProcessorStopped]:
        return self._started.stopped

    def position(self, name: str) -> int:
        return self._started.position(name)

    async def wait_for(self, name: str, position: int, timeout_s: float = 10.0) -> None:
        await self._in_thread(self._started.wait_for, name, position, timeout_s)

    async def wait_until_caught_up(self, timeout_s: float = 60.0) -> None:
        await self._in_thread(self._started.wait_until_caught_up, timeout_s)


class AsyncConsumer:
    """See Consumer: an async iterator, for one task or several."""

    def __init__(self, start: Callable[[], Consumer], live: Live, in_thread: InThread) -> None:
        self._start = start
        self._live = live
        self._in_thread = in_thread
        self._consumer: Consumer | None = None

    async def __aenter__(self) -> Self:
        self._consumer = await self._in_thread(self._start)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._consumer is not None:
            await self._in_thread(self._consumer.close)
        self._live.wake()

    def __aiter__(self) -> AsyncIterator[RecordedEvent]:
        return self

    async def __anext__(self) -> RecordedEvent:
        event = await self.take(math.inf)
        if event is None:
            raise StopAsyncIteration
        return event

    async def take(self, timeout_s: float) -> RecordedEvent | None:
        """The next event whose turn it is, or None if there is none within the time, or the consumer is closed."""
        deadline = time.monotonic() + timeout_s
        while not self._started.is_closed:
            moved = self._live.moved()
            event, pause_s = await self._take_now()
            left = deadline - time.monotonic()
            if event is not None or left <= 0:
                return event
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause_s, left)):
                    await moved
        return None

    async def _take_now(self) -> tuple[RecordedEvent | None, float]:
        taking: asyncio.Future[tuple[RecordedEvent | None, float]] = asyncio.ensure_future(
            self._in_thread(self._started.take_now)
        )
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._put_back)
            raise

    async def put_back(self, event: RecordedEvent) -> None:
        """See Consumer.put_back."""
        await self._in_thread(self._started.put_back, event)

    async def is_out(self, event: RecordedEvent) -> bool:
        """See Consumer.is_out."""
        is_out: bool = await self._in_thread(self._started.is_out, event)
        return is_out

    @property
    def name(self) -> str:
        return self._started.name

    def _put_back(self, taking: "asyncio.Future[tuple[RecordedEvent | None, float]]") -> None:
        """The task that wanted an event was cancelled while one was taken for it."""
        if not taking.cancelled() and taking.exception() is None and (event := taking.result()[0]) is not None:
            asyncio.ensure_future(self._in_thread(self._started.put_back, event))  # noqa: RUF006

    @property
    def _started(self) -> Consumer:
        assert self._consumer is not None, "write `async with store.join(...) as consumer`"
        return self._consumer

    async def ack(self, event: RecordedEvent) -> None:
        await self._in_thread(self._started.ack, event)

    async def nack(self, event: RecordedEvent, *, delay_s: float | None = None) -> None:
        await self._in_thread(lambda: self._started.nack(event, delay_s=delay_s))

    async def park(self, event: RecordedEvent, reason: str) -> None:
        await self._in_thread(self._started.park, event, reason)

    async def flush(self) -> None:
        await self._in_thread(self._started.flush)


class AsyncReaderControl:
    """See ReaderControl. That the name is known is looked up by the first verb."""

    def __init__(self, storage: Storage, name: str, in_thread: InThread) -> None:
        self._storage = storage
        self._in_thread = in_thread
        self.name = name

    async def _do(self, verb: Callable[[ReaderControl], Any]) -> Any:
        return await self._in_thread(lambda: verb(ReaderControl(self._storage, self.name)))

    async def status(self) -> ReaderStatus:
        status: ReaderStatus = await self._do(lambda reader: reader.status())
        return status

    async def pause(self) -> None:
        await self._do(lambda reader: reader.pause())

    async def resume(self) -> None:
        await self._do(lambda reader: reader.resume())

    async def throttle(self, events_per_s: float | None) -> None:
        await self._do(lambda reader: reader.throttle(events_per_s))

    async def reset(self, position: int = 0) -> None:
        await self._do(lambda reader: reader.reset(position))

    async def forget(self) -> None:
        await self._do(lambda reader: reader.forget())

    async def wait_for(self, position: int, timeout_s: float = 10.0) -> None:
        await self._do(lambda reader: reader.wait_for(position, timeout_s))

    @property
    def dead_letters(self) -> "AsyncDeadLetters":
        return AsyncDeadLetters(DeadLetters(self._storage, self.name), self._in_thread)


class AsyncTimers:
    """See Timers."""

    def __init__(self, timers: Timers, in_thread: InThread) -> None:
        self._timers = timers
        self._in_thread = in_thread

    async def set(self, timer: Timer) -> None:
        await self._in_thread(self._timers.set, timer)

    async def cancel(self, name: str) -> bool:
        was_there: bool = await self._in_thread(self._timers.cancel, name)
        return was_there

    async def list(self) -> "list[TimerInfo]":
        found: list[TimerInfo] = await self._in_thread(lambda: [*self._timers])
        return found

    async def fire(self) -> int:
        count: int = await self._in_thread(self._timers.fire)
        return count


class AsyncDeadLetters:
    """See DeadLetters."""

    def __init__(self, letters: DeadLetters, in_thread: InThread) -> None:
        self._letters = letters
        self._in_thread = in_thread

    async def list(self) -> "list[DeadLetter]":
        found: list[DeadLetter] = await self._in_thread(lambda: [*self._letters])
        return found

    async def retry(self, sequence: str | None = None) -> int:
        count: int = await self._in_thread(self._letters.retry, sequence)
        return count

    async def discard(self, sequence: str, position: int | None = None) -> int:
        count: int = await self._in_thread(self._letters.discard, sequence, position)
        return count
