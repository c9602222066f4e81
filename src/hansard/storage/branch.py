"""A branch: the log of another storage up to a position, and what is appended to it here, in memory.

The other one is never written. Documents are not branched: named readers and projections begin anew here, because those of the
other storage may stand further on.
"""

from collections.abc import Callable, Sequence

from hansard.errors import AppendConditionFailed, InvalidInput
from hansard.events import RecordedEvent
from hansard.query import AppendCondition, Query
from hansard.storage.clock import now_us
from hansard.storage.memory import MemoryStorage
from hansard.storage.port import Storage
from hansard.streams import StreamInfo


class BranchStorage(MemoryStorage):
    """See Storage. Cheap to make: nothing is copied. To be closed before the storage that it branches from."""

    durability = "none: a branch, in memory only"

    def __init__(self, base: Storage, at: int | None = None, *, clock_us: Callable[[], int] = now_us) -> None:
        super().__init__(clock_us=clock_us)
        self._base = base
        head = base.head()
        self._before = head if at is None else at
        if self._before > head:
            raise InvalidInput("at", at, f"expected at most {head}, the head")
        last = (
            base.read(Query(), after=self._before - 1, before=self._before + 1, backwards=False, limit=1) if self._before else []
        )
        self._before_us = last[0].timestamp_us if last else 0
        self._versions: dict[str, int] = {}

    # What was there before

    def _version_before(self, stream: str) -> int:
        if stream not in self._versions:
            self._versions[stream] = self._version_at(self._base.stream(stream))
        return self._versions[stream]

    def _version_at(self, stream: StreamInfo) -> int:
        """The version at the branch's beginning, of a stream that may have grown since: looked for by halves."""
        if stream.last_position <= self._before:
            return stream.version
        low, high = 0, stream.version - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._event_at(stream.name, middle).position <= self._before:
                low = middle
            else:
                high = middle - 1
        return low

    def _event_at(self, stream: str, version: int) -> RecordedEvent:
        (event,) = self._base.read_stream(stream, after_version=version - 1, before_version=None, backwards=False, limit=1)
        return event

    def _known(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        before = {id: event for id, event in self._base.events(ids).items() if event.position <= self._before}
        return {**before, **super()._known(ids)}

    def _check_condition(self, condition: AppendCondition) -> None:
        if condition.after < self._before:
            found = self._base.read(condition.fail_if, after=condition.after, before=self._before + 1, backwards=False, limit=1)
            if found:
                raise AppendConditionFailed(condition.fail_if, condition.after, found[0].position, found[0].type)
        super()._check_condition(condition)

    # Reading: both parts, one after the other

    def _read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        def earlier(limit: int) -> list[RecordedEvent]:
            end = self._before + 1 if before is None else min(before, self._before + 1)
            return self._base.read(query, after=after, before=end, backwards=backwards, limit=limit) if after < end - 1 else []

        def here(limit: int) -> list[RecordedEvent]:
            return super(BranchStorage, self)._read(query, after=after, before=before, backwards=backwards, limit=limit)

        return _joined(here, earlier, limit) if backwards else _joined(earlier, here, limit)

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        def earlier(limit: int) -> list[RecordedEvent]:
            last = self._version_before(stream)
            end = last + 1 if before_version is None else min(before_version, last + 1)
            if after_version >= end - 1:
                return []
            return self._base.read_stream(
                stream, after_version=after_version, before_version=end, backwards=backwards, limit=limit
            )

        def here(limit: int) -> list[RecordedEvent]:
            return super(BranchStorage, self).read_stream(
                stream, after_version=after_version, before_version=before_version, backwards=backwards, limit=limit
            )

        with self._lock:
            return _joined(here, earlier, limit) if backwards else _joined(earlier, here, limit)

    def _stream_now(self, name: str) -> StreamInfo:
        self._check_open()
        version = self._version_before(name)
        if self._streams.get(name) or not version:
            return super()._stream_now(name)
        last = self._event_at(name, version)
        return StreamInfo(name, version, last.position, last.timestamp_us)

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        with self._lock:
            here = {stream.name for stream in super().streams(category=category, after=after, limit=limit)}
            earlier, covered = self._names_before(category, after, limit)
            names = sorted(earlier | {name for name in here if covered is None or name <= covered})
            return [self._stream_now(name) for name in names[:limit]]

    def _names_before(self, category: str | None, after: str, limit: int) -> tuple[set[str], str | None]:
        """At least `limit` names of streams that were there, and the name up to which these are all (None: all there are)."""
        names: set[str] = set()
        while page := self._base.streams(category=category, after=after, limit=limit):
            names |= {stream.name for stream in page if self._version_at(stream)}
            after = page[-1].name
            if len(names) >= limit:
                return names, after
        return names, None


def _joined(
    first: Callable[[int], list[RecordedEvent]], second: Callable[[int], list[RecordedEvent]], limit: int
) -> list[RecordedEvent]:
    page = first(limit)
    return page + second(limit - len(page)) if len(page) < limit else page
