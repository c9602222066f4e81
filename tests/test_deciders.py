"""Deciding: load, decide, append; what was read is what the decision rests on; sent twice is done once; snapshots never lie."""

import asyncio
import json
import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum, StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hansard
from hansard import (
    Aggregate,
    AppendConditionFailed,
    Decider,
    Event,
    HandlersFailed,
    InvalidInput,
    Query,
    QueryItem,
    Snapshots,
    View,
    WrongExpectedVersion,
    applies,
)
from hansard.deciders import snapshots
from hansard.deciders.snapshots import key_of
from hansard.fingerprints import fingerprint_of
from places import ENGINES, another, place_of


@hansard.event("deposited", tags=["account:{account}"])
@dataclass(frozen=True)
class Deposited:
    account: str
    amount: Decimal


@hansard.event("withdrawn", tags=["account:{account}"])
@dataclass(frozen=True)
class Withdrawn:
    account: str
    amount: Decimal


@dataclass(frozen=True)
class Deposit:
    account: str
    amount: Decimal


@dataclass(frozen=True)
class Withdraw:
    account: str
    amount: Decimal


@dataclass(frozen=True)
class Balance:
    amount: Decimal = Decimal(0)
    count: int = 0


class NotEnough(Exception):
    pass


def decide(command: Deposit | Withdraw, state: Balance) -> list[Deposited | Withdrawn]:
    if isinstance(command, Deposit):
        return [Deposited(command.account, command.amount)]
    if command.amount > state.amount:
        raise NotEnough(f"{state.amount} left")
    return [Withdrawn(command.account, command.amount)] if command.amount else []


def evolve(state: Balance, event: Deposited | Withdrawn) -> Balance:
    sign = 1 if isinstance(event, Deposited) else -1
    return Balance(state.amount + sign * event.amount, state.count + 1)


EVENTS = [Deposited, Withdrawn]


def account(**options: Any) -> Decider[Deposit | Withdraw, Balance, Deposited | Withdrawn]:
    return Decider("account", initial=Balance(), decide=decide, evolve=evolve, events=EVENTS, **options)


ACCOUNT = account()


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place_of(request.param, tmp_path / "log")


@pytest.fixture
def store(place: str) -> Iterator[hansard.Store]:
    with hansard.open(place, types=EVENTS) as store:
        yield store


@pytest.fixture
def memory() -> Iterator[hansard.Store]:
    with hansard.open(":memory:", types=EVENTS) as store:
        yield store


# One stream


def test_a_command_leads_to_events_and_a_state(store: hansard.Store) -> None:
    """The first screen of domain code would not work."""
    first = store.execute(ACCOUNT, "account-1", Deposit("1", Decimal("12.50")))
    assert first.state == Balance(Decimal("12.50"), 1)
    assert [event.value for event in first.events] == [Deposited("1", Decimal("12.50"))]
    assert (first.appended is not None, first.attempts, first.is_repeat) == (True, 1, False)
    second = store.execute(ACCOUNT, "account-1", Withdraw("1", Decimal(2)), metadata={"by": "me"})
    assert second.state == Balance(Decimal("10.50"), 2)
    assert second.events[0].metadata == {"by": "me"}
    assert store.all("account-1") == [*first.events, *second.events]
    assert store.load(ACCOUNT, "account-1") == (second.state, 2)
    assert store.load(ACCOUNT, "account-2") == (Balance(), 0)


def test_a_refusal_comes_out_and_stores_nothing(store: hansard.Store) -> None:
    """A caller could not tell the user why."""
    with pytest.raises(NotEnough, match="0 left"):
        store.execute(ACCOUNT, "account-1", Withdraw("1", Decimal(1)))
    assert store.execute(ACCOUNT, "account-1", Withdraw("1", Decimal(0))) == ([], Balance(), None, 1, False)
    assert store.head() == 0


def test_a_decision_that_was_overtaken_is_made_again(memory: hansard.Store) -> None:
    """It would rest on what is not true any more."""
    memory.execute(ACCOUNT, "account-1", Deposit("1", Decimal(10)))
    calls: list[Decimal] = []

    def interrupted(command: Withdraw, state: Balance) -> list[Withdrawn]:
        calls.append(state.amount)
        if len(calls) < 3:
            memory.append("account-1", Withdrawn("1", Decimal(4)))
        if command.amount > state.amount:
            raise NotEnough(f"{state.amount} left")
        return [Withdrawn("1", command.amount)]

    one = Decider("account", initial=Balance(), decide=interrupted, evolve=evolve)
    with pytest.raises(NotEnough, match="2 left"):
        memory.execute(one, "account-1", Withdraw("1", Decimal(3)))
    assert calls == [10, 6, 2]


def test_attempts_are_bounded_and_the_conflict_says_how_many(memory: hansard.Store) -> None:
    """A busy stream would keep a request for ever."""

    def always_overtaken(command: int, state: Any) -> list[Event]:
        memory.add("s-1", "other")
        return [Event("mine")]

    one = Decider("d", initial=0, decide=always_overtaken, evolve=lambda state, event: state)
    with pytest.raises(WrongExpectedVersion) as caught:
        memory.execute(one, "s-1", 1, attempts=3)
    assert caught.value.__notes__ == ["d: decided 3 times; each time others were faster"]
    assert [event.type for event in memory.all("s-1")] == ["other"] * 3
    with pytest.raises(AppendConditionFailed) as failed:
        memory.execute(one, Query(types={"other"}), 1, attempts=2)
    assert failed.value.__notes__ == ["d: decided 2 times; each time others were faster"]


def test_untyped_events_are_folded_as_they_are(memory: hansard.Store) -> None:
    """Deciders would need typed events."""

    def count(state: int, event: Any) -> int:
        return state + event.data["n"]

    one = Decider("d", initial=0, decide=lambda command, state: [Event("added", {"n": command})], evolve=count)
    assert memory.execute(one, "s-1", 2).state == 2
    assert memory.execute(one, "s-1", 3).state == 5


