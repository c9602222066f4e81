"""How fast do reactions follow: live latency, catching up, read models, many subscribers, rebuilding?"""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import floors
import hansard
from hansard import Event, Processor, Projection, StreamAppend, Table
from results import Result, micro, per_second, percentile

COUNT = 300_000
STREAMS = 1_000
ROUNDS = 300
SUBSCRIBERS = 1_000

WRITE = """
import hansard, sys, time
with hansard.open(sys.argv[1]) as store:
    for number in range(int(sys.argv[2])):
        time.sleep(0.002 + number % 7 * 0.002)
        store.add("a-1", "tick")
        print(time.time(), flush=True)
"""


def measure(folder: Path, size: int) -> list[Result]:
    path = folder / "reacting.db"
    fill(path)
    return [
        *latencies(folder),
        *catching_up(path),
        *read_models(folder, path),
        asyncio.run(subscribers(folder / "subscribers.db")),
        idle(folder / "idle.db"),
    ]


def fill(path: Path) -> None:
    with hansard.open(path, durability="page-cache") as store:
        for start in range(0, COUNT, STREAMS):
            parts = [StreamAppend(f"c-{n}", [Event("happened", floors.DATA, floors.METADATA)]) for n in range(STREAMS)]
            store.append_streams(parts)
            assert store.head() == start + STREAMS


def latencies(folder: Path) -> list[Result]:
    return [
        latency("live, append returned → handler started, same process", in_process(folder / "live.db"), "p99 ≤ 5 ms"),
        latency("the same, from another process", across_processes(folder / "across.db"), "p99 ≤ 20 ms"),
    ]


def latency(what: str, delays: list[float], target: str) -> Result:
    shown = [max(0.0, delay) for delay in delays]
    value = f"p50 {micro(percentile(shown, 0.5))}, p99 {micro(percentile(shown, 0.99))}"
    return Result(what, value, "", "", target)


def in_process(path: Path) -> list[float]:
    started: dict[int, float] = {}
    returned: dict[int, float] = {}
    with hansard.open(path) as store:
        processor = Processor("live", lambda event: started.setdefault(event.position, time.time()) and None)
        with store.run(processor) as running:
            for _ in range(ROUNDS):
                time.sleep(0.005)
                position = store.add("a-1", "tick").position
                returned[position] = time.time()
            running.wait_for("live", ROUNDS)
    return [started[position] - returned[position] for position in returned]


