"""Calling a user's handler: with a time limit, plain or async, and refusing what cannot have done its work."""

import asyncio
import ctypes
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from hansard.errors import HandlerTimedOut, InvalidType
from hansard.events import RecordedEvent

_T = TypeVar("_T")
_LOOK_S = 0.02


class Calls:
    """Shared by the readers of one runner. Makes its threads when they are first needed."""

    def __init__(self, tell: Callable[[Sequence[RecordedEvent]], None] | None = None) -> None:
        self.watchdog = Watchdog()
        self._tell = tell
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def call(
        self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None, interrupt: Callable[[], Any] | None = None
    ) -> Any:
        """Call it and return what it returns. `interrupt`: to be called, too, when the time is over."""
        if timeout_s is None:
            return function(*arguments)
        return self.watchdog.call(function, *arguments, timeout_s=timeout_s, interrupt=interrupt)

    def run(self, coroutine: Coroutine[Any, Any, _T], *, timeout_s: float | None) -> _T:
        """Run an async handler on the loop's own thread; at the end of its time it is cancelled."""

        async def limited() -> _T:
            try:
                async with asyncio.timeout(timeout_s) as limit:
                    return await coroutine
            except TimeoutError:
                if limit.expired():
                    raise HandlerTimedOut(f"the handler took longer than {timeout_s:g} s and was cancelled") from None
                raise

        return asyncio.run_coroutine_threadsafe(limited(), self._started_loop()).result()

    def tell(self, stored: Sequence[RecordedEvent]) -> None:
        """Events were stored in a transaction: the handlers of the store object (`store.on`) are called."""
        if stored and self._tell is not None:
            self._tell(stored)

    def close(self) -> None:
        self.watchdog.close()
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="hansard-handlers", daemon=True)
                self._thread.start()
            return self._loop


def check_result(what: str, result: object) -> None:
    """A handler that returns something to be awaited or iterated has not done its work yet."""
    if isinstance(result, Awaitable | Generator):
        if isinstance(result, Coroutine | Generator):
            result.close()
        raise InvalidType(what, result, "the handler returned something that was never run; make it `async def`, or plain")


class _Call:
    def __init__(self, thread: int, timeout_s: float, interrupt: Callable[[], Any] | None) -> None:
        self.thread = thread
        self.timeout_s = timeout_s
        self.ends_s = time.monotonic() + timeout_s
        self.interrupt = interrupt
        self.was_hit = False


class Watchdog:
    """Raises HandlerTimedOut in the thread of a call that takes too long, as soon as that thread runs Python code again.

    A thread cannot be stopped from outside (PyThreadState_SetAsyncExc, https://docs.python.org/3/c-api/init.html): one
    that waits inside a C function for ever stays there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._calls: dict[int, _Call] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def call(self, function: Callable[..., Any], *arguments: Any, timeout_s: float, interrupt: Callable[[], Any] | None) -> Any:
        call = _Call(threading.get_ident(), timeout_s, interrupt)
        with self._lock:
            self._calls[call.thread] = call
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="hansard-watchdog", daemon=True)
                self._thread.start()
        try:
            try:
                result = function(*arguments)
            finally:
                self._end(call)
        except Exception as error:
            if call.was_hit:
                raise HandlerTimedOut(f"the handler took longer than {timeout_s:g} s") from error
            raise
        if call.was_hit:
            raise HandlerTimedOut(f"the handler took longer than {timeout_s:g} s")
        return result

    def hanging(self) -> list[int]:
        """Threads whose call was hit, and has not ended as long after."""
        with self._lock:
            now = time.monotonic()
            return [call.thread for call in self._calls.values() if call.was_hit and now > call.ends_s + call.timeout_s]

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _end(self, call: _Call) -> None:
        with self._lock:  # after this no call of ours is hit any more
            del self._calls[call.thread]
        if call.was_hit:
            with suppress(HandlerTimedOut):  # one that was sent, but has not arrived yet, arrives here
                for _ in range(100):
                    time.sleep(0)

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for call in self._calls.values():
                    if now > call.ends_s and not call.was_hit:
                        self._hit(call)
                ends_s = min([call.ends_s for call in self._calls.values() if not call.was_hit], default=None)
                self._changed.wait(None if ends_s is None else max(_LOOK_S, ends_s - now))

    def _hit(self, call: _Call) -> None:
        call.was_hit = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(call.thread), ctypes.py_object(HandlerTimedOut))
        if call.interrupt is not None:
            call.interrupt()
