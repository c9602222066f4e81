"""Durable timers: an event at a time, unless something has happened; once, whatever dies."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import Event, InvalidInput, InvalidType, Projection, Query, Timer, Timers
from hansard.store import Store
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        yield store


def timer(name: str = "t", due: datetime | timedelta = timedelta(0), **options: Any) -> Timer:
    return Timer(name, due, "order-7", Event("due", {"timer": name}), **options)


def test_a_timer_fires_when_it_is_due_and_not_before(store: Store) -> None:
    """A reminder would come too early, never, or again and again."""
    store.timers.set(timer("late", timedelta(hours=1)))
    store.timers.set(timer("now"))
    store.catch_up(Timers)
    store.catch_up(Timers)
    assert [event.data for event in store.all("order-7")] == [{"timer": "now"}]
    assert [info.name for info in store.timers] == ["late"]


def test_a_timer_fires_in_the_background_at_its_time(store: Store) -> None:
    """A program would have to ask for due timers itself."""
    called: list[str] = []
    store.on("due", lambda event: called.append(event.data["timer"]))
    with store.run(Timers):
        store.timers.set(timer("soon", datetime.now(UTC) + timedelta(seconds=0.3)))
        start = time.monotonic()
        assert store.wait(0, 10) == 1
        assert 0.2 < time.monotonic() - start < 2
        time.sleep(0.05)
    assert called == ["soon"]


def test_unless_is_judged_when_the_timer_fires(store: Store) -> None:
    """A customer who has paid would be told that the time is over."""
    store.add("order-7", "paid")  # before the timer was set: does not count
    for name, type in (("a", "paid"), ("b", "cancelled")):
        store.timers.set(timer(name, unless=Query(types={type}, stream="order-7")))
    store.add("order-7", "paid")
    store.add("order-8", "cancelled")
    assert store.timers.fire() == 1
    assert [event.data for event in store.all("order-7") if event.type == "due"] == [{"timer": "b"}]


def test_cancel_and_replace(store: Store) -> None:
    """A timer could not be taken back, or two of one name would fire."""
    store.timers.set(timer("a"))
    assert (store.timers.cancel("a"), store.timers.cancel("a")) == (True, False)
    store.timers.set(timer("a", timedelta(hours=2)))
    store.timers.set(timer("a", timedelta(hours=1)))
    (info,) = store.timers
    assert timedelta(minutes=59) < info.due - datetime.now(UTC) < timedelta(minutes=61)
    assert (info.stream, info.type) == ("order-7", "due")


def test_timers_fire_in_the_order_of_their_times(store: Store) -> None:
    """Two deadlines would be taken in the wrong order after a long stop."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for number in (3, 1, 2):
        store.timers.set(timer(str(number), past + timedelta(seconds=number)))
    for number in range(250):
        store.timers.set(timer(f"x{number}", past + timedelta(minutes=1)))
    assert store.timers.fire() == 253
    assert [event.data["timer"] for event in store.all("order-7")][:3] == ["1", "2", "3"]


def test_a_timer_that_cannot_be_fired_stays_and_holds_up_no_other(store: Store) -> None:
    """A deadline would be lost because its event was refused once, or all later ones wait for it."""

    def refuses(state: Any, event: Any) -> int:
        if event.data["timer"] == "bad":
            raise ValueError("not now")
        return 1

    store.inline(Projection("strict", refuses, query=Query(types={"due"})))
    store.timers.set(timer("bad"))
    store.timers.set(timer("good"))
    assert (store.timers.fire(), store.timers.fire()) == (1, 0)
    (info,) = store.timers
    assert (info.name, info.attempts, "not now" in info.error) == ("bad", 1, True)
    assert timedelta(seconds=50) < info.due - datetime.now(UTC) < timedelta(seconds=61)


def test_one_event_may_be_given_to_many_timers(store: Store) -> None:
    """A constant of the program, used for each order, would be taken for a repetition."""
    reminder = Event("reminder-due")
    for stream in ("order-1", "order-2", "order-1"):
        store.timers.set(Timer(f"remind/{stream}", timedelta(0), stream, reminder))
        store.timers.fire()
    assert [event.stream for event in store.read()] == ["order-1", "order-2", "order-1"]


FIRE = """
import hansard, sys
with hansard.open(sys.argv[1]) as store:
    store.timers.fire()
"""


def test_timers_survive_restarts_and_fire_once_among_many(tmp_path: Path) -> None:
    """A deadline would die with the process that set it, or fire once a process."""
    path = tmp_path / "log.db"
    with hansard.open(path) as store:
        for number in range(50):
            store.timers.set(timer(f"t{number}"))
    processes = [subprocess.Popen([sys.executable, "-c", FIRE, str(path)]) for _ in range(3)]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    with hansard.open(path) as store:
        assert sorted(event.data["timer"] for event in store.all("order-7")) == sorted(f"t{number}" for number in range(50))


async def test_timers_of_the_async_store(tmp_path: Path) -> None:
    """Async programs could not set deadlines."""
    async with hansard.aio.open(tmp_path / "log.db") as store:
        await store.timers.set(timer("a"))
        await store.timers.set(timer("b"))
        assert await store.timers.cancel("b")
        assert [info.name for info in await store.timers.list()] == ["a"]
        called: list[str] = []

        async def handler(event: Any) -> None:
            called.append(event.type)

        store.on("due", handler)
        async with store.run(Timers):
            assert await store.wait(0, 10) == 1
        assert called == ["due"]
        assert await store.timers.fire() == 0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Timer("", timedelta(0), "a", Event("x")), "name"),
        (lambda: Timer("t", 3, "a", Event("x")), "due"),
        (lambda: Timer("t", datetime(2030, 1, 1), "a", Event("x")), "due"),  # noqa: DTZ001
        (lambda: Timer("t", timedelta(0), "", Event("x")), "stream"),
        (lambda: Timer("t", timedelta(0), "a", "x"), "event"),
        (lambda: Timer("t", timedelta(0), "a", Event("x"), "paid"), "unless"),
        (lambda: hansard.open(":memory:").timers.set(timer(due=timedelta(days=10_000_000))), "due"),
        (lambda: hansard.open(":memory:").timers.set("t"), "timer"),
        (lambda: hansard.open(":memory:").timers.cancel(""), "name"),
    ],
)
def test_bad_timers_are_refused(make: Any, field: str) -> None:
    """A deadline would be at no time, or of nothing."""
    with pytest.raises((InvalidInput, InvalidType), match=field):
        make()
