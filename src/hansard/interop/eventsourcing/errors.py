"""Our errors as the library's users know them: one table, and the block that applies it."""

from types import TracebackType
from typing import Final

from eventsourcing import persistence

from hansard import errors

_THEIRS: Final = (
    (errors.Conflict, persistence.IntegrityError),
    (errors.InvalidInput, persistence.DataError),
    (errors.StoreReadOnly, persistence.NotSupportedError),
    (errors.CapabilityMissing, persistence.NotSupportedError),
    (errors.StoreUnusable, persistence.InterfaceError),
    (errors.OpenFailed, persistence.InterfaceError),
    (errors.StoreCorrupt, persistence.InternalError),
    (errors.StorageFailed, persistence.OperationalError),
    (errors.RequestRefused, persistence.OperationalError),
    (errors.HansardError, persistence.DatabaseError),
)
"""The first that fits. Ours is the cause."""


def theirs(error: errors.HansardError) -> persistence.PersistenceError:
    return next(kind for ours, kind in _THEIRS if isinstance(error, ours))(str(error))


class _TheirErrors:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, errors.HansardError):
            raise theirs(error) from error


THEIR_ERRORS: Final = _TheirErrors()
"""`with THEIR_ERRORS:` around whatever calls us."""
