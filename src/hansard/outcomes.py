"""How each error ends: the command line's exit code, the status over HTTP and gRPC. Docs, server and tests read this table."""

from typing import Final, NamedTuple


class Outcome(NamedTuple):
    exit_code: int
    http_status: int
    grpc_status: str


OUTCOMES: Final[dict[str, Outcome]] = {
    "error": Outcome(1, 500, "INTERNAL"),
    "invalid-input": Outcome(2, 400, "INVALID_ARGUMENT"),
    "invalid-type": Outcome(2, 400, "INVALID_ARGUMENT"),
    "append-too-large": Outcome(2, 413, "OUT_OF_RANGE"),
    "conflict": Outcome(3, 409, "ABORTED"),
    "wrong-expected-version": Outcome(3, 412, "FAILED_PRECONDITION"),
    "append-condition-failed": Outcome(3, 409, "ABORTED"),
    "timestamp-too-early": Outcome(2, 409, "FAILED_PRECONDITION"),
    "duplicate-event-id": Outcome(3, 409, "ALREADY_EXISTS"),
    "inline-failed": Outcome(4, 409, "ABORTED"),
    "definition-changed": Outcome(2, 409, "FAILED_PRECONDITION"),
    "lease-lost": Outcome(3, 409, "ABORTED"),
    "handler-timed-out": Outcome(4, 500, "DEADLINE_EXCEEDED"),
    "processor-stopped": Outcome(4, 409, "FAILED_PRECONDITION"),
    "wait-timed-out": Outcome(7, 408, "DEADLINE_EXCEEDED"),
    "fold-failed": Outcome(4, 500, "INTERNAL"),
    "event-not-decodable": Outcome(4, 500, "INTERNAL"),
    "webhook-refused": Outcome(7, 502, "UNAVAILABLE"),
    "build-not-active": Outcome(7, 408, "DEADLINE_EXCEEDED"),
    "handlers-failed": Outcome(4, 500, "INTERNAL"),
    "handler-loop": Outcome(4, 500, "INTERNAL"),
    "logs-differ": Outcome(9, 409, "FAILED_PRECONDITION"),
    "open-failed": Outcome(5, 503, "UNAVAILABLE"),
    "store-not-found": Outcome(5, 503, "UNAVAILABLE"),
    "not-a-store": Outcome(5, 503, "UNAVAILABLE"),
    "newer-format": Outcome(5, 503, "UNAVAILABLE"),
    "older-format": Outcome(5, 503, "UNAVAILABLE"),
    "unusable": Outcome(6, 503, "UNAVAILABLE"),
    "closed": Outcome(6, 503, "UNAVAILABLE"),
    "forked": Outcome(6, 503, "UNAVAILABLE"),
    "read-only": Outcome(6, 403, "PERMISSION_DENIED"),
    "capability-missing": Outcome(6, 501, "UNIMPLEMENTED"),
    "storage-failed": Outcome(7, 503, "UNAVAILABLE"),
    "outcome-unknown": Outcome(7, 503, "UNKNOWN"),
    "busy": Outcome(7, 503, "UNAVAILABLE"),
    "full": Outcome(7, 507, "RESOURCE_EXHAUSTED"),
    "corrupt": Outcome(7, 500, "DATA_LOSS"),
    "request-refused": Outcome(6, 400, "INVALID_ARGUMENT"),
    "not-authenticated": Outcome(6, 401, "UNAUTHENTICATED"),
    "access-denied": Outcome(6, 403, "PERMISSION_DENIED"),
    "not-found": Outcome(6, 404, "NOT_FOUND"),
    "method-not-allowed": Outcome(6, 405, "UNIMPLEMENTED"),
    "not-acceptable": Outcome(6, 406, "INVALID_ARGUMENT"),
    "too-large": Outcome(2, 413, "RESOURCE_EXHAUSTED"),
    "unsupported-media-type": Outcome(6, 415, "INVALID_ARGUMENT"),
    "too-many-requests": Outcome(7, 429, "RESOURCE_EXHAUSTED"),
    "request-timed-out": Outcome(7, 408, "DEADLINE_EXCEEDED"),
}
"""By the code of the error."""
