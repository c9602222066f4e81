"""Copying a log into another store, on any engine: the same ids, positions, versions, timestamps and bytes. Resumable."""

import hashlib
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from hansard.errors import LogsDiffer
from hansard.interchange.batches import batches
from hansard.interchange.hansard_lines import line_of
from hansard.query import AppendCondition, Query
from hansard.store import Store

_WAIT_S: Final = 0.5


class CopyReport(NamedTuple):
    """`copied` events now, of `events` that both logs have; `digest` is the SHA-256 of each event's line of an export."""

    copied: int
    events: int
    digest: str
    seconds: float


def copy_log(
    source: Store,
    target: Store,
    *,
    progress: Callable[[int, int], object] | None = None,
    follow: Callable[[], bool] | None = None,
) -> CopyReport:
    """Bring `target` up to `source`, which others may append to meanwhile, then compare the two by digest.

    The target is empty, or what an earlier copy has left: it goes on there. Nobody else may append to it. `progress` is called
    with the position reached and the source's head; once the end is reached, it goes on for as long as `follow` says so.
    Readers, read models and timers are not copied, only the log.

    Raises LogsDiffer if the target is not the beginning of the source, or if the digests are not equal.

    >>> import hansard
    >>> source, target = hansard.open(":memory:"), hansard.open(":memory:")
    >>> _ = source.add("customer-1", "created", {"name": "Jo"})
    >>> copy_log(source, target).copied
    1
    >>> target.all("customer-1") == source.all("customer-1")
    True
    """
    start_s = time.monotonic()
    before = position = target.head()
    _check_beginning(source, target, position)
    while True:
        position = _copy_to_the_end(source, target, position, progress)
        if follow is None or not follow():
            break
        source.wait(position, _WAIT_S)
    digest = log_digest(source, position)
    if log_digest(target, position) != digest:
        raise LogsDiffer(f"the first {position:,} events of the two logs are not the same; the target is no copy of the source")
    return CopyReport(position - before, position, digest, time.monotonic() - start_s)


def log_digest(store: Store, head: int) -> str:
    """The SHA-256 of the lines of an export of the first `head` events: everything that a log says, byte by byte."""
    digest = hashlib.sha256()
    for event in store.read(before=head + 1):
        digest.update(line_of(event))
    return digest.hexdigest()


def _check_beginning(source: Store, target: Store, head: int) -> None:
    """Whether the target's last event stands at the same position of the source; the digest compares the others."""
    if head:
        (last,) = target.read(after=head - 1)
        if list(source.read(after=head - 1, before=head + 1)) != [last]:
            raise LogsDiffer(f"the target's event at position {head:,} is not the source's; give an empty target")


def _copy_to_the_end(source: Store, target: Store, position: int, progress: Callable[[int, int], object] | None) -> int:
    for part in batches(source.read(after=position), lambda event: len(event.data_json) + len(event.metadata_json)):
        # Fails if another one appends to the target, before positions drift apart.
        target.restore(part, condition=AppendCondition(Query(), after=position))
        position = part[-1].position
        if progress is not None:
            progress(position, max(source.head(), position))
    return position
