"""Groups: several consumers share one subscription, in threads and processes, and lose nothing when one dies."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import DefinitionChanged, Event, InvalidInput, InvalidType, LeaseLost, Query, RecordedEvent, Retry
from hansard.processors.consumer import Consumer
from hansard.processors.sharing import changes, partition_of
from hansard.store import Store
from hansard.testing.builders import events
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        yield store


def taken(consumer: Consumer, timeout_s: float = 0.0) -> int | None:
    event = consumer.take(timeout_s)
    return None if event is None else event.position


def test_events_are_handed_out_until_they_are_acked(store: Store) -> None:
    """An event would be lost between being taken and being done."""
    store.append("a-1", events(2))
    store.append("b-1", events(1))
    with store.join("g") as consumer:
        first, other = consumer.take(1), consumer.take(1)
        assert (first.position, other.position) == (1, 3)
        assert taken(consumer) is None  # the second event of a-1 waits for the first
        consumer.ack(first)
        assert taken(consumer, 1) == 2
    with store.join("g") as consumer:  # nothing but the first was acked
        assert [taken(consumer, 1), taken(consumer, 1)] == [2, 3]


def test_acks_in_any_order_keep_the_checkpoint_behind_the_lowest_open_event(store: Store) -> None:
    """An event that is still out would be forgotten because a later one was done sooner."""
    for name in "abcd":
        store.add(f"{name}-1", "happened")
    with store.join("g", partitions=1) as consumer:
        out = [consumer.take(1) for _ in range(4)]
        for event in (out[3], out[1], out[0]):
            consumer.ack(event)
        consumer.flush()
        assert store.reader("g").status().checkpoint == 2
        consumer.ack(out[2])
        consumer.flush()
        assert store.reader("g").status().checkpoint == 4


def test_a_nacked_event_comes_again_before_later_ones_of_its_stream(store: Store) -> None:
    """A retry would change the order of a stream."""
    store.append("a-1", events(2))
    store.add("b-1", "happened")
    with store.join("g") as consumer:
        consumer.nack(consumer.take(1), delay_s=0.05)
        assert taken(consumer, 1) == 3
        start = time.monotonic()
        again = consumer.take(1)
        assert (again.position, time.monotonic() - start > 0.02) == (1, True)
        consumer.nack(again, delay_s=0)
        consumer.ack(consumer.take(1))
        assert taken(consumer, 1) == 2


def test_an_event_that_is_given_back_too_often_is_parked_with_its_stream(store: Store) -> None:
    """One bad event would go round for ever."""
    store.append("a-1", events(3))
    store.add("b-1", "happened")
    with store.join("g", retry=Retry(attempts=2, first_s=0)) as consumer:
        for _ in range(2):
            event = consumer.take(1)
            assert event.position == 1
            consumer.nack(event)
        assert (taken(consumer, 1), taken(consumer)) == (4, None)
        store.add("a-1", "later")
        assert taken(consumer, 0.2) is None
        consumer.flush()
        letters = store.reader("g").dead_letters
        assert [(one.position, one.attempts) for one in letters] == [(1, 2), (2, 0), (3, 0), (5, 0)]
        assert letters.retry() == 1
        for position in (1, 2, 3, 5):
            event = consumer.take(5)
            assert event.position == position
            consumer.ack(event)
        assert list(letters) == []
        store.add("a-1", "after")
        assert taken(consumer, 5) == 6
        consumer.flush()
        assert store.reader("g").status().checkpoint == 3  # the event of b-1 is still out


def test_park_with_a_reason_and_park_again(store: Store) -> None:
    """A consumer that knows that an event is bad would have to try it anyway."""
    store.append("a-1", events(2))
    with store.join("g") as consumer:
        consumer.park(consumer.take(1), "no such customer")
        letters = store.reader("g").dead_letters
        assert next((one.position, one.error, one.attempts) for one in letters) == (1, "no such customer", 1)
        letters.retry("a-1")
        consumer.park(consumer.take(5), "still no such customer")
        assert next((one.position, one.error, one.attempts) for one in letters) == (1, "still no such customer", 2)
        assert [one.position for one in letters] == [1, 2]
        assert letters.discard("a-1") == 2
        store.add("a-1", "later")
        assert taken(consumer, 5) == 3


def test_several_threads_share_one_consumer(store: Store) -> None:
    """A pool of workers could not share a consumer."""
    for number in range(100):
        store.add(f"s-{number % 10}", "happened")
    done: dict[str, list[int]] = defaultdict(list)
    acked: list[int] = []
    lock = threading.Lock()

    def work(consumer: Consumer) -> None:
        for event in consumer:
            with lock:
                done[event.stream].append(event.version)
            consumer.ack(event)
            with lock:
                acked.append(event.position)
                if len(acked) == 100:
                    consumer.close()

    with store.join("g") as consumer:
        threads = [threading.Thread(target=work, args=(consumer,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert done == {f"s-{number}": list(range(1, 11)) for number in range(10)}
    assert store.reader("g").status().checkpoint == 100


def test_consumers_share_the_work_and_keep_streams_in_order(store: Store) -> None:
    """An event would go to two consumers, or a stream be split between them."""
    seen: dict[int, list[RecordedEvent]] = {0: [], 1: [], 2: []}
    stop = threading.Event()

    def consume(number: int) -> None:
        with store.join("g", partitions=8, lease_s=3) as consumer:
            while not stop.is_set():
                event = consumer.take(0.05)
                if event is not None:
                    seen[number].append(event)
                    consumer.ack(event)

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    deadline, count = time.monotonic() + 30, 0
    while count < 300 or (sum(map(bool, seen.values())) < 2 and time.monotonic() < deadline):  # a newcomer gets its share in time
        store.add(f"s-{count % 20}", "happened")
        count += 1
        time.sleep(0.01 if count > 300 else 0)
    while sum(map(len, seen.values())) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    positions = sorted(event.position for some in seen.values() for event in some)
    assert positions == list(range(1, count + 1))
    for some in seen.values():
        for name in {event.stream for event in some}:
            versions = [event.version for event in some if event.stream == name]
            assert versions == sorted(versions)
    assert sum(1 for some in seen.values() if some) >= 2


def test_a_consumer_with_an_event_out_keeps_its_partition_until_it_is_acked(store: Store) -> None:
    """A newcomer would get an event that another one is just working at."""
    for number in range(40):
        store.add(f"s-{number}", "happened")
    with store.join("g", partitions=4, lease_s=3) as first:
        out = [first.take(1) for _ in range(40)]
        with store.join("g", partitions=4, lease_s=3) as second:
            end = time.monotonic() + 2.5  # first hears of second within a third of the lease
            while time.monotonic() < end:
                assert second.take(0.05) is None
                assert first.take(0.0) is None
            for event in out:
                first.ack(event)
            store.append_streams([hansard.StreamAppend(f"s-{number}", [Event("more")]) for number in range(40)])
            mine: list[int] = []
            deadline = time.monotonic() + 20
            others: list[int] = []
            while len(mine) + len(others) < 40 and time.monotonic() < deadline:
                for consumer, got in ((first, others), (second, mine)):
                    event = consumer.take(0.01)
                    if event is not None:
                        got.append(event.position)
                        consumer.ack(event)
            assert sorted(mine + others) == list(range(41, 81))
            assert mine


def test_members_have_names(store: Store) -> None:
    """Nobody could tell which of several programs, or clients of a server, holds things up."""
    with store.join("g", partitions=2, member="packer 1") as one, store.join("h", partitions=1) as other:
        assert one.take(0) is other.take(0) is None
        assert {partition.owner for partition in store.reader("g").status().partitions} == {"packer 1"}
        assert str(store.reader("h").status().partitions[0].owner).startswith("pid ")
    for wrong in ("", "x" * 600, 3):
        if wrong:
            with pytest.raises(InvalidInput, match="member"):
                store.join("g", member=wrong)  # type: ignore[arg-type]


def test_a_consumer_that_has_left_gives_nothing(store: Store) -> None:
    """Its partitions are others' by now."""
    store.append("a-1", events(2))
    consumer = store.join("g", partitions=1)
    first = consumer.take(5)
    assert consumer.is_out(first)
    consumer.close()
    assert consumer.take_now() == (None, 0.0)
    with store.join("g", partitions=1) as other:
        again = other.take(5)
        assert (again, other.is_out(again), other.is_out(first)) == (first, True, again is first)


