"""The kit for users' tests: scenarios that read as sentences, frozen time, state machines, replays, fixtures."""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

import hansard
import postgres_server
from hansard import (
    Aggregate,
    Decider,
    Event,
    InvalidInput,
    ProcessManager,
    Processor,
    Projection,
    Query,
    StreamAppend,
    Timer,
    Transaction,
    View,
    applies,
    folds,
)
from hansard.testing import FrozenClock, FrozenStore, frozen_ids, replay, scenario, state_machine
from hansard.testing.showing import command_text, is_same_state, state_text


@hansard.event("deposited")
@dataclass(frozen=True)
class Deposited:
    amount: int


@hansard.event("withdrawn")
@dataclass(frozen=True)
class Withdrawn:
    amount: int


@dataclass(frozen=True)
class Deposit:
    amount: int


@dataclass(frozen=True)
class Withdraw:
    amount: int


class NotEnough(Exception):
    pass


def evolve(balance: int, event: Deposited | Withdrawn) -> int:
    return balance + event.amount if isinstance(event, Deposited) else balance - event.amount


def decide(command: Deposit | Withdraw, balance: int) -> list[Deposited | Withdrawn]:
    match command:
        case Deposit(amount):
            return [Deposited(amount)]
        case Withdraw(amount):
            if amount > balance:
                raise NotEnough(f"only {balance} left")
            return [Withdrawn(amount)] if amount else []


def careless(command: Deposit | Withdraw, balance: int) -> list[Deposited | Withdrawn]:
    return [Deposited(command.amount)] if isinstance(command, Deposit) else [Withdrawn(command.amount)]


def account(decide: Any = decide) -> Decider[Deposit | Withdraw, int, Deposited | Withdrawn]:
    return Decider(
        "account", initial=0, decide=decide, evolve=evolve, events=[Deposited, Withdrawn], commands=[Deposit, Withdraw]
    )


ACCOUNT = account()


def failing(act: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        act()
    return str(caught.value)


# Deciders


def test_a_scenario_of_a_decider_reads_as_a_sentence() -> None:
    """Tests of business rules would be harder to read than the rules."""
    scenario(ACCOUNT).given(Deposited(10)).when(Withdraw(3)).then(Withdrawn(3)).then_state(7)
    scenario(ACCOUNT).given(Deposited(10)).when(Withdraw(11)).then_raises(NotEnough, match="only 10 left")
    scenario(ACCOUNT).when(Withdraw(0)).then_nothing().then_state(0)
    scenario(ACCOUNT).when(Deposit(5)).then(Deposited(5)).when(Withdraw(5)).then(Withdrawn(5)).then_state(0)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: scenario(ACCOUNT).given(Deposited(10), Deposited(1)).when(Withdraw(3)).then(Withdrawn(4)),
            """
given
  Deposited(amount=10)
  Deposited(amount=1)
when
  Withdraw(amount=3)
then (- expected, + happened)
  - Withdrawn(amount=4)
  + Withdrawn(amount=3)""",
        ),
        (
            lambda: scenario(ACCOUNT).when(Withdraw(3)).then(Withdrawn(3)),
            """
given
  nothing
when
  Withdraw(amount=3)
then (- expected, + happened)
  - Withdrawn(amount=3)
  + raised NotEnough: only 0 left""",
        ),
        (
            lambda: scenario(ACCOUNT).when(Deposit(3)).then_nothing(),
            """
given
  nothing
when
  Deposit(amount=3)
then (- expected, + happened)
  - nothing
  + Deposited(amount=3)""",
        ),
        (
            lambda: scenario(ACCOUNT).when(Deposit(3)).then_raises(NotEnough, "left"),
            """
given
  nothing
when
  Deposit(amount=3)
then (- expected, + happened)
  - raised NotEnough matching 'left'
  + Deposited(amount=3)""",
        ),
        (
            lambda: scenario(ACCOUNT).when(Deposit(3)).when(Withdraw(1)).then_state(3),
            """
given
  when Deposit(amount=3)
  then Deposited(amount=3)
when
  Withdraw(amount=1)
then the state (- expected, + found)
  - 3
  + 2""",
        ),
    ],
)
def test_a_failed_scenario_tells_the_whole_story(act: Any, message: str) -> None:
    """One would have to debug to see what happened."""
    assert failing(act) == message


