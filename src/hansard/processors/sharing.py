"""The rules of sharing: who is alive, and who owns which partition. Pure: no I/O, no clock."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key; the same in every process and for ever (CRC-32 of its UTF-8 text)."""
    return crc32(key.encode()) % partitions if partitions > 1 else 0


class Changes(NamedTuple):
    """What one member has to do to have its share."""

    claim: list[int]
    release: list[int]


def changes(owners: Mapping[int, str | None], members: Sequence[str], me: str) -> Changes:
    """An even share for each: whoever has too many gives some back, whoever has too few takes those that nobody alive owns.

    Each member decides for itself, one after the other, and all come to rest: the shares wanted add up to the whole.
    """
    alive = sorted({*members, me})
    base, more = divmod(len(owners), len(alive))
    wanted = base + (alive.index(me) < more)
    mine = [number for number, owner in sorted(owners.items()) if owner == me]
    free = [number for number, owner in sorted(owners.items()) if owner is None or owner not in alive]
    return Changes(claim=free[: max(0, wanted - len(mine))], release=mine[wanted:])


class Pulse:
    """Who is alive, judged by counters and the observer's own clock, so that no two clocks need to agree."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def dead(self, beats: Mapping[str, tuple[int, float]], now_s: float) -> set[str]:
        """Of members with (beat, lease in seconds): those whose beat has stood still for their lease while being watched."""
        self._seen = {
            member: self._seen[member] if self._seen.get(member, (None,))[0] == beat else (beat, now_s)
            for member, (beat, _) in beats.items()
        }
        return {member for member, (_, lease_s) in beats.items() if now_s - self._seen[member][1] >= lease_s}
