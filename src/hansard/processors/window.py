"""The events that one consumer of a group has taken and not finished, as a machine without I/O and clock.

Within a sequence (a stream, or a key) one event is out at a time, so that order is kept even when one is given back.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from hansard.events import RecordedEvent


class Taken:
    """One event: which partition and sequence it belongs to, whether it is out, and how often it was given back.

    Several events may stand at its position (see ReplacedEvent); they are handed out one after another.
    """

    __slots__ = ("attempts", "is_out", "not_before_s", "ones", "partition", "sequence")

    def __init__(self, ones: Sequence[RecordedEvent], partition: int, sequence: str) -> None:
        self.ones = deque(ones)
        self.partition = partition
        self.sequence = sequence
        self.is_out = False
        self.attempts = 0
        self.not_before_s = 0.0

    @property
    def event(self) -> RecordedEvent:
        """The one that is out, or to be handed out next."""
        return self.ones[0]


class Window:
    def __init__(self) -> None:
        self._taken: dict[int, Taken] = {}
        self._sequences: dict[str, deque[Taken]] = defaultdict(deque)

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, ones: Sequence[RecordedEvent], partition: int, sequence: str) -> None:
        """An event, or all that stand at its position, to be handed out after those of its sequence that were taken before."""
        one = Taken(ones, partition, sequence)
        self._taken[one.event.position] = one
        self._sequences[sequence].append(one)

    def hand_out(self, now_s: float) -> Taken | None:
        """The lowest event whose turn it is."""
        heads = (queue[0] for queue in self._sequences.values())
        ready = [one for one in heads if not one.is_out and one.not_before_s <= now_s]
        if not ready:
            return None
        one = min(ready, key=lambda taken: taken.event.position)
        one.is_out = True
        return one

    def next_turn_s(self) -> float | None:
        """When the next event that was given back has its turn again."""
        return min([q[0].not_before_s for q in self._sequences.values() if not q[0].is_out and q[0].not_before_s], default=None)

    def out(self, position: int) -> Taken | None:
        """The event at a position, if it is out."""
        one = self._taken.get(position)
        return one if one is not None and one.is_out else None

    def give_back(self, one: Taken, not_before_s: float) -> None:
        one.attempts += 1
        one.is_out, one.not_before_s = False, not_before_s

    def goes_on(self, one: Taken) -> bool:
        """Whether another event stands at its position: that one has its turn now."""
        if len(one.ones) == 1:
            return False
        one.ones.popleft()
        one.is_out, one.attempts = False, 0
        return True

    def finish(self, one: Taken) -> None:
        del self._taken[one.event.position]
        queue = self._sequences[one.sequence]
        queue.remove(one)
        if not queue:
            del self._sequences[one.sequence]

    def rest_of(self, sequence: str) -> Iterator[Taken]:
        """The events of a sequence that wait, in order."""
        return iter(list(self._sequences.get(sequence, ())))

    def has(self, position: int) -> bool:
        return position in self._taken

    def of_partition(self, partition: int) -> list[Taken]:
        return [one for one in self._taken.values() if one.partition == partition]

    def is_busy(self, partition: int) -> bool:
        return bool(self.of_partition(partition))

    def drop(self, partition: int) -> None:
        """Another member has the partition now."""
        for one in self.of_partition(partition):
            self.finish(one)