async def test_the_async_consumer_takes_for_a_time(tmp_path: Path) -> None:
    """A task that has other things to do could only wait for ever."""
    async with hansard.aio.open(tmp_path / "log.db") as store, store.join("g", member="a") as consumer:
        started = time.monotonic()
        assert await consumer.take(0.2) is None
        assert time.monotonic() - started >= 0.2
        await store.append("a-1", events(2))
        first = await consumer.take(5)
        assert first is not None
        taking = asyncio.create_task(consumer.take(5))
        await asyncio.sleep(0.05)
        assert not taking.done(), "the stream's next event waits for the first"
        await consumer.put_back(first)
        assert (await taking) == first, "what was put back has its turn again"
        await consumer.ack(first)
        assert (await consumer.take(5)).version == 2


def test_a_consumer_that_was_silent_for_too_long_is_fenced_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A consumer that comes back from a long pause would ack events that another one is working at."""
    with hansard.open(tmp_path / "log.db") as store, hansard.open(tmp_path / "log.db") as other:
        store.append("a-1", events(3))
        first = store.join("g", lease_s=0.3)
        event = first.take(1)
        for stop in first._stops:  # as if its process stood still
            stop()
        with other.join("g", lease_s=0.3) as second:
            again = second.take(10)
            assert again.position == event.position == 1
            with pytest.raises(LeaseLost):
                first.ack(event)
                first.flush()
            assert "g: this member has lost partition 0: it was silent" in caplog.text
            second.ack(again)
            assert taken(second, 1) == 2
        first.close()
        with store.join("g") as third:
            assert taken(third, 5) == 2


CONSUME = """
import hansard, sys
from pathlib import Path
with hansard.open(sys.argv[1]) as store, store.join("g", partitions=4) as consumer, open(sys.argv[2], "a") as out:
    for event in consumer:
        out.write(f"{event.position} {event.stream} {event.version}\\n")
        out.flush()
        consumer.ack(event)
