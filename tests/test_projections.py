"""Projections: one definition, live, inline and async; read models that are built anew in the open."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import (
    DELETE,
    BuildNotActive,
    CapabilityMissing,
    DefinitionChanged,
    Documents,
    Event,
    FoldFailed,
    InlineFailed,
    InvalidInput,
    InvalidType,
    Place,
    ProcessorStopped,
    Projection,
    Query,
    RecordedEvent,
    StreamAppend,
    Table,
    WaitTimedOut,
    folds,
)
from hansard.processors.runner import Crew
from hansard.processors.sources import sources_of
from hansard.projections import work
from hansard.projections.source import ensured
from hansard.store import Store
from places import DATABASES, ENGINES, database, place_of


@pytest.fixture(params=DATABASES)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store that has tables."""
    with database(request.param, tmp_path) as place, hansard.open(place) as store:
        yield store


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        yield store


def orders(version: int = 1, bonus: int = 0, **options: Any) -> Projection:
    """Orders that are open, with their totals; a closed one is deleted."""
    projection = Projection("orders", version=version, initial={"total": 0, "items": 0}, **options)

    @projection.on("item-added")
    def added(order: dict[str, int], event: RecordedEvent) -> dict[str, int]:
        return {"total": order["total"] + event.data["price"] + bonus, "items": order["items"] + 1}

    @projection.on("closed")
    def closed(order: dict[str, int], event: RecordedEvent) -> object:
        return DELETE

    return projection


def fill(store: Store, count: int = 10, start: int = 0) -> None:
    for number in range(start, start + count):
        store.add(f"order-{number % 5}", "item-added", {"price": number})
    store.add("order-1", "closed")


EXPECTED = {
    "order-0": {"total": 5, "items": 2},
    "order-2": {"total": 9, "items": 2},
    "order-3": {"total": 11, "items": 2},
    "order-4": {"total": 13, "items": 2},
}


def intos() -> list[Any]:
    return [Documents(), Table({"total": "INTEGER", "items": "INTEGER"}, indexes=["total"])]


# Three ways to run one definition


@pytest.mark.parametrize("into", intos(), ids=["documents", "table"])
@pytest.mark.parametrize("way", ["live", "inline", "inline on a full log", "async", "background"])
def test_all_ways_give_the_same_states(db: Store, way: str, into: Place) -> None:
    """A read model would depend on how it is run."""
    with db as store:
        projection = orders(into=into)
        if way == "inline":
            store.inline(projection)
        fill(store)
        if way == "live":
            assert store.project(projection) == EXPECTED
            return
        if way == "inline on a full log":
            store.inline(projection)
        if way == "async":
            store.catch_up(projection)
        if way == "background":
            with store.run(projection) as running:
                running.wait_until_caught_up()
        model = store.model("orders")
        assert dict(model.items()) == EXPECTED
        assert (model["order-0"], model.get("order-1"), "order-1" in model, "order-2" in model) == (
            EXPECTED["order-0"], None, False, True,
        )  # fmt: skip
        assert (list(model), len(model), model.position, model.build) == (sorted(EXPECTED), 4, 11, "1")
        with pytest.raises(KeyError):
            model["order-1"]


def test_a_plain_function_a_key_and_one_state(store: Store) -> None:
    """Folding that is not by stream would need another product."""
    fill(store)
    by_price = Projection("by-parity", lambda n, event: n + 1, key=lambda e: str(e.data["price"] % 2), initial=0,
                          query=Query(types={"item-added"}))  # fmt: skip
    everything = Projection("count", lambda n, event: n + 1, key="all", initial=0)
    assert store.project(by_price) == {"0": 5, "1": 5}
    assert store.project(everything, key="all") == 11
    store.catch_up(by_price, everything)
    assert (dict(store.model("by-parity").items()), store.model("count")["all"]) == ({"0": 5, "1": 5}, 11)


