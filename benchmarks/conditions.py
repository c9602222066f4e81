"""What does a condition cost, over the whole of a large log, and does it hold up other appends?"""

import threading
import time
from pathlib import Path

import floors
import hansard
from hansard import AppendCondition, Event, Query
from results import Result, micro, percentile

CASES = (
    ("two tags that never meet (1 % and 1,000 events)", Query(tags={"hot", "rare"})),
    ("two tags, one unknown", Query(tags={"hot", "name:jo"})),
    ("one unknown tag", Query(tags={"name:jo"})),
    ("an unknown type", Query(types={"unknown"})),
)
COUNT = 400


def measure(folder: Path, size: int) -> list[Result]:
    with hansard.open(folder / "large.db") as store:
        return [*costs(store), stall(store)]


def costs(store: hansard.Store, count: int = len(CASES)) -> list[Result]:
    """Conditions over the whole log, beside plain appends."""
    results = []
    for _ in range(200):
        one(store, None)
    for what, query in CASES[:count]:
        plain, conditional = [], []
        for _ in range(COUNT):
            plain.append(one(store, None))
            conditional.append(one(store, AppendCondition(query)))
        base, ours = percentile(plain, 0.5), percentile(conditional, 0.5)
        floor = f"unconditional {micro(base)}"
        results.append(Result(f"append if never: {what}", f"p50 {micro(ours)}", floor, f"{ours / base:.2f}", "≤ 1.5"))
    return results


def one(store: hansard.Store, condition: AppendCondition | None) -> float:
    start = time.perf_counter()
    store.append("x-1", [Event("decided", floors.DATA, floors.METADATA)], condition=condition)
    return time.perf_counter() - start


def stall(store: hansard.Store) -> Result:
    """The latency of one client's plain appends, while another client appends plainly, or checks the whole log."""
    plain = beside(store, None)
    checking = beside(store, AppendCondition(Query(tags={"hot", "rare"})))
    value = f"p50 {micro(percentile(checking, 0.5))}, p99 {micro(percentile(checking, 0.99))}"
    floor = f"beside a plain one p50 {micro(percentile(plain, 0.5))}, p99 {micro(percentile(plain, 0.99))}"
    ratio = percentile(checking, 0.5) / percentile(plain, 0.5)
    return Result("plain appends beside a client with that condition", value, floor, f"{ratio:.2f}", "no stall")


def beside(store: hansard.Store, condition: AppendCondition | None) -> list[float]:
    over = threading.Event()

    def append() -> None:
        while not over.is_set():
            store.append("y-1", [Event("decided", floors.DATA, floors.METADATA)], condition=condition)

    other = threading.Thread(target=append)
    other.start()
    latencies = [one(store, None) for _ in range(COUNT)]
    over.set()
    other.join()
    return latencies
