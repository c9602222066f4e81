"""Online backup: a copy of the log as it is at one moment, while others append."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hansard.errors import InvalidInput, StorageFailed
from hansard.storage.sqlite import reader, schema
from hansard.storage.sqlite.connection import named


def copy(connection: sqlite3.Connection, target: str) -> int:
    """Copy to a new file, which gets its name only when it is whole and on the disk. Returns the head of the copy."""
    if os.path.exists(target):
        raise InvalidInput("target", target, "there is a file of this name already; give a new one")
    unfinished = f"{target}.unfinished"
    try:
        head = _copy_to(connection, unfinished)
        os.rename(unfinished, target)
    except sqlite3.Error as error:
        raise named(target, error) from error
    except OSError as error:
        raise StorageFailed(f"{target}: {error.strerror}") from error
    finally:
        Path(unfinished).unlink(missing_ok=True)
    return head


def _copy_to(connection: sqlite3.Connection, unfinished: str) -> int:
    Path(unfinished).unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as copied:
        connection.backup(copied)
        schema.verify(copied, unfinished)
        head = reader.head(copied)[0]
        copied.execute("PRAGMA journal_mode=WAL")
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    return head