def across_processes(path: Path) -> list[float]:
    started: list[float] = []
    with hansard.open(path) as store, store.run(Processor("live", lambda event: started.append(time.time()))) as running:
        writer = subprocess.Popen([sys.executable, "-c", WRITE, str(path), str(ROUNDS)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        returned = [float(line) for line in writer.stdout]
        running.wait_for("live", ROUNDS)
    return [one - other for one, other in zip(started, returned, strict=True)]


def catching_up(path: Path) -> list[Result]:
    with hansard.open(path) as store:
        floor = timed(lambda: sum(1 for _ in store.read()))
        plain = timed(lambda: store.catch_up(Processor("no-op", lambda event: None)))
        exact = timed(lambda: store.catch_up(Processor("no-op exact", lambda event, transaction: None, exactly_once=True)))
        read = f"reading alone {per_second(COUNT / floor)}"
        return [
            Result(
                "catch-up, at least once, no-op handler", per_second(COUNT / plain), read, f"{floor / plain:.2f}", "≥ 150,000/s"
            ),
            Result("catch-up, exactly once, no-op handler", per_second(COUNT / exact), read, f"{floor / exact:.2f}", ""),
        ]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def total(state: dict[str, float] | None, event: hansard.RecordedEvent) -> dict[str, float]:
    state = state or {"amount": 0.0, "count": 0}
    return {"amount": state["amount"] + event.data["amount"], "count": state["count"] + 1}


def read_models(folder: Path, path: Path) -> list[Result]:
    floor = COUNT / by_hand(folder / "by-hand.db", path)
    results = []
    with hansard.open(path) as store:
        documents = Projection("documents", total)
        table = Projection("totals", total, into=Table({"amount": "REAL", "count": "INTEGER"}))
        own_sql = Processor("own_sql", upsert, exactly_once=True)
        for what, definition in (
            ("read model of JSON documents, exactly once", documents),
            ("read model in a table, exactly once", table),
            ("read model by the handler's own SQL, exactly once", own_sql),
        ):
            rate = COUNT / timed(lambda definition=definition: store.catch_up(definition))
            results.append(
                Result(what, per_second(rate), f"a loop by hand {per_second(floor)}", f"{rate / floor:.2f}", "≥ 40,000/s")
            )
        store.projection("totals").rebuild()
        seconds = timed(lambda: store.catch_up(table))
        over = threading.Event()
        appended = 0

        def append() -> None:
            nonlocal appended
            while not over.is_set():
                store.append("other-1", Event("happened", floors.DATA))
                appended += 1

        store.projection("documents").rebuild()
        writer = threading.Thread(target=append)
        start = time.perf_counter()
        writer.start()
        store.catch_up(documents)
        beside = time.perf_counter() - start
        over.set()
        writer.join()
    results += [
        Result("rebuild of a table, nothing else going on", per_second(COUNT / seconds), "", "", ""),
        Result(
            "rebuild of documents beside a writer",
            per_second(COUNT / beside),
            "",
            "",
            f"the writer meanwhile: {per_second(appended / beside)}",
        ),
    ]
    return results


def upsert(event: hansard.RecordedEvent, transaction: hansard.Transaction) -> None:
    if event.position == 1:
        transaction.execute("CREATE TABLE own (key TEXT PRIMARY KEY, amount REAL, count INTEGER)")
    transaction.execute(
        "INSERT INTO own VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, count = count + 1",
        (event.stream, event.data["amount"]),
    )


def by_hand(target: Path, path: Path) -> float:
    """What people write: a loop that upserts one row an event, and commits with its position every 500."""
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE own (key TEXT PRIMARY KEY, amount REAL, count INTEGER)")
    connection.execute("CREATE TABLE position (position INTEGER)")
    statement = "INSERT INTO own VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, count = count + 1"
    with hansard.open(path, read_only=True) as store:
        start = time.perf_counter()
        connection.execute("BEGIN")
        for event in store.read():
            connection.execute(statement, (event.stream, event.data["amount"]))
            if event.position % 500 == 0:
                connection.execute("UPDATE position SET position = ?", (event.position,))
                connection.execute("COMMIT")
                connection.execute("BEGIN")
        connection.execute("COMMIT")
        seconds = time.perf_counter() - start
    connection.close()
    return seconds


async def subscribers(path: Path) -> Result:
    """A thousand live subscribers; from the append's return until the last of them has the event."""
    rounds, delays = 30, []
    async with hansard.aio.open(path) as store:
        got = asyncio.Semaphore(0)

        async def follow() -> None:
            async with store.subscribe() as events:
                async for event in events:
                    got.release()
                    if event.type == "last":
                        return

        before = threading.active_count()
        following = [asyncio.create_task(follow()) for _ in range(SUBSCRIBERS)]
        await asyncio.sleep(0.5)
        for number in range(rounds):
            await store.append("a-1", Event("last" if number == rounds - 1 else "tick"))
            start = time.perf_counter()
            for _ in range(SUBSCRIBERS):
                await got.acquire()
            delays.append(time.perf_counter() - start)
        threads = threading.active_count() - before
        await asyncio.gather(*following)
    value = (
        f"all have it after p50 {micro(percentile(delays, 0.5))}, p99 {micro(percentile(delays, 0.99))}; {threads} threads more"
    )
    return Result(f"{SUBSCRIBERS:,} live subscribers", value, "", "", "≤ 16 threads")


def idle(path: Path) -> Result:
    """Processor time of a store with a live subscriber, while nothing happens."""
    with hansard.open(path) as store:
        store.add("a-1", "tick")
        with store.run(Processor("idle", lambda event: None)) as running, store.subscribe(after=1) as subscription:
            running.wait_for("idle", 1)
            thread = threading.Thread(target=lambda: list(subscription))
            thread.start()
            time.sleep(2)
            start = time.process_time()
            time.sleep(5)
            share = (time.process_time() - start) / 5
            subscription.close()
            thread.join()
    return Result("idle store with a processor and a subscriber", f"{share:.2%} of a core", "", "", "< 1 %")