def test_handlers_are_called_and_their_failure_is_not_taken_for_a_conflict(memory: hansard.Store) -> None:
    """The command would be decided twice."""
    memory.on(Deposited, lambda event: 1 / 0)
    with pytest.raises(HandlersFailed):
        memory.execute(ACCOUNT, "account-1", Deposit("1", Decimal(1)))
    assert memory.head() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.execute(decide, "account-1", 1), "decider: .*expected a Decider, an Aggregate class, or"),
        (lambda store: store.execute(ACCOUNT, 7, 1), "stream: 7 is int"),
        (lambda store: store.execute(ACCOUNT, "a-1", 1, stream="b-1"), "stream: 'b-1': the target names the stream already"),
        (lambda store: store.execute(ACCOUNT, "a-1", 1, attempts=0), "attempts: 0: expected a whole number from 1"),
        (lambda store: store.execute(ACCOUNT, "a-1", 1, command_id="x"), "command_id: 'x': expected a UUID"),
        (lambda store: store.execute(decide, {}, 1), "target: {}: expected at least 1 View"),
        (lambda store: store.execute(decide, {"x": 1}, 1), r"target\['x'\]: 1 is int: expected View"),
        (lambda store: store.execute(3, {"x": View(Query(), 0, evolve)}, 1), "decider: 3 is int: expected a function"),
        (lambda store: Decider("", initial=0, decide=decide, evolve=evolve), "name: '': expected 1 to"),
        (lambda store: Decider("d", initial=0, decide=1, evolve=evolve), "decide: 1 is int: expected a function"),
        (lambda store: Decider("d", initial=0, decide=decide, evolve=evolve, version=0), "version: 0"),
        (lambda store: Decider("d", initial=0, decide=decide, evolve=evolve, events=[int]), "event class: .*expected a class"),
        (lambda store: Decider("d", initial=0, decide=decide, evolve=evolve, snapshots=9), "snapshots: 9 is int"),
        (lambda store: account(snapshots=Snapshots(0)), "snapshots.every: 0: expected a whole number of events from 1"),
        (lambda store: account(snapshots=Snapshots(1, 0)), "snapshots.after_s: 0: expected more than 0 seconds"),
        (
            lambda store: store.execute(Decider("d", initial=0, decide=lambda c, s: None, evolve=evolve), "a-1", 1),
            "decide: None is NoneType: it returned nothing; return the events",
        ),
        (
            lambda store: store.execute(Decider("d", initial=0, decide=lambda c, s: {"x": 1}, evolve=evolve), "a-1", 1),
            "decide: .* it must return a list of events",
        ),
        (
            lambda store: store.execute(Decider("d", initial=0, decide=lambda c, s: [3], evolve=evolve), "a-1", 1),
            "event: 3 is int: expected an Event, or a value",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_one_clear_error(
    memory: hansard.Store, call: Callable[[hansard.Store], Any], message: str
) -> None:
    """A mistake would be found in production."""
    with pytest.raises(InvalidInput, match=message):
        call(memory)
    assert memory.head() == 0


def test_a_store_that_does_not_know_the_events_is_told_so() -> None:
    """They would come back as plain data, and evolve would pass them by in silence."""
    message = "types: 'deposited': the store does not know Deposited, and would give it back as plain data; open it with types"
    with hansard.open(":memory:") as store:
        with pytest.raises(InvalidInput, match=message):
            store.execute(ACCOUNT, "account-1", Deposit("1", Decimal(1)))
        undeclared = Decider("account", initial=Balance(), decide=decide, evolve=evolve)
        with pytest.raises(InvalidInput, match=message):
            store.execute(undeclared, "account-1", Deposit("1", Decimal(1)))
        with pytest.raises(InvalidInput, match=message):
            store.load(ACCOUNT, "account-1")


# Queries and views


def test_a_query_is_the_boundary_of_a_decision(store: hansard.Store) -> None:
    """A decision about several streams would not be safe."""
    query = Query(tags={"account:1"})
    store.append("account-1", Deposited("1", Decimal(5)))
    store.append("account-2", Deposited("2", Decimal(50)))
    done = store.execute(ACCOUNT, query, Withdraw("1", Decimal(4)), stream="teller-1")
    assert (done.state, done.events[0].stream) == (Balance(Decimal(1), 2), "teller-1")
    assert store.execute(ACCOUNT, query, Deposit("1", Decimal(1))).events[0].stream is None
    assert store.load(ACCOUNT, query) == (Balance(Decimal(2), 3), 4)
    with pytest.raises(NotEnough, match="2 left"):
        store.execute(ACCOUNT, query, Withdraw("1", Decimal(3)))


def course(id: str) -> View:
    def evolve(state: dict[str, int], event: Any) -> dict[str, int]:
        if event.type == "course-defined":
            return {**state, "room": event.data["room"]}
        return {**state, "taken": state["taken"] + 1}

    query = Query(types={"course-defined", "subscribed"}, tags={f"course:{id}"})
    return View(query, {"room": 0, "taken": 0}, evolve)


def student(id: str) -> View:
    return View(Query(types={"subscribed"}, tags={f"student:{id}"}), 0, lambda count, event: count + 1)


def subscribe(store: hansard.Store, course_id: str, student_id: str) -> Any:
    def decide(command: None, state: Any) -> list[Event]:
        if state.course["taken"] >= state.course["room"]:
            raise NotEnough("course is full")
        if state.student >= 2:
            raise NotEnough("student has enough")
        return [Event("subscribed", None, tags={f"course:{course_id}", f"student:{student_id}"})]

    return store.execute(decide, {"course": course(course_id), "student": student(student_id)}, None, attempts=100)


def test_views_over_several_queries_decide_together(store: hansard.Store) -> None:
    """Each query would need its own loop, and the boundary would have a hole."""
    for id in "abc":
        store.add(f"course-{id}", "course-defined", {"room": 1}, tags={f"course:{id}"})
    assert subscribe(store, "a", "jo").state.student == 1
    with pytest.raises(NotEnough, match="course is full"):
        subscribe(store, "a", "al")
    subscribe(store, "b", "jo")
    with pytest.raises(NotEnough, match="student has enough"):
        subscribe(store, "c", "jo")


# Races


@pytest.mark.parametrize("seed", range(3))
def test_16_racing_clients_never_break_an_invariant(place: str, seed: int) -> None:
    """An account would be overdrawn, or a course overbooked."""
    rng = random.Random(seed)
    with hansard.open(place, types=EVENTS) as store, hansard.open(another(place), types=EVENTS) as second:
        store.add("course-a", "course-defined", {"room": 7}, tags={"course:a"})
        store.execute(ACCOUNT, "account-1", Deposit("1", Decimal(50)))
        plans = [[(rng.random(), rng.randrange(1, 6)) for _ in range(4)] for _ in range(16)]
        refused: list[NotEnough] = []

        def work(number: int) -> None:
            mine = second if number % 2 and place != ":memory:" else store
            for chance, amount in plans[number]:
                try:
                    mine.execute(ACCOUNT, "account-1", Withdraw("1", Decimal(amount)), attempts=200)
                    if chance < 0.6:
                        subscribe(mine, "a", f"s{number}")
                except NotEnough as error:
                    refused.append(error)

        all_at_once(work)
        store.barrier()
        balance = Decimal(0)
        for event in store.all("account-1"):
            balance += event.value.amount if event.type == "deposited" else -event.value.amount
            assert balance >= 0
        subscribed = list(store.read(Query(types={"subscribed"})))
        assert len(subscribed) <= 7
        assert all(sum(f"student:s{n}" in event.tags for event in subscribed) <= 2 for n in range(16))
        assert refused


def all_at_once(work: Callable[[int], None]) -> None:
    """Of 16 threads that start together; what one raises comes out."""
    ready = threading.Barrier(16)

    def begin(number: int) -> None:
        ready.wait()
        work(number)

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(begin, number) for number in range(16)]:
            future.result()


