"""Consumers of groups that HTTP clients have joined. Each is a consumer of the store; one that its client leaves silent ends."""

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from uuid_utils import uuid7

from hansard.aio import AsyncStore
from hansard.errors import AccessDenied, InvalidInput, ResourceNotFound, StoreBusy
from hansard.events import RecordedEvent
from hansard.limits import GROUP_CONSUMERS_MAX
from hansard.processors.async_face import AsyncConsumer
from hansard.query import Query


class HeldConsumer:
    """A consumer, and the events that its client has taken and not finished."""

    def __init__(self, consumer: AsyncConsumer, lease_s: float, owner: str) -> None:
        self.consumer = consumer
        self.lease_s = lease_s
        self.owner = owner
        self._finishing = asyncio.Lock()
        self._heard_s = time.monotonic()
        self._out: dict[int, tuple[RecordedEvent, float]] = {}

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self._heard_s > self.lease_s

    def hear(self) -> None:
        self._heard_s = time.monotonic()

    async def take(self, limit: int, wait_s: float) -> list[RecordedEvent]:
        """Up to `limit` events whose turn it is; waits for the first one. Those that were taken longer ago than a lease and never
        finished come again: their answer may have been lost. If it is cancelled, what it has taken has its turn again."""
        self.hear()
        now = time.monotonic()
        taken = [event for event, since in self._out.values() if now - since > self.lease_s][:limit]
        self._out |= {event.position: (event, now) for event in taken}
        try:
            while len(taken) < limit and (event := await self.consumer.take(0.0 if taken else wait_s)) is not None:
                self._out[event.position] = event, time.monotonic()
                taken.append(event)
        except asyncio.CancelledError:
            await self.put_back(taken)
            raise
        self.hear()
        return taken

    async def put_back(self, events: Sequence[RecordedEvent]) -> None:
        """Nobody was there any more to be given them."""
        for event in events:
            if self._out.pop(event.position, None) is not None:
                await self.consumer.put_back(event)

    async def finish(
        self, verb: Literal["ack", "nack", "park"], positions: list[int], *, delay_s: float | None, reason: str
    ) -> None:
        """All of them, in the order given, or InvalidInput for the first that is not out."""
        async with self._finishing:
            self.hear()
            for position in positions:
                if position not in self._out:
                    raise InvalidInput("positions", position, "this consumer has not taken it, or has finished it before")
            for position in dict.fromkeys(positions):
                event, _ = self._out[position]
                if verb == "ack":
                    await self.consumer.ack(event)
                elif verb == "nack":
                    await self.consumer.nack(event, delay_s=delay_s)
                else:
                    await self.consumer.park(event, reason)
                self._out.pop(position, None)
            if verb == "ack":
                await self.consumer.flush()


class HeldConsumers:
    """All consumers of one server."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._held: dict[str, HeldConsumer] = {}
        self._joining = 0

    async def join(
        self, group: str, query: Query, *, partitions: int, after: int | Literal["head"], lease_s: float, owner: str
    ) -> str:
        await self.end_silent()
        if len(self._held) + self._joining >= GROUP_CONSUMERS_MAX:
            raise StoreBusy(f"{GROUP_CONSUMERS_MAX} consumers are held already; come again")
        self._joining += 1
        try:
            id = str(uuid7())
            member = f"{owner} {id[-12:]}"
            consumer = self._store.join(group, query, partitions=partitions, after=after, lease_s=lease_s, member=member)
            await consumer.__aenter__()
        finally:
            self._joining -= 1
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

    async def leave(self, group: str, id: str, owner: str) -> None:
        held = self.of(group, id, owner)
        if self._held.pop(id, None) is not None:
            await held.consumer.close()

    async def end_silent(self) -> None:
        """Consumers whose clients are gone give their events to others."""
        for id, held in list(self._held.items()):
            if held.is_silent and self._held.pop(id, None) is not None:
                await held.consumer.close()

    def __bool__(self) -> bool:
        return bool(self._held)

    async def close(self) -> None:
        while self._held:
            _, held = self._held.popitem()
            await held.consumer.close()
