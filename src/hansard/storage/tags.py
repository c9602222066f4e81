"""What engines know of tags to find events fast: signatures, and how often a tag was met.

A signature holds the tags of an event in 62 bits, for ruling out events that lack a tag. It is a Bloom filter with two bits a
tag (B. H. Bloom, 1970, doi:10.1145/362686.362692): a set bit may come from another tag, a missing one means that the tag is
not there. The exact answer still comes from the tag table.
"""

from collections.abc import Iterable, Sequence
from zlib import crc32

_BITS = 62
_USES = 200


def signature(tags: Iterable[str]) -> int:
    """The bits of all these tags. Part of what is stored: equal on every machine and version."""
    bits = 0
    for tag in tags:
        number = crc32(tag.encode())
        bits |= 1 << (number & 0xFFFF) % _BITS | 1 << (number >> 16) % _BITS
    return bits


class TagCounts:
    """How many events tags were found to have, at least; forgotten after some uses, because logs grow."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._uses = 0

    def rarest(self, tags: Sequence[str]) -> str | None:
        """The tag with the fewest events; None if one of them is not known."""
        self._uses += 1
        if self._uses > _USES:
            self._uses, self._counts = 0, {}
        counts = self._counts  # other threads may put another one in its place
        if not all(tag in counts for tag in tags):
            return None
        return min(tags, key=counts.__getitem__)

    def learn(self, counts: dict[str, int]) -> None:
        self._counts = {**self._counts, **counts}