# Sent twice


def test_a_command_of_one_id_is_done_once(store: hansard.Store) -> None:
    """A retry by a gateway would pay twice."""
    id = uuid4()
    first = store.execute(ACCOUNT, "account-1", Deposit("1", Decimal(5)), command_id=id)
    store.execute(ACCOUNT, "account-1", Withdraw("1", Decimal(4)), command_id=str(uuid4()))
    again = store.execute(ACCOUNT, "account-1", Deposit("1", Decimal(5)), command_id=id)
    assert again.is_repeat
    assert again.events == first.events
    assert again.appended == first.appended
    assert again.state == Balance(Decimal(1), 2), "the state is the present one"
    assert first.events[0].metadata["command_id"] == str(id)
    assert store.head() == 2


def test_a_repeated_command_is_not_decided_anew(memory: hansard.Store) -> None:
    """What was done would be refused the second time: the money is gone already."""
    memory.execute(ACCOUNT, "account-1", Deposit("1", Decimal(5)))
    command, id = Withdraw("1", Decimal(5)), uuid4()
    memory.execute(ACCOUNT, "account-1", command, command_id=id)
    assert memory.execute(ACCOUNT, "account-1", command, command_id=id).is_repeat
    assert not memory.execute(ACCOUNT, "account-2", Deposit("2", Decimal(1)), command_id=id).is_repeat, "another target"


def test_a_command_of_many_events_is_recognised_whole(memory: hansard.Store) -> None:
    """Only the first ones would be given back."""
    many = Decider("many", initial=0, decide=lambda n, state: [Event("e", k) for k in range(n)], evolve=lambda s, e: s + 1)
    id = uuid4()
    first = memory.execute(many, "m-1", 40, command_id=id)
    again = memory.execute(many, "m-1", 40, command_id=id)
    assert [event.data for event in again.events] == list(range(40))
    assert again.appended == first.appended


@pytest.mark.parametrize("target", ["account-1", Query(tags={"account:1"})], ids=["stream", "query"])
def test_one_command_sent_by_16_at_once_is_done_once(place: str, target: Any) -> None:
    """Two servers that got the same request would both do it."""
    with hansard.open(place, types=EVENTS) as store:
        for _ in range(5):
            id, before, results = uuid4(), store.head(), list[Any]()

            def send(number: int, id: UUID = id, results: list[Any] = results) -> None:
                results.append(store.execute(ACCOUNT, target, Deposit("1", Decimal(1)), command_id=id, attempts=200))

            all_at_once(send)
            assert store.head() == before + 1
            assert {result.events[0].id for result in results} == {store.event(results[0].events[0].id).id}  # type: ignore[union-attr]


# Async


async def test_the_async_store_decides_the_same_way(tmp_path: Path) -> None:
    """Half of the users would have no deciders."""
    async with hansard.aio.open(tmp_path / "log.db", types=EVENTS) as store:
        await store.execute(ACCOUNT, "account-1", Deposit("1", Decimal(30)))
        id = uuid4()

        async def client(number: int) -> int:
            done = 0
            for _ in range(4):
                try:
                    await store.execute(ACCOUNT, "account-1", Withdraw("1", Decimal(1)), attempts=200)
                    done += 1
                except NotEnough:
                    return done
            await store.execute(ACCOUNT, "account-1", Deposit("1", Decimal(100)), command_id=id, attempts=200)
            return done

        done = sum(await asyncio.gather(*(client(number) for number in range(16))))
        state, version = await store.load(ACCOUNT, "account-1")
        assert state.amount == 130 - done
        assert version == 2 + done
        result = await store.execute(lambda c, s: [Event("x", s.n)], {"n": View(Query(types={"deposited"}), 0, _count)}, 1)
        assert result.events[0].data == 2


def _count(state: int, event: Any) -> int:
    return state + 1


# Aggregates


@dataclass
class Account(Aggregate):
    name = "account-object"
    snapshots = Snapshots(every=2)

    balance: Decimal = Decimal(0)
    seen: list[str] = field(default_factory=list)

    def deposit(self, amount: int) -> None:
        self.record(Deposited("1", Decimal(amount)))

    def withdraw(self, amount: int) -> None:
        if amount > self.balance:
            raise NotEnough(f"{self.balance} left")
        self.record(Withdrawn("1", Decimal(amount)))

    @applies(Deposited)
    def _deposited(self, event: Deposited) -> None:
        self.balance += event.amount
        self.seen.append("in")

    @applies(Withdrawn)
    def _withdrawn(self, event: Withdrawn) -> None:
        self.balance -= event.amount
        self.seen.append("out")


