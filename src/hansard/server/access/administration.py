"""Making, listing and revoking keys of a store, each change with its audit event in the same transaction."""

import os
from collections.abc import Iterable

from hansard.appends import StreamAppend, append_of
from hansard.errors import InvalidInput
from hansard.server.access import keys
from hansard.server.access.keys import KeyDocument
from hansard.server.access.permissions import grants_of
from hansard.server.audit import STREAM, audit_event
from hansard.storage.clock import now_us
from hansard.storage.opening import open_storage
from hansard.storage.port import StorageTransaction

_DAY_US = 86_400 * 1_000_000


_DAYS_MAX = 36_500


def add_key(place: str | os.PathLike[str], name: str, permissions: Iterable[str], *, by: str, days: float | None = None) -> str:
    """A new key's text, which is kept nowhere. `days`: until it expires. Raises InvalidInput."""
    grants = grants_of(permissions)
    if days is not None and not 0 < days <= _DAYS_MAX:
        raise InvalidInput("days", days, f"expected more than 0, and at most {_DAYS_MAX}")
    now = now_us()
    expires_us = None if days is None else now + int(days * _DAY_US)

    def work(transaction: StorageTransaction) -> str:
        text = keys.make(transaction, name, grants, now_us=now, expires_us=expires_us)
        _note(transaction, "key-made", name, by, permissions=" ".join(str(grant) for grant in grants))
        return text

    storage = open_storage(place)
    try:
        return storage.transact(work)
    finally:
        storage.close()


def revoke_key(place: str | os.PathLike[str], name: str, *, by: str) -> None:
    """Servers of the store refuse it within a second or two. Raises InvalidInput if there is none of this name."""

    def work(transaction: StorageTransaction) -> None:
        keys.revoke(transaction, name)
        _note(transaction, "key-revoked", name, by)

    storage = open_storage(place, must_exist=True)
    try:
        storage.transact(work)
    finally:
        storage.close()


def list_keys(place: str | os.PathLike[str]) -> list[KeyDocument]:
    storage = open_storage(place, read_only=True, must_exist=True)
    try:
        return keys.all_of(storage)
    finally:
        storage.close()


def _note(transaction: StorageTransaction, action: str, name: str, by: str, **parameters: str) -> None:
    event = audit_event(action, name, by=by, client="command line", parameters=parameters)
    transaction.append(append_of((StreamAppend(STREAM, (event,)),), None))
