"""Process managers: what follows is appended with their progress, once; deadlines included."""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import (
    PARK,
    CancelTimer,
    Event,
    InvalidInput,
    InvalidType,
    ProcessManager,
    ProcessorStopped,
    Query,
    RecordedEvent,
    Retry,
    StreamAppend,
    Timer,
)
from hansard.store import Store
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        yield store


def handle(state: Any, event: RecordedEvent) -> list[Any]:
    """Ask for the payment; remind once; give up when the time is over."""
    order = event.data["order"]
    if event.type == "order-placed":
        deadline = Timer(
            f"payment/{order}", timedelta(seconds=-1 if event.data.get("late") else 3_600), f"order-{order}",
            Event("payment-timed-out", {"order": order}), unless=Query(types={"order-paid"}, stream=f"order-{order}"),
        )  # fmt: skip
        return [StreamAppend(f"payment-{order}", [Event("payment-requested", {"order": order})]), deadline]
    if event.type == "payment-timed-out":
        return [StreamAppend(f"order-{order}", [Event("order-cancelled", {"order": order})])]
    return [CancelTimer(f"payment/{order}")]


def payment(**options: Any) -> ProcessManager:
    return ProcessManager(
        "payment",
        key=lambda event: str(event.data["order"]),
        starts={"order-placed"},
        stops={"order-paid", "payment-timed-out"},
        handle=handle,
        **options,
    )


def types(store: Store, stream: str) -> list[str]:
    return [event.type for event in store.all(stream)]


def test_a_process_runs_from_start_to_stop(store: Store) -> None:
    """What is to follow would not, or for the wrong order."""
    store.add("order-1", "order-placed", {"order": 1})
    store.add("order-2", "order-placed", {"order": 2, "late": True})
    store.add("order-1", "order-paid", {"order": 1})
    store.add("order-3", "order-paid", {"order": 3})  # has never started
    store.catch_up(payment())
    store.catch_up(payment())
    assert types(store, "payment-1") == types(store, "payment-2") == ["payment-requested"]
    assert types(store, "order-1") == ["order-placed", "order-paid"]
    assert types(store, "order-2") == ["order-placed", "payment-timed-out", "order-cancelled"]
    assert types(store, "payment-3") == []
    assert list(store.timers) == []


def test_what_follows_says_where_it_comes_from(store: Store) -> None:
    """Nobody could tell why an event was stored."""
    placed = store.add("order-2", "order-placed", {"order": 2, "late": True}, metadata={"correlation_id": "web-7"})
    store.catch_up(payment())
    store.catch_up(payment())
    (requested,) = store.all("payment-2")
    timed_out, cancelled = store.all("order-2")[1:]
    assert requested.metadata == {"causation_id": str(placed.id), "correlation_id": "web-7"} == timed_out.metadata
    assert cancelled.metadata == {"causation_id": str(timed_out.id), "correlation_id": "web-7"}


def test_a_failing_process_leaves_nothing_half_done(store: Store) -> None:
    """A command would be sent twice, or its progress be forgotten."""
    fails = [True, True]

    def fails_late(state: Any, event: RecordedEvent) -> Any:
        yield StreamAppend("out-1", [Event("half")])
        if fails:
            fails.pop()
            raise ValueError
        yield StreamAppend("out-1", [Event("whole")])

    manager = ProcessManager(
        "m", key=lambda e: "k", starts={"begin"}, handle=fails_late, retry=Retry(attempts=3, first_s=0),
        evolve=lambda n, event: n + 1, initial=0,
    )  # fmt: skip
    store.append("a-1", [Event("begin"), Event("begin")])
    store.catch_up(manager)
    assert types(store, "out-1") == ["half", "whole"] * 2
    assert store._storage.get("user/process/m", ["k"]) == {"k": b"2"}


