"""A store in memory whose time stands still until it is told to move; and ids that are the same in every run."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from unittest import mock
from uuid import UUID

from hansard.errors import InvalidInput
from hansard.processors.calls import Calls
from hansard.processors.runner import Crew
from hansard.processors.sources import sources_of
from hansard.storage.branch import BranchStorage
from hansard.storage.memory import MemoryStorage
from hansard.storage.port import Storage
from hansard.store import Definition, Store, Types
from hansard.streams import check_timeout
from hansard.timers import Timers

_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_ID: Final = 0x0190_0000_0000_7000_8000_0000_0000_0000


class FrozenClock:
    """Time that moves only by `advance` and `set`. Begins at 2026-01-01 00:00 UTC."""

    def __init__(self, now: datetime = _BEGIN) -> None:
        self.set(now)

    @property
    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        if now.tzinfo is None:
            raise InvalidInput("now", now, "expected a datetime with a time zone")
        self._now = now

    def advance(self, by: timedelta) -> None:
        self._now += by

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return (self._now - _EPOCH) // timedelta(microseconds=1)


class FrozenStore(Store):
    """A store in memory on a clock of its own: timestamps, timers and timeouts follow `clock`.

    >>> from datetime import timedelta
    >>> store = FrozenStore()
    >>> store.clock.advance(timedelta(days=1))
    >>> store.add("order-7", "placed").timestamp
    datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
    """

    def __init__(self, types: Types | None = None, clock: FrozenClock | None = None, *, storage: Storage | None = None) -> None:
        """`storage`: what it is to be on instead; its clock is its own."""
        self.clock = clock or FrozenClock()
        super().__init__(storage or MemoryStorage(clock_us=self.clock.now_us), types)

    def branch(self, at: int | None = None) -> "FrozenStore":
        """See `Store.branch`; on the same clock."""
        storage = BranchStorage(self._untyped, at, clock_us=self.clock.now_us)
        return FrozenStore(self._types, self.clock, storage=storage)

    @property
    def timers(self) -> Timers:
        return Timers(self._storage, self.clock.now_us)

    def catch_up(self, *definitions: Definition, timeout_s: float | None = None) -> None:
        """See `Store.catch_up`; here also until what the handlers themselves have stored is handled."""
        calls, sources = Calls(self._tell), sources_of(definitions)
        crew = Crew(self._storage, self._tail, sources, calls=calls, clock_us=self.clock.now_us)
        try:
            head = -1
            while head != self.head():
                head = self.head()
                crew.run_until_caught_up(None if timeout_s is None else check_timeout(timeout_s))
        finally:
            crew.leave()


@contextmanager
def frozen_ids() -> Iterator[None]:
    """Events made inside get the same ids in every run, in order: 01900000-0000-7000-8000-000000000001 and on.

    >>> from hansard import Event
    >>> with frozen_ids():
    ...     str(Event("placed").id)
    '01900000-0000-7000-8000-000000000001'
    """
    numbers = itertools.count(_FIRST_ID + 1)

    def next_id(*arguments: Any) -> UUID:
        return UUID(int=next(numbers))

    with mock.patch("hansard.events.uuid7", next_id):
        yield
