"""From a place to an engine. Engines are imported only when they are asked for."""

import os
from typing import Final
from urllib.parse import unquote

from hansard.errors import InvalidInput, InvalidType, OpenFailed
from hansard.storage.port import Storage

DURABILITIES: Final = {"fsync": "FULL", "page-cache": "NORMAL"}
"""What an acknowledgement may promise, and SQLite's word for it."""


def open_storage(place: str | os.PathLike[str], *, read_only: bool = False, durability: str = "fsync") -> Storage:
    """The engine for a place: ":memory:", or the path of a SQLite file (also as sqlite:///path)."""
    if not isinstance(place, str | os.PathLike):
        raise InvalidType("place", place, 'expected a path, a URL or ":memory:"')
    if durability not in DURABILITIES:
        raise InvalidInput("durability", durability, f"expected one of {', '.join(DURABILITIES)}")
    text = os.fspath(place)
    if text == ":memory:":
        return _open_memory(read_only=read_only)
    return _open_sqlite(_path(text), read_only=read_only, durability=durability)


def _open_memory(*, read_only: bool) -> Storage:
    from hansard.storage.memory import MemoryStorage  # an engine is imported on demand

    if read_only:
        raise InvalidInput("read_only", True, "a new memory store would stay empty for ever")
    return MemoryStorage()


def _open_sqlite(path: str, *, read_only: bool, durability: str) -> Storage:
    from hansard.storage.sqlite.storage import SqliteStorage  # an engine is imported on demand

    return SqliteStorage(path, read_only=read_only, synchronous=DURABILITIES[durability])


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise InvalidInput("place", text, 'expected a path, a URL or ":memory:"')
    scheme, found, rest = text.partition("://")
    if not found:
        return text
    if scheme != "sqlite":
        raise OpenFailed(f"{text}: there is no engine for {scheme}://; known are a file's path, sqlite:///path and :memory:")
    return unquote(rest.removeprefix("/")) if not rest.startswith("//") else unquote(rest[1:])
