"""The port of a replicated log: an ordered, durable list of opaque messages.

Another product is one more small file beside jetstream.py.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

Deliver = Callable[[int, bytes], None]
"""Called with the sequence and the message, in order, without a gap, on a thread of the log's."""


class LogInfo(NamedTuple):
    """`identity`: tells this log from another one of the same name. `first`, `last`: sequences of the messages that are kept."""

    identity: str
    first: int
    last: int


class ReplicatedLog(Protocol):
    def publish(self, message: bytes, *, id: str, timeout_s: float) -> int:
        """Store a message durably, on a quorum, and return its sequence. The same id again, within some minutes, is stored once.

        Raises StorageFailed if it is certain that it is not stored, OutcomeUnknown otherwise.
        """

    def follow(self, after: int, deliver: Deliver) -> None:
        """Deliver all messages after a sequence, and then those that come."""

    def info(self) -> LogInfo: ...

    def trim(self, to: int) -> None:
        """Forget all messages up to a sequence."""

    def close(self) -> None: ...
