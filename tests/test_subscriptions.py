"""Subscriptions: what is there, then what comes, from any thread and process, with one shared tail."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hansard
from hansard import Event, Query
from hansard.limits import PAGE_EVENTS_MAX, SHARED_EVENTS_MAX
from hansard.storage.remote.storage import RemoteStorage
from hansard.store import Store
from hansard.testing.builders import events
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        yield store


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def threads_of_the_store() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("hansard-tail")]


def until(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_subscription_catches_up_then_stays_live(store: Store) -> None:
    """A reader would miss what came while it was catching up, or get it twice."""
    store.append("a-1", events(PAGE_EVENTS_MAX + 7))
    writer = in_thread(lambda: [store.append("a-1", events(3)) for _ in range(50)])
    seen = []
    with store.subscribe() as subscription:
        for event in subscription:
            seen.append(event.position)
            if len(seen) == PAGE_EVENTS_MAX + 157:
                break
    writer.join()
    assert seen == list(range(1, PAGE_EVENTS_MAX + 158))


def test_caught_up_is_told_once_for_each_time_that_it_happens(store: Store) -> None:
    """A program that waits for the end of the history would wait for ever, or be told before it is there."""
    store.append("a-1", events(3))
    told: list[int] = []
    with store.subscribe(on_caught_up=told.append) as subscription:
        for _ in range(3):
            next(subscription)
        assert (told, subscription.is_caught_up, subscription.position) == ([], False, 3)
        adding = threading.Timer(0.05, lambda: store.add("a-1", "later"))
        adding.start()
        assert next(subscription).type == "later"
        assert told == [3]
        adding = threading.Timer(0.05, lambda: store.add("a-1", "later"))
        adding.start()
        next(subscription)
        assert told == [3, 4]


def test_position_is_what_was_handed_out(store: Store) -> None:
    """A checkpoint would be ahead of the work, and the events between lost at a restart."""
    store.append("a-1", events(5))
    with store.subscribe(after=1) as subscription:
        assert subscription.position == 1
        assert [next(subscription).position, subscription.position] == [2, 2]


def test_idle_is_told_while_nothing_comes(store: Store) -> None:
    """A heartbeat would be missing when it is needed, and a dead connection look like a quiet one."""
    store.add("a-1", "first")
    idle: list[int] = []

    def on_idle(position: int) -> None:
        idle.append(position)
        if len(idle) == 3:
            subscription.close()

    with store.subscribe(on_idle=on_idle, idle_s=0.01) as subscription:
        assert [event.type for event in subscription] == ["first"]
    assert idle == [1, 1, 1]


def test_a_subscription_is_closed_from_another_thread_at_once(store: Store) -> None:
    """A program could not stop."""
    with store.subscribe() as subscription:
        start = time.monotonic()
        timer = threading.Timer(0.05, subscription.close)
        timer.start()
        assert list(subscription) == []
        assert time.monotonic() - start < 1


def test_closing_the_store_ends_its_subscriptions(tmp_path: Path) -> None:
    """A thread would wait for ever on a store that is gone."""
    store = hansard.open(tmp_path / "log.db")
    raised: list[type[BaseException]] = []

    def follow() -> None:
        try:
            list(store.subscribe())
        except hansard.StoreClosed as error:
            raised.append(type(error))

    thread = in_thread(follow)
    time.sleep(0.05)
    start = time.monotonic()
    store.close()
    thread.join(5)
    assert raised == [hansard.StoreClosed]
    assert time.monotonic() - start < 1
    assert threads_of_the_store() == []


def test_many_live_subscribers_share_one_tail_and_miss_nothing(store: Store) -> None:
    """Each subscriber would cost a thread, or some would skip events that others have seen."""
    count, rounds = 30, 200
    seen: dict[int, list[int]] = {number: [] for number in range(count)}

    def follow(number: int) -> None:
        query = Query(types={"even"}) if number % 2 else Query()
        with store.subscribe(query) as subscription:
            for event in subscription:
                seen[number].append(event.position)
                if event.type == "last":
                    return
                if number % 2 and event.position == 2 * rounds:
                    return

    threads = [in_thread(lambda n=n: follow(n)) for n in range(count)]
    for number in range(1, 2 * rounds + 1):
        store.add("a-1", "odd" if number % 2 else "even")
    # The server of a remote store runs in this process, and has a tail of its own.
    until(lambda: 1 <= len(threads_of_the_store()) <= 1 + isinstance(store._storage, RemoteStorage))
    store.add("a-1", "last")
    for thread in threads:
        thread.join(60)
    for number in range(count):
        wanted = range(2, 2 * rounds + 1, 2) if number % 2 else range(1, 2 * rounds + 2)
        assert seen[number] == list(wanted), f"subscriber {number}"


def test_a_slow_subscriber_falls_behind_the_shared_events_and_misses_nothing(tmp_path: Path) -> None:
    """What no longer fits into the shared memory would be skipped."""
    with hansard.open(tmp_path / "log.db") as store:
        quick = [in_thread(lambda: next(store.subscribe(Query(types={"last"})))) for _ in range(6)]
        slow = store.subscribe()
        store.add("a-1", "first")
        assert next(slow).position == 1
        for _ in range(4):
            store.append("a-1", events(SHARED_EVENTS_MAX // 3))
            time.sleep(0.02)
        assert next(slow).position == 2
        store.add("a-1", "last")
        rest = []
        for event in slow:
            rest.append(event.position)
            if event.type == "last":
                break
        assert rest == list(range(3, store.head() + 1))
        for thread in quick:
            thread.join(20)


async def test_a_thousand_async_subscribers_on_few_threads(tmp_path: Path) -> None:
    """A server could not have more live readers than threads."""
    async with hansard.aio.open(tmp_path / "log.db") as store:
        before = threading.active_count()

        async def follow() -> list[int]:
            seen = []
            async with store.subscribe() as subscription:
                async for event in subscription:
                    seen.append(event.position)
                    if event.type == "last":
                        break
            return seen

        following = [asyncio.create_task(follow()) for _ in range(1_000)]
        for _ in range(20):
            await store.append("a-1", [Event("tick")])
            await asyncio.sleep(0.005)
        assert threading.active_count() - before <= 16
        await store.append("a-1", [Event("last")])
        for task in following:
            assert await task == list(range(1, 22))


async def test_async_callbacks_and_timeouts(tmp_path: Path) -> None:
    """The async face would tell less than the sync one, or lose an event to a timeout."""
    async with hansard.aio.open(tmp_path / "log.db") as store:
        told: list[tuple[str, int]] = []

        async def caught_up(position: int) -> None:
            told.append(("caught up", position))

        await store.append("a-1", [Event("one")])
        async with store.subscribe(
            on_caught_up=caught_up, on_idle=lambda position: told.append(("idle", position)), idle_s=0.02
        ) as subscription:
            assert (await anext(subscription)).type == "one"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.05)
            await store.append("a-1", [Event("two")])
            assert (await anext(subscription)).type == "two"
        assert told[:2] == [("caught up", 1), ("idle", 1)]


def test_events_of_another_process_are_seen_without_asking_all_the_time(tmp_path: Path) -> None:
    """A reader would sleep on, or burn a core while nothing happens."""
    path = tmp_path / "log.db"
    with hansard.open(path) as store:
        store.add("a-1", "first")
        code = (
            "import hansard, sys, time\nwith hansard.open(sys.argv[1]) as store:\n"
            " for n in range(40): store.add('b-1', 'x'); time.sleep(0.01)"
        )
        process = subprocess.Popen([sys.executable, "-c", code, str(path)])
        with store.subscribe(after=1) as subscription:
            assert [next(subscription).version for _ in range(40)] == list(range(1, 41))
        assert process.wait(30) == 0


def test_a_waiting_store_sleeps(tmp_path: Path) -> None:
    """A quiet program would keep a processor busy."""
    with hansard.open(tmp_path / "log.db") as store:
        store.add("a-1", "first")
        with store.subscribe(after=1) as subscription:
            thread = in_thread(lambda: list(subscription))
            time.sleep(0.3)
            before = time.process_time()
            time.sleep(1)
            used = time.process_time() - before
            subscription.close()
            thread.join()
        assert used < 0.2  # a loop that asks all the time uses all of it


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"idle_s": 0}, "idle_s"),
        ({"idle_s": float("nan")}, "idle_s"),
        ({"on_idle": 3}, "on_idle"),
        ({"on_caught_up": "x"}, "on_caught_up"),
        ({"after": -1}, "after"),
    ],
)
def test_bad_arguments_are_refused(store: Store, arguments: dict[str, object], field: str) -> None:
    """A wrong argument would show later, or never."""
    with pytest.raises(hansard.InvalidInput, match=field):
        store.subscribe(**arguments)
