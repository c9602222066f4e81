"""Which appends a running handler has caused, so that a handler that answers itself for ever is found out. No I/O."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hansard.appends import Appended
from hansard.errors import HandlerLoop
from hansard.limits import CAUSED_DEPTH_MAX, CAUSED_REMEMBERED_MAX


class Chains:
    """For the events that one processor has caused itself: how long the chain is that led to each."""

    def __init__(self) -> None:
        self._depths: dict[int, int] = {}

    @contextmanager
    def handling(self, position: int) -> Iterator[None]:
        """While this event is handled, appends are its consequences. Raises HandlerLoop where the chain is too long."""
        depth = self._depths.get(position, 0)
        if depth >= CAUSED_DEPTH_MAX:
            raise HandlerLoop(CAUSED_DEPTH_MAX, position)
        token = _running.set((self, depth + 1))
        try:
            yield
        finally:
            _running.reset(token)

    def caused(self, appended: Appended, depth: int) -> None:
        self._depths.update(dict.fromkeys(range(appended.first_position, appended.last_position + 1), depth))
        while len(self._depths) > CAUSED_REMEMBERED_MAX:
            del self._depths[next(iter(self._depths))]


_running: ContextVar[tuple[Chains, int] | None] = ContextVar("hansard_running_chain", default=None)


def note(appended: Appended) -> None:
    """Something was stored; if a processor's handler runs here, it is the cause."""
    running = _running.get()
    if running is not None and not appended.is_repeat:
        chains, depth = running
        chains.caused(appended, depth)
