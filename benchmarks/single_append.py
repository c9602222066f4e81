"""How fast does one client store one event at a time, durably?"""

import time
from itertools import count
from pathlib import Path

import floors
import hansard
from hansard import Event
from results import Result, micro, per_second, percentile

ROUNDS = 5


def measure(folder: Path, size: int) -> list[Result]:
    """Rounds of all three in turn, so that slow drift of the machine hits all; the medians."""
    raw, table_rates, ours, latencies = [], [], [], []
    table = floors.HandWrittenTable(folder / "table.db")
    numbers = count()
    with hansard.open(folder / "hansard.db") as store:

        def append() -> int:
            start = time.perf_counter()
            store.append(f"c-{next(numbers) % 1000}", [Event("happened", floors.DATA, floors.METADATA)])
            latencies.append(time.perf_counter() - start)
            return 1

        for _ in range(ROUNDS):
            raw.append(floors.raw_fdatasync(folder, 0.7))
            table_rates.append(floors.rate(lambda: table.append(f"c-{next(numbers) % 1000}", ["happened"]), 1.0))
            ours.append(floors.rate(append, 1.0))
    base, by_hand, rate = percentile(raw, 0.5), percentile(table_rates, 0.5), percentile(ours, 0.5)
    value = f"{per_second(rate)}, p50 {micro(percentile(latencies, 0.5))}, p99 {micro(percentile(latencies, 0.99))}"
    return [
        Result("one client, one durable event an append", value, f"fdatasync {per_second(base)}", f"{rate / base:.2f}", "≥ 0.6"),
        Result("the same", per_second(rate), f"hand-written table {per_second(by_hand)}", f"{rate / by_hand:.2f}", "≥ 1"),
    ]
