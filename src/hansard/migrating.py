"""Making and upgrading the schema that an engine keeps its logs in. Only databases have one; a file upgrades itself."""

from hansard.storage.opening import migrate_storage


def migrate(url: str, *, plan: bool = False, writer: str | None = None, reader: str | None = None) -> list[str]:
    """Bring the schema of a database up to this version, all of it or nothing, and let roles use it; returns the statements.

    Of several that migrate at once, one does it and the others wait. Forward only: a newer schema raises NewerFormat.
    `plan=True` changes nothing. `writer` and `reader` name roles that exist: the one may append and react, but neither change
    nor delete an event; the other may only read. To be run as the owner of the schema.
    """
    return migrate_storage(url, plan=plan, writer=writer, reader=reader)