def test_a_scenario_of_views_and_of_a_class() -> None:
    """Only deciders of one stream could be tested."""
    taken = View(Query(types={"registered"}, tags={"name:jo"}), False, lambda state, event: True)

    def register(command: str, state: Any) -> list[Event]:
        if state.taken:
            raise NotEnough("taken")
        return [Event("registered", None, tags={f"name:{command}"})]

    scenario(register, {"taken": taken}).when("jo").then(Event("registered"))
    scenario(register, {"taken": taken}).given(Event("registered", tags={"name:jo"})).when("jo").then_raises(NotEnough)

    class Counter(Aggregate):
        name = "counter"
        count = 0

        def increase(self) -> None:
            self.record(Event("increased"))

        @applies("increased")
        def _increased(self, event: Any) -> None:
            self.count += 1

    scenario(Counter).given(Event("increased")).when(lambda counter: counter.increase()).then(Event("increased"))


def test_mistakes_in_a_scenario_are_told_as_such() -> None:
    """A wrong test would look like a failed one."""
    with pytest.raises(InvalidInput, match=r"call when\(command\) before then"):
        scenario(ACCOUNT).then(Deposited(1))
    with pytest.raises(InvalidInput, match="events: 3 is int: expected Event, a typed value, or the name of a stream"):
        scenario(ACCOUNT).given(3)
    with pytest.raises(InvalidInput, match="decider: 3 is int"):
        scenario(3)


# Projections


class Totals(Projection):
    name = "totals"
    initial = 0

    @folds(Deposited)
    def deposited(self, total: int, event: Any) -> int:
        return total + int(event.value.amount)


def test_a_scenario_of_a_projection() -> None:
    """Read models would be tested by hand-made stores."""
    given = scenario(Totals(), types=[Deposited]).given("a-1", Deposited(3), "a-2", Deposited(4), Deposited(1))
    given.then_state("a-1", 3).then_states({"a-1": 3, "a-2": 5}).then_state("a-3", None)
    message = failing(lambda: given.then_state("a-2", 9))
    assert message.endswith("then the state of 'a-2' (- expected, + found)\n  - 9\n  + 5")
    assert "  a-2: Deposited(amount=4)" in message


def test_a_fold_that_depends_on_more_than_its_events_is_found() -> None:
    """A rebuild would give another read model than the running one."""
    calls = iter(range(100))
    odd = Projection("odd", lambda state, event: next(calls), initial=0)
    assert "the fold depends on more than its events" in failing(lambda: scenario(odd).given(Event("x")).then_states({}))


# Processors and process managers


def test_a_scenario_of_a_processor() -> None:
    """What a handler appends would be tested with threads and waiting."""

    def handle(event: Any, transaction: Transaction) -> None:
        transaction.add("mail-1", "mail-sent", {"to": event.stream})

    welcome = Processor("welcome", handle, query=Query(types={"registered"}), exactly_once=True)
    one = scenario(welcome).given("user-1", Event("registered")).when("user-2", Event("registered"))
    one.then(Event("mail-sent", {"to": "user-2"}))
    one.when(Event("other")).then_nothing()
    message = failing(lambda: one.when("user-3", Event("registered")).then("mail-2", Event("mail-sent", {"to": "user-3"})))
    assert "  - mail-2: mail-sent {'to': 'user-3'}\n  + mail-1: mail-sent {'to': 'user-3'}" in message


def payment(state: Any, event: Any) -> list[Any]:
    if event.type == "order-placed":
        due = Timer(f"unpaid {event.stream}", timedelta(minutes=30), event.stream, Event("payment-overdue"))
        return [StreamAppend(f"payment-{event.stream}", [Event("payment-requested")]), due]
    if event.type == "payment-overdue":
        return [StreamAppend(event.stream, [Event("order-cancelled")])]
    return []


