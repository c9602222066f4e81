"""The contract of an engine. Everything else in Hansard is built on these verbs and works on every engine.

**Order.** A log is one total order. Positions are 1, 2, 3 … without gaps, in commit order: once a reader has seen
position n, nothing ever appears at or below n. All events of one append stand next to each other, in the order given.

**Atomicity.** An append is stored whole, over all its streams, or not at all. Expected versions and the append
condition are checked inside the same transaction: of racing appends that exclude each other exactly one wins.

**Crashes.** What was acknowledged is there after a crash, once. What was not acknowledged is there whole or not at all;
the same append with the same ids finds out which, and stores nothing twice. The next open repairs whatever is left.

**Documents.** Beside the log stand documents: JSON texts by key, in named collections. Reacting keeps its checkpoints, leases
and read models there. They change in transactions, alone or together with an append.

**Threads.** Every verb may be called from any thread.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

from hansard.appends import Append, Appended
from hansard.errors import HansardError
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.streams import StreamInfo


class Capability(StrEnum):
    """What an engine may lack. Asking for what is missing raises CapabilityMissing before any work starts."""

    PROCESSES = "several processes on one store"
    CHECK = "check of the stored file"
    BACKUP = "online backup"
    CONNECTION = "a database connection inside a transaction"
    CLUSTER = "cluster of nodes"


class Dialect(NamedTuple):
    """What differs in the SQL of the databases, as far as tables of read models need it."""

    mark: str
    """Stands for a parameter."""
    types: Mapping[str, str]
    """The database's names of column types; a type that is not here keeps its name."""
    key: str
    """The type of a text that is ordered by code points."""
    name_bytes_max: int
    """Of a table's name."""


ResultT = TypeVar("ResultT")


class Ticket:
    """One append on its way through the writer, and then its outcome: `appended` or `error`.

    `checked_to` is the engine's: up to this position it has found nothing that fails the append's condition.
    """

    __slots__ = ("append", "appended", "checked_to", "error", "settled")

    def __init__(self, append: Append, settled: Callable[[Sequence["Ticket"]], None]) -> None:
        self.append = append
        self.checked_to = 0
        self.appended: Appended | None = None
        self.error: HansardError | None = None
        self.settled = settled


class StorageTransaction(Protocol):
    """One write transaction over the log and the documents: all of it happens, or nothing. It sees its own changes.

    To be used by the function that was given it, in that function's thread, until it returns.
    """

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The documents of these keys; an unknown key is left out."""

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        """Up to `limit` (at most PAGE_DOCUMENTS_MAX) keys > after with their documents, in the order of the keys' code points."""

    def put(self, collection: str, documents: Mapping[str, bytes | None]) -> None:
        """Set these documents; None deletes one."""

    def drop(self, collection: str) -> None:
        """Delete all documents of a collection."""

    def append(self, append: Append, *, then: "InlineHook | None" = None) -> Appended:
        """As Storage.append, within this transaction. A refusal leaves the transaction as it was before the call.

        `then` takes the place of the store's inline hook for this append: what it raises refuses the append.
        """

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        """As Storage.read."""

    def head(self) -> int:
        """As Storage.head; nobody else appends before this transaction is over."""

    @property
    def dialect(self) -> Dialect:
        """Of the connection. Raises CapabilityMissing where there is none."""

    @property
    def connection(self) -> Any:
        """The database's own connection, in this transaction. Raises CapabilityMissing where there is none."""


InlineHook = Callable[[StorageTransaction, Sequence[RecordedEvent]], None]
"""Called inside each append's transaction with what it has stored; what it raises refuses the append."""


class Storage(Protocol):
    """One log in one engine."""

    @property
    def durability(self) -> str:
        """What an acknowledgement promises, in plain words."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    def append(self, append: Append) -> Appended:
        """Store all of it, durably, or raise and store nothing.

        A repetition of an append that is in the log already (same ids, same content, same streams) gives the place
        of the first, whatever is expected or conditioned now.
        Raises a Conflict, InvalidInput (timestamps), StoreUnusable or StorageFailed.
        """

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """The same without waiting. Each ticket is settled later, on any thread; once per commit for equal `settled`."""

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        """Up to `limit` (at most PAGE_EVENTS_MAX) matching events with after < position < before, in position order
        or backwards. Fewer than `limit` means that there are no more. Read on from the last one's position."""

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        """The same within one stream, by version. An unknown stream is empty."""

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        """The recorded events of these ids; an unknown id is left out."""

    def head(self) -> int:
        """The last position; 0 in an empty log."""

    def stream(self, name: str) -> StreamInfo:
        """One stream; version 0 if there is none of this name."""

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        """Up to `limit` (at most PAGE_STREAMS_MAX) streams with name > after, in the order of their names' code points."""

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The documents of these keys; an unknown key is left out."""

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        """As StorageTransaction.scan."""

    @property
    def dialect(self) -> Dialect:
        """Of the statements of `rows`. Raises CapabilityMissing where there is no Capability.CONNECTION."""

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """What a SELECT finds in the user's own tables. Raises CapabilityMissing where there is no Capability.CONNECTION."""

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        """Call `work` in one write transaction, commit durably, and return what it returned.

        If it raises, nothing of it happens, and the error comes out. An engine may call it again: it must have no effects but
        those through its transaction. An append to the same store inside it raises StoreUnusable: use the transaction's.
        """

    def set_inline(self, hook: InlineHook | None) -> None:
        """Call `hook` inside the transaction of every append of this object from now on."""

    def wait(self, after: int, timeout_s: float) -> int:
        """Wait until the head is beyond `after`, or the time is over, or the store is closed. Returns the head."""

    def barrier(self) -> None:
        """Return once everything is readable here that was acknowledged anywhere before the call. Where there is but one copy of
        the log, that is always so."""

    def check(self) -> list[str]:
        """Every invariant of what is stored, verified; one sentence for each that does not hold."""

    def backup(self, target: str) -> int:
        """Copy the log as it is at one moment to a new file, while others append. Returns the head of the copy."""

    def close(self) -> None:
        """Finish the appends under way, refuse new ones, release files and threads. May be called again."""
