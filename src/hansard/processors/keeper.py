"""One thread that calls what has to be called now and then: the beats of all consumers of a store object."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Keeper:
    """Its thread runs only while there is something to call."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[int, tuple[Callable[[], None], float, float]] = {}
        self._numbers = 0
        self._thread: threading.Thread | None = None

    def every(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call it every so many seconds. Returns what ends that."""
        with self._changed:
            self._numbers += 1
            number = self._numbers
            self._calls[number] = (call, seconds, time.monotonic() + seconds)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="hansard-keeper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

        def stop() -> None:
            with self._changed:
                self._calls.pop(number, None)
                self._changed.notify_all()

        return stop

    def close(self) -> None:
        """Call nothing any more."""
        with self._changed:
            self._calls.clear()
            self._changed.notify_all()

    def _keep(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    self._thread = None
                    return
                now = time.monotonic()
                due = {number: entry for number, entry in self._calls.items() if entry[2] <= now}
                if not due:
                    self._changed.wait(min(entry[2] for entry in self._calls.values()) - now)
                    continue
                for number, (call, seconds, _) in due.items():
                    self._calls[number] = (call, seconds, now + seconds)
            for call, _, _ in due.values():
                with suppress(Exception):  # it is called again; whoever registered it meets the error in its own work
                    call()
