"""The face as a newcomer meets it: the three verbs, then the rest."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hansard
from hansard import Event, HandlersFailed, Query, StreamAppend
from hansard.aio import AsyncStore
from hansard.store import Store
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = place_of(request.param, tmp_path)
    with hansard.open(place) as store:
        yield store


def test_an_added_event_is_in_its_stream_only(store: Store) -> None:
    """The seed's first test: adding to one stream would show in another, or not at all."""
    store.add("customer1", "created", {"first_name": "John", "last_name": "Smith"})
    assert len(store.all("customer1")) == 1
    assert len(store.all("customer2")) == 0


def test_a_handler_is_called_with_the_stored_event(store: Store) -> None:
    """The seed's second test: reactions would miss their event, or get those of other types."""
    created, deleted = [], []
    store.on("created", created.append)
    store.on("deleted", deleted.append)
    recorded = store.add("customer1", "created", {"first_name": "John"})
    assert created == [recorded] == store.all("customer1")
    assert deleted == []


def test_add_returns_the_event_as_a_reader_sees_it(store: Store) -> None:
    """What is returned and what is stored would differ."""
    given = {"metadata": {"by": "jo"}, "tags": {"b", "a"}, "id": "0190c7a4-8f00-7000-8000-000000000001"}
    recorded = store.add("customer-1", "created", {"n": 1}, **given)
    assert store.all("customer-1") == [recorded] == list(store.read())
    assert (recorded.position, recorded.version, recorded.tags, str(recorded.id)) == (1, 1, {"a", "b"}, given["id"])
    assert store.add("customer-1", "created", {"n": 1}, **given) == recorded
    assert store.head() == 1


def test_handlers_run_in_the_order_registered_and_star_means_every_type(store: Store) -> None:
    """Reactions that build on each other would run in a random order."""
    calls: list[str] = []
    store.on("*", lambda event: calls.append("first"))

    @store.on("created")
    def second(event: hansard.RecordedEvent) -> None:
        calls.append("second")

    store.on("*", lambda event: calls.append("third"))
    store.add("a-1", "created")
    store.add("a-1", "other")
    assert calls == ["first", "second", "third", "first", "third"]


def test_a_handler_sees_its_event_stored(store: Store) -> None:
    """Handlers would run before the commit."""
    heads: list[int] = []
    store.on("*", lambda event: heads.append(store.head()))
    store.append("a-1", [Event("one"), Event("two")])
    assert heads == [2, 2]


def test_a_failing_handler_undoes_nothing_and_stops_nobody(store: Store) -> None:
    """One bad reaction would lose a fact or silence the others."""
    calls: list[int] = []

    def fail(event: hansard.RecordedEvent) -> None:
        raise ValueError(f"no {event.type}")

    store.on("*", fail)
    store.on("*", lambda event: calls.append(event.position))
    store.on("two", fail)
    with pytest.raises(HandlersFailed) as caught:
        store.append("a-1", [Event("one"), Event("two")])
    assert calls == [1, 2]
    assert [str(error) for error in caught.value.exceptions] == ["no one", "no two", "no two"]
    assert caught.value.exceptions[0].__notes__[0].startswith("in handler ")
    assert caught.value.recorded.last_position == 2 == store.head()
    with pytest.raises(ExceptionGroup) as group:
        store.add("a-1", "one")
    assert group.value.recorded == store.all("a-1")[-1]
    matched, _ = group.value.split(ValueError)
    assert matched is not None
    assert matched.recorded == group.value.recorded


def test_a_handler_may_append_and_its_events_come_next(store: Store) -> None:
    """Handlers that append would dead-lock, recurse, or be called depth first."""
    calls: list[str] = []

    @store.on("*")
    def chain(event: hansard.RecordedEvent) -> None:
        calls.append(f"chain {event.data}")
        if event.data < 3:
            store.add("a-1", "next", event.data + 1)
            store.add("a-1", "next", 10)

    store.on("*", lambda event: calls.append(f"other {event.data}"))
    store.add("a-1", "start", 1)
    assert calls == [f"{who} {n}" for n in (1, 2, 10, 3, 10) for who in ("chain", "other")]


def test_a_long_chain_of_appending_handlers_needs_no_stack(store: Store) -> None:
    """Handlers that answer each other often would raise RecursionError."""
    store.on("count", lambda event: event.data < 3_000 and store.add(None, "count", event.data + 1))
    store.add(None, "count", 1)
    assert store.head() == 3_000


