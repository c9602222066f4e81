"""A Processor as a reader's work: one handler, called for each event."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from hansard.causation import Chains
from hansard.errors import CapabilityMissing, InvalidType
from hansard.events import RecordedEvent, ReplacedEvent
from hansard.limits import BATCH_S
from hansard.processors.calls import Calls, check_result
from hansard.processors.definitions import KeyOf, OnFailure, Processor, Retry
from hansard.processors.documents import ReaderDocument, query_document
from hansard.processors.handling import EventFailed, meant
from hansard.query import Query
from hansard.storage.port import StorageTransaction
from hansard.tracing import following
from hansard.transactions import Transaction


class ProcessorWork:
    is_unfinished = False

    def __init__(self, processor: Processor, calls: Calls) -> None:
        self.processor = processor
        self.query: Query = processor.query
        self.retry: Retry = processor.retry
        self.on_failure: OnFailure = processor.on_failure
        self.replay_safe: bool = processor.replay_safe
        self.checkpoint_s: float = processor.checkpoint_s
        self.is_transactional: bool = processor.exactly_once
        self.document = document_of(processor)
        self._calls = calls
        self._chains = Chains()
        self._recorded: list[RecordedEvent] = []

    def key_of(self, event: RecordedEvent) -> str:
        return key_of(event, self.processor.partition_by)

    def handle(self, event: RecordedEvent) -> None:
        for one in meant(self.query, (event,)):
            self._handle_one(one)

    def _handle_one(self, event: RecordedEvent) -> None:
        with following(event, self.processor.name), self._chains.handling(event.position):
            if self.processor.is_async:
                self._calls.run(self.processor.handler(event), timeout_s=self.processor.timeout_s)
                return
            result = self._calls.call(self.processor.handler, event, timeout_s=self.processor.timeout_s)
            check_result(self.processor.name, result)

    def handle_in(self, transaction: StorageTransaction, events: Sequence[RecordedEvent]) -> int:
        ends = time.monotonic() + BATCH_S
        for count, event in enumerate(events, 1):
            try:
                for one in meant(self.query, (event,)):
                    self._handle_one_in(transaction, one)
            except Exception as error:
                raise EventFailed(event) from error
            if time.monotonic() > ends:
                return count
        return len(events)

    def _handle_one_in(self, transaction: StorageTransaction, event: RecordedEvent) -> None:
        given = Transaction(transaction)
        with following(event, self.processor.name), self._chains.handling(event.position):
            timeout_s = self.processor.timeout_s
            interrupt = None if timeout_s is None else interrupt_of(transaction)
            result = self._calls.call(self.processor.handler, event, given, timeout_s=timeout_s, interrupt=interrupt)
            check_result(self.processor.name, result)
        self._recorded += given.recorded

    def saving(self, transaction: StorageTransaction, upto: int, is_last: bool) -> None:
        """Nothing to add."""

    def over(self, *, is_committed: bool) -> None:
        recorded, self._recorded = self._recorded, []
        if is_committed:
            self._calls.tell(recorded)


def document_of(processor: Processor) -> ReaderDocument:
    return ReaderDocument(
        processor.name,
        processor.kind,
        processor.version,
        processor.partitions,
        fingerprint_of(processor),
        query_document(processor.query),
    )


def fingerprint_of(processor: Processor) -> str:
    """What may not change without a new version, as it is told to people."""
    facts = [query_in_words(processor.query)]
    facts.append(f"{processor.partitions} partitions" if processor.partitions > 1 else "1 partition")
    if processor.partition_by is not None:
        facts.append("by a key of its own")
    if processor.exactly_once:
        facts.append("exactly once")
    return ", ".join(facts)


def query_in_words(query: Query) -> str:
    return "of every event" if query.is_everything else f"of {query}"


def key_of(event: RecordedEvent, partition_by: KeyOf | None) -> str:
    """The partition key, or the stream; an event without either is in order with nothing but itself."""
    if partition_by is None:
        return event.stream or f"\n{event.position}"
    if type(event) is ReplacedEvent and event.by:
        event = event.by[0]
    try:
        key = partition_by(event)
        if key is not None and not isinstance(key, str):
            raise InvalidType("partition_by", key, "expected a text, or None")
    except Exception as error:
        raise EventFailed(event) from error
    return key or event.stream or f"\n{event.position}"


def interrupt_of(transaction: StorageTransaction) -> Callable[[], Any] | None:
    """What makes a statement end that runs for too long, where the engine has such a thing."""
    try:
        return getattr(transaction.connection, "interrupt", None)
    except CapabilityMissing:
        return None
