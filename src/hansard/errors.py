"""The one tree of errors. Drivers' and codecs' own errors never leave the product.

HansardError
├── InvalidInput (also ValueError)      a value that cannot be: names the field, the value and the limit
│   ├── InvalidType (also TypeError)    a value of the wrong type
│   └── TooLarge                        more bytes than the engine takes in one append or transaction
├── Conflict                            the append lost; nothing was stored
│   ├── WrongExpectedVersion
│   ├── AppendConditionFailed
│   ├── TimestampTooEarly (also InvalidInput)
│   └── DuplicateEventId
├── InlineFailed                        an inline projection raised inside the append; nothing was stored
├── DefinitionChanged                   a reader of this name and version was another one; nothing was run
├── LeaseLost                           another member has taken over; what was not saved will be done again by it
├── HandlerTimedOut                     a processor's handler took longer than allowed
├── ProcessorStopped                    a processor has stopped at an event that it could not handle
├── FoldFailed                          a projection's fold raised for an event
├── EventNotDecodable                   a stored event does not fit its class, or an upcaster has failed at it
├── WebhookRefused                      a receiver did not accept an event; it will be tried again
├── BuildNotActive (also TimeoutError)  a build of a projection has not taken over within the time allowed
├── WaitTimedOut (also TimeoutError)    a reader has not come so far within the time allowed
├── HandlersFailed (also ExceptionGroup)  the events are stored; one or more handlers raised
├── HandlerLoop                         inside HandlersFailed: handlers caused more and more events
├── LogsDiffer                          a log is not the copy of another one that it should be
├── OpenFailed                          the store could not be opened
│   ├── StoreNotFound
│   ├── NotAStore
│   ├── NewerFormat
│   └── OlderFormat
├── StoreUnusable                       this store object cannot do it (any more)
│   ├── StoreClosed
│   ├── StoreForked
│   ├── StoreReadOnly
│   └── CapabilityMissing
├── StorageFailed                       the disk or the database refused; what is not acknowledged may be retried by id
│   ├── OutcomeUnknown                  whether the append was stored is not known; the same ids ask
│   ├── StoreBusy
│   ├── StorageFull
│   └── StoreCorrupt
└── RequestRefused                      a server did not take the request
    ├── NotAuthenticated
    ├── AccessDenied
    ├── ResourceNotFound
    ├── MethodNotAllowed
    ├── NotAcceptable
    ├── RequestTooLarge
    ├── MediaTypeUnsupported
    ├── TooManyRequests
    └── RequestTimedOut
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

_SHOWN_CHARS = 80


def shown(value: object) -> str:
    """A value as error messages show it: its repr, shortened in the middle, because names of files tell most at their end."""
    try:
        text = repr(value)
    except Exception:  # a foreign __repr__ must not hide the error being reported
        text = f"<{type(value).__name__}>"
    half = _SHOWN_CHARS // 2
    return text if len(text) <= _SHOWN_CHARS else f"{text[: half - 1]}…{text[-half:]}"


class HansardError(Exception):
    """Base of all errors that Hansard raises."""

    code: str = "error"


class InvalidInput(HansardError, ValueError):
    """A value that cannot be. Nothing was stored.

    `field` names the argument (with its path inside JSON), `value` is what was given, `limit` says what is allowed.
    """

    code = "invalid-input"

    def __init__(self, field: str, value: object, limit: str) -> None:
        super().__init__(field, value, limit)
        self.field, self.value, self.limit = field, value, limit

    def __str__(self) -> str:
        return f"{self.field}: {shown(self.value)}: {self.limit}"


class InvalidType(InvalidInput, TypeError):
    """A value of a type that cannot be. Nothing was stored."""

    code = "invalid-type"

    def __str__(self) -> str:
        return f"{self.field}: {shown(self.value)} is {type(self.value).__name__}: {self.limit}"


class TooLarge(InvalidInput):
    """More bytes than the engine takes in one append or transaction. Nothing was stored."""

    code = "append-too-large"


class Conflict(HansardError):
    """The append lost against what is already in the log. Nothing was stored."""

    code = "conflict"


class WrongExpectedVersion(Conflict):
    """The stream is not at the version that the append expected."""

    code = "wrong-expected-version"

    def __init__(self, stream: str, expected: int, current: int) -> None:
        super().__init__(stream, expected, current)
        self.stream, self.expected, self.current = stream, expected, current

    def __str__(self) -> str:
        expected = getattr(self.expected, "name", self.expected)
        return f"stream {shown(self.stream)}: expected version {expected}, current is {self.current}; read again and retry"


class AppendConditionFailed(Conflict):
    """An event that matches the condition's query stands after the condition's position."""

    code = "append-condition-failed"

    def __init__(self, query: object, after: int, position: int, type: str) -> None:
        super().__init__(query, after, position, type)
        self.query, self.after, self.position, self.type = query, after, position, type

    def __str__(self) -> str:
        return (
            f"append condition: {shown(self.type)} at position {self.position} matches {self.query} after {self.after}; "
            f"read again and retry"
        )


class TimestampTooEarly(InvalidInput, Conflict):
    """A timestamp of a copied log lies before the last one of this log. Nothing was stored."""

    code = "timestamp-too-early"


class DuplicateEventId(Conflict):
    """An event of this id is in the log already, and this append is not a plain repetition of the append that stored it."""

    code = "duplicate-event-id"

    def __init__(self, id: UUID, position: int | None, reason: str) -> None:
        super().__init__(id, position, reason)
        self.id, self.position, self.reason = id, position, reason

    def __str__(self) -> str:
        place = "" if self.position is None else f" at position {self.position}"
        return f"event id {self.id}{place}: {self.reason}; give new events new ids"


class InlineFailed(HansardError):
    """An inline projection raised while the append was being stored, so nothing was. Its own error is the cause."""

    code = "inline-failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"nothing was stored, because an inline projection failed: {self.reason}"


class DefinitionChanged(HansardError):
    """A processor or projection differs from what ran under its name and version. `reason` says in what."""

    code = "definition-changed"

    def __init__(self, name: str, version: int, reason: str) -> None:
        super().__init__(name, version, reason)
        self.name, self.version, self.reason = name, version, reason

    def __str__(self) -> str:
        return f"{shown(self.name)} version {self.version}: {self.reason}"


class LeaseLost(HansardError):
    """Another member owns the partition now: this one was silent for too long. Its work since the checkpoint is not recorded."""

    code = "lease-lost"


class HandlerTimedOut(HansardError):
    """A processor's handler took longer than its `timeout_s`."""

    code = "handler-timed-out"


