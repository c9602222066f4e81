"""What is copied or imported goes in batches that every engine takes in one append or transaction."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

_EVENTS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 512 * 1024
"""Half of what the narrowest engine takes (a message of a cluster's log), since names and tags come on top."""

_ItemT = TypeVar("_ItemT")


def batches(items: Iterable[_ItemT], size_of: Callable[[_ItemT], int]) -> Iterator[list[_ItemT]]:
    """`size_of`: the bytes of one. One that is larger than a batch stands alone."""
    batch: list[_ItemT] = []
    size = 0
    for item in items:
        more = size_of(item)
        if batch and (len(batch) == _EVENTS_MAX or size + more > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += more
    if batch:
        yield batch