def test_a_scenario_of_a_process_manager_with_time() -> None:
    """A payment's timeout could only be tested by waiting for it."""
    manager = ProcessManager(
        "payment",
        key=lambda event: event.stream,
        handle=payment,
        starts={"order-placed"},
        continues={"payment-overdue"},
        stops={"order-paid", "order-cancelled"},
    )
    one = scenario(manager).when("order-1", Event("order-placed"))
    one.then("payment-order-1", Event("payment-requested")).then_timer("unpaid order-1", timedelta(minutes=30))
    one.after(timedelta(minutes=29)).then_nothing().then_timer("unpaid order-1", timedelta(minutes=1))
    one.after(timedelta(minutes=1)).then("order-1", Event("payment-overdue"), Event("order-cancelled")).then_no_timer()
    assert "then a timer 'x' waits\n  + there are none" in failing(lambda: one.then_timer("x"))


# Frozen time and ids


def test_a_frozen_store_has_its_own_time() -> None:
    """Tests with times in them would differ from run to run."""
    clock = FrozenClock(datetime(2030, 5, 1, tzinfo=UTC))
    with FrozenStore([Deposited], clock) as store:
        assert store.add("a-1", Deposited(1)).timestamp == datetime(2030, 5, 1, tzinfo=UTC)
        clock.advance(timedelta(hours=1))
        assert store.add("a-1", Deposited(1)).timestamp == datetime(2030, 5, 1, 1, tzinfo=UTC)
        store.timers.set(Timer("t", timedelta(hours=2), "a-1", Event("due")))
        store.catch_up(hansard.Timers)
        assert store.stream("a-1").version == 2
        clock.set(datetime(2030, 5, 1, 3, tzinfo=UTC))
        store.catch_up(hansard.Timers)
        assert store.stream("a-1").version == 3
    with pytest.raises(InvalidInput, match=r"now: .*expected a datetime with a time zone"):
        clock.set(datetime(2030, 1, 1))  # noqa: DTZ001


def test_frozen_ids_are_the_same_in_every_run() -> None:
    """Snapshots of output could not be compared."""
    with frozen_ids():
        first = [str(Event("a").id), str(Event("a").id)]
    with frozen_ids():
        assert [str(Event("a").id), str(Event("a").id)] == first
    assert first[1] == "01900000-0000-7000-8000-000000000002"
    assert str(Event("a").id) not in first


def test_a_branch_of_a_frozen_store_is_on_its_clock() -> None:
    """A what-if would differ from run to run."""
    with FrozenStore() as store:
        store.add("a-1", "x")
        with store.branch() as branch:
            store.clock.advance(timedelta(days=1))
            assert branch.add("a-1", "y").timestamp == store.clock.now
            branch.timers.set(Timer("t", timedelta(days=1), "a-1", Event("due")))
            store.clock.advance(timedelta(days=1))
            branch.catch_up(hansard.Timers)
            assert [event.type for event in branch.read()] == ["x", "y", "due"]


# State machines


def amounts(limit: int = 100) -> dict[type, st.SearchStrategy[Any]]:
    return {Deposit: st.builds(Deposit, st.integers(0, limit)), Withdraw: st.builds(Withdraw, st.integers(0, limit))}


def not_negative(balance: int) -> bool:
    return balance >= 0


def test_a_machine_finds_the_shortest_story_that_breaks_an_invariant() -> None:
    """A rule would be tested only with what its author has thought of."""
    machine = state_machine(account(careless), amounts(), invariants=[not_negative])
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=settings(max_examples=200, derandomize=True, database=None))
    assert str(caught.value) == (
        "\ngiven\n  nothing\nwhen\n  Withdraw(amount=1)\nthen\n  Withdrawn(amount=1)\n"
        "but not_negative does not hold\n  the state is -1"
    )


