"""Signatures: the tags of an event in 62 bits, for ruling out events that lack a tag.

A Bloom filter with two bits a tag (B. H. Bloom, 1970, doi:10.1145/362686.362692): a set bit may come from another tag,
a missing one means that the tag is not there. The exact answer still comes from the tag table.
"""

from collections.abc import Iterable
from zlib import crc32

_BITS = 62


def signature(tags: Iterable[str]) -> int:
    """The bits of all these tags. Part of the file format: equal on every machine and version."""
    bits = 0
    for tag in tags:
        number = crc32(tag.encode())
        bits |= 1 << (number & 0xFFFF) % _BITS | 1 << (number >> 16) % _BITS
    return bits
