"""How fast are batches of 1000 events, and does the rate hold as the log grows?"""

import time
from pathlib import Path

import floors
import hansard
from hansard import Event
from results import Result, per_second

BATCH = 1_000
FIRST = 100_000


def measure(folder: Path, size: int) -> list[Result]:
    types = [f"type-{n % 10}" for n in range(BATCH)]
    table = floors.LogOnlyTable(folder / "log-only.db")
    base = first_rate(lambda: table.append(types))
    stretches = []
    with hansard.open(folder / "batches.db") as store:

        def append() -> int:
            events = [Event(type, floors.DATA, floors.METADATA) for type in types]
            store.append(f"c{batch % 50:02d}-{batch}", events)
            return BATCH

        batch, start, last = 0, time.perf_counter(), 0
        while batch * BATCH < size:
            append()
            batch += 1
            if batch * BATCH - last == FIRST:
                stretches.append(FIRST / (time.perf_counter() - start))
                start, last = time.perf_counter(), batch * BATCH
    floor = f"log-only table {per_second(base)}"
    return [
        Result(
            f"batches of {BATCH:,}, first {FIRST:,} events",
            per_second(stretches[0]),
            floor,
            f"{stretches[0] / base:.2f}",
            "≥ 0.4",
        ),
        Result(
            f"the last {FIRST:,} of {size:,}",
            per_second(stretches[-1]),
            f"the first {FIRST:,}: {per_second(stretches[0])}",
            f"{stretches[-1] / stretches[0]:.2f}",
            "≥ 0.5 at 10M",
        ),
    ]


def first_rate(append: object) -> float:
    start = time.perf_counter()
    for _ in range(FIRST // BATCH):
        append()  # type: ignore[operator]
    return FIRST / (time.perf_counter() - start)
