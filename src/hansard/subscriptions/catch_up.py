"""Catching up and staying live, as a machine without I/O and clock: what was taken, and whether that was all."""

from collections import deque
from collections.abc import Sequence

from hansard.events import RecordedEvent, unfolded


class CatchUp:
    """`position`: all matching events up to here were handed out or wait here. `is_caught_up`: the last look found no more."""

    def __init__(self, after: int) -> None:
        self.position = after
        self.is_caught_up = False
        self._waiting: deque[RecordedEvent] = deque()
        self._was_told = False

    @property
    def handed_out(self) -> int:
        """All matching events up to here were handed out."""
        return self._waiting[0].position - 1 if self._waiting else self.position

    def took(self, page: Sequence[RecordedEvent], upto: int) -> None:
        """Note the next matching events, and the position up to which there are no others."""
        self.is_caught_up = upto <= self.position
        self.position = max(self.position, upto)
        self._waiting.extend(unfolded(page))
        if page:
            self._was_told = False

    def next(self) -> RecordedEvent | None:
        return self._waiting.popleft() if self._waiting else None

    @property
    def is_live(self) -> bool:
        """Whether the last look found nothing that was not handed out."""
        return self.is_caught_up and not self._waiting

    def tells_caught_up(self) -> bool:
        """Whether this is the first look since the last event that finds no more."""
        if not self.is_caught_up or self._was_told:
            return False
        self._was_told = True
        return True