def test_several_keys_of_one_event_and_none(store: Store) -> None:
    """A transfer would change one of two accounts only."""

    def keys(event: RecordedEvent) -> Sequence[str] | None:
        return (event.data["from"], event.data["to"]) if event.data else None

    def moved(balance: int, event: RecordedEvent, key: str) -> int:
        return balance + event.data["amount"] * (1 if key == event.data["to"] else -1)

    balances = Projection("balances", moved, key=keys, initial=0)
    store.add("t-1", "moved", {"from": "a", "to": "b", "amount": 5})
    store.add("t-2", "moved")
    store.add("t-3", "moved", {"from": "b", "to": "c", "amount": 2})
    store.catch_up(balances)
    assert dict(store.model("balances").items()) == store.project(balances) == {"a": -5, "b": 3, "c": 2}


def test_a_class_with_decorated_methods(store: Store) -> None:
    """People who prefer classes would have to write functions."""

    class Customers(Projection):
        name = "customers"
        version = 3
        query = Query(category="customer")

        def key(self, event: RecordedEvent) -> str:
            return event.data["city"]

        def initial(self) -> list[str]:
            return []

        @folds("moved-in", "born")
        def came(self, names: list[str], event: RecordedEvent) -> list[str]:
            return [*names, event.stream]

    store.add("customer-1", "moved-in", {"city": "Ulm"})
    store.add("customer-2", "born", {"city": "Ulm"})
    store.add("other-1", "born", {"city": "Ulm"})
    customers = Customers()
    store.catch_up(customers)
    assert store.model("customers")["Ulm"] == ["customer-1", "customer-2"] == store.project(customers)["Ulm"]
    assert store.projection("customers").status().builds[0].version == 3


def test_live_looks_at_the_past(store: Store) -> None:
    """What was known at a time could not be told."""
    fill(store)
    assert store.project(orders(), before=11) == {**EXPECTED, "order-1": {"total": 7, "items": 2}}
    assert store.project(orders(), key="order-1", before=11) == {"total": 7, "items": 2}
    assert store.project(orders(), key="order-1") is None
    assert store.project(orders(), key="order-9") is None


def test_states_may_be_changed_in_place(store: Store) -> None:
    """A shared initial value, or a state of a failed batch, would leak into others."""
    grown = Projection("grown", initial={"all": []})

    @grown.on("item-added")
    def added(state: dict[str, list[int]], event: RecordedEvent) -> dict[str, list[int]]:
        state["all"].append(event.data["price"])
        if fails.pop(event.position, None):
            raise ValueError
        return state

    fails = {4: 1, 8: 1}
    fill(store)
    store.catch_up(grown)
    assert store.model("grown")["order-3"] == {"all": [3, 8]} == store.project(grown)["order-3"]


def test_a_table_is_read_by_plain_sql(db: Store) -> None:
    """People could not use the tables that they know how to query."""
    with db as store:
        fill(store)
        store.catch_up(orders(into=Table({"total": "INTEGER", "items": "INTEGER"})))
        rows = store._storage.rows("SELECT key, total FROM orders WHERE total > 10 ORDER BY total", ())
        assert rows == [("order-3", 11), ("order-4", 13)]
        assert store.check() == []


def test_a_table_holds_json_and_refuses_what_it_has_no_column_for(db: Store) -> None:
    """A state would lose a field, or a list become text."""
    with db as store:
        store.add("a-1", "happened", {"tags": ["x", {"y": None}]})
        tagged = Projection("tagged", lambda s, e: {"tags": e.data["tags"], "n": 1}, into=Table({"tags": "JSON", "n": "INTEGER"}))
        store.catch_up(tagged)
        assert store.model("tagged")["a-1"] == {"tags": ["x", {"y": None}], "n": 1} == store.project(tagged)["a-1"]
        for state, message in (
            ({"m": 1}, "no such column"),
            ({"n": [1]}, "the type JSON"),
            (3, "expected a dict"),
        ):
            bad = Projection(f"bad_{len(message)}", lambda s, e, state=state: state, into=Table({"n": "INTEGER"}))
            with pytest.raises((InvalidInput, ProcessorStopped), match=message):
                store.catch_up(bad)