def test_a_machine_passes_where_all_is_well_and_knows_refusals() -> None:
    """A right decider would be called wrong."""
    machine = state_machine(ACCOUNT, amounts(), invariants=[not_negative], refusals=(NotEnough,))
    run_state_machine_as_test(machine, settings=settings(max_examples=30, derandomize=True, database=None))
    no_refusals = state_machine(ACCOUNT, amounts())
    with pytest.raises(AssertionError, match="then NotEnough: only 0 left"):
        run_state_machine_as_test(no_refusals, settings=settings(max_examples=50, derandomize=True, database=None))


def test_a_machine_makes_commands_by_their_annotations() -> None:
    """Strategies would have to be written for the simplest commands."""
    machine = state_machine(account(careless))
    run_state_machine_as_test(machine, settings=settings(max_examples=10, derandomize=True, database=None))
    with pytest.raises(InvalidInput, match=r"commands: .*expected at least one"):
        state_machine(Decider("none", initial=0, decide=decide, evolve=evolve))
    with pytest.raises(InvalidInput, match="decider: 3 is int"):
        state_machine(3)  # type: ignore[arg-type]


def test_commands_of_any_names_are_rules() -> None:
    """One would take the place of another, or of the machine's own methods."""

    @dataclass(frozen=True)
    class Do:
        amount: int

    other = dataclass(frozen=True)(type("Do", (), {"__annotations__": {"amount": int}}))
    seen: set[type] = set()

    def decide(command: Any, state: int) -> list[Any]:
        seen.add(type(command))
        return []

    one = Decider("names", initial=0, decide=decide, evolve=evolve)
    machine = state_machine(one, {Do: st.builds(Do, st.just(1)), other: st.builds(other, st.just(1))})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, derandomize=True, database=None))
    assert seen == {Do, other}


def test_a_machine_finds_events_that_json_does_not_keep() -> None:
    """The decision of today would be another one tomorrow, when the event is read."""

    @hansard.event("kept")
    @dataclass(frozen=True)
    class Kept:
        value: Any

    one = Decider(
        "tuples",
        initial=(),
        decide=lambda command, state: [Kept((command.amount,))],
        evolve=lambda state, event: (*state, event.value),
    )
    machine = state_machine(one, {Deposit: st.builds(Deposit, st.integers(0, 1))})
    with pytest.raises(AssertionError, match=r"but it cannot be kept: event: .* it would come back from JSON as another value"):
        run_state_machine_as_test(machine, settings=settings(max_examples=10, derandomize=True, database=None))


# Replays


class Purse(hansard.Aggregate):
    name = "purse"

    def __init__(self) -> None:
        self.amount = 0

    def put(self, amount: int) -> None:
        self.record(Deposited(amount))

    @hansard.applies(Deposited)
    def _deposited(self, event: Deposited) -> None:
        self.amount += event.amount


def small(purse: Purse) -> bool:
    return purse.amount < 10


def test_a_machine_of_a_class_that_does_not_compare() -> None:
    """Two objects that hold the same would be told apart, before the first command."""
    commands = [st.builds(lambda n: lambda purse: purse.put(n), st.integers(1, 4))]
    machine = state_machine(Purse, commands)
    run_state_machine_as_test(machine, settings=settings(max_examples=20, derandomize=True, database=None))
    with pytest.raises(
        AssertionError,
        match=r"(?s)when\n  the lambda of test_testing_kit.py, line \d+, with n=\d\n.*small .*Purse\(amount=1\d\)",
    ):
        run_state_machine_as_test(
            state_machine(Purse, commands, invariants=[small]),
            settings=settings(max_examples=200, derandomize=True, database=None),
        )
    purse = Purse()
    purse.amount = 3
    scenario(Purse, types=[Deposited]).given(Deposited(1)).when(lambda one: one.put(2)).then(Deposited(2)).then_state(purse)
    told = failing(lambda: scenario(Purse, types=[Deposited]).given(Deposited(1)).then_state(purse))
    assert "  - Purse(amount=3)\n  + Purse(amount=1)" in told


