"""API keys: kept in the store they open, as hashes; shown once, when they are made.

A key is 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
"""

import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from hansard.errors import InvalidInput
from hansard.limits import API_KEYS_MAX, PAGE_DOCUMENTS_MAX
from hansard.names import check_name
from hansard.server.access.permissions import Grant, Principal
from hansard.storage.port import Storage, StorageTransaction

COLLECTION: Final = "server/keys"
_PREFIX: Final = "hsk_"
_LOOK_S: Final = 1.0
"""How often a server looks whether keys were made or revoked."""


class KeyDocument(msgspec.Struct, frozen=True):
    """What is kept of a key. `id` is the beginning of its text, so that people can tell keys apart."""

    name: str
    id: str
    hash: str
    grants: tuple[Grant, ...]
    made_us: int
    expires_us: int | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeyDocument).decode


def make(transaction: StorageTransaction, name: str, grants: tuple[Grant, ...], *, now_us: int, expires_us: int | None) -> str:
    """A new key's text. Raises InvalidInput if the name is taken."""
    if transaction.get(COLLECTION, [check_name("name", name)]):
        raise InvalidInput("name", name, "there is a key of this name; revoke it first, or take another name")
    if len(transaction.scan(COLLECTION, limit=PAGE_DOCUMENTS_MAX)) >= API_KEYS_MAX:
        raise InvalidInput("name", name, f"there are {API_KEYS_MAX} keys already")
    text = f"{_PREFIX}{secrets.token_urlsafe(32)}"
    document = KeyDocument(name, text[: len(_PREFIX) + 6], _hash(text), grants, now_us, expires_us)
    transaction.put(COLLECTION, {name: _encode(document)})
    return text


def revoke(transaction: StorageTransaction, name: str) -> None:
    """Raises InvalidInput if there is no key of this name."""
    if not transaction.get(COLLECTION, [check_name("name", name)]):
        raise InvalidInput("name", name, "there is no key of this name")
    transaction.put(COLLECTION, {name: None})


def all_of(storage: Storage) -> list[KeyDocument]:
    return [_decode(text) for _, text in storage.scan(COLLECTION, limit=PAGE_DOCUMENTS_MAX)]


class Keys:
    """The keys as a server knows them; looked up again every second. `refresh` is to be called in a thread."""

    def __init__(self, storage: Storage, clock_us: Callable[[], int]) -> None:
        self._storage = storage
        self._clock_us = clock_us
        self._by_hash: dict[str, KeyDocument] = {}
        self.refreshed_s = float("-inf")

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.refreshed_s > _LOOK_S

    def refresh(self) -> None:
        self._by_hash = {key.hash: key for key in all_of(self._storage)}
        self.refreshed_s = time.monotonic()

    def principal(self, text: str) -> Principal | None:
        """Whose key this is; None for one that is not known, or has expired."""
        key = self._by_hash.get(_hash(text))
        if key is None or (key.expires_us is not None and key.expires_us <= self._clock_us()):
            return None
        return Principal(key.name, key.grants)


def is_key(text: str) -> bool:
    return text.startswith(_PREFIX)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