def test_a_table_needs_a_database() -> None:
    """A table in memory would be none."""
    with hansard.open(":memory:") as store, pytest.raises(CapabilityMissing):
        store.catch_up(orders(into=Table({"total": "INTEGER", "items": "INTEGER"})))


class Mine(Place):
    """A place of the user's own, which keeps the position with the states."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.at = 0
        self.dies_after_save = False

    def position(self, name: str, label: str) -> int:
        return self.at

    def load(self, transaction: object, name: str, label: str, keys: Sequence[str]) -> dict[str, Any]:
        return {key: self.states[key] for key in keys if key in self.states}

    def save(self, transaction: object, name: str, label: str, changes: Any, position: int) -> None:
        for key, state in changes.items():
            if state is None:
                self.states.pop(key, None)
            else:
                self.states[key] = state
        self.at = max(self.at, position)
        if self.dies_after_save:
            self.dies_after_save = False
            raise KeyboardInterrupt

    def get(self, storage: object, name: str, label: str, keys: Sequence[str]) -> dict[str, Any]:
        return self.load(None, name, label, keys)

    def page(self, storage: object, name: str, label: str, after: str, limit: int) -> list[tuple[str, Any]]:
        return sorted(item for item in self.states.items() if item[0] > after)[:limit]


def test_a_place_of_ones_own_is_exact_too(store: Store) -> None:
    """A read model elsewhere would be doubled by a crash between its own commit and the checkpoint."""
    mine = Mine()
    mine.dies_after_save = True
    fill(store)
    with pytest.raises(KeyboardInterrupt):
        store.catch_up(orders(into=mine))
    assert mine.states == EXPECTED
    store.catch_up(orders(into=mine))
    assert mine.states == EXPECTED
    with pytest.raises(CapabilityMissing):
        store.model("orders")


# Reading one's own writes


def test_read_your_own_writes(store: Store) -> None:
    """A page would show the state before the user's own change."""
    with store.run(orders()):
        for number in range(20):
            position = store.append("order-7", Event("item-added", {"price": 1})).last_position
            while True:
                try:
                    store.model("orders").wait_for(position, 5)
                    break
                except InvalidInput:  # the runner has not made the build yet
                    time.sleep(0.01)
            assert store.model("orders")["order-7"]["items"] == number + 1
    store.add("order-7", "item-added", {"price": 1})
    with pytest.raises(WaitTimedOut):
        store.model("orders").wait_for(21, 0.01)


# Inline


def test_inline_is_never_behind_and_refuses_bad_appends(store: Store) -> None:
    """A read model that promises to be up to date would not be; or an event be stored that it cannot take."""
    limited = Projection("limited", initial=0)

    @limited.on("spent")
    def spent(total: int, event: RecordedEvent) -> int:
        if total + event.data > 10:
            raise ValueError("over the limit")
        return total + event.data

    store.inline(limited)
    store.add("a-1", "spent", 6)
    with pytest.raises(InlineFailed, match="over the limit"):
        store.add("a-1", "spent", 5)
    store.append("a-1", [Event("spent", 1), Event("other"), Event("spent", 3)])
    assert (store.model("limited")["a-1"], store.head()) == (10, 4)
    store.inline()
    store.add("a-1", "spent", 99)
    assert store.model("limited")["a-1"] == 10


def test_inline_takes_in_what_others_have_stored_without_it(tmp_path: Path) -> None:
    """A program that does not know the projection would leave a hole in it for ever."""
    with hansard.open(tmp_path / "log.db") as store, hansard.open(tmp_path / "log.db") as other:
        store.inline(orders())
        for number in range(5):
            store.add("order-1", "item-added", {"price": 1})
            if number:
                other.append("order-1", [Event("item-added", {"price": 10}) for _ in range(number * 150)])
        store.add("order-1", "item-added", {"price": 1})
        count = 6 + 150 * 10
        assert store.model("orders")["order-1"] == {"total": 6 + 10 * 1_500, "items": count}