def test_a_class_decides_as_functions_do(store: hansard.Store) -> None:
    """Those who prefer objects would have nothing."""

    def pay(account: Account) -> None:
        account.deposit(5)
        account.withdraw(3)

    done = store.execute(Account, "account-1", pay)
    assert (done.state.balance, done.state.seen) == (2, ["in", "out"])
    with pytest.raises(NotEnough, match="2 left"):
        store.execute(Account, "account-1", lambda account: account.withdraw(3))
    again = store.execute(Account, "account-1", lambda account: account.deposit(1))
    assert (again.state.balance, again.state.seen, again.state.recorded) == (3, ["in", "out", "in"], [])
    assert store.load(Account, "account-1").state == again.state


def test_a_class_without_a_name_is_refused(memory: hansard.Store) -> None:
    """Snapshots of two classes would be mixed."""

    class Nameless(Aggregate):
        pass

    with pytest.raises(InvalidInput, match="name: '': give Nameless a name"):
        memory.execute(Nameless, "a-1", lambda it: None)
    with pytest.raises(InvalidInput, match="command: 3 is int: expected a function of the aggregate"):
        memory.execute(Account, "a-1", 3)


# Snapshots


def documents(store: hansard.Store, decider: Any) -> dict[str, Any]:
    store._execution.snapshots.wait()
    pages = store._storage.scan(f"snapshot/{decider.name}", limit=100)
    return {key: json.loads(text) for key, text in pages}


def reads(store: hansard.Store, monkeypatch: pytest.MonkeyPatch, target: str | Query, decider: Any) -> int:
    """How many events a load folds."""
    folded = [0]
    inner = type(decider).folded

    def counting(self: Any, state: Any, events: Any) -> Any:
        events = list(events)
        folded[0] += len(events)
        return inner(self, state, events)

    with monkeypatch.context() as patched:
        patched.setattr(type(decider), "folded", counting)
        store.load(decider, target)
    return folded[0]


