"""Where each engine's store of a test lives."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nats_servers import new_log
from postgres_server import empty_schema, log_url
from servers import url_of

ENGINES = ["memory", "file", "postgres", "remote", "cluster"]
DATABASES = ["file", "postgres"]
"""Engines that give a connection, and tables of the user's own."""


def place_of(engine: str, folder: Path) -> str:
    """Opened again with the same folder, a place is the same store (but in memory, where each is new)."""
    folder.mkdir(exist_ok=True)
    if engine == "memory":
        return ":memory:"
    if engine == "remote":
        return url_of(folder)
    if engine == "cluster":
        return _address(folder)
    return str(folder / "log.db") if engine == "file" else log_url(folder)


def another(place: str) -> str:
    """The place for a second opening beside the first: on a cluster, each node has a replica of its own."""
    return place.replace("replica.db", "another.db") if place.startswith("nats:") else place


def _address(folder: Path) -> str:
    """A node's, of an empty log on one server."""
    file = folder / "address"
    if not file.exists():
        file.write_text(new_log(folder / "replica.db"))
    return file.read_text()


@contextmanager
def database(engine: str, folder: Path) -> Iterator[str]:
    """A place with room for tables that no other test has made."""
    if engine in ("file", "remote", "cluster"):
        yield place_of(engine, folder)
        return
    with empty_schema() as schema:
        yield f"{place_of(engine, folder)}&options=-c%20search_path%3D{schema}"