def test_inline_and_a_runner_do_not_double(tmp_path: Path) -> None:
    """Two ways to run the same read model at once would both fold an event."""
    with hansard.open(tmp_path / "log.db") as store, hansard.open(tmp_path / "log.db") as other:
        store.inline(orders())
        with other.run(orders()):
            threads = [
                threading.Thread(target=lambda s=s: [s.add("order-1", "item-added", {"price": 1}) for _ in range(100)])
                for s in (store, other, store)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            store.model("orders").wait_for(300, 10)
        assert store.model("orders")["order-1"] == {"total": 300, "items": 300}


def test_a_repetition_is_not_folded_again(store: Store) -> None:
    """A retry would be counted twice."""
    store.inline(orders())
    event = Event("item-added", {"price": 3})
    store.append("order-1", event)
    store.append("order-1", event)
    assert store.model("orders")["order-1"] == {"total": 3, "items": 1}


# Rebuilding in the open


@pytest.mark.parametrize("into", intos(), ids=["documents", "table"])
def test_a_new_version_is_built_beside_the_old_one_and_takes_over(tmp_path: Path, into: Place) -> None:
    """Queries would see a half-built read model, or none."""
    with hansard.open(tmp_path / "log.db") as store:
        fill(store)
        old, new = orders(into=into), orders(version=2, bonus=100, into=into)
        store.catch_up(old)
        seen: list[int] = []
        with store.run(old, threads=1), hansard.open(tmp_path / "log.db") as other:
            reading = threading.Event()

            def read() -> None:
                while not reading.is_set():
                    model = store.model("orders")
                    seen.append(model.get("order-2", {"total": -1})["total"])

            reader = threading.Thread(target=read)
            reader.start()
            with other.run(new) as running:
                store.projection("orders").wait_until_active("2", 20)
                running.wait_until_caught_up()
            reading.set()
            reader.join()
        assert set(seen) <= {9, 209}
        assert seen == sorted(seen)
        assert dict(store.model("orders").items()) == store.project(new)
        assert dict(store.model("orders", build="1").items()) == EXPECTED
        states = {build.label: build.state for build in store.projection("orders").status().builds}
        assert states == {"1": "retired", "2": "active"}
        if into.kind == "table":
            with sqlite3.connect(tmp_path / "log.db") as connection:
                assert connection.execute("SELECT total FROM orders WHERE key = 'order-2'").fetchone() == (209,)
            connection.close()
        store.projection("orders").promote("1")
        assert dict(store.model("orders").items()) == EXPECTED
        store.projection("orders").promote("2")
        store.projection("orders").drop("1")
        assert [build.label for build in store.projection("orders").status().builds] == ["2"]
        assert store.check() == []


def test_the_same_version_is_rebuilt_while_it_is_read(store: Store) -> None:
    """A read model that was damaged could not be repaired without stopping."""
    fill(store)
    store.catch_up(orders())
    store._storage.transact(lambda t: t.put("model/orders@1", {"order-0": b'{"total":999,"items":2}', "order-9": b"1"}))
    label = store.projection("orders").rebuild()
    assert (label, store.model("orders")["order-0"]["total"]) == ("1.1", 999)
    fill(store, 5, 100)
    store.catch_up(orders())
    assert store.model("orders").build == "1.1"
    assert dict(store.model("orders").items()) == store.project(orders())
    assert store.projection("orders").rebuild() == "1.2"
    store.projection("orders").cancel("1.2")
    assert store.model("orders").build == "1.1"


def test_a_build_that_is_to_be_promoted_waits(store: Store) -> None:
    """A version would take over before anybody has looked at it."""
    fill(store)
    store.catch_up(orders())
    new = orders(version=2, bonus=1, switches_by_itself=False)
    store.catch_up(new)
    control = store.projection("orders")
    assert [(build.label, build.state) for build in control.status().builds] == [("1", "active"), ("2", "ready")]
    with pytest.raises(BuildNotActive):
        control.wait_until_active("2", 0.01)
    fill(store, 5, 100)
    store.catch_up(new)
    control.promote("2")
    assert dict(store.model("orders").items()) == store.project(new)
    with pytest.raises(InvalidInput, match="it is the one that is read"):
        control.drop("2")
    with pytest.raises(InvalidInput, match="has builds 1, 2"):
        control.promote("3")
    control.rebuild(2)
    with pytest.raises(InvalidInput, match="has not caught up"):
        control.promote("2.1")


def test_a_build_that_dies_in_the_middle_goes_on_there(tmp_path: Path) -> None:
    """A long build would begin anew after each restart."""
    calls: list[int] = []

    def counted(count: int, event: RecordedEvent) -> int:
        calls.append(event.position)
        if event.position == 1_200 and len(calls) == 1_200:
            raise KeyboardInterrupt
        return count + 1

    def projection() -> Projection:
        return Projection("count", counted, key="all", initial=0)

    with hansard.open(tmp_path / "log.db") as store:
        store.append("a-1", [Event("happened") for _ in range(2_000)])
        with pytest.raises(KeyboardInterrupt):
            store.catch_up(projection())
    with hansard.open(tmp_path / "log.db") as store:
        assert store.model("count").position == 1_000
        store.catch_up(projection())
        assert store.model("count")["all"] == 2_000
    assert len(calls) == 2_200


def test_builds_are_paused_resumed_and_throttled(tmp_path: Path) -> None:
    """A rebuild would take all of the machine, or could only be stopped by killing it."""
    with hansard.open(tmp_path / "log.db") as store:
        fill(store, 2_000)
        store.catch_up(orders())
        control = store.projection("orders")
        label = control.rebuild()
        with store.run(orders()):
            deadline = time.monotonic() + 10
            while label != store.model("orders").build and time.monotonic() < deadline:
                time.sleep(0.01)
            again = control.rebuild()
            while control.status().builds[-1].reader is None:
                time.sleep(0.005)
        control.drop(again)
        label = control.rebuild()
        with store.run(orders()):
            while control.status().builds[-1].reader is None:
                time.sleep(0.005)
            reader = control.reader(label)
            reader.throttle(500)
            reader.pause()
            time.sleep(0.4)
            before = reader.status()
            time.sleep(0.3)
            assert reader.status().checkpoint == before.checkpoint
            if before.checkpoint < 2_001:
                assert (before.state, control.status().builds[-1].state) == ("paused", "building")
            reader.throttle(None)
            reader.resume()
            control.wait_until_active(label, 20)
        assert dict(store.model("orders").items()) == store.project(orders())


# Differences


def test_a_diff_tells_keys_fields_and_where_two_versions_part(store: Store) -> None:
    """Nobody could tell what a new version would change before it is promoted."""
    fill(store)
    old = orders()
    new = Projection("orders", version=2, initial={"total": 0, "items": 0}, switches_by_itself=False)

    @new.on("item-added")
    def added(order: dict[str, int], event: RecordedEvent) -> Any:
        if event.stream == "order-0":
            return DELETE
        return {"total": order["total"] + event.data["price"] + (event.data["price"] == 7), "items": order["items"] + 1}

    store.catch_up(old)
    store.catch_up(new)
    found = list(store.projection("orders").diff("1", "2"))
    assert [(one.key, one.kind, one.fields) for one in found] == [
        ("order-0", "missing", {"total": (5, None), "items": (2, None)}),
        ("order-1", "added", {"total": (None, 7), "items": (None, 2)}),
        ("order-2", "changed", {"total": (9, 10)}),
    ]
    parting = store.projection("orders").parting(old, new)
    assert (parting.position, parting.key, parting.old, parting.new) == (1, "order-0", {"total": 0, "items": 1}, None)
    assert store.projection("orders").parting(old, orders(version=2)) is None


# What is refused


def test_a_changed_projection_needs_a_new_version(store: Store) -> None:
    """States of two definitions would be mixed in one read model."""
    fill(store)
    store.catch_up(orders())
    with pytest.raises(DefinitionChanged, match="give it a new version"):
        store.catch_up(Projection("orders", lambda s, e: 1, query=Query(types={"closed"})))
    with pytest.raises(DefinitionChanged, match="kept elsewhere"):
        store.catch_up(orders(into=Table({"total": "INTEGER", "items": "INTEGER"})))


def test_an_older_version_leaves_the_newer_one_alone(store: Store) -> None:
    """A process that still runs the old code would take the read model back."""
    fill(store)
    store.catch_up(
        orders(),
    )
    store.catch_up(orders(version=2, bonus=1))
    store.catch_up(orders())
    assert store.model("orders").build == "2"


def test_a_fold_that_fails_is_told_with_its_event(store: Store) -> None:
    """Nobody would know which event a projection cannot take."""
    bad = Projection("bad", lambda state, event: {"n": 1 / (event.data["price"] - 3)})
    fill(store)
    with pytest.raises(FoldFailed, match="'bad' failed at position 4: ZeroDivisionError"):
        store.project(bad)
    with pytest.raises(ProcessorStopped, match="position 4: ZeroDivisionError"):
        store.catch_up(bad)
    assert store.model("bad").position == 3


@pytest.mark.parametrize("garbage", [lambda s, e: None, lambda s, e: {1, 2}, lambda s, e: float("nan"), lambda s, e: {1: 2}])
def test_a_fold_that_returns_garbage_is_refused(store: Store, garbage: Any) -> None:
    """A state that cannot be kept would be lost, or come back as something else."""
    fill(store)
    with pytest.raises((ProcessorStopped, InvalidInput), match=r"state|returned nothing"):
        store.catch_up(Projection("bad", garbage))
    store.inline(Projection("inline", lambda s, e: {"n": 1}))
    head = store.head()
    with pytest.raises(InlineFailed):
        store.inline(Projection("bad2", garbage, query=Query(types={"later"})))
        store.add("a-1", "later")
    assert store.head() == head


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Projection(""), "name"),
        (lambda: Projection("a@1"), "name"),
        (lambda: Projection("a/b"), "name"),
        (lambda: Projection("x" * 201), "name"),
        (Projection, "name"),
        (lambda: Projection("a", version=0), "version"),
        (lambda: Projection("a", lambda: 1), "fold"),
        (lambda: Projection("a", "fold"), "fold"),
        (lambda: Projection("a", key=3), "key"),
        (lambda: Projection("a", into="table"), "into"),
        (lambda: Projection("a", initial={1, 2}), "initial"),
        (lambda: Projection("a").on(), "types"),
        (lambda: Projection("a").on("b")(1), "fold"),
        (lambda: Table({}), "columns"),
        (lambda: Table({"key": "TEXT"}), "columns"),
        (lambda: Table({"a b": "TEXT"}), "columns"),
        (lambda: Table({"a": "TEXT); DROP TABLE event"}), "columns"),
        (lambda: Table({"a": "TEXT"}, indexes=["b"]), "indexes"),
    ],
)
def test_a_bad_definition_is_refused(make: Any, field: str) -> None:
    """A typing error would show at night, or in a table's name."""
    with pytest.raises((InvalidInput, InvalidType), match=field):
        make()


