"""A snapshot of a cluster's node in the place of a replica. Files are moved here, nothing else."""

import os

from hansard.storage.opening import restore_snapshot


def restore_replica(snapshot: str | os.PathLike[str], replica: str | os.PathLike[str]) -> tuple[int, int]:
    """Make a snapshot (see `store.cluster.snapshot`) the replica of a new node, or of one that is closed, in the place of what it
    has. Returns its head, and the sequence of the last message that is applied to it.

    Copying over a file alone would leave SQLite's files beside it, which would then change the copy. Raises OpenFailed if a node
    has the replica, and if the snapshot is none.
    """
    return restore_snapshot(snapshot, replica)
