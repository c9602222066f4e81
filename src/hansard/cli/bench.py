"""`hansard bench`: what this machine and this disk give, beside the bare disk in the same run."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from hansard.cli.output import console, format_options, print_json, table, wants_json
from hansard.events import Event
from hansard.store import Store, open

_RAW_BYTES = 4096
_RAW_FILE_BYTES = 8 * 1024 * 1024
_BATCH = 1_000
_DATA = {"account": "acct-00023453", "amount": 4660.25, "currency": "EUR", "note": "n" * 100, "by": "user-0221"}


@click.command()
@click.option("--folder", type=click.Path(exists=True, file_okay=False), help="Measure the disk of this folder.")
@click.option("--seconds", default=2.0, show_default=True, help="How long each measurement takes.")
@format_options
def bench(folder: str | None, seconds: float, as_json: bool | None) -> None:
    """Measure appends and reads on this machine, in a store that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        results = _measured(place, seconds)
    if wants_json(as_json):
        print_json(results)
        return
    raw = results["write + fdatasync, nothing else"]
    rows = [(name, round(rate), f"{rate / raw:.2f}") for name, rate in results.items()]
    console().print(table("per second, and as a ratio to the bare disk", ("what", "#rate", "#ratio"), rows))


def _measured(place: str, seconds: float) -> dict[str, float]:
    results = {"write + fdatasync, nothing else": _raw_rate(f"{place}/raw", seconds)}
    with open(f"{place}/bench.db") as store:
        results["appends of one event"] = _rate(seconds, lambda: store.append("a-1", Event("happened", _DATA)) and 1)
        results[f"events appended by {_BATCH:,}"] = _rate(seconds, lambda: _append_batch(store))
        results["events read"] = _rate(seconds, lambda: sum(1 for _ in store.read(limit=100 * _BATCH)))
    with open(":memory:") as store:
        results["events added in memory"] = _rate(seconds, lambda: store.add("a-1", "happened", _DATA) and 1)
    return results


def _append_batch(store: Store) -> int:
    store.append("b-1", [Event("happened", _DATA) for _ in range(_BATCH)])
    return _BATCH


def _rate(seconds: float, work: Callable[[], object]) -> float:
    """How many a second; `work` returns how many it did."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        count = work()
        done += count if isinstance(count, int) else 1
    return done / spent


def _raw_rate(path: str, seconds: float) -> float:
    Path(path).write_bytes(bytes(_RAW_FILE_BYTES))
    file, block, offset = os.open(path, os.O_RDWR), bytes(_RAW_BYTES), 0
    sync = getattr(os, "fdatasync", os.fsync)
    try:
        os.fsync(file)

        def write() -> int:
            nonlocal offset
            os.pwrite(file, block, offset)
            sync(file)
            offset = (offset + _RAW_BYTES) % _RAW_FILE_BYTES
            return 1

        return _rate(seconds, write)
    finally:
        os.close(file)
