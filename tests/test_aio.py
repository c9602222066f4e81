"""The async face: the same store, awaited."""

import asyncio
from pathlib import Path

import pytest

import hansard
from hansard import AppendCondition, Event, HandlersFailed, Query, StreamAppend, WrongExpectedVersion
from hansard.aio import AsyncStore
from hansard.testing.invariants import assert_log_holds
from places import ENGINES, place_of


@pytest.fixture(params=ENGINES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncStore:
    place = place_of(request.param, tmp_path)
    async with hansard.aio.open(place) as store:
        yield store


async def test_the_whole_face_works(store: AsyncStore) -> None:
    """A verb of the async face would do something else than its sync twin."""
    calls: list[str] = []
    store.on("created", lambda event: calls.append(event.type))

    @store.on("*")
    async def later(event: hansard.RecordedEvent) -> None:
        await asyncio.sleep(0)
        calls.append("async")

    recorded = await store.add("a-1", "created", {"n": 1}, tags={"x"})
    assert calls == ["created", "async"]
    assert await store.all("a-1") == [recorded]
    appended = await store.append("a-1", [Event("two"), Event("three")], expected_version=1)
    assert (appended.version, await store.head()) == (3, 3)
    await store.append_streams([StreamAppend("b-1", [Event("four")])])
    assert [e.position async for e in store.read(Query(tags={"x"}))] == [1]
    assert [e.version async for e in store.read_stream("a-1", backwards=True, limit=2)] == [3, 2]
    assert [s.name async for s in store.streams()] == ["a-1", "b-1"]
    assert (await store.stream("a-1")).version == 3
    assert await store.event(recorded.id) == recorded
    assert (await store.restore([recorded])).is_repeat
    assert await store.wait(2, 1) == 4
    assert "none" in store.durability or "fsync" in store.durability
    async with store.subscribe(after=3) as events:
        assert (await anext(events)).type == "four"


async def test_reads_go_over_pages(store: AsyncStore) -> None:
    """Long reads would end early."""
    await store.append("a-1", [Event("one") for _ in range(2_500)])
    assert [e.position async for e in store.read()] == list(range(1, 2_501))
    assert [e.version async for e in store.read_stream("a-1")] == list(range(1, 2_501))


async def test_errors_reach_the_caller(store: AsyncStore) -> None:
    """A conflict would be lost between the threads."""
    with pytest.raises(WrongExpectedVersion):
        await store.append("a-1", [Event("one")], expected_version=7)
    store.on("*", lambda event: 1 / 0)
    with pytest.raises(HandlersFailed) as caught:
        await store.add("a-1", "one")
    assert caught.value.recorded.position == 1


async def test_many_tasks_append_at_once(store: AsyncStore) -> None:
    """Appends that meet in one group would be lost, doubled or mixed up."""

    async def client(number: int) -> None:
        for version in range(10):
            appended = await store.append(f"c-{number}", [Event("one", number)], expected_version=version)
            assert appended.version == version + 1

    await asyncio.gather(*[client(number) for number in range(100)])
    assert await store.head() == 1_000
    for number in range(100):
        assert [e.data async for e in store.read_stream(f"c-{number}")] == [number] * 10


async def test_of_racing_tasks_exactly_one_wins(store: AsyncStore) -> None:
    """Two tasks would both get the same name."""

    async def claim(name: str) -> bool:
        try:
            query = Query(tags={name})
            await store.append(None, Event("claimed", tags={name}), condition=AppendCondition(query))
        except hansard.AppendConditionFailed:
            return False
        return True

    for number in range(20):
        assert sum(await asyncio.gather(*[claim(f"name:{number}") for _ in range(10)])) == 1


async def test_a_cancelled_append_harms_nobody(store: AsyncStore) -> None:
    """A client that gives up would break its neighbours in the group."""
    given = [Event("one")]
    cancelled = asyncio.ensure_future(store.append("a-1", given))
    others = [asyncio.ensure_future(store.append(f"b-{n}", [Event("one")])) for n in range(20)]
    await asyncio.sleep(0)
    cancelled.cancel()
    assert {appended.version for appended in await asyncio.gather(*others)} == {1}
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await store.append("a-1", given)).version == 1
    assert await store.head() == 21


async def test_a_task_started_by_a_handler_has_its_own_handlers_called(store: AsyncStore) -> None:
    """Events appended by a background task of a handler would never be handled."""
    tasks: list[asyncio.Task[object]] = []
    handled: list[str] = []

    @store.on("one")
    async def start(event: hansard.RecordedEvent) -> None:
        async def work() -> None:
            await asyncio.sleep(0.01)
            await store.add("a-1", "two")

        tasks.append(asyncio.create_task(work()))

    store.on("two", lambda event: handled.append(event.type))
    await store.add("a-1", "one")
    await asyncio.gather(*tasks)
    assert handled == ["two"]


async def test_a_subscription_is_live(tmp_path: Path) -> None:
    """A live reader would miss events of tasks, threads or other store objects."""
    place = str(tmp_path / "log.db")
    async with hansard.aio.open(place) as store:
        subscription = store.subscribe()

        async def listen() -> list[int]:
            seen = []
            async with subscription as events:
                async for event in events:
                    seen.append(event.position)
                    if event.type == "last":
                        break
            return seen

        listening = asyncio.create_task(listen())
        for _ in range(50):
            await store.add("a-1", "one")
        with hansard.open(place) as other:
            other.add("a-1", "last")
        assert await asyncio.wait_for(listening, 30) == list(range(1, 52))


async def test_open_can_be_awaited_and_failures_show(tmp_path: Path) -> None:
    """A wrong path would hang or give a broken store."""
    store = await hansard.aio.open(str(tmp_path / "log.db"))
    await store.add("a-1", "one")
    await store.close()
    with pytest.raises(hansard.StoreClosed):
        await store.add("a-1", "one")
    with pytest.raises(hansard.StoreNotFound):
        await hansard.aio.open(str(tmp_path / "none.db"), read_only=True)
    with hansard.open(str(tmp_path / "log.db")) as again:
        assert len(assert_log_holds(again)) == 1