def test_handlers_that_append_for_ever_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two handlers that answer each other would never give the program back."""
    monkeypatch.setattr("hansard.handlers.HANDLER_CASCADE_MAX", 50)
    store = hansard.open(":memory:")
    store.on("ping", lambda event: store.add("a-1", "ping"))
    with pytest.raises(HandlersFailed) as caught:
        store.add("a-1", "ping")
    (loop,) = caught.value.exceptions
    assert isinstance(loop, hansard.HandlerLoop)
    assert "more than 50 events" in str(loop)
    assert store.head() == 52


def test_failures_of_caused_events_reach_the_outermost_append(store: Store) -> None:
    """A failing reaction to a reaction would be silent."""
    store.on("one", lambda event: store.add("a-1", "two"))
    store.on("two", lambda event: 1 / 0)
    with pytest.raises(HandlersFailed) as caught:
        store.add("a-1", "one")
    assert caught.value.recorded.type == "one"
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
    assert store.head() == 2


def test_a_repeated_append_calls_no_handler(store: Store) -> None:
    """A retry would send the mail twice."""
    calls: list[int] = []
    store.on("*", lambda event: calls.append(event.position))
    given = [Event("one")]
    store.append("a-1", given)
    store.append("a-1", given)
    store.restore(list(store.read()))
    assert calls == [1]


def test_a_handler_can_be_taken_off(store: Store) -> None:
    """A reaction could never be ended."""
    calls: list[int] = []
    handler = store.on("*", lambda event: calls.append(event.position))
    store.add("a-1", "one")
    store.off("*", handler)
    store.off("*", handler)
    store.add("a-1", "one")
    assert calls == [1]


def test_handlers_of_other_stores_and_threads_are_not_mixed_up(store: Store) -> None:
    """A handler that appends to another store would have that store's handlers run late or never."""
    other, calls = hansard.open(":memory:"), []
    other.on("*", lambda event: calls.append("other"))

    @store.on("one")
    def forward(event: hansard.RecordedEvent) -> None:
        other.add("a-1", "copied")
        calls.append("forwarded")

    store.add("a-1", "one")
    assert calls == ["other", "forwarded"]


def test_a_subscription_catches_up_and_stays_live(store: Store) -> None:
    """Live readers would miss what was stored before, or what comes after."""
    store.append_streams([StreamAppend("a-1", [Event("one"), Event("two")]), StreamAppend("b-1", [Event("one")])])
    with store.subscribe(Query(types={"one"}), after=1) as events:
        assert next(events).position == 3
        store.add("a-1", "two")
        store.add("a-1", "one")
        assert next(events).position == 5
    assert list(events) == []


def test_a_subscription_in_another_thread_sees_every_event(store: Store) -> None:
    """Events stored while a reader catches up would be skipped."""
    import threading

    seen: list[int] = []

    def listen() -> None:
        with store.subscribe() as events:
            for event in events:
                seen.append(event.position)
                if event.type == "last":
                    break

    listener = threading.Thread(target=listen)
    listener.start()
    for number in range(300):
        store.append(f"a-{number}", [Event("some")] * 1 + [Event("more")])
    store.add("a-1", "last")
    listener.join(60)
    assert seen == list(range(1, 602))


def test_a_subscription_is_closed_from_another_thread(store: Store) -> None:
    """A program could not end while it listens."""
    import threading

    subscription = store.subscribe()
    listener = threading.Thread(target=lambda: list(subscription))
    listener.start()
    subscription.close()
    listener.join(30)
    assert not listener.is_alive()


def test_importing_hansard_is_light() -> None:
    """`import hansard` would start threads or load what it does not need."""
    code = (
        "import sys, threading, hansard; "
        "assert threading.active_count() == 1; "
        "heavy = {'asyncio', 'click', 'rich', 'sqlite3', 'msgspec'} & set(sys.modules); assert not heavy, heavy; "
        "hansard.open(':memory:').add('a-1', 'b'); "
        "assert threading.active_count() == 1; "
        "heavy = {'click', 'rich', 'sqlite3'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_unknown_ones_are_not() -> None:
    """A documented name could not be imported."""
    for name in hansard.__all__:
        assert getattr(hansard, name) is not None
    assert set(hansard.__all__) <= set(dir(hansard))
    with pytest.raises(AttributeError, match="nothing"):
        hansard.nothing  # noqa: B018


def test_the_async_face_has_the_same_names_and_signatures() -> None:
    """Moving from sync to async would mean to learn a second interface."""

    def face(store: type) -> dict[str, list[tuple[str, object, object]]]:
        methods = {name: member for name, member in vars(store).items() if not name.startswith("_")}
        return {
            name: [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
            for name, method in methods.items()
            if callable(method)
        }

    assert face(Store) == face(AsyncStore)
    properties = [{n for n, m in vars(store).items() if isinstance(m, property)} for store in (Store, AsyncStore)]
    assert properties[0] == properties[1]
