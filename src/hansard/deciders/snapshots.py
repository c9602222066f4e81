"""Snapshots: a state kept beside the log, with what it takes to find out that it does not belong to it.

They are documents. A snapshot names the event that it stands at; whoever uses it reads that event again and compares.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5
from weakref import WeakKeyDictionary
from zlib import crc32

import msgspec

from hansard.deciders.aggregates import Aggregate, held_by
from hansard.deciders.definition import Decider
from hansard.errors import HansardError, InvalidType
from hansard.event_types.codecs import codec_of
from hansard.event_types.registry import EventTypes
from hansard.fingerprints import fingerprint_of
from hansard.limits import SNAPSHOTS_WAITING_MAX
from hansard.query import Query
from hansard.storage.port import Storage, StorageTransaction

log = logging.getLogger("hansard.snapshots")

_PLAIN = (dict, list, str, int, float, bool, type(None))


class Snapshot(NamedTuple):
    """A state after the event at `at` (a version, or a position), and that event's id."""

    state: Any
    at: int
    event_id: bytes
    taken_s: float


class _Document(msgspec.Struct):
    fingerprint: int
    version: int
    at: int
    event: str
    taken_s: float
    state: msgspec.Raw
    crc: int = 0

    @property
    def expected_crc(self) -> int:
        facts = f"{self.fingerprint} {self.version} {self.at} {self.event} {self.taken_s!r} ".encode()
        return crc32(facts + bytes(self.state))


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Document).decode


class SnapshotBook:
    """The snapshots of one decider. `types`: those of its store, which say what it has folded."""

    def __init__(self, decider: Decider[Any, Any, Any], types: EventTypes | None) -> None:
        self._decider = decider
        self._types = types
        self.collection = f"snapshot/{decider.name}"
        self.is_off = False
        self._begin: int | None = None
        kind = decider.state or type(decider.begin())
        self._kind = 0 if kind in _PLAIN else fingerprint_of(kind)
        try:
            self._codec = None if kind in _PLAIN else codec_of(kind)
        except InvalidType as error:
            raise InvalidType("state", kind, f"snapshots need a state that JSON can keep: {error.limit}") from error

    def read(self, storage: Storage, key: str) -> Snapshot | None:
        """The snapshot under a key, if it was made by this decider as it is now."""
        text = storage.get(self.collection, [key]).get(key)
        if text is None:
            return None
        try:
            document = _decode(text)
            if document.crc != document.expected_crc:
                raise ValueError("its checksum does not fit")
            if (document.fingerprint, document.version) != (self._fingerprint, self._decider.version):
                return None
            return Snapshot(self._state_of(bytes(document.state)), document.at, bytes.fromhex(document.event), document.taken_s)
        except (ValueError, TypeError, RecursionError) as error:
            log.warning("snapshot of %s under %r is dropped: %s", self._decider.name, key, error)
            return None

    @property
    def _fingerprint(self) -> int:
        """Of all that the state depends on: the decider's functions, its class, what it begins with, and how events are read."""
        if self._begin is None:
            self._begin = crc32(self._encoded(self._decider.begin()))
        return self._decider.fingerprint ^ self._kind ^ self._begin ^ (0 if self._types is None else self._types.fingerprint)

    def _encoded(self, state: Any) -> bytes:
        return _encode(state if self._codec is None else self._codec.plain(state))

    def text(self, snapshot: Snapshot) -> bytes | None:
        """The document; None where the state does not come back equal."""
        try:
            state = self._encoded(snapshot.state)
            if not _is_same(self._state_of(state), snapshot.state):
                raise ValueError("the state does not come back equal from JSON; give the decider's `state`, or compare by value")
        except (ValueError, TypeError, NotImplementedError, RecursionError, OverflowError) as error:
            self.is_off = True
            log.warning("snapshots of %s are off: %s", self._decider.name, error)
            return None
        decider = self._decider
        at, id = snapshot.at, snapshot.event_id.hex()
        document = _Document(self._fingerprint, decider.version, at, id, snapshot.taken_s, msgspec.Raw(state))
        document.crc = document.expected_crc
        return _encode(document)

    def _state_of(self, text: bytes) -> Any:
        return msgspec.json.decode(text) if self._codec is None else self._codec.of_json(text)

    def is_due(self, snapshot: Snapshot | None, at: int, since: int) -> bool:
        """Whether one is to be taken at `at`, `since` events after the last one."""
        policy = self._decider.snapshots
        if policy is None or self.is_off or since == 0:
            return False
        is_old = policy.after_s is not None and snapshot is not None and time.time() - snapshot.taken_s >= policy.after_s
        return since >= policy.every or is_old


def _is_same(back: Any, state: Any) -> bool:
    """Equal, and of the same kinds: a Counter is equal to a dict, and an Enum to its text, but neither does what they do."""
    if type(back) is not type(state) or back != state:
        return False
    if isinstance(state, dict):
        return all(_is_same(back[key], value) for key, value in state.items())
    if isinstance(state, list | tuple):
        return all(map(_is_same, back, state))
    return not isinstance(state, Aggregate) or held_by(back) == held_by(state)


def key_of(target: str | Query) -> str:
    """A stream's name; for a query, what stands for it."""
    return target if isinstance(target, str) else f"query {uuid5(NAMESPACE_OID, text_of(target))}"


def text_of(target: str | Query) -> str:
    """A text that is the same for equal targets."""
    return target if isinstance(target, str) else " | ".join(sorted(map(str, target.items)))


class SnapshotWriter:
    """Of one store. Writes snapshots in the background, by one thread that runs only while there is something to write."""

    def __init__(self, storage: Storage, types: EventTypes | None) -> None:
        self._storage = storage
        self._types = types
        self._books: WeakKeyDictionary[Decider[Any, Any, Any], SnapshotBook] = WeakKeyDictionary()
        self._waiting: queue.SimpleQueue[tuple[str, str, bytes]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def book_of(self, decider: Decider[Any, Any, Any]) -> SnapshotBook:
        known = self._books.get(decider)
        if known is None:
            known = self._books[decider] = SnapshotBook(decider, self._types)
        return known

    def put(self, book: SnapshotBook, key: str, text: bytes) -> None:
        """To be written soon."""
        with self._lock:
            if self._is_closed or self._waiting.qsize() >= SNAPSHOTS_WAITING_MAX:
                return
            self._waiting.put((book.collection, key, text))
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="hansard-snapshots", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Until everything that was put is written."""
        while (thread := self._thread) is not None:
            thread.join()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self.wait()

    def _write_all(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                self._storage.transact(_putting(group))
            except HansardError as error:  # the store is busy, full or closed: the next one may do better
                log.info("snapshots were not written: %s", error)

    def _next_group(self) -> list[tuple[str, str, bytes]] | None:
        with self._lock:
            group = [self._waiting.get() for _ in range(min(self._waiting.qsize(), 100))]
            if not group:
                self._thread = None
                return None
            return group


def _putting(texts: list[tuple[str, str, bytes]]) -> Callable[[StorageTransaction], None]:
    def work(transaction: StorageTransaction) -> None:
        for collection, key, text in texts:
            transaction.put(collection, {key: text})

    return work
