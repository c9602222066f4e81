"""Reading page by page, as a machine without I/O: which page comes next, and when the read is over.

A read ends at the head as it stood when its first page was read, so that a loop that appends while it reads comes to an end.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hansard.errors import InvalidType
from hansard.events import RecordedEvent, ReplacedEvent, unfolded
from hansard.limits import PAGE_EVENTS_MAX
from hansard.query import Query
from hansard.streams import check_bound


class Page(NamedTuple):
    """Exclusive bounds and the number of events wanted."""

    after: int
    before: int | None
    limit: int


class Paging:
    """`of_stream`: bounds are versions; otherwise positions."""

    def __init__(self, *, after: int, before: int | None, backwards: bool, limit: int | None, of_stream: bool = False) -> None:
        kind = "_version" if of_stream else ""
        self._after = check_bound(f"after{kind}", after)
        self._before = before if before is None else check_bound(f"before{kind}", before)
        self._left = limit if limit is None else check_bound("limit", limit)
        if not isinstance(backwards, bool):
            raise InvalidType("backwards", backwards, "expected True or False")
        self.backwards = backwards
        self._of_stream = of_stream
        self._is_over = False

    @property
    def next_page(self) -> Page | None:
        """What to read next; None when the read is over."""
        if self._is_over or self._left == 0:
            return None
        return Page(self._after, self._before, self._wanted)

    @property
    def _wanted(self) -> int:
        return PAGE_EVENTS_MAX if self._left is None else min(self._left, PAGE_EVENTS_MAX)

    def took(self, page: Sequence[RecordedEvent]) -> None:
        """Note the page that was read. Events that were replaced count as many as stand for them; they are never cut."""
        is_last = len(page) < self._wanted
        if self._left is not None:
            self._left = max(0, self._left - sum([len(one.by) if type(one) is ReplacedEvent else 1 for one in page]))
        if is_last:
            self._is_over = True
            return
        last = page[-1].version if self._of_stream else page[-1].position
        assert last is not None
        if self.backwards:
            self._before = last
        else:
            self._after = last

    @property
    def needs_end(self) -> bool:
        """Whether there is more to come and no end is set yet."""
        return not self.backwards and self._before is None and self.next_page is not None

    def end_at(self, last: int) -> None:
        """Set the end: the head, or the stream's version."""
        self._before = last + 1


class Reads(Protocol):
    """A storage, or a transaction of one."""

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]: ...


def is_any(reads: Reads, query: Query, *, after: int, before: int | None) -> bool:
    """Whether an event of the query stands there."""
    while page := reads.read(query, after=after, before=before, backwards=False, limit=1):
        if next(unfolded(page), None) is not None:
            return True
        after = page[-1].position
    return False