@pytest.mark.parametrize("target", ["account-1", Query(tags={"account:1"})], ids=["stream", "query"])
def test_snapshots_shorten_the_way_and_roll_forward(store: hansard.Store, target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long stream would be folded whole each time."""
    one = account(snapshots=Snapshots(every=10))
    for n in range(1, 35):
        assert store.execute(one, target, Deposit("1", Decimal(1))).state == Balance(Decimal(n), n)
        store._execution.snapshots.wait()
    assert list(documents(store, one)) == [key_of(target)]
    assert documents(store, one)[key_of(target)]["at"] in {30, 33}
    assert reads(store, monkeypatch, target, one) <= 10
    assert reads(store, monkeypatch, target, ACCOUNT) == 34
    assert store.load(one, target).state == Balance(Decimal(34), 34)


def test_a_snapshot_is_taken_after_a_time(memory: hansard.Store) -> None:
    """Streams that grow slowly would never have a fresh one."""
    one = account(snapshots=Snapshots(every=3, after_s=0.001))
    for _ in range(3):
        memory.execute(one, "account-1", Deposit("1", Decimal(1)))
    assert documents(memory, one)["account-1"]["at"] == 3
    threading.Event().wait(0.01)
    memory.execute(one, "account-1", Deposit("1", Decimal(1)))
    assert documents(memory, one)["account-1"]["at"] == 4


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    "another state": lambda document: document.update(state={"amount": "999", "count": 3}),
    "another version": lambda document: document.update(at=2),
    "beyond the end": lambda document: document.update(at=99),
    "another event": lambda document: document.update(event="00" * 16),
    "no event": lambda document: document.update(event="xx"),
    "another decider": lambda document: document.update(version=2),
    "another evolve": lambda document: document.update(fingerprint=1),
    "a state that does not fit": lambda document: document.update(state={"amount": "nope"}),
    "no document": lambda document: document.clear(),
}


@pytest.mark.parametrize(
    ("wrong", "is_signed"),
    [(wrong, False) for wrong in WRONG] + [(wrong, True) for wrong in WRONG if wrong != "another state"],
)
def test_a_wrong_snapshot_is_dropped(memory: hansard.Store, wrong: str, is_signed: bool) -> None:
    """A decision would rest on a state that never was. (Whoever can sign another state can write the log as well.)"""
    one = account(snapshots=Snapshots(every=3))
    for _ in range(4):
        memory.execute(one, "account-1", Deposit("1", Decimal(1)))
    document = documents(memory, one)["account-1"]
    WRONG[wrong](document)
    text = json.dumps(document).encode()
    if is_signed and document:
        signed = snapshots._decode(text)
        signed.crc = signed.expected_crc
        text = snapshots._encode(signed)
    memory._storage.transact(lambda transaction: transaction.put("snapshot/account", {"account-1": text}))
    assert memory.load(one, "account-1") == (Balance(Decimal(4), 4), 4)
    assert memory.execute(one, "account-1", Withdraw("1", Decimal(4))).state == Balance(Decimal(0), 5)
    assert documents(memory, one)["account-1"]["at"] in {4, 5}, "a right one takes its place"


def test_a_changed_evolve_drops_old_snapshots(memory: hansard.Store) -> None:
    """The new meaning would be folded onto the old one."""
    for _ in range(4):
        memory.execute(account(snapshots=Snapshots(every=3)), "account-1", Deposit("1", Decimal(1)))

    def twice(state: Balance, event: Any) -> Balance:
        return Balance(state.amount + 2 * event.amount, state.count + 1)

    one = Decider("account", initial=Balance(), decide=decide, evolve=twice, snapshots=Snapshots(every=3))
    assert memory.load(one, "account-1").state == Balance(Decimal(8), 4)


def test_a_changed_upcaster_drops_old_snapshots(tmp_path: Path) -> None:
    """The state would be folded half from old shapes and half from new ones."""
    one = account(snapshots=Snapshots(every=2))
    for factor in (1, 10):
        types = hansard.EventTypes(*EVENTS)
        upcast: Any = types.upcast("paid-in", 1, to="deposited")
        if factor == 1:
            upcast(lambda data: {"account": "1", "amount": data["sum"]})
        else:
            upcast(lambda data: {"account": "1", "amount": 10 * data["sum"]})
        with hansard.open(tmp_path / "log.db", types=types) as store:
            if factor == 1:
                store.append("account-1", [Event("paid-in", {"sum": 3}), Event("paid-in", {"sum": 4})])
            assert store.load(one, "account-1").state.amount == 7 * factor
            assert store.load(one, "account-1").state.amount == 7 * factor


def test_a_copied_log_does_not_take_another_logs_snapshots(tmp_path: Path) -> None:
    """A log that was rewritten would keep states of the old one."""
    one = account(snapshots=Snapshots(every=2))
    with hansard.open(tmp_path / "log.db", types=EVENTS) as store:
        for _ in range(5):
            store.execute(one, "account-1", Deposit("1", Decimal(1)))
        texts = dict(store._storage.scan("snapshot/account", limit=10)) or documents(store, one)
        texts = dict(store._storage.scan("snapshot/account", limit=10))
    with hansard.open(tmp_path / "other.db", types=EVENTS) as store:
        for _ in range(5):
            store.append("account-1", Deposited("1", Decimal(2)))
        store._storage.transact(lambda transaction: transaction.put("snapshot/account", texts))
        assert store.load(one, "account-1").state == Balance(Decimal(10), 5)


def test_a_state_that_does_not_come_back_equal_gets_no_snapshot(memory: hansard.Store, caplog: pytest.LogCaptureFixture) -> None:
    """The state after a snapshot would differ from that of the log."""
    one = Decider(
        "tuples",
        initial=dict,
        decide=lambda command, state: [Event("x", 1)],
        evolve=lambda state, event: {"all": (*state.get("all", ()), event.data)},
        snapshots=Snapshots(every=1),
    )
    for n in range(1, 5):
        assert memory.execute(one, "s-1", 1).state == {"all": (1,) * n}
    assert documents(memory, one) == {}
    (record,) = caplog.records
    assert record.message.startswith("snapshots of tuples are off: the state does not come back equal from JSON")


def test_a_state_that_json_cannot_keep_is_refused_at_once(memory: hansard.Store) -> None:
    """Nobody would notice that there are no snapshots."""
    one = Decider("sets", initial=set, decide=lambda c, s: [], evolve=lambda s, e: s, snapshots=Snapshots())
    with pytest.raises(InvalidInput, match=r"state: .*snapshots need a state that JSON can keep"):
        memory.execute(one, "s-1", 1)


def test_snapshots_that_cannot_be_written_harm_nobody(tmp_path: Path) -> None:
    """An append that succeeded would look failed."""
    place, one = tmp_path / "log.db", account(snapshots=Snapshots(every=1))
    with hansard.open(place, types=EVENTS) as store:
        store.execute(one, "account-1", Deposit("1", Decimal(1)))
        store._execution.snapshots.wait()
    with hansard.open(place, types=EVENTS, read_only=True) as store:
        assert store.load(one, "account-1").state == Balance(Decimal(1), 1)
    with sqlite3.connect(place) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (1,)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], int, float | None, bool]:
    steps = draw(st.lists(st.integers(0, 5), min_size=1, max_size=40))
    return steps, draw(st.integers(1, 12)), draw(st.sampled_from([None, 1e-9])), draw(st.booleans())


@settings(max_examples=40, deadline=None)
@given(histories())
def test_any_snapshot_policy_gives_the_fold_of_the_plain_log(history: tuple[list[int], int, float | None, bool]) -> None:
    """The outcome of a command would depend on when a snapshot was taken."""
    steps, every, after_s, is_query = history
    target: Any = Query(tags={"account:1"}) if is_query else "account-1"
    one = account(snapshots=Snapshots(every, after_s))
    with hansard.open(":memory:", types=EVENTS) as store:
        expected = Balance()
        for step in steps:
            if step == 5:
                store.append("account-1", [Deposited("1", Decimal(2)), Withdrawn("1", Decimal(1))])
                expected = Balance(expected.amount + 1, expected.count + 2)
                continue
            if step == 4:
                store._execution.snapshots.wait()
                continue
            try:
                state = store.execute(one, target, Withdraw("1", Decimal(step)), stream="account-1" if is_query else None).state
                expected = replace(expected, amount=expected.amount - step, count=expected.count + bool(step))
                assert state == expected
            except NotEnough:
                assert step > expected.amount
        plain = expected
        for _ in range(2):
            assert store.load(one, target).state == store.load(ACCOUNT, target).state == plain


def test_items_of_a_query_in_another_order_are_the_same_command(memory: hansard.Store) -> None:
    """A retry from another process would not be recognised: sets have no order."""
    names = [f"t{n}" for n in range(20)]
    id = uuid4()
    one = Decider("d", initial=0, decide=lambda c, s: [Event("t0", 1)], evolve=lambda s, e: s)
    memory.execute(one, Query.of(QueryItem(types=set(names))), 1, command_id=id)
    assert memory.execute(one, Query.of(QueryItem(types=frozenset(sorted(names, reverse=True)))), 1, command_id=id).is_repeat


# What a stranger would do


def counting(evolve: Callable[[Any, Any], Any], *, initial: Any = 0, name: str = "counting", **options: Any) -> Any:
    snapshots = options.pop("snapshots", Snapshots(every=2))
    return Decider(
        name, initial=initial, decide=lambda n, state: [Event("e", 1)] * n, evolve=evolve, snapshots=snapshots, **options
    )


def times(factor: int) -> Callable[[int, Any], int]:
    return lambda state, event: state + factor * event.data


def with_default(state: int, event: Any, factor: int = 1) -> int:
    return state + factor * event.data


def with_keyword(factor: int, state: int, event: Any) -> int:
    return state + factor * event.data


def amount_of(event: Any) -> int:
    return int(event.data)


def by_helper(state: int, event: Any) -> int:
    return state + amount_of(event)


OTHERS: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
    "another beginning": (lambda: counting(times(1)), lambda: counting(times(1), initial=100), 104),
    "another closure": (lambda: counting(times(1)), lambda: counting(times(10)), 40),
    "another partial": (lambda: counting(partial(with_keyword, 1)), lambda: counting(partial(with_keyword, 10)), 40),
    "another version": (lambda: counting(times(1)), lambda: counting(times(1), version=2), 4),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_snapshot_of_another_meaning_is_dropped(memory: hansard.Store, case: str) -> None:
    """The new meaning would be folded onto the old one."""
    old, new, wanted = OTHERS[case]
    for _ in range(2):
        memory.append("s-1", [Event("e", 1), Event("e", 1)])
    one = old()
    memory.load(one, "s-1")
    assert documents(memory, one)["s-1"]["at"] == 4
    assert memory.load(new(), "s-1").state == wanted


def test_a_changed_default_or_helper_drops_old_snapshots(memory: hansard.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that evolve calls has a part in the meaning, too."""
    memory.append("s-1", [Event("e", 1)] and [Event("e", 1) for _ in range(4)])
    memory.load(counting(with_default, name="d"), "s-1")
    memory.load(counting(by_helper, name="h"), "s-1")
    memory._execution.snapshots.wait()
    monkeypatch.setattr(with_default, "__defaults__", (10,))
    monkeypatch.setattr(f"{__name__}.amount_of", lambda event: 100 * event.data)
    monkeypatch.setattr(amount_of, "__module__", __name__)
    assert memory.load(counting(with_default, name="d"), "s-1").state == 40
    assert memory.load(counting(by_helper, name="h"), "s-1").state == 400


class State(StrEnum):
    NEW = "new"
    PAID = "paid"


@pytest.mark.parametrize("initial", [State.NEW, Counter()], ids=["enum", "counter"])
def test_states_that_are_only_equal_are_refused(memory: hansard.Store, initial: Any) -> None:
    """An Enum would come back as text, a Counter as a dict, and decisions would go another way."""
    with pytest.raises(InvalidInput, match=r"state: .*snapshots need a state that JSON can keep"):
        memory.execute(counting(lambda state, event: state, initial=initial), "s-1", 1)
    inside = counting(lambda state, event: {"by": Counter("ab")}, initial=dict)
    memory.append("s-1", [Event("e", 1) for _ in range(5)])
    assert type(memory.load(inside, "s-1").state["by"]) is Counter
    assert documents(memory, inside) == {}
    assert type(memory.load(inside, "s-1").state["by"]) is Counter


@dataclass
class Half(Aggregate):
    name = "half"
    snapshots = Snapshots(every=1)
    seen: int = 0
    count = 0  # no field of the dataclass

    @applies("increased")
    def _increased(self, event: Any) -> None:
        self.count += 1
        self.seen += 1


class Double(Half):
    name = "double"

    def _increased(self, event: Any) -> None:
        self.count += 2


def test_aggregates_are_kept_whole_or_not_at_all(memory: hansard.Store, caplog: pytest.LogCaptureFixture) -> None:
    """What is no field of the class would be lost by a snapshot."""
    for _ in range(5):
        memory.execute(Half, "h-1", lambda half: half.record(Event("increased")))
    assert memory.load(Half, "h-1").state.count == 5
    assert "snapshots of half are off" in caplog.text


def test_a_subclass_that_overrides_what_applies_need_not_mark_it(memory: hansard.Store) -> None:
    """Its event would be passed by in silence."""
    assert memory.execute(Double, "d-1", lambda it: it.record(Event("increased"))).state.count == 2

    class Twice(Aggregate):
        name = "twice"

        @applies("x")
        def one(self, event: Any) -> None: ...

        @applies("x")
        def two(self, event: Any) -> None: ...

    with pytest.raises(InvalidInput, match="applies: 'x': one and two of Twice both apply it"):
        memory.execute(Twice, "t-1", lambda it: it.record(Event("x")))


def test_states_are_those_of_the_log_where_older_versions_are_written(memory: hansard.Store) -> None:
    """What an old program is not told would be in the state today, and gone tomorrow."""

    @hansard.event("noted", version=2)
    @dataclass(frozen=True)
    class Noted:
        text: str = ""

    types = hansard.EventTypes(Noted)
    types.upcast(Noted, 1)(lambda data: data)
    types.downcast(Noted, 2)(lambda data: {})
    types.write_as(Noted, 1)
    one = Decider("n", initial="", decide=lambda text, state: [Noted(text)], evolve=lambda s, e: s + e.text, events=[Noted])
    with hansard.open(":memory:", types=types) as store:
        assert store.execute(one, "n-1", "hello").state == store.load(one, "n-1").state == ""
        assert store.add("n-1", Noted("x")).value == store.all("n-1")[-1].value == Noted("")


def test_a_repetition_that_only_the_append_finds_is_told_as_one(memory: hansard.Store) -> None:
    """Its events would be folded twice."""
    event = Event("e", 5)
    one = Decider("d", initial=0, decide=lambda command, state: [event], evolve=lambda state, event: state + event.data)
    first = memory.execute(one, "s-1", 1)
    again = memory.execute(one, "s-1", 1)
    assert (first.state, again.state, first.is_repeat, again.is_repeat) == (5, 5, False, True)
    assert again.events == first.events


def test_what_one_command_is(memory: hansard.Store) -> None:
    """Two commands would be taken for one, or one for two."""
    id, a, b = uuid4(), QueryItem({"x"}), QueryItem({"y"})
    one = Decider("d", initial=0, decide=lambda c, s: [Event("z")], evolve=lambda s, e: s)
    memory.execute(one, Query.of(a, b), 1, command_id=id)
    assert memory.execute(one, Query.of(b, a), 1, command_id=id).is_repeat, "the same query in another order"
    assert not memory.execute(one, Query.of(a, b), 1, command_id=id, stream="s-1").is_repeat, "into a stream"

    def other(command: Any, state: Any) -> list[Event]:
        return [Event("other")]

    views = {"n": View(Query(types={"x"}), 0, times(1))}
    assert not memory.execute(lambda c, s: [Event("mine")], views, 1, command_id=id).is_repeat
    assert not memory.execute(other, views, 1, command_id=id).is_repeat, "another function"
    assert memory.execute(other, views, 1, command_id=id).is_repeat


def test_a_command_whose_events_are_dropped_now_was_done_all_the_same() -> None:
    """It would be decided again and again, and fail."""
    types, id = hansard.EventTypes(*EVENTS), uuid4()
    one = Decider("d", initial=0, decide=lambda c, s: [Event("a"), Event("noise")], evolve=lambda s, e: s)
    with hansard.open(":memory:", types=types) as store:
        first = store.execute(one, "s-1", 1, command_id=id)
        types.drop("noise")
        again = store.execute(one, "s-1", 1, command_id=id)
        assert ([event.type for event in again.events], again.appended) == (["a"], first.appended)
        types.drop("a")
        assert store.execute(one, "s-1", 1, command_id=id).is_repeat


async def test_a_fold_that_raises_stop_iteration_hangs_nobody(tmp_path: Path) -> None:
    """No future can carry that error, so the task would wait for ever."""
    one = Decider("d", initial=0, decide=lambda c, s: [Event("e")], evolve=lambda s, e: next(iter([])))
    async with hansard.aio.open(tmp_path / "log.db") as store:
        await store.add("s-1", "e")
        with pytest.raises(RuntimeError, match="d: one of its functions raised StopIteration"):
            async with asyncio.timeout(5):
                await store.execute(one, "s-1", 1)


@pytest.mark.parametrize("metadata", ["x", 5, [("a", 1)]])
def test_metadata_is_looked_at_first(memory: hansard.Store, metadata: Any) -> None:
    """A mistake would be found by some commands only."""
    nothing = Decider("d", initial=0, decide=lambda c, s: [], evolve=lambda s, e: s)
    with pytest.raises(InvalidInput, match=r"metadata: .*expected a JSON object"):
        memory.execute(nothing, "s-1", 1, metadata=metadata)


async def _wait(command: Any, state: Any) -> Any:
    return state


def test_functions_that_wait_are_refused() -> None:
    """The state would be a coroutine."""
    with pytest.raises(InvalidInput, match=r"evolve: .*expected a plain function: it must be pure"):
        Decider("d", initial=0, decide=lambda c, s: [], evolve=_wait)


def _evolve_deposits(state: int, event: Any) -> int:
    if isinstance(event, Deposited):
        return state + int(event.amount)
    if isinstance(event, hansard.RecordedEvent) and event.type == "plain":
        return state + event.position
    raise TypeError(f"unknown {event}")


@pytest.mark.parametrize("bad", [Withdrawn("1", Decimal(1)), Event("other")], ids=["typed", "plain"])
@pytest.mark.parametrize("command_id", [None, UUID(int=7)])
def test_what_cannot_be_folded_is_not_stored(bad: Any, command_id: UUID | None) -> None:
    """The caller is told of an error, and the stream can never be loaded again."""
    one = Decider("d", initial=0, decide=lambda command, state: [Event("plain"), bad], evolve=_evolve_deposits)
    with hansard.open(":memory:", types=[Deposited, Withdrawn]) as store:
        store.add("elsewhere", "plain")
        for _ in range(2):
            with pytest.raises(TypeError, match="unknown"):
                store.execute(one, "s-1", 1, command_id=command_id)
        assert store.head() == 1
        good = Decider("d", initial=0, decide=lambda command, state: [Event("plain"), Event("plain")], evolve=_evolve_deposits)
        assert store.execute(good, "s-1", 1).state == 2 + 3, "folded where they stand"


def collect(state: list[str], event: Any) -> list[str]:
    """Changes the state in place."""
    state.append(event.data)
    return state


def test_folding_ahead_does_not_count_twice(memory: hansard.Store) -> None:
    """A state that is changed in place would have each event in it twice."""

    one = Decider("d", initial=list, decide=lambda command, state: [Event("said", command)], evolve=collect)
    for number in range(3):
        memory.execute(one, "s-1", str(number))
    assert memory.execute(one, "s-1", "3").state == ["0", "1", "2", "3"] == memory.load(one, "s-1").state
    locked = Decider("l", initial=lambda: [threading.Lock()], decide=lambda c, s: [Event("said", c)], evolve=collect)  # type: ignore[arg-type,return-value]
    assert memory.execute(locked, "s-2", "x").state[1:] == ["x"], "a state that has no copy is folded once"


def test_a_state_that_takes_long_to_copy_is_copied_once(memory: hansard.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large state would make every command as slow as itself."""
    copied: list[Any] = []
    monkeypatch.setattr("hansard.deciders.execution._COPY_S", -1.0)
    monkeypatch.setattr("hansard.deciders.execution.copy.deepcopy", lambda state: copied.append(state) or list(state))

    one = Decider("d", initial=list, decide=lambda command, state: [Event("said", command)], evolve=collect)
    for number in range(3):
        memory.execute(one, "s-1", str(number))
    assert len(copied) == 1
    assert memory.load(one, "s-1").state == ["0", "1", "2"]


def test_versions_that_were_not_read_are_not_guessed(memory: hansard.Store) -> None:
    """A fold that looks at versions would refuse what is right."""

    def count(state: int, event: Any) -> int:
        assert event.version == state + 1
        return state + 1

    memory.append("noise-1", [Event("noise") for _ in range(10)])
    memory.add("order-1", "placed")
    one = Decider("d", initial=0, decide=lambda command, state: [Event("paid")], evolve=count)
    assert memory.execute(one, Query(stream="order-1"), "go", stream="order-1").state == 2
    assert memory.execute(one, "order-1", "go").state == 3


class Waiting(Aggregate):
    name = "waiting"

    async def wait(self) -> None:
        self.record(Event("waited"))

    def one_by_one(self) -> Iterator[None]:
        self.record(Event("waited"))
        yield


@pytest.mark.parametrize("method", ["wait", "one_by_one"])
def test_a_command_that_has_not_run_is_refused(memory: hansard.Store, method: str) -> None:
    """It would be told as done, and nothing is stored."""
    with pytest.raises(InvalidInput, match="it has not run"):
        memory.execute(Waiting, "s-1", lambda waiting: getattr(waiting, method)())
    assert memory.head() == 0


_FOLDS = {
    "a constant": """
RATE = {0}
def evolve(state, event): return state + RATE * event.data
""",
    "a table": """
def _paid(state, event): return state + {0} * event.data
TABLE = {{"paid": _paid}}
def evolve(state, event): return TABLE[event.type](state, event)
""",
    "singledispatch": """
import functools
@functools.singledispatch
def _fold(data, state): raise TypeError
@_fold.register
def _(data: int, state): return state + {0} * data
def evolve(state, event): return _fold(event.data, state)
""",
    "a method of another class": """
class Rules:
    def apply(self, state, event): return state + {0} * event.data
def evolve(state, event): return Rules().apply(state, event)
""",
    "a bound method": """
class Rules:
    def evolve(self, state, event): return self._apply(state, event)
    def _apply(self, state, event): return state + {0} * event.data
evolve = Rules().evolve
""",
    "a constant of a class": """
class Rules:
    rate = {0}
    @classmethod
    def evolve(cls, state, event): return state + cls.rate * event.data
evolve = Rules.evolve
""",
    "a table of a class": """
class Rules:
    rates = {{"paid": {0}}}
    class Inner:
        pass
    def evolve(self, state, event): return state + self.rates[event.type] * event.data
evolve = Rules().evolve
""",
    "an object of the module": """
class Rules:
    def __init__(self, rate): self.rate = rate
    def evolve(self, state, event): return state + self.rate * event.data
RULES = Rules({0})
def evolve(state, event): return RULES.evolve(state, event)
""",
    "a property": """
class Rules:
    rate = property(lambda self: {0})
def evolve(state, event): return state + Rules().rate * event.data
""",
    "a default": """
def evolve(state, event, rates=({0},)): return state + rates[0] * event.data
""",
    "a partial": """
import functools
def _evolve(rate, state, event): return state + rate * event.data
evolve = functools.partial(_evolve, {0})
""",
    "a cached function": """
import functools
@functools.cache
def _rate(): return {0}
def evolve(state, event): return state + _rate() * event.data
""",
    "an inner function": """
RATE = {0}
def evolve(state, event): return (lambda n: state + n * RATE)(event.data)
""",
}


@pytest.mark.parametrize("case", _FOLDS)
def test_a_snapshot_of_what_its_module_did_before_is_dropped(memory: hansard.Store, case: str) -> None:
    """The same name, another meaning: the decision would rest on a state that the log does not give."""

    def decider(rate: int) -> Decider[Any, Any, Any]:
        module: dict[str, Any] = {"__name__": "rates"}
        exec(_FOLDS[case].format(rate), module)
        return Decider(
            "rates", initial=0, decide=lambda c, s: [Event("paid", c)], evolve=module["evolve"], snapshots=Snapshots(every=2)
        )

    for _ in range(4):
        memory.execute(decider(1), "s-1", 10)
    memory._execution.snapshots.wait()
    assert list(documents(memory, decider(1))) == ["s-1"]
    assert decider(1).fingerprint == decider(1).fingerprint != decider(2).fingerprint
    assert memory.load(decider(2), "s-1").state == 80


def test_a_snapshot_of_what_the_states_class_did_before_is_dropped(memory: hansard.Store) -> None:
    """A state that folds itself would be taken for what the former class has made of the log."""

    def decider(rate: int) -> Decider[Any, Any, Any]:
        module: dict[str, Any] = {"__name__": "rates", "dataclass": dataclass}
        exec(
            f"""
@dataclass
class State:
    total: int = 0
    def apply(self, event): return State(self.total + {rate} * event.data)
""",
            module,
        )
        return Decider(
            "rates",
            initial=module["State"],
            decide=lambda c, s: [Event("paid", c)],
            evolve=lambda s, e: s.apply(e),
            snapshots=Snapshots(every=2),
        )

    for _ in range(4):
        memory.execute(decider(1), "s-1", 10)
    memory._execution.snapshots.wait()
    assert memory.load(decider(1), "s-1").state.total == 40
    assert memory.load(decider(2), "s-1").state.total == 80


class Odd:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


def test_whatever_a_fold_names_can_be_looked_at() -> None:
    """A decider could not be made, or would take for ever."""
    root: dict[str, Any] = {"children": []}
    root["children"] += [{"parent": root, "number": number} for number in range(400)]
    odd, wide, log = Odd(), {number: [number] for number in range(200_000)}, logging.getLogger("of a test")

    def evolve(state: Any, event: Any, given: Any = odd) -> Any:
        return odd, root, wide, log, threading, json.dumps, ENGINES, os.environ

    started = time.process_time()
    one = Decider("d", initial=0, decide=lambda c, s: [], evolve=evolve)
    assert time.process_time() - started < 5
    log.setLevel("DEBUG")
    assert one.fingerprint == Decider("d", initial=0, decide=lambda c, s: [], evolve=evolve).fingerprint


class Level(Enum):
    LOW = frozenset({"a", "b", "c"})


@dataclass(frozen=True)
class Limits:
    names: frozenset[str]


LIMITS = Limits(frozenset({"a", "b", "c", "d"}))


def odd_fold(state: Any, event: Any) -> Any:
    return LIMITS, Level.LOW, {Level.LOW: {"x", "y", "z"}}, ENGINES


@pytest.mark.parametrize("seed", ["0", "7", "12"])
def test_fingerprints_are_the_same_in_every_process(seed: str) -> None:
    """Each process would drop the snapshots of all others."""
    code = (
        "import test_deciders as t; from hansard.fingerprints import fingerprint_of as f;"
        "print(t.ACCOUNT.fingerprint, t.Account.decider().fingerprint, f(t.odd_fold), f(t.Limits, t.Level))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
    )
    here = [ACCOUNT.fingerprint, Account.decider().fingerprint, fingerprint_of(odd_fold), fingerprint_of(Limits, Level)]
    assert run.stdout.split() == [str(number) for number in here]