def test_states_are_compared_by_what_they_hold_however_deep() -> None:
    """Two that hold the same would be told apart, or the comparison would not end."""

    class Line:
        def __init__(self, item: str, cart: Any) -> None:
            self.item, self.cart = item, cart

    class Cart:
        def __init__(self, *items: str) -> None:
            self.lines = [Line(item, self) for item in items]

    assert is_same_state(Cart("a", "b"), Cart("a", "b"))
    assert not is_same_state(Cart("a", "b"), Cart("a", "c"))
    assert not is_same_state(Cart("a"), Cart("a", "b"))
    assert state_text(Cart("a")) == "Cart(lines=[Line(item='a', cart=…)])"
    assert is_same_state({"a": [Line("x", 1)]}, {"a": [Line("x", 1)]})

    def unset() -> Any:
        command = lambda: later  # noqa: E731
        text = command_text(command)
        later = 1
        return text, later

    assert unset()[0].startswith("the lambda of test_testing_kit.py")


class Broken(Exception):
    pass


def broken(state: int) -> None:
    raise Broken(f"state {state}")


def refusing(balance: int, event: Any) -> int:
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("one", "invariants", "message"),
    [
        (ACCOUNT, [broken], r"given\n  nothing\nbut broken does not hold: it raised Broken\('state 0'\)"),
        (
            Decider("d", initial=0, decide=decide, evolve=refusing, commands=[Deposit]),
            [],
            r"(?s)when\n  Deposit.*but evolve raised ZeroDivisionError: by zero",
        ),
        (
            Decider("d", initial=0, decide=decide, evolve=evolve, commands=[Deposit], events=[Withdrawn]),
            [],
            r"(?s)when\n  Deposit.*Deposited.*d does not name it among its events",
        ),
    ],
)
def test_a_machine_tells_every_failure_as_a_story(one: Any, invariants: Any, message: str) -> None:
    """A bare error would say nothing of what led to it."""
    machine = state_machine(one, invariants=invariants)
    with pytest.raises(AssertionError, match=message):
        run_state_machine_as_test(machine, settings=settings(max_examples=20, derandomize=True, database=None))


def test_mistakes_in_a_machine_are_told_as_such() -> None:
    """They would come out of the first run, as errors of Python's."""
    with pytest.raises(InvalidInput, match=r"invariants: .*expected a list of functions"):
        state_machine(ACCOUNT, invariants=not_negative)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"refusals: .*expected a list of exception classes"):
        state_machine(ACCOUNT, refusals=["no"])  # type: ignore[list-item]
    assert state_machine(ACCOUNT, refusals=[NotEnough]).refusals == (NotEnough,)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match=r"events: .*expected a list of classes"):
        Decider("d", initial=0, decide=decide, evolve=evolve, events=Deposited)  # type: ignore[arg-type]


def test_what_is_given_goes_where_it_is_decided() -> None:
    """The given events would stand in a stream that nobody looks at."""
    scenario(ACCOUNT, "account-7").given(Deposited(1)).when(Deposit(2)).then(Deposited(2)).then_state(3)


def test_a_handler_that_fails_in_a_scenario_is_told_as_a_story() -> None:
    """Which event it was would have to be searched."""

    def fail(event: Any) -> None:
        raise ValueError("bad luck")

    told = failing(lambda: scenario(Processor("p", fail)).when(Event("called")))
    assert told.startswith("\ngiven\n  nothing\nwhen\n  called\nbut the handler failed: ")
    assert "bad luck" in told
    with pytest.raises(InvalidInput, match="call when"):
        scenario(Processor("p", lambda event: None)).given(Event("called")).then()


