"""Waiting for commits, of this process and of others. Knows the head's row and a channel; the head decides, not the channel.

Commits of this store object wake all who wait on it. Those of other processes are told by NOTIFY, which a thread sends after
the commit: inside the append's transaction it would make commits wait for each other. What is not told is found by looking.
"""

import threading
import time
from collections.abc import Callable

import psycopg

from hansard.errors import HansardError
from hansard.storage.postgres.connection import Connection, Database

_LISTENING_LOOK_S = 1.0
"""How often the head is looked at although LISTEN works."""

_LOOK_S = 0.05
"""How often where it does not, as behind a pooler of transactions."""

_NOTIFY_PAUSE_S = 0.002
_LISTEN_S = 5.0
_AGAIN_S = 1.0


class Bell:
    """All who wait on one store object, and the two threads that talk to other processes; both start at the first need."""

    def __init__(self, database: Database, log: int) -> None:
        self._database = database
        self._channel = f"hansard_{database.address.schema}_{log}"[:63]
        self._changed = threading.Condition()
        self._rung = 0
        self._waiting = 0
        self._is_listening = False
        self._is_closed = False
        self._listener: threading.Thread | None = None
        self._notifier: threading.Thread | None = None
        self._to_tell = threading.Event()

    def ring(self) -> None:
        """This object has committed."""
        if self._notifier is None:
            self._notifier = self._started(self._notify_for_ever, "hansard-notifier")
        self._to_tell.set()
        if self._waiting:
            self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._rung += 1
            self._changed.notify_all()

    def wait(self, head: Callable[[], int], after: int, timeout_s: float) -> int:
        """Until the head is beyond `after`, the time is over, or the store is closed. Returns the head."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._waiting += 1
            if self._listener is None and not self._is_closed:
                self._listener = self._started(self._listen_for_ever, "hansard-listener")
        try:
            while True:
                rung = self._rung
                now = head()
                left = deadline - time.monotonic()
                if now > after or left <= 0 or self._is_closed:
                    return now
                look_s = _LISTENING_LOOK_S if self._is_listening else _LOOK_S
                with self._changed:
                    self._changed.wait_for(lambda rung=rung: self._rung != rung or self._is_closed, min(left, look_s))  # type: ignore[misc]
        finally:
            with self._changed:
                self._waiting -= 1

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._to_tell.set()
        for thread in (self._notifier, self._listener):
            if thread is not None and thread is not threading.current_thread():
                thread.join(_LISTEN_S)

    def _started(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread

    # Telling others. A wake-up that is lost costs time, nothing else, so every failure ends in another try.

    def _notify_for_ever(self) -> None:
        connection: Connection | None = None
        while not self._is_closed:
            self._to_tell.wait()
            self._to_tell.clear()
            if self._is_closed:
                break
            try:
                connection = connection or self._database.connect()
                connection.execute("SELECT pg_notify(%s, '')", (self._channel,))
                time.sleep(_NOTIFY_PAUSE_S)
            except (psycopg.Error, HansardError):
                if connection is not None:
                    connection.close()
                    connection = None
                time.sleep(_NOTIFY_PAUSE_S)
        if connection is not None:
            connection.close()

    # Hearing others

    def _listen_for_ever(self) -> None:
        while not self._is_closed:
            try:
                connection = self._database.connect()
            except (psycopg.Error, HansardError):
                self._pause()
                continue
            try:
                connection.execute(f'LISTEN "{self._channel}"')
                self._is_listening = True
                self._wake()
                self._hear(connection)
            except psycopg.Error:
                self._pause()
            finally:
                self._is_listening = False
                connection.close()

    def _hear(self, connection: Connection) -> None:
        while not self._is_closed:
            for _ in connection.notifies(timeout=0.5, stop_after=1):
                self._wake()

    def _pause(self) -> None:
        deadline = time.monotonic() + _AGAIN_S
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed, max(deadline - time.monotonic(), 0))