class ProcessorStopped(HansardError):
    """A processor has stopped at an event that it could not handle. `position` says where; the handler's error is the cause."""

    code = "processor-stopped"

    def __init__(self, name: str, position: int, reason: str) -> None:
        super().__init__(name, position, reason)
        self.name, self.position, self.reason = name, position, reason

    def __str__(self) -> str:
        return f"{shown(self.name)} has stopped at position {self.position}: {self.reason}"


class WaitTimedOut(HansardError, TimeoutError):
    """A reader has not come so far within the time allowed."""

    code = "wait-timed-out"

    def __init__(self, name: str, position: int, reached: int, timeout_s: float) -> None:
        super().__init__(name, position, reached, timeout_s)
        self.name, self.position, self.reached, self.timeout_s = name, position, reached, timeout_s

    def __str__(self) -> str:
        return f"{shown(self.name)} is at position {self.reached}, not yet at {self.position}, after {self.timeout_s:g} s"


class FoldFailed(HansardError):
    """A projection's fold raised for an event. Its own error is the cause."""

    code = "fold-failed"

    def __init__(self, name: str, position: int, reason: str) -> None:
        super().__init__(name, position, reason)
        self.name, self.position, self.reason = name, position, reason

    def __str__(self) -> str:
        return f"projection {self.name!r} failed at position {self.position}: {self.reason}"


class EventNotDecodable(HansardError):
    """The data of a stored event does not fit its class, or an upcaster has failed at it. `event.data` stays readable."""

    code = "event-not-decodable"

    def __init__(self, type: str, version: int, position: int, reason: str) -> None:
        super().__init__(type, version, position, reason)
        self.type, self.version, self.position, self.reason = type, version, position, reason

    def __str__(self) -> str:
        return f"{shown(self.type)} version {self.version} at position {self.position}: {self.reason}"


class BuildNotActive(HansardError, TimeoutError):
    """A build has not taken over within the time allowed."""

    code = "build-not-active"


class WebhookRefused(HansardError):
    """The receiver of a webhook did not accept an event. `status` is its answer; None if there was none."""

    code = "webhook-refused"

    def __init__(self, place: str, status: int | None, reason: str) -> None:
        super().__init__(place, status, reason)
        self.place, self.status, self.reason = place, status, reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class HandlersFailed(HansardError, ExceptionGroup[Exception]):
    """Handlers raised after the events were stored. All handlers ran; the events stay.

    `recorded` is what the append or add would have returned; `exceptions` are the handlers' own, in the order raised.
    """

    code = "handlers-failed"
    recorded: Any = None

    @classmethod
    def of(cls, exceptions: Sequence[Exception], recorded: Any) -> "HandlersFailed":
        count = len(exceptions)
        failed = cls(f"the events are stored, but {count} handler call{'s' * (count != 1)} failed", exceptions)
        failed.recorded = recorded
        return failed

    def derive(self, excs: Sequence[Exception], /) -> "HandlersFailed":  # type: ignore[override]  # the stub wants a plain group
        derived = HandlersFailed(self.message, excs)
        derived.recorded = self.recorded
        return derived


