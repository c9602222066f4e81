"""Typed events: values in, values out; old shapes become present ones wherever events are seen; the log is never changed."""

import random
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hansard
from hansard import (
    AppendCondition,
    AppendConditionFailed,
    Event,
    EventNotDecodable,
    EventTypes,
    InvalidInput,
    InvalidType,
    ProcessManager,
    Processor,
    Projection,
    Query,
    StreamAppend,
    Timer,
    Timers,
    folds,
)
from places import ENGINES, place_of


@hansard.event("order-placed", version=2, tags=["order:{order_id}", "customer:{customer}"], personal=["customer"])
@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    amount: Decimal
    currency: str
    customer: str | None = None
    at: datetime | None = None


@hansard.event("order-sent", aliases=["OrderSent"])
class OrderSent(msgspec.Struct, frozen=True):
    order_id: str


@hansard.event("order-paid", tags=lambda value: {f"item:{item}" for item in value.items})
@attrs.frozen
class OrderPaid:
    order_id: str
    items: list[str] = attrs.field(factory=list)


@hansard.event("order-closed")
class OrderClosed(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")


@hansard.event("renamed")
@dataclass(frozen=True)
class Renamed:
    name: str


@hansard.event("moved")
@dataclass(frozen=True)
class Moved:
    city: str


def changed_types() -> EventTypes:
    """customer-changed (renamed or moved, or both), customer-renamed (now: renamed), and noise that is dropped."""
    types = EventTypes(Renamed, Moved)

    @types.upcast("customer-changed", 1, to=[Renamed, Moved])
    def split(data: dict[str, Any]) -> list[tuple[str, Any]]:
        return [(name, {key: data[key]}) for name, key in (("renamed", "name"), ("moved", "city")) if data.get(key) is not None]

    types.rename("customer-renamed", Renamed)
    types.drop("noise")
    return types


OLD = [
    ("customer-changed", {"name": "Jo", "city": "Rome"}),
    ("noise", {}),
    ("customer-renamed", {"name": "Jon"}),
    ("other", {"x": 1}),
    ("customer-changed", {"city": "Oslo"}),
    ("customer-changed", {"name": "Joe", "city": "Bonn"}),
]
NEW = [
    (1, "renamed", {"name": "Jo"}),
    (1, "moved", {"city": "Rome"}),
    (3, "renamed", {"name": "Jon"}),
    (4, "other", {"x": 1}),
    (5, "moved", {"city": "Oslo"}),
    (6, "renamed", {"name": "Joe"}),
    (6, "moved", {"city": "Bonn"}),
]


@pytest.fixture(params=ENGINES)
def old_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with events of old shapes."""
    return place_of(request.param, tmp_path / "old")


def filled(place: str, types: EventTypes | None) -> hansard.Store:
    store = hansard.open(place, types=types)
    store.append("c-1", [Event(type, data) for type, data in OLD])
    return store


def seen(events: Any) -> list[tuple[int, str, Any]]:
    return [(event.position, event.type, event.data) for event in events]


# Values


@pytest.mark.parametrize("engine", ENGINES)
def test_values_of_four_kinds_come_back_as_they_went_in(engine: str, tmp_path: Path) -> None:
    """The first screen of domain code would not work."""
    values: list[Any] = [
        OrderPlaced("o-1", Decimal("12.50"), "EUR", "jo", datetime(2026, 1, 2, tzinfo=UTC)),
        OrderSent("o-1"),
        OrderPaid("o-1", ["pen", "cup"]),
        OrderClosed(orderId="o-1"),
    ]
    with hansard.open(place_of(engine, tmp_path / "log"), types=[OrderPlaced, OrderSent, OrderPaid, OrderClosed]) as store:
        store.append("order-1", values)
        events = store.all("order-1")
        assert [event.value for event in events] == values
        assert [event.type for event in events] == ["order-placed", "order-sent", "order-paid", "order-closed"]
        assert events[0].data == {
            "order_id": "o-1",
            "amount": "12.50",
            "currency": "EUR",
            "customer": "jo",
            "at": "2026-01-02T00:00:00Z",
        }
        assert events[0].tags == {"order:o-1", "customer:jo"}
        assert events[2].tags == {"item:pen", "item:cup"}
        assert events[3].data == {"orderId": "o-1"}, "a field's alias is what is on the wire"
        assert events[0].metadata == {"schema_version": 2}
        assert [event.value for event in store.read(Query(types={OrderSent, OrderClosed}))] == [values[1], values[3]]


def test_a_tag_without_its_field_is_left_out_and_more_can_be_given() -> None:
    """Queries would find "customer:None"."""
    event = Event.of(
        OrderPlaced("o-1", Decimal(1), "EUR"), {"by": "me"}, tags={"more"}, id="0190c7a4-8f00-7000-8000-000000000001"
    )
    assert event.tags == {"order:o-1", "more"}
    assert event.metadata == {"by": "me", "schema_version": 2}
    assert str(event.id).startswith("0190c7a4")


def test_handlers_get_the_value() -> None:
    """A handler would have to know what the data looks like."""
    found: list[Any] = []
    with hansard.open(":memory:", types=[OrderSent]) as store:
        store.on(OrderSent, lambda event: found.append(event.value))
        store.add("order-1", OrderSent("o-1"), metadata={"by": "me"})
        assert store.add("order-1", "other", {"x": 1}).value == {"x": 1}, "unknown types stay plain"
        assert found == [OrderSent("o-1")]
        assert store.all("order-1")[0].metadata == {"by": "me"}


def test_without_types_a_store_keeps_values_and_gives_plain_data() -> None:
    """Appending would need the registry, and reading would fail without it."""
    with hansard.open(":memory:") as store:
        store.append("order-1", OrderSent("o-1"))
        assert store.all("order-1")[0].value == {"order_id": "o-1"}


async def test_the_async_store_does_the_same(tmp_path: Path) -> None:
    """Half of the users would have no typed events."""
    found: list[Any] = []
    async with hansard.aio.open(tmp_path / "log.db", types=changed_types()) as store:
        store.on(Renamed, lambda event: found.append(event.value))
        await store.append("c-1", [Event(type, data) for type, data in OLD])
        assert seen([event async for event in store.read()]) == NEW
        assert [event.value async for event in store.read(Query(types={Moved}), limit=2)] == [Moved("Rome"), Moved("Oslo")]
        assert (await store.add("c-1", Renamed("x"))).value == Renamed("x")
    assert found == [Renamed("Jo"), Renamed("Jon"), Renamed("Joe"), Renamed("x")]


def test_everything_that_takes_an_event_takes_a_value() -> None:
    """One would have to remember where values are allowed."""
    with hansard.open(":memory:", types=[OrderSent, OrderPaid]) as store:
        store.append_streams([StreamAppend("a-1", [OrderSent("o-1")]), StreamAppend("b-1", OrderSent("o-2"))])
        store.timers.set(Timer("t", timedelta(0), "a-1", OrderPaid("o-1"), unless=Query(types={OrderClosed})))
        store.catch_up(Timers)
        manager = ProcessManager(
            "m",
            key=lambda event: event.stream,
            handle=lambda state, event: [StreamAppend("done-1", [OrderSent(event.value.order_id)])],
            starts={OrderPaid},
            stops={OrderClosed},
        )
        store.catch_up(manager)
        assert [event.value for event in store.all("done-1")] == [OrderSent("o-1")]
        with store.subscribe(Query(types={OrderPaid})) as events:
            assert next(events).value == OrderPaid("o-1")


def test_classes_of_a_module_are_taken_together() -> None:
    """A list would have to be kept by hand."""
    module = ModuleType("domain")
    vars(module).update(Renamed=Renamed, Moved=Moved, other=3, cls=dict)
    assert {one.name for one in EventTypes(module)} == {"renamed", "moved"}
    assert Renamed in EventTypes(module)
    assert "order-sent" not in EventTypes(module)


class NotMarked:
    pass


@dataclass
class Unmarked:
    x: int


class ChildOfSent(OrderSent, frozen=True):
    more: int = 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EventTypes(Unmarked), "event class: .*Unmarked.* is type: expected a class marked by @hansard.event"),
        (lambda: EventTypes(ChildOfSent), "expected a class marked"),
        (lambda: Event.of(Unmarked(1)), "event: .*expected an Event, or a value whose class is marked by"),
        (lambda: StreamAppend("a-1", [{"x": 1}]), "events: .*is dict: expected Event, or a value"),
        (lambda: hansard.event("x", version=0), "version: 0: expected a whole number from 1 to 10000"),
        (lambda: hansard.event("x", version="1"), "version: '1' is str: expected a whole number"),  # type: ignore[arg-type]
        (lambda: hansard.event(""), "name: '': expected 1 to 512 characters"),
        (lambda: hansard.event("x", tags="a:{b}"), "tags: .*expected several templates"),
        (lambda: hansard.event("x", tags=["a:{b"]), "tags: 'a:{b': not a template"),
        (lambda: hansard.event("x", tags=["a:{}"]), "tags: 'a:{}': name the field"),
        (lambda: EventTypes(hansard.event("x")(NotMarked)), "expected a dataclass, an attrs class, a msgspec Struct or"),
        (lambda: EventTypes(hansard.event("x", tags=["a:{b}"])(Unmarked)), "tags: 'b': Unmarked has no such field"),
        (lambda: hansard.event("x")(3), "event class: 3 is int: expected a class"),  # type: ignore[type-var]
        (lambda: hansard.open(":memory:", types=OrderSent), "types: .*expected an EventTypes, or a list of classes"),
        (lambda: Query(types=OrderSent), "types: .*expected a set of types; write {OrderSent}"),
    ],
)
def test_bad_definitions_are_refused_with_one_clear_error(make: Callable[[], Any], message: str) -> None:
    """A mistake would be found when the first event is read back."""
    with pytest.raises(InvalidInput, match=message):
        make()
    vars(Unmarked).get("__hansard_event__") and delattr(Unmarked, "__hansard_event__")


def test_two_classes_of_one_name_are_refused() -> None:
    """Which of them is given back would depend on the order."""

    @hansard.event("renamed")
    @dataclass
    class Other:
        x: int

    @hansard.event("third", aliases=["moved"])
    @dataclass
    class Third:
        x: int

    with pytest.raises(InvalidInput, match="event class: 'renamed': Renamed has this name already"):
        EventTypes(Renamed, Other)
    with pytest.raises(InvalidInput, match="aliases: 'moved': 'moved' has this name already"):
        EventTypes(Moved, Third)
    assert len(EventTypes(Renamed, Renamed)) == 1


def test_a_value_that_json_cannot_keep_is_refused() -> None:
    """NaN would be stored as null."""

    @hansard.event("measured")
    @dataclass
    class Measured:
        x: float = field(default=float("nan"))

    with hansard.open(":memory:") as store, pytest.raises(InvalidInput, match=r"NaN|null"):
        store.append("a-1", Measured())


# Old shapes


def test_reads_give_present_shapes(old_place: str) -> None:
    """Old events would break the code that reads them."""
    with filled(old_place, changed_types()) as store:
        assert seen(store.read()) == NEW
        assert seen(store.all("c-1")) == NEW
        assert seen(store.read(backwards=True)) == NEW[::-1]
        assert [event.value for event in store.read(Query(types={Renamed}))] == [Renamed("Jo"), Renamed("Jon"), Renamed("Joe")]
        assert seen(store.read(Query(types={"customer-changed", "noise"}))) == []
        assert seen(store.read(Query(types={"moved"}), after=1, before=6)) == [NEW[4]]
        ids = [event.id for event in store.read()]
        assert len(set(ids)) == len(ids), "each has an id of its own"
        assert store.event(ids[0]) == next(store.read())
    with hansard.open(old_place) as store:
        if old_place != ":memory:":
            assert [event.type for event in store.read()] == [type for type, _ in OLD], "the log is as it was"


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 8])
def test_a_limit_counts_what_is_given_and_cuts_no_split_event(limit: int) -> None:
    """Whoever reads on from the last position would lose the other half."""
    with filled(":memory:", changed_types()) as store:
        found: list[tuple[int, str, Any]] = []
        while page := seen(store.read(after=found[-1][0] if found else 0, limit=limit)):
            assert len(page) in {limit, limit + 1} or len(found) + len(page) == len(NEW)
            found += page
        assert found == NEW


def test_long_stretches_of_dropped_events_end_no_read(tmp_path: Path) -> None:
    """A page of nothing but dropped events would look like the end of the log."""
    with hansard.open(tmp_path / "log.db", types=changed_types()) as store:
        store.append("c-1", [Event("noise") for _ in range(1_700)])
        store.append("c-1", [Event("customer-changed", {"city": "Rome"})])
        assert seen(store.read()) == seen(store.read(Query(types={Moved}))) == [(1701, "moved", {"city": "Rome"})]
        assert seen(store.read(limit=1)) == seen(store.all("c-1")) == [(1701, "moved", {"city": "Rome"})]
        assert seen(store.read(Query(types={Renamed}))) == []


def test_subscriptions_give_present_shapes_and_resume_before_an_unfinished_split(old_place: str) -> None:
    """A checkpoint between two halves would lose the second one."""
    with filled(old_place, changed_types()) as store:
        with store.subscribe(Query(types={Moved, Renamed})) as events:
            checkpoints = [(events.position, next(events).type) for _ in range(6)]
            assert [type for _, type in checkpoints] == ["renamed", "moved", "renamed", "moved", "renamed", "moved"]
        with store.subscribe() as events:
            next(events)
            assert events.position == 0, "the second half is still to come"
            next(events)
            assert events.position in {1, 2}
            store.append("c-1", [Event("customer-changed", {"name": "live", "city": "Lima"})])
            rest = [next(events) for _ in range(len(NEW) - 2 + 2)]
            assert seen(rest[-2:]) == [(7, "renamed", {"name": "live"}), (7, "moved", {"city": "Lima"})]


def test_processors_see_all_parts_once_and_again_after_a_failure(old_place: str) -> None:
    """A handler that fails at the second half would never see it again."""
    found: list[tuple[int, str, Any]] = []
    failures = iter([True, False])

    def handle(event: hansard.RecordedEvent) -> None:
        if event.data == {"city": "Bonn"} and next(failures):
            raise ValueError("once")
        found.append((event.position, event.type, event.data))

    with filled(old_place, changed_types()) as store:
        retry = hansard.Retry(attempts=3, first_s=0.001)
        store.catch_up(Processor("p", handle, query=Query(types={Renamed, Moved}), retry=retry))
        wanted = [one for one in NEW if one[1] != "other"]
        assert found == [*wanted[:-1], *wanted[-2:]], "the position is handled again as a whole"


def test_exactly_once_processors_append_once_for_each_part(old_place: str) -> None:
    """Halves would be doubled, or lost."""

    def handle(event: hansard.RecordedEvent, transaction: hansard.Transaction) -> None:
        transaction.add("out", "noted", [event.position, event.type])

    with filled(old_place, changed_types()) as store:
        processor = Processor("p", handle, query=Query(types={Renamed, Moved}), exactly_once=True)
        store.catch_up(processor)
        store.catch_up(processor)
        assert [event.data for event in store.all("out")] == [[p, type] for p, type, _ in NEW if type != "other"]


def test_dead_letters_of_a_split_event_are_tried_again_as_a_whole() -> None:
    """A letter that is tried again would hand over the stored shape."""
    found: list[Any] = []
    is_broken = True

    def handle(event: hansard.RecordedEvent) -> None:
        if is_broken and event.data == {"city": "Rome"}:
            raise ValueError("broken")
        found.append(event.value)

    with filled(":memory:", changed_types()) as store:
        processor = Processor(
            "p", handle, query=Query(types={Renamed, Moved}), on_failure=hansard.PARK, retry=hansard.Retry(attempts=1)
        )
        store.catch_up(processor)
        assert found == [Renamed("Jo")]
        is_broken = False
        store.reader("p").dead_letters.retry()
        store.catch_up(processor)
        assert found == [
            Renamed("Jo"),
            Renamed("Jo"),
            Moved("Rome"),
            Renamed("Jon"),
            Moved("Oslo"),
            Renamed("Joe"),
            Moved("Bonn"),
        ]


def test_groups_hand_out_each_part_and_finish_with_the_last(old_place: str) -> None:
    """An acked first half would take the second with it."""
    with filled(old_place, changed_types()) as store:
        with store.join("g", Query(types={Renamed, Moved})) as consumer:
            first = consumer.take(5.0)
            assert first is not None
            assert first.value == Renamed("Jo")
            consumer.ack(first)
            second = consumer.take(5.0)
            assert second is not None
            assert second.value == Moved("Rome")
        with store.join("g", Query(types={Renamed, Moved})) as consumer:
            values = []
            for _ in range(6):
                event = consumer.take(5.0)
                assert event is not None
                values.append(event.value)
                consumer.ack(event)
            assert values == [Renamed("Jo"), Moved("Rome"), Renamed("Jon"), Moved("Oslo"), Renamed("Joe"), Moved("Bonn")]
            assert consumer.take(0.05) is None


class Customer(Projection):
    name = "customer"
    initial: Any = {}

    @folds(Renamed)
    def renamed(self, state: Any, event: Any) -> Any:
        return {**state, "name": event.value.name, "seen": [*state.get("seen", []), event.position]}

    @folds(Moved)
    def moved(self, state: Any, event: Any) -> Any:
        return {**state, "city": event.value.city, "seen": [*state.get("seen", []), event.position]}


def test_projections_of_all_three_ways_fold_present_shapes(old_place: str) -> None:
    """A read model would depend on when it was built."""
    wanted = {"c-1": {"name": "Joe", "city": "Bonn", "seen": [1, 1, 3, 5, 6, 6]}}
    with hansard.open(old_place, types=changed_types()) as store:
        store.inline(Customer("inline"))
        for type, data in OLD:
            store.append("c-1", [Event(type, data)])
        assert store.project(Customer()) == wanted
        assert store.project(Customer(), key="c-1") == wanted["c-1"]
        store.catch_up(Customer())
        assert dict(store.model("customer").items()) == wanted
        assert dict(store.model("inline").items()) == wanted
        assert store.projection("customer").parting(Customer(), Customer(version=2)) is None


def test_conditions_find_old_names(old_place: str) -> None:
    """An old program's event would not be seen by a decision of the new one."""
    with filled(old_place, changed_types()) as store:
        with pytest.raises(AppendConditionFailed):
            store.append(None, [Moved("x")], condition=AppendCondition(Query(types={Moved}), after=5))
        store.append(None, [Moved("x")], condition=AppendCondition(Query(types={Moved}), after=6))


def test_versions_go_through_a_chain_and_aliases_are_names() -> None:
    """Only the last step would be taken."""
    types = EventTypes(OrderPlaced, OrderSent)
    types.upcast("order-created", 1, to=("order-placed", 1))(lambda data: {"order_id": data["id"], "amount": data["sum"]})

    @types.upcast(OrderPlaced, 1)
    def with_currency(data: Any, event: hansard.RecordedEvent) -> Any:
        return {**data, "currency": "EUR", "at": event.timestamp.isoformat()}

    with hansard.open(":memory:", types=types) as store:
        store.add("o-1", "order-created", {"id": "a", "sum": "1"})
        store.add("o-1", "order-placed", {"order_id": "b", "amount": "2"})
        store.add("o-1", OrderPlaced("c", Decimal(3), "USD"))
        store.add("o-1", "OrderSent", {"order_id": "d"})
        created, placed, new, sent = store.all("o-1")
        assert created.value == OrderPlaced("a", Decimal(1), "EUR", None, created.timestamp)
        assert (created.type, created.metadata) == ("order-placed", {"schema_version": 2})
        assert placed.value.currency == "EUR"
        assert new.value == OrderPlaced("c", Decimal(3), "USD")
        assert (sent.type, sent.value) == ("order-sent", OrderSent("d"))
        assert len(list(store.read(Query(types={OrderPlaced})))) == 3
        assert [event.value for event in store.read(Query(types={"order-sent"}))] == [OrderSent("d")]


def test_chains_that_come_back_or_come_twice_are_refused() -> None:
    """Reading would never end."""
    types = EventTypes()
    types.rename("a", "b")
    types.rename("b", "c")
    with pytest.raises(InvalidInput, match="its chain would come back to it, by way of 'a' version 1"):
        types.rename("c", "a")
    with pytest.raises(InvalidInput, match="there is one for this type and version already"):
        types.drop("a")
    types.rename("c", "d")
    assert types.stored_names("d") == {"a", "b", "c", "d"}


def test_what_does_not_fit_is_told_with_its_place_and_stays_readable() -> None:
    """A program would fail with a codec's error, somewhere."""
    types = EventTypes(OrderPlaced)
    with hansard.open(":memory:", types=types) as store:
        store.add("o-1", "order-placed", {"order_id": "a"})
        store.add("o-1", "order-placed", {"order_id": "a"}, metadata={"schema_version": 3})
        old, newer = store.all("o-1")
        message = "'order-placed' version 1 at position 1: OrderPlaced has version 2; register an upcaster from version 1"
        with pytest.raises(EventNotDecodable, match=message) as caught:
            _ = old.value
        assert (caught.value.type, caught.value.version, caught.value.position) == ("order-placed", 1, 1)
        with pytest.raises(EventNotDecodable, match="version 3 at position 2: this program knows version 2; upgrade it"):
            _ = newer.value
        assert old.data == newer.data == {"order_id": "a"}
        types.upcast("order-placed", 1)(lambda data: data["missing"])
        unreadable, newer = store.all("o-1")
        with pytest.raises(EventNotDecodable, match="at position 1: its upcaster raised KeyError: 'missing'"):
            _ = unreadable.data
        assert (unreadable.data_json, newer.data) == (old.data_json, {"order_id": "a"}), "it stops nobody else"
        assert [event.position for event in store.read(Query(types={OrderPlaced}))] == [1, 2]


@pytest.mark.parametrize(
    ("result", "message"),
    [({"x": 1}, "expected a list of"), ([("other", {})], "'other' is not among the types"), ([3], "TypeError")],
)
def test_a_choice_that_is_none_is_refused(result: Any, message: str) -> None:
    """Events would get types that no filter knows of."""
    types = EventTypes()
    types.upcast("a", 1, to=["b", "c"])(lambda data: result)
    with hansard.open(":memory:", types=types) as store:
        store.add("x-1", "a")
        with pytest.raises(EventNotDecodable, match=message):
            _ = store.all("x-1")[0].value


def test_new_programs_write_what_old_ones_read(tmp_path: Path) -> None:
    """A rolling upgrade would need a stop of everything."""
    types = EventTypes(OrderPlaced)
    types.upcast(OrderPlaced, 1)(lambda data: {**data, "currency": "EUR"})
    with pytest.raises(InvalidInput, match="there is no downcaster from version 2 of 'order-placed'"):
        types.write_as(OrderPlaced, 1)
    types.downcast(OrderPlaced, 2)(lambda data: {key: value for key, value in data.items() if key != "currency"})
    types.write_as(OrderPlaced, 1)
    value, event = OrderPlaced("a", Decimal(1), "EUR"), Event.of(OrderPlaced("b", Decimal(2), "EUR"))
    with hansard.open(tmp_path / "log.db", types=types) as store:
        store.add("o-1", value)
        first = store.append("o-1", [event])
        assert store.append("o-1", [event]) == first, "a retry stays one"
        assert [event.value for event in store.all("o-1")] == [value, OrderPlaced("b", Decimal(2), "EUR")]
    with hansard.open(tmp_path / "log.db") as store:
        assert [sorted(event.data) for event in store.all("o-1")] == [["amount", "at", "customer", "order_id"]] * 2
        assert [event.metadata for event in store.all("o-1")] == [{}, {}]
    with pytest.raises(InvalidInput, match="this registry has no class of this name"):
        types.write_as("order-sent", 1)
    with pytest.raises(InvalidInput, match="there is none before version 1"):
        types.downcast("order-placed", 1)
    with pytest.raises(InvalidType, match="expected a dict"):
        raise InvalidType("x", 1, "expected a dict")


# Any chain


def chains() -> st.SearchStrategy[tuple[int, list[tuple[str, int]], int]]:
    """A seed, how each of up to four old types goes on, and how many events there are."""
    ways = st.sampled_from(["rename", "merge", "split", "choose", "drop", "next"])
    return st.tuples(
        st.integers(0, 1 << 30), st.lists(st.tuples(ways, st.integers(0, 2)), min_size=1, max_size=4), st.integers(1, 60)
    )


@settings(max_examples=60, deadline=None)
@given(chains())
def test_any_chain_gives_the_fold_of_the_log_that_was_written_anew(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[int, list[tuple[str, int]], int]
) -> None:
    """What is read through upcasters would differ from what a rewritten log gives."""
    seed, ways, count = case
    rng = random.Random(seed)
    types, steps = EventTypes(), _steps(ways)
    for name, (to, function) in steps.items():
        if to is None:
            types.upcast(name, 1)(function)
        else:
            types.upcast(name, 1, to=to)(function)
    old = [(rng.choice([*steps, "end"]), {"n": n}) for n in range(count)]
    wanted = [(n + 1, *one) for n, (type, data) in enumerate(old) for one in _by_hand(steps, type, data)]
    with hansard.open(tmp_path_factory.mktemp("any") / "log.db", types=types) as store:
        store.append("a-1", [Event(type, data) for type, data in old])
        assert seen(store.read()) == seen(store.all("a-1")) == wanted
        for type in {one[1] for one in wanted}:
            assert seen(store.read(Query(types={type}))) == [one for one in wanted if one[1] == type]
        tally = Projection("tally", lambda state, event: [*state, [event.type, event.data["n"]]], initial=[])
        store.catch_up(tally)
        states = [[type, data["n"]] for _, type, data in wanted]
        assert store.project(tally, key="a-1") == (states or None)
        assert store.model("tally").get("a-1") == (states or None)


def _steps(ways: list[tuple[str, int]]) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """An upcaster for each old type t0, t1 …; each leads to later ones, so that no chain comes back."""
    steps: dict[str, tuple[Any, Callable[[Any], Any]]] = {}
    for number, (way, jump) in enumerate(ways):
        later = f"t{number + 1 + jump}" if number + 1 + jump < len(ways) else "end"
        match way:
            case "rename" | "merge":
                steps[f"t{number}"] = (later, lambda data: {**data, "way": "renamed"})
            case "split":
                steps[f"t{number}"] = ([later, "half"], lambda data, later=later: [(later, data), ("half", {**data, "half": 2})])
            case "choose":
                steps[f"t{number}"] = (
                    [later, "odd"],
                    lambda data, later=later: [("odd" if data["n"] % 2 else later, data)],
                )
            case "drop":
                steps[f"t{number}"] = ([], lambda data: [])
            case _:
                steps[f"t{number}"] = (None, lambda data: {**data, "next": True})
    return steps


def _by_hand(steps: dict[str, tuple[Any, Callable[[Any], Any]]], type: str, data: Any) -> Iterator[tuple[str, Any]]:
    if type not in steps:
        yield type, data
        return
    to, function = steps[type]
    result = function(data)
    if to is None:
        yield type, result
    elif isinstance(to, list):
        for name, one in result:
            yield from _by_hand(steps, name, one)
    else:
        yield from _by_hand(steps, to, result)


def test_the_error_of_a_class_names_what_json_cannot_keep() -> None:
    """The message would be a codec's."""

    @hansard.event("odd")
    @dataclass
    class Odd:
        x: re.Pattern[str] | ModuleType

    with pytest.raises(InvalidType, match=r"event class: .*its fields cannot be kept as JSON"):
        EventTypes(Odd)


# What a stranger would do


@hansard.event("counted")
@dataclass(frozen=True)
class Counted:
    n: int
    when: datetime = None  # type: ignore[assignment]


@hansard.event("hidden")
@attrs.define
class Hidden:
    x: int
    _secret: int = 3


@hansard.event("secret")
class Secret(pydantic.BaseModel):
    word: pydantic.SecretStr


@pytest.mark.parametrize(
    "value",
    [
        Counted(2.5),  # type: ignore[arg-type]
        Counted(2),
        Hidden(1, secret=5),
        Secret(word=pydantic.SecretStr("hunter2")),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_value_that_would_not_come_back_is_refused(value: Any) -> None:
    """It would be stored, and nobody could read the stream any more."""
    with hansard.open(":memory:", types=[Counted, Hidden, Secret]) as store:
        with pytest.raises(InvalidInput, match=r"event: .*(its own class could not read it back|as another value)"):
            store.append("a-1", value)
        assert store.head() == 0


def test_metadata_of_another_event_may_be_given() -> None:
    """The other event's schema version would be taken for this one's."""
    with hansard.open(":memory:", types=[OrderPlaced, OrderSent]) as store:
        placed = store.add("o-1", OrderPlaced("a", Decimal(1), "EUR"), metadata={"by": "me"})
        sent = store.add("o-1", OrderSent("a"), metadata=placed.metadata)
        assert (sent.metadata, sent.value) == ({"by": "me"}, OrderSent("a"))


def test_an_upcaster_may_change_the_data_that_it_gets() -> None:
    """The data would be new, and the value old."""
    types = EventTypes(OrderPlaced)

    @types.upcast(OrderPlaced, 1)
    def add_currency(data: Any) -> Any:
        data["currency"] = "USD"
        return data

    with hansard.open(":memory:", types=types) as store:
        store.add("o-1", "order-placed", {"order_id": "a", "amount": "1"})
        (event,) = store.all("o-1")
        assert event.data["currency"] == event.value.currency == "USD"


def test_aliases_have_upcasters_and_are_goals() -> None:
    """An upcaster of an old name would never be called, or lead to nowhere."""
    types = EventTypes()
    types.upcast("order-made", 1, to=OrderPlaced)(lambda data: {**data, "currency": "EUR"})  # before the class is known
    types.rename("sent-out", "OrderSent")
    types.add(OrderPlaced)
    types.add(OrderSent)
    types.upcast("OrderSent", 1, to=("order-sent", 7))(lambda data: data)
    with hansard.open(":memory:", types=types) as store:
        store.add("o-1", "order-made", {"order_id": "a", "amount": "1"})
        store.add("o-1", "sent-out", {"order_id": "b"})
        store.add("o-1", "OrderSent", {"order_id": "c"})
        made, out, sent = store.all("o-1")
        assert made.value == OrderPlaced("a", Decimal(1), "EUR")
        assert (out.type, out.value) == ("order-sent", OrderSent("b"))
        assert (sent.type, sent.metadata) == ("order-sent", {"schema_version": 7}), "its own upcaster goes before its alias"
        assert len(list(store.read(Query(types={OrderSent})))) == 2


def maybe_types() -> EventTypes:
    """imported: placed, and only perhaps paid."""
    types = EventTypes(Renamed, Moved)
    types.upcast("imported", 1, to=[Renamed, Moved])(
        lambda data: [("renamed", {"name": "x"}), *([("moved", {"city": "y"})] if data["moved"] else [])]
    )
    return types


@pytest.mark.parametrize("engine", ENGINES)
async def test_conditions_see_what_old_events_have_become(engine: str, tmp_path: Path) -> None:
    """An event that is of another type now would refuse every append, for ever; or one that is would not be seen."""
    place = place_of(engine, tmp_path / "log")
    async with hansard.aio.open(place, types=maybe_types()) as store:
        await store.add("a-1", "imported", {"moved": False})
        moved = AppendCondition(Query(types={Moved}, stream="a-1"))
        event = Event.of(Moved("here"))
        first = await store.append("a-1", [event], condition=moved)
        assert await store.append("a-1", [event], condition=moved) == first, "a retry is recognised before any check"
        with pytest.raises(AppendConditionFailed):
            await store.append("a-1", [Moved("there")], condition=moved)
        await store.add("b-1", "imported", {"moved": True})
        with pytest.raises(AppendConditionFailed):
            await store.append("b-1", [Moved("there")], condition=AppendCondition(Query(types={Moved}, stream="b-1")))
        await store.add("c-1", "imported", {"moved": False})

        def within(transaction: hansard.Transaction) -> int:
            condition = AppendCondition(Query(types={Moved}, stream="c-1"))
            return transaction.append("c-1", Moved("here"), condition=condition).version or 0

        assert await store.transact(within) == 2
        with pytest.raises(AppendConditionFailed):
            await store.transact(within)


def test_a_transaction_reads_as_many_as_are_asked_for() -> None:
    """Dropped events would look like the end."""
    with hansard.open(":memory:", types=changed_types()) as store:
        store.append("a-1", [*[Event("noise") for _ in range(3)], Event("x"), Event("noise"), Event("y")])
        found = store.transact(lambda transaction: transaction.read(limit=2))
        assert [event.type for event in found] == ["x", "y"]


def test_handlers_see_all_parts_of_an_added_event() -> None:
    """What append tells would differ from what add tells."""
    told: list[str] = []
    with hansard.open(":memory:", types=changed_types()) as store:
        store.on("*", lambda event: told.append(event.type))
        store.add("c-1", "customer-changed", {"name": "Jo", "city": "Rome"})
        store.append("c-1", [Event("customer-changed", {"name": "Jo", "city": "Rome"})])
    assert told == ["renamed", "moved"] * 2


def test_an_event_whose_upcaster_fails_stops_only_who_looks_into_it() -> None:
    """One bad event would stop every reader of the log."""
    types, done = EventTypes(Renamed), list[str]()
    types.upcast("customer-renamed", 1, to=Renamed)(lambda data: {"name": data["name"]})
    with hansard.open(":memory:", types=types) as store:
        for name in ("Jo", None, "Al"):
            store.add(f"c-{name}", "customer-renamed", {"name": name} if name else {})
        assert [event.position for event in store.read(Query(types={Renamed}))] == [1, 2, 3], "it is not passed by"
        parking = Processor(
            "p",
            lambda event: done.append(event.value.name),
            query=Query(types={Renamed}),
            on_failure=hansard.PARK,
            retry=hansard.Retry(attempts=1),
        )
        store.catch_up(parking)
        assert done == ["Jo", "Al"]
        (letter,) = store.reader("p").dead_letters
        assert (letter.position, "KeyError" in letter.error) == (2, True)
        with store.join("g", Query(types={Renamed})) as consumer:
            assert [(consumer.take(5.0) or fail()).position for _ in range(3)] == [1, 2, 3]
        assert "UnreadableEvent(position=2" in repr(store.all("c-None")[0])


def fail() -> Any:
    raise AssertionError


def test_fields_of_tags_are_there_or_refused() -> None:
    """A misspelt field would give no tag, and no query would find the event."""

    class Colour(Enum):
        RED = "red"

    @dataclass(frozen=True)
    class Box:
        colour: Colour | None

    @hansard.event("boxed", tags=["colour:{box.colour}", "kind:{box.kind}"])
    @dataclass(frozen=True)
    class Misspelt:
        box: Box | None

    @hansard.event("boxed", tags=["colour:{box.colour}"])
    @dataclass(frozen=True)
    class Boxed:
        box: Box | None

    with pytest.raises(InvalidInput, match=r"tags: 'kind:\{box.kind\}': Box has no 'kind'"):
        Event.of(Misspelt(Box(None)))
    assert Event.of(Boxed(Box(Colour.RED))).tags == {"colour:red"}
    assert Event.of(Boxed(Box(None))).tags == Event.of(Boxed(None)).tags == frozenset()


def test_many_queries_of_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread would clear what another is about to return."""
    monkeypatch.setattr("hansard.event_types.registry._WIDENED_MAX", 3)
    types = changed_types()

    def work(number: int) -> None:
        for n in range(2_000):
            assert types.widened(Query(types={"moved"}, tags={f"{number}:{n}"})).items[0].types == {"moved", "customer-changed"}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_failed_registration_leaves_nothing() -> None:
    """A registry would hold half a class."""

    @hansard.event("other", aliases=["moved"])
    @dataclass
    class Other:
        x: int

    types = EventTypes(Moved)
    with pytest.raises(InvalidInput):
        types.add(Other)
    assert (len(types), Other in types) == (1, False)
    with pytest.raises(InvalidInput, match="version: 5: Moved has version 1"):
        types.write_as(Moved, 5)


# What a second review has found


@hansard.event("checked", personal=["email"])
@pydantic.dataclasses.dataclass
class Checked:
    email: str = pydantic.Field(min_length=3)
    tags: list[str] = pydantic.Field(default_factory=list)


def test_dataclasses_of_pydantic_are_read_by_pydantic() -> None:
    """Their validators would be passed over, and their defaults would be what describes a field."""
    with hansard.open(":memory:", types=[Checked]) as store:
        store.add("a-1", Checked("a@b"))
        store.add("a-1", "checked", {"email": "a@b"})
        store.add("a-1", "checked", {"email": "x"})
        first, second, third = store.all("a-1")
        assert first.value == second.value == Checked("a@b", [])
        with pytest.raises(EventNotDecodable, match="at least 3 characters"):
            _ = third.value


class Money:
    pass


class Inner(pydantic.BaseModel):
    x: int


@pytest.mark.parametrize("kind", [Money, Inner, complex])
def test_a_field_that_cannot_be_read_back_is_refused_with_the_class(kind: type) -> None:
    """It would be found out by the first append, or by the first page that lists the types."""
    of = hansard.event("m")(make_dataclass("M", [("n", kind)]))
    with pytest.raises(InvalidType, match=f"event class: .*M.*cannot be kept as JSON: .*{kind.__name__}.* not supported"):
        EventTypes(of)


def test_a_private_field_of_attrs_is_refused_with_the_class() -> None:
    """It is written by nobody, and cannot be left out."""
    with pytest.raises(InvalidType, match="_a is private"):
        EventTypes(hansard.event("p")(attrs.make_class("P", {"_a": attrs.field(type=int)})))


def test_what_json_cannot_keep_is_named() -> None:
    """A field that takes anything would raise an error of the library below."""
    of = hansard.event("m")(make_dataclass("M", [("n", Any)]))
    with hansard.open(":memory:", types=[of]) as store:
        with pytest.raises(InvalidInput, match=r"event: .*it cannot be kept as JSON"):
            store.add("a-1", of(1j))
        assert store.head() == 0


@pytest.mark.parametrize(
    ("tags", "value", "message"),
    [
        (["a:{a:03d}"], "x", "tags: 'a:{a:03d}': a is 'x': Unknown format code"),
        (["a:{a}"], ["1", "2"], "tags: 'a:{a}': a is a list"),
        (["a:{a!r}"], 1, "conversions such as !r are not known"),
        (3, 1, "tags: 3 is int: expected templates"),
    ],
)
def test_tags_that_cannot_be_made_are_named(tags: Any, value: Any, message: str) -> None:
    """An error of Python's would tell neither the tag nor the field."""
    with pytest.raises(InvalidInput, match=re.escape(message)):
        Event.of(hansard.event("t", tags=tags)(make_dataclass("T", [("a", Any)]))(value))


def test_whoever_writes_an_old_version_must_be_able_to_read_it() -> None:
    """Its own events would come back as ones that cannot be read."""
    types = EventTypes(OrderPlaced)
    types.downcast(OrderPlaced, 2)(lambda data: data["no such field"])
    with pytest.raises(InvalidInput, match="version: 1: there is no upcaster from version 1 of 'order-placed' on"):
        types.write_as(OrderPlaced, 1)
    types.upcast(OrderPlaced, 1)(lambda data: {**data, "currency": "EUR"})
    types.write_as(OrderPlaced, 1)
    with hansard.open(":memory:", types=types) as store:
        with pytest.raises(InvalidInput, match="event: 'order-placed': its downcaster from version 2 raised KeyError: 'no such"):
            store.add("o-1", OrderPlaced("a", Decimal(1), "EUR"))
        assert store.head() == 0


async def _waits(data: Any) -> Any:
    return data


def test_functions_that_are_none_are_refused_where_they_are_registered() -> None:
    """The error would come with the first old event, which may be years later."""
    types = EventTypes(OrderPlaced)
    with pytest.raises(InvalidType, match=r"upcaster: .*expected a plain function"):
        types.upcast("x", 1)(_waits)
    with pytest.raises(InvalidType, match="downcaster: 3 is int"):
        types.downcast("x", 2)(3)  # type: ignore[type-var]


def test_a_choosing_upcaster_may_name_types_by_their_classes() -> None:
    """Everywhere else a class does."""
    types = EventTypes(Checked)
    types.upcast("old", 1, to=[Checked])(lambda data: [(Checked, {"email": "a@b"})])
    with hansard.open(":memory:", types=types) as store:
        store.add("a-1", "old")
        assert [event.value for event in store.all("a-1")] == [Checked("a@b")]