"""


def test_a_killed_process_has_its_events_taken_over(tmp_path: Path) -> None:
    """Events that a dead process had taken would be lost, or wait for an operator."""
    path, count = tmp_path / "log.db", 400
    with hansard.open(path) as store:
        for number in range(count):
            store.add(f"s-{number % 16}", "happened")
        outs = [tmp_path / f"out-{number}" for number in range(3)]
        processes = [subprocess.Popen([sys.executable, "-c", CONSUME, str(path), str(out)]) for out in outs]
        try:
            wait_until(lambda: any(out.exists() and out.stat().st_size > 0 for out in outs))
            busy = next(number for number, out in enumerate(outs) if out.exists() and out.stat().st_size > 0)
            processes[busy].send_signal(signal.SIGKILL)
            processes[busy].wait()
            for number in range(count):
                store.add(f"s-{number % 16}", "happened")
            wait_until(lambda: store.reader("g").status().checkpoint == 2 * count)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    lines = [line.split() for out in outs for line in out.read_text().splitlines()]
    assert {int(position) for position, _, _ in lines} == set(range(1, 2 * count + 1))
    for out in outs:  # in order within a stream, but for what is repeated after the crash
        by_stream: dict[str, list[int]] = defaultdict(list)
        for line in out.read_text().splitlines():
            _, stream, version = line.split()
            by_stream[stream].append(int(version))
        for versions in by_stream.values():
            assert versions == sorted(versions)


def wait_until(is_true: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_the_async_consumer(tmp_path: Path) -> None:
    """Async programs could not share the work."""
    async with hansard.aio.open(tmp_path / "log.db") as store:
        await store.append("a-1", events(4))
        seen: list[int] = []
        async with store.join("g", retry=Retry(attempts=2, first_s=0)) as consumer:
            async for event in consumer:
                seen.append(event.position)
                if event.position == 2 and seen.count(2) == 1:
                    await consumer.nack(event)
                elif event.position == 3:
                    await consumer.park(event, "bad")
                    await consumer.close()
                else:
                    await consumer.ack(event)
        assert seen == [1, 2, 2, 3]
        assert [one.position for one in await store.reader("g").dead_letters.list()] == [3, 4]
        async with store.join("g") as consumer:
            waiting = asyncio.create_task(anext(consumer))
            await asyncio.sleep(0.05)
            await store.append("b-1", events(1))
            assert (await asyncio.wait_for(waiting, 5)).position == 5


@pytest.mark.parametrize("members", range(1, 6))
def test_shares_come_to_rest_evenly(members: int) -> None:
    """Members would take partitions from one another for ever, or one would have them all."""
    names = [f"m{number}" for number in range(members)]
    owners: dict[int, str | None] = dict.fromkeys(range(7), "gone")
    for _ in range(3):
        for name in names:
            change = changes(owners, names, name)
            owners |= dict.fromkeys(change.release, None) | dict.fromkeys(change.claim, name)
    counts = [list(owners.values()).count(name) for name in names]
    assert (sum(counts), max(counts) - min(counts) <= 1) == (7, True)
    assert all(changes(owners, names, name) == ([], []) for name in names)


def test_the_partition_of_a_key_is_the_same_for_ever() -> None:
    """After an upgrade, a stream's events would go to another consumer while the old one still works."""
    assert [partition_of(key, 16) for key in ("a-1", "ä", "", "customer-4711")] == [0, 3, 0, 15]


