"""What does reading cost: the whole log, one stream among many, the events of a type, a category, a tag, two tags?"""

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import hansard
import large_store
from hansard import Query
from results import Result, micro, percentile

SCAN = """
import resource, sys, hansard
with hansard.open(sys.argv[1], read_only=True) as store:
    count = sum(1 for _ in store.read())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure(folder: Path, size: int) -> list[Result]:
    path = folder / "large.db"
    with hansard.open(path, read_only=True) as store:
        return [
            *whole_log(path, store),
            *streams(path, store, size),
            *queries(path, store),
            memory(path),
        ]


def whole_log(path: Path, store: hansard.Store) -> list[Result]:
    floor_s, ours_s, count = [], [], store.head()
    for _ in range(3):
        start = time.process_time()
        connection = sqlite3.connect(path)
        position = 0
        while rows := connection.execute(
            "SELECT * FROM event WHERE position > ? ORDER BY position LIMIT 1000", (position,)
        ).fetchall():
            position = rows[-1][0]
        connection.close()
        floor_s.append(time.process_time() - start)
        start = time.process_time()
        assert sum(1 for _ in store.read()) == count
        ours_s.append(time.process_time() - start)
    floor, ours = percentile(floor_s, 0.5) / count, percentile(ours_s, 0.5) / count
    return [
        Result(
            "whole log to RecordedEvent, CPU an event", micro(ours), f"SQL only {micro(floor)}", f"{ours / floor:.2f}", "≤ 2.5 µs"
        )
    ]


def streams(path: Path, store: hansard.Store, size: int) -> list[Result]:
    chance = random.Random(1)
    names = [large_store.short_stream(chance.randrange(size // large_store.BLOCK), chance.randrange(5_000)) for _ in range(3_000)]
    latencies = []
    for name in names:
        start = time.perf_counter()
        assert len(store.all(name)) == 10
        latencies.append(time.perf_counter() - start)
    value = f"p50 {micro(percentile(latencies, 0.5))}, p99 {micro(percentile(latencies, 0.99))}"
    return [Result(f"a stream of 10 among {size:,} events", value, "", "", "≤ 60 µs p50")]


def queries(path: Path, store: hansard.Store) -> list[Result]:
    results = []
    for what, query, target in (
        ("1 % by type", Query(types={"type-42"}), "≤ 8 µs an event"),
        ("1 % by category", Query(category="c60"), "≤ 8 µs an event"),
        ("1 % by one tag", Query(tags={"hot"}), "≤ 8 µs an event"),
        ("0.1 % by one tag", Query(tags={"cell:42"}), ""),
        ("2 % by two types", Query(types={"type-42", "type-43"}), ""),
        ("type and category", Query(types={"type-42"}, category="c60"), ""),
        ("hot tag AND rare tag, never together", Query(tags={"hot", "rare"}), "≤ 300 µs in all"),
    ):
        spent, count = [], 0
        for _ in range(5):
            start = time.perf_counter()
            count = sum(1 for _ in store.read(query))
            spent.append(time.perf_counter() - start)
        best = percentile(spent, 0.5)
        value = f"{micro(best / count)} an event" if count else f"{micro(best)} in all"
        results.append(Result(f"{what}: {count:,} events", value, "", "", target))
    return results


def memory(path: Path) -> Result:
    ran = subprocess.run([sys.executable, "-c", SCAN, str(path)], capture_output=True, text=True, check=True)
    count, kib = map(int, ran.stdout.split())
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return Result(f"memory of a process that scans {count:,} events", f"{kib / unit:.0f} MB", "", "", "≤ 100 MB")
