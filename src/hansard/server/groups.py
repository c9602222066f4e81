"""Consumers of groups that HTTP clients have joined. Each is a Consumer of the store; one that its client leaves silent ends."""

import threading
import time
from collections.abc import Sequence
from typing import Literal

from uuid_utils import uuid7

from hansard.errors import AccessDenied, InvalidInput, ResourceNotFound, StoreBusy
from hansard.events import RecordedEvent
from hansard.limits import GROUP_CONSUMERS_MAX
from hansard.processors.consumer import Consumer
from hansard.query import Query
from hansard.store import Store


class HeldConsumer:
    """A consumer, and the events that its client has taken and not finished. One request at a time."""

    def __init__(self, consumer: Consumer, lease_s: float, owner: str) -> None:
        self.consumer = consumer
        self.lease_s = lease_s
        self.owner = owner
        self._lock = threading.Lock()
        self._heard_s = time.monotonic()
        self._out: dict[int, tuple[RecordedEvent, float]] = {}

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self._heard_s > self.lease_s

    def hear(self) -> None:
        self._heard_s = time.monotonic()

    def take(self, limit: int, wait_s: float) -> list[RecordedEvent]:
        """Up to `limit` events whose turn it is; waits for the first one. Those that were taken longer ago than a lease and never
        finished come again: their answer may have been lost."""
        with self._lock:
            self.hear()
            now = time.monotonic()
            taken = [event for event, since in self._out.values() if now - since > self.lease_s][:limit]
            while len(taken) < limit and (event := self.consumer.take(0.0 if taken else wait_s)) is not None:
                taken.append(event)
            self._out |= {event.position: (event, time.monotonic()) for event in taken}
            self.hear()
            return taken

    def put_back(self, events: Sequence[RecordedEvent]) -> None:
        """Nobody was there any more to be given them."""
        with self._lock:
            for event in events:
                if self._out.pop(event.position, None) is not None:
                    self.consumer.put_back(event)

    def finish(self, verb: Literal["ack", "nack", "park"], positions: list[int], *, delay_s: float | None, reason: str) -> None:
        """All of them, in the order given, or InvalidInput for the first that is not out."""
        with self._lock:
            self.hear()
            for position in positions:
                if position not in self._out:
                    raise InvalidInput("positions", position, "this consumer has not taken it, or has finished it before")
            for position in dict.fromkeys(positions):
                event, _ = self._out[position]
                if verb == "ack":
                    self.consumer.ack(event)
                elif verb == "nack":
                    self.consumer.nack(event, delay_s=delay_s)
                else:
                    self.consumer.park(event, reason)
                del self._out[position]
            if verb == "ack":
                self.consumer.flush()


class HeldConsumers:
    """All consumers of one server. To be called from threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, HeldConsumer] = {}

    def join(self, group: str, query: Query, *, partitions: int, after: int | Literal["head"], lease_s: float, owner: str) -> str:
        self.end_silent()
        if len(self._held) >= GROUP_CONSUMERS_MAX:
            raise StoreBusy(f"{GROUP_CONSUMERS_MAX} consumers are held already; come again")
        consumer = self._store.join(group, query, partitions=partitions, after=after, lease_s=lease_s)
        id = str(uuid7())
        self._held[id] = HeldConsumer(consumer, lease_s, owner)
        return id

    def of(self, group: str, id: str, owner: str) -> HeldConsumer:
        """The consumer of an id, for whoever has joined as it."""
        held = self._held.get(id)
        if held is None or held.consumer.name != group:
            raise ResourceNotFound(f"group {group!r} has no consumer {id}; it was silent for longer than its lease, or has left")
        if held.owner != owner:
            raise AccessDenied(f"consumer {id} belongs to somebody else")
        return held

    def leave(self, group: str, id: str, owner: str) -> None:
        held = self.of(group, id, owner)
        if self._held.pop(id, None) is not None:
            held.consumer.close()

    def end_silent(self) -> None:
        """Consumers whose clients are gone give their events to others."""
        for id, held in list(self._held.items()):
            if held.is_silent and self._held.pop(id, None) is not None:
                held.consumer.close()

    def __bool__(self) -> bool:
        return bool(self._held)

    def close(self) -> None:
        while self._held:
            _, held = self._held.popitem()
            held.consumer.close()
