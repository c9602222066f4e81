"""Waiting for commits, of this process and of others, without asking again and again. Knows files, no tables.

Commits of this store object ring a bell (an eventfd). Those of other processes are seen by the kernel: it reports
writes to the WAL file (inotify(7)). A write is reported before its transaction is visible, because the disk's answer lies
between the two, so after a report the head is looked at again, at growing intervals, for a while. Where there is no
inotify, the head is looked at every POLL_INTERVAL_S.
"""

import ctypes
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hansard.limits import POLL_INTERVAL_S

_IN_MODIFY = 0x2
_SLEEP_MAX_S = 0.5
_FIRST_LOOK_S = 0.0003
_LOOKING_S = 1.0
_OWN_COMMITS_S = 0.05
"""How long after a commit of this object the reports of the kernel, which are mostly of its own writes, are not listened to."""


class Bells:
    """All who wait on one store object."""

    def __init__(self, wal: str) -> None:
        self._wal = wal
        self._lock = threading.Lock()
        self._free: list[Bell] = []
        self._waiting: frozenset[Bell] = frozenset()
        self._is_closed = False
        self.rung_s = 0.0

    def ring(self) -> None:
        """This object has committed, or is closed."""
        if self._waiting:
            self.rung_s = time.monotonic()
            for bell in self._waiting:
                bell.ring()

    @contextmanager
    def waiting(self) -> Iterator["Bell"]:
        with self._lock:
            bell = self._free.pop() if self._free else Bell(self, self._wal)
            self._waiting |= {bell}
        try:
            yield bell
        finally:
            with self._lock:
                self._waiting -= {bell}
                self._free.append(bell)
                if self._is_closed:
                    self._close_free()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._close_free()
        self.ring()

    def _close_free(self) -> None:
        while self._free:
            self._free.pop().close()


class Bell:
    """One who waits."""

    def __init__(self, bells: Bells, wal: str) -> None:
        self._bells = bells
        self._own = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._reports = _watched(wal)
        self._looking_until_s = 0.0
        self._pause_s = _FIRST_LOOK_S
        self._wait_own, self._wait_any = select.poll(), select.poll()
        self._wait_own.register(self._own, select.POLLIN)
        self._wait_any.register(self._own, select.POLLIN)
        if self._reports is not None:
            self._wait_any.register(self._reports, select.POLLIN)

    def ring(self) -> None:
        with suppress(BlockingIOError, OSError):
            os.eventfd_write(self._own, 1)

    def sleep(self, timeout_s: float) -> None:
        """Until a commit is likely, or the time is over. May return early."""
        now = time.monotonic()
        if self._reports is None or now - self._bells.rung_s < _OWN_COMMITS_S:
            self._take(self._wait_own, min(timeout_s, POLL_INTERVAL_S))
            return
        is_looking = now < self._looking_until_s
        if self._take(self._wait_any, min(timeout_s, self._pause_s if is_looking else _SLEEP_MAX_S)):
            self._looking_until_s = now + _LOOKING_S
            self._pause_s = _FIRST_LOOK_S
        elif is_looking:
            self._pause_s = min(2 * self._pause_s, POLL_INTERVAL_S)

    def _take(self, poll: select.poll, timeout_s: float) -> bool:
        """Whether the kernel has reported a write."""
        ready = poll.poll(timeout_s * 1_000)
        for file, _ in ready:
            with suppress(BlockingIOError):
                os.read(file, 65_536)
        return any(file == self._reports for file, _ in ready)

    def close(self) -> None:
        os.close(self._own)
        if self._reports is not None:
            os.close(self._reports)


def _watched(wal: str) -> int | None:
    """A descriptor that is readable when the file was written to; None where there is none to be had."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except (OSError, AttributeError):
        return None
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(wal), _IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return descriptor
