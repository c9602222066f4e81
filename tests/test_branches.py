"""Branches: a store that begins as another was at a position, and goes its own way; whole contract included."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hansard
from hansard import AppendCondition, AppendConditionFailed, DuplicateEventId, Event, InvalidInput, Projection, Query, QueryItem
from hansard.storage.branch import BranchStorage
from hansard.storage.opening import open_storage
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hansard.Store]:
    with hansard.open(place_of(request.param, tmp_path / "log")) as store:
        yield store


def test_nothing_that_is_done_in_a_branch_is_seen_outside(base: hansard.Store) -> None:
    """A what-if would become true."""
    base.add("a-1", "first")
    with base.branch() as branch:
        branch.add("a-1", "mine", tags={"t"})
        branch.add("b-1", "mine")
        base.add("a-1", "theirs")
        assert [event.type for event in branch.read()] == ["first", "mine", "mine"]
        assert [event.type for event in base.read()] == ["first", "theirs"]
        assert (branch.head(), base.head()) == (3, 2)
        assert [event.version for event in branch.all("a-1")] == [1, 2]
        with branch.branch(2) as twig:
            assert twig.add("a-1", "twig").version == 3
            assert [event.type for event in twig.read(backwards=True)] == ["twig", "mine", "first"]


def test_a_branch_begins_at_a_position(base: hansard.Store) -> None:
    """The past could not be replayed."""
    for n in range(30):
        base.add(f"s-{n % 3}", "e", n, tags={f"t:{n % 2}"})
    with base.branch(at=17) as branch:
        assert [event.data for event in branch.read()] == list(range(17))
        assert {stream.name: stream.version for stream in branch.streams()} == {"s-0": 6, "s-1": 6, "s-2": 5}
        assert branch.stream("s-2").last_position == 15
        later = list(base.read())[20]
        assert branch.event(later.id) is None, "it has not happened there"
        assert branch.restore([later]).first_position == 18
        assert branch.append("s-2", [Event("x")], expected_version=6).last_position == 19
        known = list(base.read())[3]
        with pytest.raises(DuplicateEventId):
            branch.append("other", [Event("x", id=known.id)])
        condition = AppendCondition(Query(tags={"t:0"}), after=15)
        with pytest.raises(AppendConditionFailed, match="position 17"):
            branch.append(None, [Event("x")], condition=condition)
        branch.append(None, [Event("x")], condition=AppendCondition(Query(tags={"t:0"}), after=19))
    with base.branch(at=0) as empty:
        assert list(empty.read()) == []
        assert empty.add("s-0", "e").position == 1
    with pytest.raises(InvalidInput, match="at: 31: expected at most 30, the head"):
        base.branch(at=31)
    with pytest.raises(InvalidInput, match="at: -1"):
        base.branch(at=-1)


def test_readers_of_a_branch_begin_anew(base: hansard.Store) -> None:
    """A read model of the future would answer questions of the past."""
    total = Projection("total", lambda state, event: state + event.data, initial=0)
    for n in range(10):
        base.add("s-1", "e", n)
    base.catch_up(total)
    with base.branch(at=5) as branch:
        branch.catch_up(total)
        assert branch.model("total")["s-1"] == 0 + 1 + 2 + 3 + 4
        branch.add("s-1", "e", 100)
        branch.catch_up(total)
        assert branch.model("total")["s-1"] == 110
    assert base.model("total")["s-1"] == 45


async def test_an_async_store_branches_too(tmp_path: Path) -> None:
    """Half of the users would have no branches."""
    async with hansard.aio.open(tmp_path / "log.db") as store:
        await store.add("a-1", "first")
        async with await store.branch() as branch:
            await branch.add("a-1", "second")
            assert [event.type async for event in branch.read()] == ["first", "second"]
        assert await store.head() == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.integers(0, 60), st.integers(0, 40))
def test_a_branch_is_the_log_that_went_on_so(
    tmp_path_factory: pytest.TempPathFactory, seed: int, before: int, after: int
) -> None:
    """Some read of a branch would differ from that of a plain log with the same events."""
    rng = random.Random(seed)
    steps = [(rng.choice(["a-1", "a-2", "b-1", "B", None]), _events(rng)) for _ in range(before + after)]
    at = rng.randint(0, before)
    plain = open_storage(":memory:")
    base = open_storage(tmp_path_factory.mktemp("branch") / "log.db")
    for stream, events in steps[:before]:
        hansard.Store(base).append(stream, events)
    positions = [0]
    for _, events in steps[:before]:
        positions.append(positions[-1] + len(events))
    branch = BranchStorage(base, positions[at])
    for stream, events in steps[:at] + steps[before:]:
        hansard.Store(plain).append(stream, events)
    for stream, events in steps[before:]:
        hansard.Store(branch).append(stream, events)
    for _ in range(25):
        question = _question(rng, plain.head())
        assert question(plain) == question(branch)
    branch.close()
    base.close()


def _events(rng: random.Random) -> list[Event]:
    names = ["x", "y", "z"]
    return [
        Event(rng.choice(names), rng.randint(0, 9), tags=rng.sample(["t", "u"], rng.randint(0, 2)))
        for _ in range(rng.randint(1, 4))
    ]


def _question(rng: random.Random, head: int) -> Any:
    bounds: dict[str, Any] = {"backwards": rng.random() < 0.5, "limit": rng.randint(1, 12)}
    after, before = rng.randint(0, head + 1), rng.choice([None, rng.randint(0, head + 2)])
    query = rng.choice(
        [Query(), Query(types={"x"}), Query(tags={"t"}), Query(category="a"), Query.of(QueryItem({"y"}), QueryItem(tags={"u"}))]
    )
    stream = rng.choice(["a-1", "a-2", "b-1", "B", "none"])
    kind = rng.randrange(4)

    def ask(storage: Any) -> Any:
        if kind == 0:
            return _facts(storage.read(query, after=after, before=before, **bounds))
        if kind == 1:
            return _facts(storage.read_stream(stream, after_version=after // 3, before_version=before, **bounds))
        if kind == 2:
            info = storage.stream(stream)
            return info.version, info.last_position
        found = storage.streams(category=None, after="", limit=bounds["limit"])
        return [(one.name, one.version, one.last_position) for one in found]

    return ask


def _facts(events: list[hansard.RecordedEvent]) -> list[tuple[Any, ...]]:
    return [(e.position, e.stream, e.version, e.type, e.id, e.data, e.tags) for e in events]
