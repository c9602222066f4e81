"""The cluster on three JetStream servers (sync always), all on this machine: against a plain publisher of one event a message."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nats
from nats.js import api

import concurrent_appends
import floors
import hansard
from hansard import Event, HansardError, OpenFailed
from results import Result, micro, per_second, percentile

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from nats_servers import Cluster

SECONDS = 3.0
TARGETS = {1: "≥ 0.6", 8: "", 64: "≥ 1.5", 512: "≥ 3"}


def measure(folder: Path, size: int) -> list[Result]:
    cluster = Cluster(folder, is_wired=False).start()
    try:
        _ready(cluster, folder)
        results = [appends(cluster, folder, clients) for clients in TARGETS]
        results.append(batches(cluster, folder))
        results += applying_and_reading(cluster, folder)
        results.append(leader_killed(cluster, folder))
        return results
    finally:
        cluster.stop()


def place(cluster: Cluster, folder: Path, log: str, node: str = "own") -> str:
    return f"nats://{cluster.hosts()}/{log}?replica={folder / f'{log}-{node}.db'}"


def _ready(cluster: Cluster, folder: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            hansard.open(place(cluster, folder, "ready")).close()
            return
        except OpenFailed:
            time.sleep(0.2)


def appends(cluster: Cluster, folder: Path, clients: int) -> Result:
    base, theirs = asyncio.run(_publishing(cluster, f"plain-{clients}", clients))
    rate, ours = concurrent_appends.tasks(place(cluster, folder, f"clients-{clients}"), clients)
    what = "one client" if clients == 1 else f"{clients} asyncio clients"
    return Result(
        f"{what}, one durable event an append",
        f"{per_second(rate)}, {_latencies(ours)}",
        f"plain publisher, {clients} in flight {per_second(base)}, {_latencies(theirs)}",
        f"{rate / base:.2f}",
        TARGETS[clients],
    )


def _latencies(seconds: list[float]) -> str:
    return f"p50 {micro(percentile(seconds, 0.5))}, p99 {micro(percentile(seconds, 0.99))}"


async def _publishing(cluster: Cluster, stream: str, clients: int) -> tuple[float, list[float]]:
    """JetStream as it is: each event a message, each acknowledged by the quorum."""
    client = await nats.connect([f"nats://{host}" for host in cluster.hosts().split(",")])
    js = client.jetstream()
    await js.add_stream(api.StreamConfig(name=stream, subjects=[stream], num_replicas=3))
    text = json.dumps(["happened", floors.DATA, floors.METADATA]).encode()
    latencies: list[float] = []
    begin = time.perf_counter()

    async def publish() -> None:
        while (start := time.perf_counter()) < begin + SECONDS:
            await js.publish(stream, text)
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*[publish() for _ in range(clients)])
    rate = len(latencies) / (time.perf_counter() - begin)
    await client.close()
    return rate, latencies


def batches(cluster: Cluster, folder: Path) -> Result:
    with hansard.open(place(cluster, folder, "batches")) as store:
        stored, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + SECONDS:
            store.append("b-1", [Event("happened", floors.DATA, floors.METADATA) for _ in range(1_000)])
            stored += 1_000
        rate = stored / (time.perf_counter() - begin)
    return Result("one client, batches of 1,000 events", f"{per_second(rate)} events", "", "", "≥ 20k/s")


def applying_and_reading(cluster: Cluster, folder: Path) -> list[Result]:
    """A node that begins with an empty replica; then its reads, and those of the same file opened as a plain store."""
    count = 200_000
    with hansard.open(place(cluster, folder, "long")) as store:
        for start in range(0, count, 1_000):
            store.append(f"s-{start % 7_000}", [Event("happened", floors.DATA, floors.METADATA) for _ in range(1_000)])
    begin = time.perf_counter()
    with hansard.open(place(cluster, folder, "long", "fresh")) as store:
        rate = count / (time.perf_counter() - begin)
        assert store.head() == count
        with hansard.open(folder / "long-fresh.db", read_only=True) as plain:
            results = [
                _side_by_side("local reads: the whole log", store, plain, lambda of: sum(1 for _ in of.read()), count),
                _side_by_side("local reads: 100 events of a stream, 1,000 times", store, plain, _short_reads, 100_000),
            ]
    return [
        Result("a fresh replica applies the log (1,000 events a message)", f"{per_second(rate)} events", "", "", "≥ 30k/s"),
        *results,
    ]


def _short_reads(store: hansard.Store) -> int:
    return sum(sum(1 for _ in store.read_stream("s-1000", after_version=n, limit=100)) for n in range(1_000))


def _side_by_side(
    what: str, store: hansard.Store, plain: hansard.Store, work: Callable[[hansard.Store], int], count: int
) -> Result:
    """The better of three each, in turn."""
    best = {store: 1e9, plain: 1e9}
    for _ in range(3):
        for of, before in best.items():
            begin = time.perf_counter()
            assert work(of) == count
            best[of] = min(before, time.perf_counter() - begin)
    ours, theirs = count / best[store], count / best[plain]
    return Result(what, per_second(ours), f"SQLite engine {per_second(theirs)}", f"{ours / theirs:.2f}", "≥ 0.9")


def leader_killed(cluster: Cluster, folder: Path) -> Result:
    """The longest time without an acknowledgement, while the leader of the stream is killed."""
    theirs = _longest_gap(cluster, "gap-plain", lambda gap: asyncio.run(_publish_on(cluster, "gap-plain", gap)))
    with hansard.open(place(cluster, folder, "gap")) as store:

        def append(gap: "_Gap") -> None:
            while not gap.is_over.is_set():
                try:
                    store.add("a-1", "happened")
                    gap.acknowledged()
                except HansardError:
                    continue

        ours = _longest_gap(cluster, "hansard-gap", append)
    return Result(
        "no acknowledgement while the leader is killed",
        f"{ours:.1f} s",
        f"plain publisher that tries again {theirs:.1f} s",
        f"{ours / theirs:.2f}",
    )


class _Gap:
    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.last = time.perf_counter()
        self.longest = 0.0
        self.count = 0

    def acknowledged(self) -> None:
        now = time.perf_counter()
        self.longest, self.last, self.count = max(self.longest, now - self.last), now, self.count + 1


async def _publish_on(cluster: Cluster, stream: str, gap: _Gap) -> None:
    client = await nats.connect(
        [f"nats://{host}" for host in cluster.hosts().split(",")], max_reconnect_attempts=-1, reconnect_time_wait=0.2
    )
    js = client.jetstream()
    while not gap.is_over.is_set():
        try:
            if not gap.count:
                await js.add_stream(api.StreamConfig(name=stream, subjects=[stream], num_replicas=3))
            await js.publish(stream, b"happened", timeout=2)
            gap.acknowledged()
        except Exception:  # whatever it is, it tries again, as a program would
            await asyncio.sleep(0.1)
    await client.close()


def _longest_gap(cluster: Cluster, stream: str, work: Callable[[_Gap], None]) -> float:
    gap = _Gap()
    working = threading.Thread(target=work, args=(gap,))
    working.start()
    time.sleep(2)
    gap.longest, before = 0.0, gap.count
    server = cluster.servers[asyncio.run(_leader(cluster, stream))]
    server.kill()
    ends = time.monotonic() + 60
    while gap.count < before + 300 and time.monotonic() < ends:
        time.sleep(0.05)
    gap.is_over.set()
    working.join()
    server.start()
    time.sleep(3)
    return gap.longest


async def _leader(cluster: Cluster, stream: str) -> int:
    client = await nats.connect(f"nats://{cluster.hosts().split(',')[0]}")
    try:
        info = await client.jetstream().stream_info(stream)
        assert info.cluster is not None
        return int(str(info.cluster.leader)[1:])
    finally:
        await client.close()