def test_bad_uses_are_refused(store: Store) -> None:
    """A wrong name or a projection without folds would look like an empty read model."""
    with pytest.raises(InvalidInput, match="no projection of this name; known are: none yet"):
        store.model("orders")
    with pytest.raises(InvalidInput, match="has no fold"):
        store.catch_up(Projection("empty"))
    with pytest.raises(InvalidType, match="expected a Projection"):
        store.project("orders")
    twice = orders()
    with pytest.raises(InvalidInput, match="has a fold for it already"):
        twice.on("closed")(lambda s, e: s)
    fill(store)
    store.catch_up(orders())
    with pytest.raises(InvalidInput, match="has builds 1"):
        store.model("orders", build="7")
    for bad_key in (3, "", "a\0b"):
        bad = Projection(f"bad{bad_key!r}"[:6].replace("\0", ""), lambda s, e: 1, key=lambda e, bad_key=bad_key: bad_key)
        with pytest.raises((FoldFailed, InvalidInput)):
            store.project(bad)


# What a review has found


def test_a_cache_that_runs_over_forgets_no_state(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many keys a state would silently begin anew."""
    monkeypatch.setattr(work, "STATES_CACHED_MAX", 4)
    count = Projection("count", lambda n, event: n + 1, initial=0)
    for start in range(6):
        for number in range(start, start + 4):
            store.add(f"s-{number}", "happened")
        store.append_streams([StreamAppend(f"s-{number}", [Event("happened")]) for number in range(start + 3)])
        store.catch_up(count)
    assert dict(store.model("count").items()) == store.project(count)


def test_a_late_build_of_an_older_version_does_not_take_over(store: Store) -> None:
    """A slow build that ends at last would replace a newer read model."""

    def version(number: int) -> Projection:
        return Projection("n", lambda n, event: number, initial=0, version=number)

    store.add("a-1", "happened")
    store.catch_up(version(1))
    ensured(store._storage, version(2))  # begun, and stopped before it came to the head
    store.catch_up(version(3))
    store.catch_up(version(2))
    assert (store.projection("n").status().active, store.model("n")["a-1"]) == ("3", 3)


def test_a_cancelled_build_is_not_begun_again_by_itself(store: Store) -> None:
    """Cancelling would last for a quarter of a second."""
    fill(store)
    store.catch_up(orders())
    new = orders(version=2, switches_by_itself=False)
    with store.run(new) as running:
        running.wait_until_caught_up()
        store.projection("orders").drop("2")
        time.sleep(0.6)
        assert [build.label for build in store.projection("orders").status().builds] == ["1"]
        assert store.projection("orders").rebuild(2) == "2.1"
    store.catch_up(new)
    assert store.projection("orders").status().builds[-1].state == "ready"


def test_states_are_not_reset_without_being_emptied(store: Store) -> None:
    """A reset would fold everything on top of what is there."""
    fill(store)
    store.catch_up(orders())
    for verb in ("reset", "forget"):
        with pytest.raises(InvalidInput, match=r"store\.projection"):
            getattr(store.reader("orders@1"), verb)()


def test_a_place_of_ones_own_is_not_folded_inline(store: Store) -> None:
    """A refused append would stay in a place that the store cannot undo."""
    with pytest.raises(InvalidInput, match="cannot be undone"):
        store.inline(orders(into=Mine()))


def test_a_reader_sees_what_inline_appends_have_changed_meanwhile(tmp_path: Path) -> None:
    """States kept in memory would overwrite those that an append has folded."""
    count = Projection("n", lambda n, event: n + 1, initial=0, query=Query(types={"hit"}))
    clock = [1_000.0]
    with (
        hansard.open(tmp_path / "log.db") as mine,
        hansard.open(tmp_path / "log.db") as inline,
        hansard.open(tmp_path / "log.db") as other,
    ):
        inline.inline(count)
        crew = Crew(mine._storage, mine._tail, sources_of([count]), clock_s=lambda: clock[0])
        crew.muster()
        (reader,) = crew.readers.values()
        other.add("x-1", "hit")
        while reader.is_behind(other.head()) or not reader.shares.owned:
            reader.step()
        other.add("x-1", "other")
        reader.step()
        inline.add("x-1", "hit")
        clock[0] += 6
        reader.flush()
        other.add("x-1", "hit")
        for _ in range(3):
            reader.step()
        assert mine.model("n")["x-1"] == mine.project(count, key="x-1") == 3
        crew.leave()
