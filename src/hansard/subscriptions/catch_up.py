"""Catching up and staying live, as a machine without I/O and clock.

The head is read before the page: events that match are then looked for up to that head only, so whatever the page
holds, nothing at or below it is missing, and the position may move to the head when the page was not full.
"""

from collections.abc import Sequence

from hansard.events import RecordedEvent
from hansard.limits import PAGE_EVENTS_MAX


class CatchUp:
    """`position`: all matching events up to here were taken. `is_caught_up`: the last look found nothing more."""

    def __init__(self, after: int) -> None:
        self.position = after
        self.is_caught_up = False

    def before(self, head: int) -> int | None:
        """The bound of the next page, given the head; None if there is nothing to read."""
        self.is_caught_up = head <= self.position
        return None if self.is_caught_up else head + 1

    def took(self, page: Sequence[RecordedEvent], before: int) -> None:
        self.position = page[-1].position if len(page) == PAGE_EVENTS_MAX else max(self.position, before - 1)
