"""What does a server cost, against the same store in the process? Client and server share the machine."""

import asyncio
import json
import multiprocessing
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import concurrent_appends
import floors
import hansard
from hansard import Event
from results import Result, micro, per_second, percentile

SECONDS = 3.0
SUBSCRIBERS = 1_000


def measure(folder: Path, size: int) -> list[Result]:
    results = []
    for clients, target in ((64, "≥ 0.6"), (512, "")):
        base, _ = concurrent_appends.tasks(folder / f"embedded-{clients}.db", clients)
        with (
            server(folder / f"served-{clients}.db") as port,
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other,
        ):
            rate, latencies = other.submit(_load, port, clients).result()
        value = f"{per_second(rate)}, p50 {micro(percentile(latencies, 0.5))}, p99 {micro(percentile(latencies, 0.99))}"
        floor = f"embedded, {clients} tasks {per_second(base)}"
        results.append(Result(f"{clients} HTTP clients, one durable event each", value, floor, f"{rate / base:.2f}", target))
    base, _ = concurrent_appends.tasks(folder / "embedded-r.db", 64)
    with server(folder / "remote.db") as port:
        rate, _ = concurrent_appends.tasks(f"http://127.0.0.1:{port}", 64)
    results.append(
        Result(
            '64 tasks on one remote store ("http://…")', per_second(rate), f"embedded {per_second(base)}", f"{rate / base:.2f}"
        )
    )
    results += reading(folder)
    results.append(subscribing(folder))
    return results


def reading(folder: Path) -> list[Result]:
    place, count = folder / "read.db", 200_000
    with hansard.open(place) as store:
        for start in range(0, count, 10_000):
            store.append(f"s-{start}", [Event("happened", floors.DATA, floors.METADATA) for _ in range(10_000)])
        began = time.perf_counter()
        assert sum(1 for _ in store.read()) == count
        base = count / (time.perf_counter() - began)
    with server(place) as port:
        seconds, received = _lines(port)
        cpu = _cpu_s(place, port)
        began = time.perf_counter()
        with hansard.open(f"http://127.0.0.1:{port}") as store:
            assert sum(1 for _ in store.read()) == count
        remote = count / (time.perf_counter() - began)
    assert received == count
    return [
        Result(
            "whole log as lines",
            per_second(count / seconds),
            f"embedded {per_second(base)}",
            f"{count / seconds / base:.2f}",
            "≥ 150k/s",
        ),
        Result("the same, by the server's CPU alone", per_second(count / cpu), "", "", "≥ 150k/s"),
        Result("whole log by a remote store", per_second(remote), f"embedded {per_second(base)}", f"{remote / base:.2f}"),
    ]


_CPU: dict[int, float] = {}


def _cpu_s(place: Path, port: int) -> float:
    """CPU of one more read, by the server's process."""
    before = _process_cpu(PROCESSES[port])
    _lines(port)
    return _process_cpu(PROCESSES[port]) - before


def _process_cpu(process: "subprocess.Popen[str]") -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _lines(port: int) -> tuple[float, int]:
    began, count = time.perf_counter(), 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n"
        )
        while data := connection.recv(1 << 20):
            count += data.count(b'{"position":')
    return time.perf_counter() - began, count


def subscribing(folder: Path) -> Result:
    """Each of a thousand subscribers gets each of a hundred events."""
    events = 100
    with server(folder / "tails.db") as port, hansard.open(f"http://127.0.0.1:{port}") as store:
        seconds = asyncio.run(_all_tails(port, store, events))
    total = SUBSCRIBERS * events
    return Result(
        f"{SUBSCRIBERS:,} subscribers, {events} events each",
        f"{per_second(total / seconds)} delivered, none missing",
        "",
        "",
        "every event",
    )


async def _all_tails(port: int, store: hansard.Store, events: int) -> float:
    ready, ended = asyncio.Semaphore(0), []

    async def tail() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        text = b""
        while b"caught-up" not in text:
            text += await reader.read(65_536)
        ready.release()
        positions: list[int] = []
        rest = text.partition(b"caught-up")[2]
        while len(positions) < events:
            rest += await reader.read(65_536)
            positions = [int(match) for match in re.findall(rb'"position":(\d+),"stream"', rest)]
        assert positions == list(range(1, events + 1)), "a subscriber has missed an event"
        ended.append(time.perf_counter())
        writer.close()

    tails = [asyncio.create_task(tail()) for _ in range(SUBSCRIBERS)]
    for _ in range(SUBSCRIBERS):
        await ready.acquire()
    began = time.perf_counter()
    threading.Thread(target=lambda: [store.add(f"s-{n}", "happened", floors.DATA) for n in range(events)]).start()
    await asyncio.gather(*tails)
    return max(ended) - began


PROCESSES: "dict[int, subprocess.Popen[str]]" = {}


@contextmanager
def server(place: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "hansard", "serve", str(place), "--port", "0", "--log-level", "error"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        PROCESSES[port] = process
        try:
            yield port
        finally:
            process.terminate()


def _load(port: int, clients: int) -> tuple[float, list[float]]:
    """Keep-alive clients, each with one append under way; as cheap as Python can make them."""
    body = json.dumps([{"type": "happened", "data": floors.DATA, "metadata": floors.METADATA}]).encode()
    latencies: list[float] = []

    class Client(asyncio.Protocol):
        def __init__(self, number: int, ends: float, done: "asyncio.Future[None]") -> None:
            head = f"POST /api/v1/streams/c-{number}/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            self._ends, self._done, self._started = ends, done, 0.0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport
            self._ask()

        def _ask(self) -> None:
            self._started = time.perf_counter()
            self._transport.write(self._request)  # type: ignore[attr-defined]

        def data_received(self, data: bytes) -> None:
            if not data.endswith(b"}"):  # the head; the body follows
                return
            now = time.perf_counter()
            latencies.append(now - self._started)
            if now < self._ends:
                self._ask()
            else:
                self._done.set_result(None)
                self._transport.close()

    async def run() -> float:
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        ends = began + SECONDS
        waiting = []
        for number in range(clients):
            done: asyncio.Future[None] = loop.create_future()
            waiting.append(done)
            await loop.create_connection(lambda number=number, done=done: Client(number, ends, done), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*waiting)
        return len(latencies) / (time.perf_counter() - began)

    try:
        import uvloop

        rate = uvloop.run(run())
    except ImportError:
        rate = asyncio.run(run())
    return rate, latencies
