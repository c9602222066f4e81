"""Online backup: a copy of the log as it is at one moment, while others append."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from secrets import token_hex

from hansard.errors import InvalidInput, StorageFailed, StoreNotFound
from hansard.storage.sqlite import reader, schema
from hansard.storage.sqlite.connection import named


def copy(connection: sqlite3.Connection, target: str) -> int:
    """Copy to a new file, which gets its name only when it is whole and on the disk. Returns the head of the copy."""
    if not isinstance(target, str) or not target or "\0" in target:
        raise InvalidInput("target", target, "expected the path of a new file")
    unfinished = f"{target}.{token_hex(8)}.unfinished"
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        raise InvalidInput("target", target, "there is a file of this name already; give a new one") from None
    except FileNotFoundError:
        raise StoreNotFound(f"{target}: there is no folder {Path(target).absolute().parent}") from None
    except OSError as error:
        raise StorageFailed(f"{target}: {error.strerror}") from error
    try:
        head = _copy_to(connection, unfinished)
        os.replace(unfinished, target)
    except BaseException as error:
        Path(target).unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise named(target, error) from error
        if isinstance(error, OSError):
            raise StorageFailed(f"{target}: {error.strerror}") from error
        raise
    finally:
        Path(unfinished).unlink(missing_ok=True)
    _sync_folder(Path(target).absolute().parent)
    return head


def _sync_folder(folder: Path) -> None:
    """So that the new name, too, survives a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_to(connection: sqlite3.Connection, unfinished: str) -> int:
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as copied:
        connection.backup(copied)
        schema.verify(copied, unfinished)
        head = reader.head(copied)[0]
        copied.execute("PRAGMA journal_mode=WAL")
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    return head
