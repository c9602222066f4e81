"""Consumers of groups that HTTP clients have joined. Each is a Consumer of the store; one that its client leaves silent ends."""

import time
from typing import Literal

from uuid_utils import uuid7

from hansard.errors import InvalidInput, ResourceNotFound, StoreBusy
from hansard.events import RecordedEvent
from hansard.limits import GROUP_CONSUMERS_MAX
from hansard.processors.consumer import Consumer
from hansard.query import Query
from hansard.store import Store


class HeldConsumer:
    """A consumer, and the events that its client has taken and not finished."""

    def __init__(self, consumer: Consumer, lease_s: float) -> None:
        self.consumer = consumer
        self.lease_s = lease_s
        self.heard_s = time.monotonic()
        self._out: dict[int, RecordedEvent] = {}

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self.heard_s > self.lease_s

    def take(self, limit: int, wait_s: float) -> list[RecordedEvent]:
        """Up to `limit` events whose turn it is; waits for the first one."""
        taken: list[RecordedEvent] = []
        while len(taken) < limit and (event := self.consumer.take(0.0 if taken else wait_s)) is not None:
            self._out[event.position] = event
            taken.append(event)
        self.heard_s = time.monotonic()
        return taken

    def finish(self, verb: Literal["ack", "nack", "park"], positions: list[int], *, delay_s: float | None, reason: str) -> None:
        """All of them, or InvalidInput for the first that is not out."""
        self.heard_s = time.monotonic()
        for position in positions:
            if position not in self._out:
                raise InvalidInput("positions", position, "this consumer has not taken it, or has finished it before")
        for position in positions:
            event = self._out.pop(position)
            if verb == "ack":
                self.consumer.ack(event)
            elif verb == "nack":
                self.consumer.nack(event, delay_s=delay_s)
            else:
                self.consumer.park(event, reason)
        if verb == "ack":
            self.consumer.flush()


class HeldConsumers:
    """All consumers of one server. To be called from threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, HeldConsumer] = {}

    def join(self, group: str, query: Query, *, partitions: int, after: int | Literal["head"], lease_s: float) -> str:
        self.end_silent()
        if len(self._held) >= GROUP_CONSUMERS_MAX:
            raise StoreBusy(f"{GROUP_CONSUMERS_MAX} consumers are held already; come again")
        consumer = self._store.join(group, query, partitions=partitions, after=after, lease_s=lease_s)
        id = str(uuid7())
        self._held[id] = HeldConsumer(consumer, lease_s)
        return id

    def of(self, group: str, id: str) -> HeldConsumer:
        held = self._held.get(id)
        if held is None or held.consumer.name != group:
            raise ResourceNotFound(f"group {group!r} has no consumer {id}; it was silent for longer than its lease, or has left")
        return held

    def leave(self, group: str, id: str) -> None:
        held = self.of(group, id)
        del self._held[id]
        held.consumer.close()

    def end_silent(self) -> None:
        """Consumers whose clients are gone give their events to others."""
        for id, held in list(self._held.items()):
            if held.is_silent and self._held.pop(id, None) is not None:
                held.consumer.close()

    def close(self) -> None:
        while self._held:
            _, held = self._held.popitem()
            held.consumer.close()
