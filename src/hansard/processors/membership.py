"""One member: a process, or part of one, that runs readers. Beats, and knows who else is alive."""

import os
import socket
import threading
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from uuid_utils import uuid7

from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.processors.documents import MEMBERS, MemberDocument, decoded, encoded
from hansard.processors.sharing import Pulse
from hansard.storage.port import Storage, StorageTransaction


class Membership:
    """`beat()` is to be called a few times in each lease."""

    def __init__(
        self,
        storage: Storage,
        *,
        lease_s: float,
        clock_s: Callable[[], float],
        is_gone: Callable[[MemberDocument], bool] | None = None,
        label: str = "",
    ) -> None:
        self.id = uuid7().hex
        self.lease_s = lease_s
        self._label = label
        self._storage = storage
        self._clock_s = clock_s
        self._is_gone = is_gone or process_is_gone
        self._pulse = Pulse()
        self._lock = threading.Lock()
        self._has_left = False
        self._beat = 0
        self._readers: frozenset[str] = frozenset()
        self._members: dict[str, frozenset[str]] = {}

    def run(self, readers: Iterable[str]) -> None:
        """From the next beat on, this member takes its share of these readers."""
        self._readers = frozenset(readers)

    def members(self, reader: str) -> list[str]:
        """Who was alive and ran a reader at the last beat, in order; this member too."""
        return sorted({member for member, readers in self._members.items() if reader in readers} | {self.id})

    def members_now(self, transaction: StorageTransaction, reader: str) -> list[str]:
        """The same at this moment. A member that has come since the last beat must not be taken for dead."""
        others = _decoded(transaction.scan(MEMBERS, limit=PAGE_DOCUMENTS_MAX))
        return sorted({member for member, other in others.items() if reader in other.readers} | {self.id})

    def withdraw(self, reader: str) -> None:
        """From the next beat on, this member takes no share of a reader that has stopped here."""
        self._readers -= {reader}

    def beat(self) -> None:
        """Say that this member is alive, and see who else is; the dead are taken off the list."""
        with self._lock:
            if not self._has_left:
                self._beat += 1
                self._members = self._storage.transact(self._beat_in)

    def leave(self) -> None:
        """No beat comes after this."""
        with self._lock:
            self._has_left = True
            self._storage.transact(lambda transaction: transaction.put(MEMBERS, {self.id: None}))

    def _beat_in(self, transaction: StorageTransaction) -> dict[str, frozenset[str]]:
        others = _decoded(transaction.scan(MEMBERS, limit=PAGE_DOCUMENTS_MAX))
        others.pop(self.id, None)
        dead = self._pulse.dead({id: (other.beat, other.lease_s) for id, other in others.items()}, self._clock_s())
        dead |= {id for id, other in others.items() if self._is_gone(other)}
        place = (_host(), os.getpid(), _started(os.getpid()))
        me = MemberDocument(self._beat, sorted(self._readers), *place, self.lease_s, self._label)
        transaction.put(MEMBERS, {self.id: encoded(me), **dict.fromkeys(dead)})
        return {id: frozenset(other.readers) for id, other in others.items() if id not in dead}


def _decoded(documents: Iterable[tuple[str, bytes]]) -> dict[str, MemberDocument]:
    return {id: decoded(text, MemberDocument) for id, text in documents}


def process_is_gone(member: MemberDocument) -> bool:
    """Whether the process of a member ran on this machine and does not any more."""
    return member.host == _host() and _started(member.pid) != member.started


@cache
def _host() -> str:
    """This machine since it was started, and this space of process numbers (a container has its own)."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}/{os.getpid()}"  # unknown: no other process is taken for one of this machine


def _started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty if it has ended. Fields 3 and 22 of proc_pid_stat(5)."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else fields[18]