def test_bad_uses_are_refused(store: Store) -> None:
    """A wrong ack would move the checkpoint over an event that nobody has done."""
    store.append("a-1", events(2))
    with store.join("g", partitions=2) as consumer:
        event = consumer.take(1)
        consumer.ack(event)
        for finish in (consumer.ack, consumer.nack, lambda e: consumer.park(e, "x")):
            with pytest.raises(InvalidInput, match="it is not out"):
                finish(event)
        with pytest.raises(InvalidType, match="expected an event"):
            consumer.ack(1)
        with pytest.raises(InvalidType, match="reason"):
            consumer.park(consumer.take(1), "")
        with pytest.raises(DefinitionChanged, match="2 partitions"):
            store.join("g", partitions=3)
        with pytest.raises(DefinitionChanged, match="new version"):
            store.join("g", Query(types={"x"}), partitions=2)
    for arguments in ({"name": ""}, {"partitions": 0}, {"lease_s": 0}, {"retry": 3}, {"partition_by": 3}, {"after": -1}):
        with pytest.raises(InvalidInput):
            store.join(**{"name": "h", **arguments})


def test_a_paused_or_throttled_group_is_paused_or_throttled(store: Store) -> None:
    """An order would be confirmed and ignored."""
    for number in range(60):
        store.add(f"s-{number}", "happened")
    with store.join("g") as consumer:
        consumer.ack(consumer.take(1))
        store.reader("g").pause()
        time.sleep(0.4)
        assert consumer.take(0.3) is None
        store.reader("g").throttle(50)
        store.reader("g").resume()
        start = time.monotonic()
        for _ in range(20):
            consumer.ack(consumer.take(5))
        assert time.monotonic() - start > 0.3


def test_a_consumer_whose_window_is_full_sleeps(store: Store) -> None:
    """One slow event would keep a processor busy with asking."""
    store.append("a-1", events(600))
    with store.join("g") as consumer:
        event = consumer.take(1)
        before = time.process_time()
        assert consumer.take(0.5) is None
        assert time.process_time() - before < 0.25
        consumer.ack(event)
        assert taken(consumer, 1) == 2


async def test_a_cancelled_wait_loses_no_event(tmp_path: Path) -> None:
    """An event that was taken for a task that is gone would block its stream."""
    async with hansard.aio.open(tmp_path / "log.db", durability="page-cache") as store:
        for number in range(100):
            await store.add(f"s-{number}", "happened")
        got: set[int] = set()
        async with store.join("g") as consumer:
            deadline = time.monotonic() + 30
            while len(got) < 100 and time.monotonic() < deadline:
                try:
                    event = await asyncio.wait_for(anext(consumer), 0.0003)
                except TimeoutError:
                    await asyncio.sleep(0)
                    continue
                got.add(event.position)
                await consumer.ack(event)
        assert len(got) == 100


def test_a_closed_store_ends_its_consumers(tmp_path: Path) -> None:
    """Closing in the wrong order would raise, or leave threads behind."""
    store = hansard.open(tmp_path / "log.db")
    store.add("a-1", "happened")
    consumer = store.join("g")
    consumer.ack(consumer.take(1))
    store.close()
    consumer.close()
    time.sleep(0.05)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("hansard-keeper")] == []


def test_letters_that_wait_stay_behind_those_that_are_tried(store: Store) -> None:
    """A later event would overtake a parked one that is just being retried."""
    store.append("a-1", events(1))
    with store.join("g") as consumer:
        consumer.park(consumer.take(1), "bad")
        store.reader("g").dead_letters.retry()
        event = consumer.take(5)
        store.append("a-1", events(2))
        assert consumer.take(0.15) is None
        consumer.ack(event)
        for position in (2, 3):
            event = consumer.take(5)
            assert event.position == position
            consumer.ack(event)
