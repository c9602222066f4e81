"""The port of a replicated log: an ordered, durable list of opaque messages.

Another product is one more small file beside jetstream.py.
"""

from typing import Final, NamedTuple, Protocol

from hansard.errors import HansardError

MESSAGE_BYTES_MAX: Final = 1024 * 1024 - 8 * 1024
"""JetStream takes 1 MiB unless its servers are set otherwise; headers need a little."""


class Receiver(Protocol):
    """Gets the messages that are delivered, on a thread of the log's."""

    def put(self, sequence: int, message: bytes) -> None:
        """In order, without a gap. Returns at once."""

    def is_full(self) -> bool:
        """Whether the log should wait a moment before it delivers more."""

    def has_gap(self) -> bool:
        """Whether it is known that messages have not been delivered yet."""

    def fail(self, error: HansardError) -> None:
        """Nothing more will come: the log is another one now, or the next message is no longer kept."""


class LogInfo(NamedTuple):
    """`identity`: tells this log from another one of the same name. `first`, `last`: sequences of the messages that are kept.
    `leader`: the server that takes them; empty if there is none now."""

    identity: str
    first: int
    last: int
    leader: str


class ReplicatedLog(Protocol):
    @property
    def trouble(self) -> str:
        """What the servers have last complained of, in brackets; empty if they do not."""

    def publish(self, message: bytes, *, id: str, timeout_s: float) -> int:
        """Store a message durably, on a quorum, and return its sequence. The same id again, within some minutes, is stored once.

        Raises StorageFailed if it is certain that it is not stored, OutcomeUnknown otherwise.
        """

    def follow(self, after: int, receiver: Receiver) -> None:
        """Deliver all messages after a sequence, and then those that come, until the log is closed or fails the receiver."""

    def info(self) -> LogInfo: ...

    def trim(self, to: int) -> None:
        """Forget all messages up to a sequence."""

    def close(self) -> None: ...