def test_a_conflict_is_a_failed_attempt(store: Store) -> None:
    """A process manager would overrule another writer."""
    store.add("out-1", "other")
    manager = ProcessManager(
        "m", key=lambda e: e.stream, starts={"begin"}, on_failure=PARK, retry=Retry(attempts=2, first_s=0),
        handle=lambda state, event: [StreamAppend("out-1", [Event("mine")], expected_version=0)],
    )  # fmt: skip
    store.add("a-1", "begin")
    store.catch_up(manager)
    (letter,) = store.reader("m").dead_letters
    assert "expected version NO_STREAM" in letter.error or "expected version 0" in letter.error
    assert types(store, "out-1") == ["other"]


def test_processes_do_not_share_their_initial_state(store: Store) -> None:
    """A process would begin with what has happened in others."""

    def evolve(state: dict[str, list[str]], event: RecordedEvent) -> dict[str, list[str]]:
        state["seen"].append(event.stream)
        return state

    manager = ProcessManager(
        "m", key=lambda e: e.stream, starts={"begin"}, evolve=evolve, initial={"seen": []}, handle=lambda s, e: []
    )
    for number in range(3):
        store.add(f"o-{number}", "begin")
    store.catch_up(manager)
    assert store._storage.get("user/process/m", ["o-2"]) == {"o-2": b'{"seen":["o-2"]}'}


WORK = """
import sys
sys.path.insert(0, sys.argv[2])
import hansard
from test_process_managers import counting
with hansard.open(sys.argv[1]) as store, store.run(counting(), lease_s=1) as running:
    running.wait_for("counting", int(sys.argv[3]), 60)
"""


def counting() -> ProcessManager:
    return ProcessManager(
        "counting",
        key=lambda event: event.stream,
        starts={"begin"},
        evolve=lambda n, event: n + 1,
        initial=0,
        handle=lambda n, event: [StreamAppend(f"out-{event.stream}", [Event("counted", n)], expected_version=n - 1)],
    )


def test_progress_and_consequences_survive_kill_9(tmp_path: Path) -> None:
    """A crash would double a command or lose one."""
    path, count = tmp_path / "log.db", 10_000
    command = [sys.executable, "-c", WORK, str(path), str(Path(__file__).parent), str(count)]
    with hansard.open(path) as store:
        for start in range(0, count, 100):
            store.append_streams([StreamAppend(f"s-{n % 5}", [Event("begin")]) for n in range(start, start + 100)])
        for _ in range(5):
            before = position(store)
            process = subprocess.Popen(command)
            while position(store) == before:
                time.sleep(0.005)
            process.kill()
            process.wait(60)
            assert position(store) < count
        subprocess.run(command, check=True, timeout=100)
        for n in range(5):
            assert [event.data for event in store.all(f"out-s-{n}")] == list(range(1, count // 5 + 1))
        assert store.check() == []


def position(store: Store) -> int:
    try:
        return store.reader("counting").status().checkpoint
    except InvalidInput:
        return 0


@pytest.mark.parametrize("garbage", [None, 3, "x", [3], {"a": 1}])
def test_a_handle_that_returns_garbage_is_refused(store: Store, garbage: Any) -> None:
    """A process would stand still and nobody know why."""
    store.add("a-1", "begin")
    manager = ProcessManager("m", key=lambda e: "k", starts={"begin"}, handle=lambda s, e: garbage, retry=Retry(attempts=1))
    with pytest.raises(ProcessorStopped, match="handle"):
        store.catch_up(manager)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"starts": ()}, "starts"),
        ({"starts": "begin"}, "starts"),
        ({"key": "k"}, "key"),
        ({"handle": 3}, "handle"),
        ({"evolve": 3}, "evolve"),
    ],
)
def test_bad_definitions_are_refused(arguments: dict[str, Any], field: str) -> None:
    """A typing error would show when the first order comes."""
    with pytest.raises((InvalidInput, InvalidType), match=field):
        ProcessManager(**{"name": "m", "key": lambda e: "k", "starts": {"begin"}, "handle": lambda s, e: [], **arguments})
