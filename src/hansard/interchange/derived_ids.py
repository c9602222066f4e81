"""Ids for events that come without one, the same at every import: UUIDs of version 8 (RFC 9562). Pure."""

from hashlib import blake2b
from typing import Final
from uuid import UUID

_VERSION_AND_VARIANT: Final = 0x8 << 76 | 0b10 << 62
_ORDINAL_MAX: Final = 2**40 - 1


class DerivedIds:
    """The ids of one source. The same source, place and content give the same id; nothing else does."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._first_bits = int.from_bytes(blake2b(self._source, digest_size=6).digest()) << 80 | _VERSION_AND_VARIANT

    def of_place(self, ordinal: int, content: bytes) -> UUID:
        """48 bits for the source, 40 for the ordinal, 34 for the content: ids of one import ascend, as an index likes it."""
        assert 0 <= ordinal <= _ORDINAL_MAX
        content_bits = int.from_bytes(blake2b(content, digest_size=8).digest()) >> 30
        place_bits = (ordinal >> 28) << 64 | (ordinal & 0xFFF_FFFF) << 34
        return UUID(int=self._first_bits | place_bits | content_bits)

    def of_text(self, id: str) -> UUID:
        """The UUID that the text is; for any other text one that is derived from it and the source."""
        try:
            return UUID(id)
        except ValueError:
            digest = int.from_bytes(blake2b(self._source + b"\0" + id.encode(), digest_size=16).digest())
        return UUID(int=digest & ~(0xF << 76 | 0b11 << 62) | _VERSION_AND_VARIANT)
