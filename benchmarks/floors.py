"""The raw floors that every result is compared with, measured in the same run."""

import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

PAGE = 4096
FILE_BYTES = 32 * 1024 * 1024

DATA = {
    "n": 123456,
    "account": "acct-00023453",
    "amount": 4660.25,
    "currency": "EUR",
    "note": "a" * 64,
    "reference": "b" * 32,
    "by": "user-0221",
}
METADATA = {"correlation": "c" * 24, "user": "u0221"}


def rate(work: Callable[[], int], seconds: float = 2.0) -> float:
    """How many a second; `work` returns how many it did."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        done += work()
    return done / spent


def raw_fdatasync(folder: Path, seconds: float = 1.0) -> float:
    """Write 4 KiB into a file that was written before, and wait for the disk."""
    path = folder / "raw"
    path.write_bytes(bytes(FILE_BYTES))
    file, block, offset = os.open(path, os.O_RDWR), b"x" * PAGE, 0
    os.fsync(file)

    def write() -> int:
        nonlocal offset
        os.pwrite(file, block, offset)
        os.fdatasync(file)
        offset = (offset + PAGE) % FILE_BYTES
        return 1

    try:
        return rate(write, seconds)
    finally:
        os.close(file)


class HandWrittenTable:
    """What people write by hand: one WAL table with the features that an event needs (id, version, type, time, JSON)."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE events (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, stream TEXT NOT NULL, "
            "version INTEGER NOT NULL, type TEXT NOT NULL, time TEXT NOT NULL, data TEXT NOT NULL, metadata TEXT NOT NULL, "
            "UNIQUE (stream, version))"
        )
        self.db.execute("CREATE INDEX events_type ON events (type, position)")

    def append(self, stream: str, types: list[str]) -> int:
        from datetime import UTC, datetime
        from uuid import uuid4

        self.db.execute("BEGIN IMMEDIATE")
        (version,) = self.db.execute("SELECT ifnull(max(version), 0) FROM events WHERE stream = ?", (stream,)).fetchone()
        now = datetime.now(UTC).isoformat()
        self.db.executemany(
            "INSERT INTO events (id, stream, version, type, time, data, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (str(uuid4()), stream, version + n, type, now, json.dumps(DATA), json.dumps(METADATA))
                for n, type in enumerate(types, 1)
            ],
        )
        self.db.execute("COMMIT")
        return len(types)


class LogOnlyTable:
    """The least that SQLite can do: one table of position, type and ready-made bytes, no index."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("PRAGMA wal_autocheckpoint=4000")
        self.db.execute("CREATE TABLE log (position INTEGER PRIMARY KEY, type TEXT, data BLOB, metadata BLOB)")
        self.data, self.metadata = json.dumps(DATA).encode(), json.dumps(METADATA).encode()

    def append(self, types: list[str]) -> int:
        self.db.execute("BEGIN IMMEDIATE")
        rows = [(type, self.data, self.metadata) for type in types]
        self.db.executemany("INSERT INTO log (type, data, metadata) VALUES (?, ?, ?)", rows)
        self.db.execute("COMMIT")
        return len(types)