class HandlerLoop(HansardError):
    """Handlers that append caused more events than allowed. The events are stored; the last ones were not handled."""

    code = "handler-loop"

    def __init__(self, caused_max: int, position: int) -> None:
        super().__init__(caused_max, position)
        self.caused_max, self.position = caused_max, position

    def __str__(self) -> str:
        return (
            f"handlers caused more than {self.caused_max} events by appending, which looks like a loop; "
            f"events from position {self.position} on are stored, but were not handled"
        )


class LogsDiffer(HansardError):
    """A log is not the beginning of the one that it is to be a copy of."""

    code = "logs-differ"


class OpenFailed(HansardError):
    """The store could not be opened."""

    code = "open-failed"


class StoreNotFound(OpenFailed):
    """There is no store at this place, and none was to be made."""

    code = "store-not-found"


class NotAStore(OpenFailed):
    """What is at this place is no Hansard store. It was not changed."""

    code = "not-a-store"


class NewerFormat(OpenFailed):
    """The store was written by a newer Hansard."""

    code = "newer-format"

    def __init__(self, place: str, found: int, supported: int) -> None:
        super().__init__(place, found, supported)
        self.place, self.found, self.supported = place, found, supported

    def __str__(self) -> str:
        return f"{self.place}: format {self.found} is newer than {self.supported}, the newest this version knows; upgrade hansard"


class OlderFormat(OpenFailed):
    """The database's schema is of an older Hansard. Opening a store never changes it."""

    code = "older-format"

    def __init__(self, place: str, found: int, needed: int) -> None:
        super().__init__(place, found, needed)
        self.place, self.found, self.needed = place, found, needed

    def __str__(self) -> str:
        return f"{self.place}: the schema is at {self.found}, this version needs {self.needed}; run: hansard migrate URL"


class StoreUnusable(HansardError):
    """This store object cannot do what was asked."""

    code = "unusable"


class StoreClosed(StoreUnusable):
    """The store object was closed."""

    code = "closed"


class StoreForked(StoreUnusable):
    """The store was opened before a fork and used in the child. Open it again in the child."""

    code = "forked"


class StoreReadOnly(StoreUnusable):
    """The store was opened for reading, or the disk allows no writing."""

    code = "read-only"


class CapabilityMissing(StoreUnusable):
    """The engine cannot do this. `capability` names what is missing."""

    code = "capability-missing"

    def __init__(self, capability: str, engine: str, instead: str = "") -> None:
        super().__init__(capability, engine, instead)
        self.capability, self.engine, self.instead = capability, engine, instead

    def __str__(self) -> str:
        who = f"the {self.engine} engine" if self.engine else "this store"
        return f"{who} has no {self.capability}{self.instead and f'; {self.instead}'}"


class StorageFailed(HansardError):
    """The disk or the database failed. An append that was not acknowledged may be repeated with the same ids."""

    code = "storage-failed"


class OutcomeUnknown(StorageFailed):
    """The connection was lost at the commit. Append again with the same ids: what was stored is not stored twice."""

    code = "outcome-unknown"


class StoreBusy(StorageFailed):
    """The writer's queue or the write lock was not free within the time allowed. Nothing was stored."""

    code = "busy"


class StorageFull(StorageFailed):
    """The disk is full. Nothing was stored."""

    code = "full"


class StoreCorrupt(StorageFailed):
    """The store's file is damaged. `hansard check` says where."""

    code = "corrupt"


class RequestRefused(HansardError):
    """A Hansard server did not take a request. Nothing was stored."""

    code = "request-refused"


class NotAuthenticated(RequestRefused):
    """The server does not know who asks: there is no key or token, or it is not valid (any more)."""

    code = "not-authenticated"


class AccessDenied(RequestRefused):
    """The server knows who asks, and that this is not allowed."""

    code = "access-denied"


class ResourceNotFound(RequestRefused):
    """The server has nothing at this path."""

    code = "not-found"


class MethodNotAllowed(RequestRefused):
    """What is at this path cannot be asked in this way."""

    code = "method-not-allowed"


class NotAcceptable(RequestRefused):
    """The server has no form of the answer that the client accepts."""

    code = "not-acceptable"


class RequestTooLarge(RequestRefused):
    """The request is larger than the server takes."""

    code = "too-large"


class MediaTypeUnsupported(RequestRefused):
    """The request's body is in a form that the server does not know."""

    code = "unsupported-media-type"


class TooManyRequests(RequestRefused):
    """This client has asked more often than it may. Nothing was stored."""

    code = "too-many-requests"


class RequestTimedOut(RequestRefused):
    """The request did not arrive whole within the time allowed."""

    code = "request-timed-out"
