"""How fast do many clients of one process store one event at a time, durably?"""

import asyncio
import threading
import time
from pathlib import Path

import floors
import hansard
from hansard import Event
from results import Result, micro, per_second, percentile

SECONDS = 2.0


def measure(folder: Path, size: int) -> list[Result]:
    results = []
    for what, clients, run, target in (
        ("64 threads", 64, threads, 2.5),
        ("64 asyncio clients", 64, tasks, 5),
        ("512 asyncio clients", 512, tasks, 10),
    ):
        base = floors.raw_fdatasync(folder)
        rate, latencies = run(folder / f"{run.__name__}-{clients}.db", clients)
        value = f"{per_second(rate)}, p50 {micro(percentile(latencies, 0.5))}, p99 {micro(percentile(latencies, 0.99))}"
        results.append(Result(what, value, f"fdatasync {per_second(base)}", f"{rate / base:.1f}", f"≥ {target}"))
    return results


def threads(path: Path, clients: int) -> tuple[float, list[float]]:
    latencies: list[float] = []
    with hansard.open(path) as store:
        end = time.perf_counter() + SECONDS

        def client(number: int) -> None:
            own = []
            while (start := time.perf_counter()) < end:
                store.append(f"c-{number}", [Event("happened", floors.DATA, floors.METADATA)])
                own.append(time.perf_counter() - start)
            latencies.extend(own)

        running = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        start = time.perf_counter()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        return len(latencies) / (time.perf_counter() - start), latencies


def tasks(place: str | Path, clients: int) -> tuple[float, list[float]]:
    latencies: list[float] = []

    async def run() -> float:
        async with hansard.aio.open(place) as store:
            begin = time.perf_counter()

            async def client(number: int) -> None:
                while (start := time.perf_counter()) < begin + SECONDS:
                    await store.append(f"c-{number}", [Event("happened", floors.DATA, floors.METADATA)])
                    latencies.append(time.perf_counter() - start)

            await asyncio.gather(*[client(number) for number in range(clients)])
            return len(latencies) / (time.perf_counter() - begin)

    return asyncio.run(run()), latencies
