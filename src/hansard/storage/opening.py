"""From a place to an engine. Engines are imported only when they are asked for."""

import os
from typing import Final
from urllib.parse import unquote

from hansard.errors import InvalidInput, InvalidType, OpenFailed
from hansard.names import REPLICA_DOCUMENT, check_path, shown_place
from hansard.storage.port import Storage

DURABILITIES: Final = {"fsync": "FULL", "page-cache": "NORMAL"}
"""What an acknowledgement may promise, and SQLite's word for it."""


_NEEDS_PSYCOPG: Final = "PostgreSQL needs psycopg; install it with: pip install 'hansard[postgres]'"


def open_storage(
    place: str | os.PathLike[str], *, read_only: bool = False, must_exist: bool = False, durability: str = "fsync"
) -> Storage:
    """The engine for a place: ":memory:", the path of a SQLite file (also as sqlite:///path), postgresql://host/database,
    or the address of a server, http://host:port."""
    if not isinstance(place, str | os.PathLike):
        raise InvalidType("place", place, 'expected a path, a URL or ":memory:"')
    if not isinstance(durability, str) or durability not in DURABILITIES:
        raise InvalidInput("durability", durability, f"expected one of {', '.join(DURABILITIES)}")
    place = os.fsdecode(place)
    if place.startswith(("postgresql://", "postgres://")):
        return _open_postgres(place, read_only=read_only, must_exist=must_exist, durability=durability)
    if place.startswith(("http://", "https://")):
        return _open_remote(place, read_only=read_only, durability=durability)
    if place.startswith("nats://"):
        return _open_cluster(place, read_only=read_only, must_exist=must_exist, durability=durability)
    path = _path(place)
    if path == ":memory:":
        return _open_memory(read_only=read_only)
    return _open_sqlite(path, read_only=read_only, must_exist=must_exist, durability=durability)


def _open_memory(*, read_only: bool) -> Storage:
    from hansard.storage.memory import MemoryStorage  # an engine is imported on demand

    if read_only:
        raise InvalidInput("read_only", True, "a new memory store would stay empty for ever")
    return MemoryStorage()


def _open_sqlite(path: str, *, read_only: bool, must_exist: bool, durability: str) -> Storage:
    from hansard.storage.sqlite.storage import SqliteStorage  # an engine is imported on demand

    storage = SqliteStorage(path, read_only=read_only, must_exist=must_exist, synchronous=DURABILITIES[durability])
    collection, key = REPLICA_DOCUMENT
    if not read_only and storage.get(collection, [key]):
        storage.close()
        raise OpenFailed(
            f"{path}: this is the replica of a cluster's node, and written by that alone; open nats://…?replica={path}, "
            "or this file with read_only"
        )
    return storage


def _open_postgres(url: str, *, read_only: bool, must_exist: bool, durability: str) -> Storage:
    try:
        from hansard.storage.postgres.address import parse  # an engine is imported on demand
        from hansard.storage.postgres.storage import PostgresStorage
    except ImportError as error:
        raise OpenFailed(_NEEDS_PSYCOPG) from error
    is_relaxed = durability != "fsync"
    return PostgresStorage(parse(url), read_only=read_only, must_exist=must_exist, is_relaxed=is_relaxed)


def _open_remote(url: str, *, read_only: bool, durability: str) -> Storage:
    from hansard.storage.remote.address import parse  # an engine is imported on demand
    from hansard.storage.remote.storage import RemoteStorage

    if durability != "fsync":
        raise InvalidInput("durability", durability, "what a server promises is decided where it is started")
    return RemoteStorage(parse(url), read_only=read_only)


def _open_cluster(url: str, *, read_only: bool, must_exist: bool, durability: str) -> Storage:
    try:
        from hansard.storage.cluster.address import parse  # an engine is imported on demand
        from hansard.storage.cluster.jetstream import JetStreamLog
        from hansard.storage.cluster.storage import ClusterStorage
    except ImportError as error:
        raise OpenFailed("a cluster needs nats-py; install it with: pip install 'hansard[cluster]'") from error
    if durability != "fsync":
        raise InvalidInput("durability", durability, "what a cluster's log promises is decided where its servers are started")
    address = parse(url)
    log = JetStreamLog(address, must_exist=must_exist or read_only)
    try:
        return ClusterStorage(log, address.replica, replicas=address.replicas, read_only=read_only)
    except BaseException:
        log.close()
        raise


def migrate_storage(url: str, *, plan: bool, writer: str | None, reader: str | None) -> list[str]:
    """See hansard.migrate."""
    if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
        raise InvalidInput(
            "url",
            shown_place(url) if isinstance(url, str) else url,
            "only a database has a schema to migrate: expected postgresql://…; a file upgrades itself",
        )
    try:
        from hansard.storage.postgres.migrating import migrate  # an engine is imported on demand
    except ImportError as error:
        raise OpenFailed(_NEEDS_PSYCOPG) from error
    return migrate(url, plan=plan, writer=writer, reader=reader)


def restore_snapshot(snapshot: str | os.PathLike[str], replica: str | os.PathLike[str]) -> tuple[int, int]:
    """See hansard.restore_replica."""
    from hansard.storage.cluster.replica import restore  # an engine is imported on demand

    return restore(check_path("snapshot", snapshot), check_path("replica", replica))


def _path(place: str) -> str:
    """The path of a file, or ":memory:"."""
    scheme, is_url, rest = place.partition("://")
    path = _path_of_url(place, scheme, rest) if is_url else place
    if not path or "\0" in path:
        raise InvalidInput("place", place, 'expected a path, a URL or ":memory:"')
    return path


def _path_of_url(url: str, scheme: str, rest: str) -> str:
    """sqlite:///relative/path, sqlite:////absolute/path, sqlite:///:memory:"""
    if scheme != "sqlite":
        raise OpenFailed(
            f"{url}: there is no engine for {scheme}://; known are a path, sqlite:///path, postgresql://…, nats://…, http://… "
            "and :memory:"
        )
    if not rest.startswith("/"):
        raise InvalidInput("place", url, "a SQLite store is on no host; write sqlite:///path")
    if "?" in rest or "#" in rest:
        raise InvalidInput("place", url, "options are given to open(), not in the URL")
    return unquote(rest[1:])
