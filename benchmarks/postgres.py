"""PostgreSQL: appends of one and of many clients, batches, reading, conditions, and whether it holds as the log grows."""

import multiprocessing
import sys
import time
from pathlib import Path

import psycopg

import concurrent_appends
import conditions
import floors
import hansard
import large_store
from hansard import Event
from results import Result, micro, per_second, percentile

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from postgres_server import Server

SECONDS = 3.0
COUNT = 400


def measure(folder: Path, size: int) -> list[Result]:
    server = Server().start()
    try:
        results = appends(server)
        results += batches(server)
        results += processes(server)
        results += growth(server, size)
        return results
    finally:
        server.stop()


def place(server: Server, log: str) -> str:
    return f"{server.url()}?log={log}"


def appends(server: Server) -> list[Result]:
    floor = hand_written(server)
    rate, latencies = one_client(place(server, "one"))
    results = [
        Result(
            "one client, one durable event an append",
            f"{per_second(rate)}, p50 {micro(percentile(latencies, 0.5))}, p99 {micro(percentile(latencies, 0.99))}",
            f"INSERT into a bare table {per_second(floor)}",
            f"{rate / floor:.2f}",
        )
    ]
    for clients in (64, 512):
        many, latencies = concurrent_appends.tasks(place(server, f"many-{clients}"), clients)
        value = f"{per_second(many)}, p50 {micro(percentile(latencies, 0.5))}, p99 {micro(percentile(latencies, 0.99))}"
        target = "≥ 8" if clients == 64 else ""
        results.append(
            Result(f"{clients} asyncio clients", value, f"one client {per_second(rate)}", f"{many / rate:.1f}", target)
        )
    return results


def hand_written(server: Server) -> float:
    """One row a transaction, into a table without ids, by the driver."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (position bigserial PRIMARY KEY, stream text, type text, data bytea)")
        data = b"x" * 210
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            connection.execute("INSERT INTO bare (stream, type, data) VALUES (%s, %s, %s)", ("c-1", "happened", data))
            count += 1
        return count / (time.perf_counter() - start)


def one_client(url: str) -> tuple[float, list[float]]:
    latencies: list[float] = []
    with hansard.open(url) as store:
        begin = time.perf_counter()
        while (start := time.perf_counter()) < begin + SECONDS:
            store.append(f"c-{len(latencies) % 100}", [Event("happened", floors.DATA, floors.METADATA)])
            latencies.append(time.perf_counter() - start)
    return len(latencies) / SECONDS, latencies


def batches(server: Server) -> list[Result]:
    single, _ = one_client(place(server, "batches"))
    with hansard.open(place(server, "batches")) as store:
        given = [[Event("happened", floors.DATA, floors.METADATA) for _ in range(1_000)] for _ in range(100)]
        start = time.perf_counter()
        for number, batch in enumerate(given):
            store.append(f"b-{number}", batch)
        rate = 100_000 / (time.perf_counter() - start)
    return [Result("batches of 1,000", per_second(rate), f"one client {per_second(single)}", f"{rate / single:.0f}", "≥ 20")]


def processes(server: Server) -> list[Result]:
    context = multiprocessing.get_context("spawn")
    hansard.open(place(server, "processes")).close()
    with context.Pool(8) as pool:
        parts = pool.map(eight_clients, [place(server, "processes")] * 8)
    latencies = [latency for _, some in parts for latency in some]
    value = f"{per_second(sum(rate for rate, _ in parts))}, p50 {micro(percentile(latencies, 0.5))}"
    return [Result("8 processes with 8 clients each", f"{value}, p99 {micro(percentile(latencies, 0.99))}", "")]


def eight_clients(url: str) -> tuple[float, list[float]]:
    return concurrent_appends.tasks(url, 8)


def growth(server: Server, size: int) -> list[Result]:
    """The same at 100,000 events, at `size` and at five times as many."""
    results: list[Result] = []
    for events in (100_000, size, 5 * size):
        url = place(server, f"large-{events}")
        start = time.perf_counter()
        large_store.make(url, events)
        server.sql("VACUUM ANALYZE")  # as autovacuum does within minutes
        label = f"at {events:,} events: "
        results.append(Result(f"{label}loaded", per_second(events / (time.perf_counter() - start)), ""))
        with hansard.open(url) as store:
            results += [result._replace(what=label + result.what) for result in at(store, with_cases=events == size)]
    return results


def at(store: hansard.Store, *, with_cases: bool) -> list[Result]:
    results: list[Result] = []
    cpu_s, start, count = time.process_time(), time.perf_counter(), 0
    for _ in store.read(limit=500_000):
        count += 1
    cpu_s = time.process_time() - cpu_s
    rate = per_second(count / (time.perf_counter() - start))
    results.append(Result("the log read, CPU of the client an event", f"{micro(cpu_s / count)}, {rate}", "", "", "≤ 4 µs"))
    latencies = []
    for number in range(COUNT):
        start = time.perf_counter()
        assert len(store.all(large_store.short_stream(0, number * 7 % 5_000))) == 10
        latencies.append(time.perf_counter() - start)
    results.append(Result("a stream of 10", f"p50 {micro(percentile(latencies, 0.5))}", ""))

    return results + conditions.costs(store, len(conditions.CASES) if with_cases else 1)
