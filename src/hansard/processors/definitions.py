"""What a user declares: a named handler of events, how often to try it, and what to do when it fails for good."""

from collections.abc import Callable
from enum import StrEnum
from inspect import iscoroutinefunction
from typing import Any, Final, Literal

import msgspec

from hansard.errors import InvalidInput, InvalidType
from hansard.events import RecordedEvent
from hansard.limits import LEASE_S_MAX, LEASE_S_MIN, PARTITIONS_MAX, TIMEOUT_S_MAX
from hansard.names import check_name
from hansard.query import Query, check_query
from hansard.streams import check_bound

KeyOf = Callable[[RecordedEvent], str | None]


class OnFailure(StrEnum):
    """What happens when an event could not be handled after all attempts.

    - `STOP`: the processor stops there; it goes on from that event when it is run again.
    - `SKIP`: the event becomes a dead letter; the processor goes on with the next one.
    - `PARK`: the event becomes a dead letter, and so does every later event of its stream, until they are retried or
      discarded, in order. Other streams go on.
    """

    STOP = "stop"
    SKIP = "skip"
    PARK = "park"


STOP: Final = OnFailure.STOP
SKIP: Final = OnFailure.SKIP
PARK: Final = OnFailure.PARK


class Retry(msgspec.Struct, frozen=True):
    """How often an event is tried, and the pause before each new attempt: first_s, then `factor` times as long, up to max_s."""

    attempts: int = 5
    first_s: float = 0.1
    factor: float = 2.0
    max_s: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise InvalidInput("attempts", self.attempts, "expected at least 1")
        for field in ("first_s", "factor", "max_s"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIMEOUT_S_MAX:
                raise InvalidInput(field, value, f"expected a number from 0 to {TIMEOUT_S_MAX:g}")

    def pause_s(self, attempts: int) -> float:
        """The pause after so many failed attempts."""
        return float(min(self.max_s, self.first_s * self.factor ** min(attempts - 1, 64)))


class Processor:
    """A named handler with a checkpoint: it gets each event that its query matches, in order, at least once.

    - `handler`: a function of the recorded event, or an object with such a method `handle`. May be async.
    - `exactly_once`: the handler gets the transaction as a second argument; what it writes through it and the
      checkpoint are committed together, so that its effects happen exactly once. Not for async handlers.
    - `after`: where a new processor begins: a position, or "head" for what comes from now on.
    - `version`: to be raised when the query changes; with `replay_safe` it then begins anew.
    - `replay_safe`: whether a reset or a new version may hand events to the handler that it has had before. Leave it False for
      handlers whose effects cannot be taken back, such as sending a mail.
    - `partitions`: how many may share the work, in threads and processes; events of one stream stay in order.
    - `partition_by`: a function of the event that gives another key than its stream; order is kept within a key.
    - `retry`, `on_failure`: see Retry and OnFailure. `timeout_s`: how long one call may take.
    - `checkpoint_s`: how long handled events may go without a saved checkpoint, and so come again after a crash.

    >>> sent = []
    >>> mailer = Processor("mailer", lambda event: sent.append(event.data), query=Query(types={"order-placed"}))
    """

    kind = "processor"

    def __init__(
        self,
        name: str,
        handler: Callable[..., Any],
        *,
        query: Query | None = None,
        version: int = 1,
        after: int | Literal["head"] = 0,
        exactly_once: bool = False,
        replay_safe: bool = False,
        partitions: int = 1,
        partition_by: KeyOf | None = None,
        retry: Retry | None = None,
        on_failure: OnFailure | str = STOP,
        timeout_s: float | None = None,
        checkpoint_s: float = 0.1,
    ) -> None:
        self.name = check_name("name", name)
        self.handler = _checked_handler(handler)
        self.query = check_query("query", query) if query is not None else Query()
        self.version = check_at_least_1("version", version)
        self.after = after if after == "head" else check_bound("after", after)
        self.exactly_once = exactly_once
        self.replay_safe = replay_safe
        self.partitions = check_at_least_1("partitions", partitions)
        if partitions > PARTITIONS_MAX:
            raise InvalidInput("partitions", partitions, f"expected at most {PARTITIONS_MAX}")
        if partition_by is not None and not callable(partition_by):
            raise InvalidType("partition_by", partition_by, "expected a function of the event")
        self.partition_by = partition_by
        self.retry = _checked_retry(retry)
        self.on_failure = _checked_policy(on_failure)
        self.timeout_s = _checked_seconds("timeout_s", timeout_s)
        self.checkpoint_s = _checked_seconds("checkpoint_s", checkpoint_s) or 0.0
        self.is_async = iscoroutinefunction(self.handler) or iscoroutinefunction(getattr(self.handler, "__call__", None))  # noqa: B004
        if self.is_async and exactly_once:
            raise InvalidInput("exactly_once", True, "an async handler cannot write in the transaction; make it a plain function")


def _checked_handler(handler: object) -> Callable[..., Any]:
    method = None if isinstance(handler, type) else getattr(handler, "handle", None)
    if callable(method):
        return method  # type: ignore[no-any-return]
    if not callable(handler) or isinstance(handler, type):
        raise InvalidType("handler", handler, "expected a function of the recorded event, or an object with a method `handle`")
    return handler


def _checked_retry(retry: object) -> Retry:
    if retry is not None and not isinstance(retry, Retry):
        raise InvalidType("retry", retry, "expected Retry(...)")
    return retry or Retry()


def _checked_policy(on_failure: object) -> OnFailure:
    try:
        return OnFailure(on_failure)  # type: ignore[arg-type]  # whatever it is, the enumeration judges it
    except ValueError:
        raise InvalidInput("on_failure", on_failure, f"expected one of {', '.join(OnFailure)}") from None


def _checked_seconds(field: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidType(field, value, "expected a number of seconds")
    if not 0 <= value <= TIMEOUT_S_MAX:
        raise InvalidInput(field, value, f"expected 0 to {TIMEOUT_S_MAX:g} seconds")
    return float(value)


def check_lease(lease_s: object) -> float:
    """A lease: from a tenth of a second to a day."""
    seconds = _checked_seconds("lease_s", lease_s)
    if seconds is None or not LEASE_S_MIN <= seconds <= LEASE_S_MAX:
        raise InvalidInput("lease_s", lease_s, f"expected {LEASE_S_MIN} to {LEASE_S_MAX:g} seconds")
    return seconds


def check_group(*, partitions: object, partition_by: object, lease_s: object, retry: object) -> Retry:
    """Refuses what a group of consumers cannot be; gives back how often an event is tried."""
    if check_at_least_1("partitions", partitions) > PARTITIONS_MAX:
        raise InvalidInput("partitions", partitions, f"expected at most {PARTITIONS_MAX}")
    if partition_by is not None and not callable(partition_by):
        raise InvalidType("partition_by", partition_by, "expected a function of the event")
    check_lease(lease_s)
    return _checked_retry(retry)


def check_at_least_1(field: str, value: object) -> int:
    if check_bound(field, value) < 1:
        raise InvalidInput(field, value, "expected at least 1")
    assert isinstance(value, int)
    return value
