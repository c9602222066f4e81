"""Consumers of groups that HTTP clients have joined. Each is a consumer of the store; one that its client leaves silent ends."""

import asyncio
import time
from collections.abc import Sequence
from typing import Literal

from uuid_utils import uuid7

from hansard.aio import AsyncStore
from hansard.errors import AccessDenied, InvalidInput, LeaseLost, ResourceNotFound, StoreBusy
from hansard.events import RecordedEvent
from hansard.limits import GROUP_CONSUMERS_MAX
from hansard.processors.async_face import AsyncConsumer
from hansard.query import Query

_OWNER_CHARS = 100
"""Of the name of a consumer's owner, as the status of its group shows it."""


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
        overdue = self._overdue()[:limit]
        taken = list(overdue)
        try:
            while len(taken) < limit and (event := await self.consumer.take(0.0 if taken else wait_s)) is not None:
                self._out[event.position] = event, time.monotonic()
                taken.append(event)
            for known in overdue:  # taking has found out what this consumer has lost meanwhile
                if not await self.consumer.is_out(known):
                    taken.remove(known)
                    if (out := self._out.get(known.position)) is not None and out[0] is known:
                        del self._out[known.position]
        except asyncio.CancelledError:
            await self.put_back(taken)
            raise
        self.hear()
        return taken

    def _overdue(self) -> list[RecordedEvent]:
        """Events that were given longer ago than a lease; they count as given now, so that another request does not give them."""
        now = time.monotonic()
        overdue = [event for event, since in self._out.values() if now - since > self.lease_s]
        self._out |= {event.position: (event, now) for event in overdue}
        return overdue

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
                self._check_out(position)
            for position in dict.fromkeys(positions):
                self._check_out(position)  # it may have been put back meanwhile
                event, since = self._out.pop(position)
                try:
                    await self._finish(event, verb, delay_s=delay_s, reason=reason)
                except LeaseLost:  # it is somebody else's now
                    raise
                except BaseException:
                    self._out[position] = event, since
                    raise
            if verb == "ack":
                await self.consumer.flush()

    def _check_out(self, position: int) -> None:
        if position not in self._out:
            raise InvalidInput("positions", position, "this consumer has not taken it, or has finished it before")

    async def _finish(self, event: RecordedEvent, verb: str, *, delay_s: float | None, reason: str) -> None:
        if verb == "ack":
            await self.consumer.ack(event)
        elif verb == "nack":
            await self.consumer.nack(event, delay_s=delay_s)
        else:
            await self.consumer.park(event, reason)


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
            member = f"{''.join(filter(str.isprintable, owner))[:_OWNER_CHARS]} {id[-12:]}"
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