def test_a_replay_tells_which_decisions_would_differ() -> None:
    """A changed rule would be tried out on customers."""

    def with_fee(command: Deposit | Withdraw, balance: int) -> list[Deposited | Withdrawn]:
        if isinstance(command, Withdraw) and command.amount:
            command = Withdraw(command.amount + 1)
        return decide(command, balance)

    commands = [("account-1", Deposit(10)), ("account-1", Withdraw(4)), ("account-1", Withdraw(5)), ("account-2", Deposit(1))]
    with hansard.open(":memory:", types=[Deposited, Withdrawn]) as store:
        store.append("account-1", Deposited(1))
        report = replay(store, commands, account(with_fee), old=ACCOUNT)
        assert str(report) == (
            "4 commands, 2 decided differently\n"
            "2. Withdraw(amount=4) on account-1\n  - Withdrawn(amount=4)\n  + Withdrawn(amount=5)\n"
            "3. Withdraw(amount=5) on account-1\n  - Withdrawn(amount=5)\n  + Withdrawn(amount=6)"
        )
        assert store.head() == 1
        refused = replay(store, commands, account(with_fee), old=ACCOUNT, at=0).changes[1]
        assert (refused.number, refused.new.text) == (3, "raised NotEnough: only 5 left")


# The plugin


def test_the_plugin_gives_stores_on_the_engines_asked_for(tmp_path: Path) -> None:
    """Every project would write these fixtures."""
    (tmp_path / "test_shop.py").write_text(
        """
import asyncio
import hansard, pytest
from dataclasses import dataclass

@hansard.event("placed")
@dataclass
class Placed:
    amount: int

@pytest.fixture
def hansard_types():
    return [Placed]

def test_memory(store):
    assert store.durability == "none: memory only"
    assert store.add("order-1", Placed(1)).value == Placed(1)

@pytest.mark.hansard("memory", "sqlite")
def test_both(store):
    assert store.add("order-1", Placed(1)).position == 1

@pytest.mark.hansard("sqlite")
def test_async(async_store):
    async def run():
        async with async_store as store:
            return (await store.add("order-1", Placed(1))).value
    assert asyncio.run(run()) == Placed(1)

def test_frozen(frozen_store, clock):
    assert frozen_store.add("order-1", Placed(1)).timestamp == clock.now

@pytest.mark.hansard("postgresql")
def test_database(store):
    assert False

@pytest.mark.hansard("oracle")
def test_unknown(store):
    pass
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"]
    whole = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert "@pytest.mark.hansard: 'oracle': expected some of memory, sqlite, postgresql" in whole.stdout + whole.stderr
    known = subprocess.run([*command, str(tmp_path), "-k", "not unknown"], capture_output=True, text=True, cwd=tmp_path)
    text = (tmp_path / "test_shop.py").read_text()
    (tmp_path / "test_shop.py").write_text(text[: text.index('@pytest.mark.hansard("oracle")')])
    known = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert "5 passed, 1 skipped" in known.stdout, known.stdout
    assert "set HANSARD_POSTGRESQL" in known.stdout


def test_the_plugin_leaves_nothing_behind_in_a_database(tmp_path: Path) -> None:
    """Every run of the tests would fill the database a little more."""
    (tmp_path / "test_shop.py").write_text(
        """
import pytest

@pytest.mark.hansard("postgresql")
@pytest.mark.parametrize("number", [1, 2])
def test_database(store, number):
    assert store.add("order-1", "placed").position == 1
"""
    )

    def schemas() -> list[str]:
        with psycopg.connect(postgres_server.shared_url()) as connection:
            return [name for (name,) in connection.execute("SELECT nspname FROM pg_namespace ORDER BY 1").fetchall()]

    before = schemas()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "HANSARD_POSTGRESQL": postgres_server.shared_url()}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert "2 passed" in run.stdout, run.stdout
    assert schemas() == before
    (tmp_path / "test_shop.py").write_text("def test_memory(store):\n    store.add('order-1', 'placed')\n")
    environment["HANSARD_POSTGRESQL"] = "postgresql://nobody@127.0.0.1:1/none"
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert "1 passed" in run.stdout, run.stdout
    assert "error" not in run.stdout
