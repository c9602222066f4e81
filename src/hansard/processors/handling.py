"""What a reader needs to know of the work that it does: the protocol, and how a failure is told."""

from collections.abc import Callable, Sequence
from typing import Protocol

from hansard.events import RecordedEvent, ReplacedEvent
from hansard.processors.definitions import OnFailure, Retry
from hansard.processors.documents import ReaderDocument
from hansard.query import Query
from hansard.storage.port import ResultT, StorageTransaction


class EventFailed(Exception):
    """A handler has raised (the cause): which event it was."""

    def __init__(self, event: RecordedEvent) -> None:
        super().__init__(event.position)
        self.event = event


class Work(Protocol):
    """What a reader does with its events."""

    @property
    def document(self) -> ReaderDocument: ...
    @property
    def query(self) -> Query: ...
    @property
    def retry(self) -> Retry: ...
    @property
    def on_failure(self) -> OnFailure: ...
    @property
    def replay_safe(self) -> bool: ...
    @property
    def checkpoint_s(self) -> float: ...
    @property
    def is_transactional(self) -> bool:
        """Whether events are handled inside the transaction that saves the checkpoint."""

    def key_of(self, event: RecordedEvent) -> str:
        """What an event is kept in order with."""

    def handle(self, event: RecordedEvent) -> None:
        """One event, outside of a transaction. Whatever it raises is a failed attempt."""

    def handle_in(self, transaction: StorageTransaction, events: Sequence[RecordedEvent]) -> int:
        """Events in order, inside a transaction. Returns how many were handled; EventFailed says which one failed."""

    is_unfinished: bool
    """Whether it waits for the moment at which nothing is left to be done, to be told by `saving`."""

    def saving(self, transaction: StorageTransaction, upto: int, is_last: bool) -> None:
        """Called before a transactional save; `is_last`: nothing in the log stands after `upto`."""

    def over(self, *, is_committed: bool) -> None:
        """The transaction has ended; or (not committed) what was read by former ones may have been changed by others."""


def meant(query: Query, events: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
    """The events that a handler is to see: those that stand for replaced ones, if the query asks for them."""
    if ReplacedEvent not in map(type, events):
        return events
    return [
        one
        for event in events
        for one in (event.by if type(event) is ReplacedEvent else (event,))
        if one is event or query.matches(one, one.stream)
    ]


def describe(error: BaseException | None) -> str:
    """An error on one line, as it is kept and shown."""
    text = f"{type(error).__name__}: {error}" if error is not None and str(error) else type(error).__name__
    return " ".join(text.split())[:500]


def from_scratch(
    forget: Callable[[], None], do: Callable[[StorageTransaction], ResultT]
) -> Callable[[StorageTransaction], ResultT]:
    """The work of a transaction that an engine may do again: what an interrupted try has left in memory is forgotten first."""
    tries = 0

    def work(transaction: StorageTransaction) -> ResultT:
        nonlocal tries
        tries += 1
        if tries > 1:
            forget()
        return do(transaction)

    return work
