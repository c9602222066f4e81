"""The timers as a runner steps them: they need no owner, because each fires in the transaction that deletes it."""

from hansard.errors import ProcessorStopped
from hansard.processors.documents import OrderDocument
from hansard.processors.runner import Context
from hansard.timers import fire_due, next_due_s

_LOOK_S = 0.25
"""How often timers are looked for that others have set."""


class TimersAtWork:
    name = "timers"

    def __init__(self, context: Context) -> None:
        self._context = context
        self.order = OrderDocument()
        self.stopped: ProcessorStopped | None = None
        self.is_stopping = False
        self.is_retiring = False

    @property
    def position(self) -> int:
        """Timers are never behind the log."""
        return self._context.storage.head()

    def step(self) -> float | None:
        storage, clock_us = self._context.storage, self._context.clock_us
        if self.is_retiring:
            return None
        next_s = next_due_s(storage, clock_us())
        if next_s is not None and next_s <= 0:
            stored, next_s = storage.transact(lambda transaction: fire_due(transaction, clock_us()))
            self._context.calls.tell(stored)
        return _LOOK_S if next_s is None else min(next_s, _LOOK_S)

    def is_behind(self, head: int) -> bool:
        next_s = next_due_s(self._context.storage, self._context.clock_us())
        return next_s is not None and next_s <= 0

    def flush(self) -> None:
        """Nothing to save."""

    def leave(self) -> None:
        """Nothing to give back."""
