"""Export: a log, or a part of it, as JSON lines from which the identical log can be imported. Streams; holds one page."""

from collections.abc import Callable
from typing import BinaryIO, Final

from hansard.interchange.hansard_lines import line_of
from hansard.query import Query
from hansard.store import EVERYTHING, Store
from hansard.streams import check_bound

_PROGRESS_EVERY: Final = 1_000


def export_log(
    store: Store,
    out: BinaryIO,
    *,
    query: Query = EVERYTHING,
    after: int = 0,
    before: int | None = None,
    progress: Callable[[int, int, int], object] | None = None,
) -> int:
    """Write the events that match, with after < position < before, one a line; returns how many.

    Only all of a log, from position 1, imports back to the identical log: a part gets positions and versions of its own.
    `progress` is called now and then with the position reached, the position of the end, and the events so far.

    >>> import hansard, io
    >>> store = hansard.open(":memory:")
    >>> _ = store.add("customer-1", "created", {"name": "Jo"})
    >>> out = io.BytesIO()
    >>> export_log(store, out)
    1
    >>> out.getvalue()[:54]
    b'{"position":1,"stream":"customer-1","version":1,"type"'
    """
    end = store.head() if before is None else min(store.head(), check_bound("before", before) - 1)
    count, position = 0, after
    for event in store.read(query, after=after, before=max(end, 0) + 1):
        out.write(line_of(event))
        count, position = count + 1, event.position
        if progress is not None and count % _PROGRESS_EVERY == 0:
            progress(position, end, count)
    if progress is not None:
        progress(end, end, count)
    return count
