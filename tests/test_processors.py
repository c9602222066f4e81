"""Processors: named handlers with a checkpoint, their retries, their dead letters, and the ways in which handlers are bad."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import (
    PARK,
    SKIP,
    DefinitionChanged,
    Event,
    HandlerLoop,
    HandlerTimedOut,
    InvalidInput,
    InvalidType,
    ProcessorStopped,
    Query,
    RecordedEvent,
    Retry,
    StoreUnusable,
    Transaction,
    WaitTimedOut,
)
from hansard.processors.definitions import Processor
from hansard.storage.port import Capability
from hansard.store import Store
from hansard.testing.builders import events
from places import DATABASES, ENGINES, database, place_of

AT_ONCE = Retry(attempts=3, first_s=0.0)


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


class Seen:
    """A handler that notes what it gets, and fails where it is told to."""

    def __init__(self, fails_at: dict[int, int] | None = None) -> None:
        self.positions: list[int] = []
        self.fails_at = fails_at or {}

    def handle(self, event: RecordedEvent) -> None:
        if self.fails_at.get(event.position, 0) > 0:
            self.fails_at[event.position] -= 1
            raise ValueError(f"not {event.position}")
        self.positions.append(event.position)


def counted(event: RecordedEvent, transaction: Transaction) -> None:
    """Counts the events of each stream, through the transaction."""
    transaction.put("counts", event.stream, transaction.get("counts", event.stream, 0) + 1)


# Checkpoints


def test_a_processor_gets_each_event_once_and_goes_on_where_it_was(store: Store) -> None:
    """A restart would handle everything again, or skip what came meanwhile."""
    seen = Seen()
    store.append("a-1", events(3))
    store.catch_up(Processor("p", seen))
    store.append("a-1", events(2))
    store.catch_up(Processor("p", seen))
    assert seen.positions == [1, 2, 3, 4, 5]
    assert store.reader("p").status().checkpoint == 5


def test_a_processor_asks_for_its_query_only(store: Store) -> None:
    """Mails would be sent for events that nobody asked for."""
    seen = Seen()
    store.append("a-1", [Event("odd" if n % 2 else "even") for n in range(1, 1_201)])
    store.catch_up(Processor("p", seen, query=Query(types={"even"})))
    assert seen.positions == list(range(2, 1_201, 2))


@pytest.mark.parametrize(("after", "first"), [(0, 1), (2, 3), ("head", 4)])
def test_a_new_processor_begins_where_it_is_told(store: Store, after: Any, first: int) -> None:
    """A new mailer would send mails for everything that has ever happened."""
    store.append("a-1", events(3))
    seen = Seen()
    store.catch_up(Processor("p", seen, after=after))
    store.add("a-1", "later")
    store.catch_up(Processor("p", seen, after=after))
    assert seen.positions == list(range(first, 5))


def test_exactly_once_effects_and_checkpoint_are_one(store: Store) -> None:
    """A failing handler would leave half of its effects, or double them at the next attempt."""
    failures = {2: 1, 5: 2}

    def handler(event: RecordedEvent, transaction: Transaction) -> None:
        counted(event, transaction)
        if failures.get(event.position, 0):
            failures[event.position] -= 1
            raise ValueError("after the effect")

    for number in range(6):
        store.add(f"a-{number % 2}", "happened")
    store.catch_up(Processor("p", handler, exactly_once=True, retry=AT_ONCE))
    assert dict(store._storage.scan("user/counts", limit=9)) == {"a-0": b"3", "a-1": b"3"}


def test_exactly_once_in_the_users_own_tables(db: Store) -> None:
    """A user's own table would not be what the log says."""
    with db as store:
        mark = store._storage.dialect.mark
        assert Capability.CONNECTION in store.capabilities
        failures = {700: 2}

        def handler(event: RecordedEvent, transaction: Transaction) -> None:
            transaction.connection.execute("CREATE TABLE IF NOT EXISTS sums (id INTEGER PRIMARY KEY, total INTEGER)")
            transaction.connection.execute(
                f"INSERT INTO sums VALUES (1, {mark}) ON CONFLICT (id) DO UPDATE SET total = sums.total + excluded.total",
                (event.data["number"],),
            )
            if failures.get(event.position, 0):
                failures[event.position] -= 1
                raise ValueError

        store.append("a-1", events(1_000))
        store.catch_up(Processor("p", handler, exactly_once=True, retry=AT_ONCE))
        total = store._storage.transact(lambda t: t.connection.execute("SELECT total FROM sums").fetchone())
        assert total == (500_500,)


def test_a_processor_runs_in_the_background_and_stays_live(store: Store) -> None:
    """A program would have to ask again and again."""
    seen = Seen()
    store.append("a-1", events(700))
    with store.run(Processor("p", seen)) as running:
        running.wait_until_caught_up()
        for number in range(50):
            store.add("a-1", "later")
            running.wait_for("p", 701 + number)
    assert seen.positions == list(range(1, 751))
    assert store.reader("p").status().state == "idle"


def threads_of_this_store() -> int:
    """Without those of a server in the same process."""
    others = ("hansard-server", "hansard-transaction", "hansard-writer", "hansard-reader")
    return sum(not thread.name.startswith(others) for thread in threading.enumerate())


def test_many_processors_share_few_threads(store: Store) -> None:
    """A hundred processors would need a hundred threads."""
    seen = [Seen() for _ in range(100)]
    before = threads_of_this_store()
    with store.run(*[Processor(f"p{number}", one) for number, one in enumerate(seen)], threads=3) as running:
        for _ in range(5):
            store.add("a-1", "tick")
        running.wait_until_caught_up()
        assert threads_of_this_store() - before <= 10
    assert all(one.positions == [1, 2, 3, 4, 5] for one in seen)


def test_own_writes_are_waited_for_from_anywhere(store: Store) -> None:
    """A web page would show what was before the user's own change."""
    with store.run(Processor("p", Seen(), query=Query(types={"wanted"}))):
        appended = store.append("a-1", [Event("wanted"), Event("other")])
        store.reader("p").wait_for(appended.last_position, 5)
    store.add("a-1", "other")
    store.reader("p").wait_for(3, 0)  # nothing that it reads lies between
    store.add("a-1", "wanted")
    with pytest.raises(WaitTimedOut, match="not yet at 4") as caught:
        store.reader("p").wait_for(4, 0.01)
    assert (caught.value.position, caught.value.reached) == (4, 2)


def test_async_handlers_are_awaited_in_order(store: Store) -> None:
    """An async handler would never run, or all of its calls at once."""
    calls: list[str] = []

    async def handler(event: RecordedEvent) -> None:
        calls.append(f"begin {event.position}")
        await asyncio.sleep(0)
        calls.append(f"end {event.position}")

    store.append("a-1", events(2))
    store.catch_up(Processor("p", handler))
    assert calls == ["begin 1", "end 1", "begin 2", "end 2"]


async def test_the_async_store_runs_processors(tmp_path: Path) -> None:
    """The async face would lack a third of the product."""
    seen = Seen({2: 3})
    async with hansard.aio.open(tmp_path / "log.db") as store:
        await store.append("a-1", events(3))
        processor = Processor("p", seen, on_failure=PARK, retry=AT_ONCE)
        async with store.run(processor) as running:
            await running.wait_until_caught_up()
            await running.wait_for("p", 3)
            assert (running.position("p"), running.stopped, running.errors) == (3, {}, [])
        reader = store.reader("p")
        assert (await reader.status()).dead_letters == 2
        assert [letter.position for letter in await reader.dead_letters.list()] == [2, 3]
        assert await reader.dead_letters.retry() == 1
        await store.append("b-1", events(1))
        await store.catch_up(processor)
        await reader.wait_for(4)
        assert [status.name async for status in store.readers()] == ["p"]
    assert sorted(seen.positions) == [1, 2, 3, 4]


# Failing


def test_a_failing_event_is_tried_again_with_growing_pauses(store: Store) -> None:
    """A passing fault would stop the work, or be hammered on."""
    assert [Retry(5, 0.1, 2, 0.5).pause_s(n) for n in range(1, 6)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    seen = Seen({2: 2})
    store.append("a-1", events(3))
    start = time.monotonic()
    store.catch_up(Processor("p", seen, retry=Retry(attempts=3, first_s=0.05, factor=2)))
    assert seen.positions == [1, 2, 3]
    assert time.monotonic() - start >= 0.15


@pytest.mark.parametrize("exactly_once", [False, True])
def test_stop_stops_at_the_event_and_goes_on_from_it(store: Store, exactly_once: bool) -> None:
    """An event that failed would be skipped, or those after it handled without it."""
    fails = {2: 3}

    def handler(event: RecordedEvent, *_: object) -> None:
        if fails.get(event.position, 0):
            fails[event.position] -= 1
            raise ValueError("no such customer")
        seen.append(event.position)

    seen: list[int] = []
    processor = Processor("p", handler, retry=AT_ONCE, exactly_once=exactly_once)
    store.append("a-1", events(3))
    with pytest.raises(ProcessorStopped, match="'p' has stopped at position 2: ValueError: no such customer") as caught:
        store.catch_up(processor)
    assert isinstance(caught.value.__cause__, ValueError)
    status = store.reader("p").status()
    assert (status.state, status.checkpoint) == ("stopped", 1)
    assert (status.failure.position, status.failure.attempts, status.failure.error) == (2, 3, "ValueError: no such customer")
    store.catch_up(processor)
    assert sorted(set(seen)) == [1, 2, 3]
    assert store.reader("p").status().state == "idle"


def test_a_stopped_processor_does_not_stop_the_others(store: Store) -> None:
    """One bad handler would stop all reactions of a program."""
    told: list[tuple[str, Exception]] = []
    good = Seen()
    store.append("a-1", events(3))
    bad = Processor("bad", Seen({1: 9}), retry=Retry(attempts=1))
    with store.run(bad, Processor("good", good), on_error=lambda name, error: told.append((name, error))) as running:
        running.wait_for("good", 3)
        with pytest.raises(ProcessorStopped):
            running.wait_for("bad", 3)
        assert list(running.stopped) == ["bad"]
    assert good.positions == [1, 2, 3]
    assert [(name, type(error)) for name, error in told] == [("bad", ProcessorStopped)]


@pytest.mark.parametrize("exactly_once", [False, True])
def test_skip_leaves_a_dead_letter_and_goes_on(store: Store, exactly_once: bool) -> None:
    """A skipped event would leave no trace."""

    def handler(event: RecordedEvent, *_: object) -> None:
        seen.handle(event)

    seen = Seen({2: 3})
    processor = Processor("p", handler, on_failure=SKIP, retry=AT_ONCE, exactly_once=exactly_once)
    store.append("a-1", events(3))
    store.catch_up(processor)
    assert sorted(set(seen.positions)) == [1, 3]
    (letter,) = store.reader("p").dead_letters
    assert (letter.position, letter.stream, letter.type, letter.attempts) == (2, "a-1", "happened", 3)
    assert (letter.error, letter.is_parked) == ("ValueError: not 2", False)
    assert store.reader("p").dead_letters.retry("a-1") == 1
    store.add("a-1", "later")
    store.catch_up(processor)
    assert sorted(set(seen.positions)) == [1, 2, 3, 4]
    assert list(store.reader("p").dead_letters) == []


@pytest.mark.parametrize("exactly_once", [False, True])
def test_park_keeps_a_stream_in_order_while_others_go_on(store: Store, exactly_once: bool) -> None:
    """Later events of the stream would be handled before the one that failed, or all streams would stand."""

    def handler(event: RecordedEvent, *_: object) -> None:
        if fails.get(event.position, 0):
            fails[event.position] -= 1
            raise ValueError("not yet")
        if event.position not in seen:
            seen.append(event.position)

    seen: list[int] = []
    fails = {3: 4}  # three attempts, and the first retry of the letter
    processor = Processor("p", handler, on_failure=PARK, retry=AT_ONCE, exactly_once=exactly_once)
    for number in range(1, 9):
        store.add("a-1" if number % 2 else "b-1", "happened")
    store.catch_up(processor)
    assert seen == [1, 2, 4, 6, 8]
    letters = list(store.reader("p").dead_letters)
    assert [letter.position for letter in letters] == [3, 5, 7]
    assert [letter.attempts for letter in letters] == [3, 0, 0]
    assert "waits behind" in letters[1].error
    assert store.reader("p").dead_letters.sequences() == ["a-1"]
    store.add("a-1", "happened")
    store.catch_up(processor)
    assert seen == [1, 2, 4, 6, 8]

    def try_again() -> None:
        store.reader("p").dead_letters.retry("a-1")
        store.add("b-1", "tick")
        store.catch_up(processor)

    try_again()
    assert [letter.attempts for letter in store.reader("p").dead_letters] == [4, 0, 0, 0]
    try_again()
    assert list(store.reader("p").dead_letters) == []
    assert seen == [1, 2, 4, 6, 8, 10, 3, 5, 7, 9, 11]
    store.add("a-1", "later")
    store.catch_up(processor)
    assert seen[-1] == 12


def test_a_discarded_letter_frees_its_stream(store: Store) -> None:
    """A stream would stay parked for ever because of one event that nobody can handle."""
    seen = Seen({1: 99})
    processor = Processor("p", seen, on_failure=PARK, retry=AT_ONCE)
    store.append("a-1", events(3))
    store.catch_up(processor)
    letters = store.reader("p").dead_letters
    with pytest.raises(InvalidInput, match="no dead letter there"):
        letters.discard("a-1", 9)
    with pytest.raises(InvalidInput, match="no dead letters of this sequence"):
        letters.discard("a-2")
    assert letters.discard("a-1", 1) == 1
    store.add("a-1", "later")
    store.catch_up(processor)
    assert seen.positions == []  # two letters still stand before it
    letters.retry("a-1")
    store.catch_up(processor)
    assert seen.positions == [2, 3, 4]
    assert letters.sequences() == []


def test_park_by_a_key_of_ones_own(store: Store) -> None:
    """Order would be kept by stream where the business keeps it by customer."""
    seen = Seen({1: 99})
    processor = Processor("p", seen, on_failure=PARK, retry=AT_ONCE, partition_by=lambda event: event.data["customer"])
    for number, customer in enumerate(["jo", "al", "jo", "al"]):
        store.add(f"order-{number}", "placed", {"customer": customer})
    store.catch_up(processor)
    assert seen.positions == [2, 4]
    assert [(letter.sequence, letter.position) for letter in store.reader("p").dead_letters] == [("jo", 1), ("jo", 3)]


def test_letters_of_streams_with_names_alike_do_not_mix(store: Store) -> None:
    """A retry of one stream would handle another one's letters."""
    names = ["a-1", "a-1\n", "a-1\n2", "a-1 "]
    seen = Seen(dict.fromkeys(range(1, 5), 3))
    processor = Processor("p", seen, on_failure=PARK, retry=AT_ONCE)
    for name in names:
        store.add(name, "happened")
    store.catch_up(processor)
    letters = store.reader("p").dead_letters
    assert sorted(letters.sequences()) == sorted(names)
    letters.retry("a-1")
    store.add("b-1", "tick")
    store.catch_up(processor)
    assert sorted(letters.sequences()) == sorted(names[1:])
    assert letters.discard("a-1\n") == 1
    assert sorted(letters.sequences()) == sorted(names[2:])


# Replays


def test_a_reset_does_not_send_the_mails_again(store: Store) -> None:
    """A rebuild would repeat effects that cannot be taken back."""
    mails, model = Seen(), Seen()
    store.append("a-1", events(3))
    processors = [Processor("mails", mails), Processor("model", model, replay_safe=True)]
    store.catch_up(*processors)
    for name in ("mails", "model"):
        store.reader(name).reset(0)
    store.append("a-1", events(1))
    store.catch_up(*processors)
    assert mails.positions == [1, 2, 3, 4]
    assert model.positions == [1, 2, 3, 1, 2, 3, 4]


def test_a_reset_reaches_a_processor_that_runs(store: Store) -> None:
    """A running processor would overwrite the reset with its own checkpoint."""
    seen = Seen()
    store.append("a-1", events(3))
    with store.run(Processor("p", seen, replay_safe=True, checkpoint_s=0), lease_s=0.3) as running:
        running.wait_until_caught_up()
        store.reader("p").reset(1)
        deadline = time.monotonic() + 10
        while len(seen.positions) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert seen.positions == [1, 2, 3, 2, 3]


def test_a_changed_query_needs_a_new_version(store: Store) -> None:
    """A processor would go on with another question, and never see what the new one matches in the past."""
    seen = Seen()
    store.append("a-1", [Event("one"), Event("two")])
    store.catch_up(Processor("p", seen, query=Query(types={"one"})))
    with pytest.raises(DefinitionChanged, match=r"it was of .*one.*, now it is of .*two.*; give it a new version"):
        store.catch_up(Processor("p", seen, query=Query(types={"two"})))
    store.catch_up(Processor("p", seen, query=Query(types={"two"}), version=2, replay_safe=True))
    assert seen.positions == [1, 2]
    with pytest.raises(DefinitionChanged, match="version 2 has run already"):
        store.catch_up(Processor("p", seen, query=Query(types={"one"})))


# Orders from outside


def test_pause_resume_and_throttle(store: Store) -> None:
    """A processor that overloads something could only be stopped by stopping the program."""
    seen = Seen()
    with store.run(Processor("p", seen)) as running:
        store.add("a-1", "first")
        running.wait_for("p", 1)
        reader = store.reader("p")
        reader.pause()
        time.sleep(0.4)
        store.append("a-1", events(100))
        time.sleep(0.3)
        assert (seen.positions, reader.status().state) == ([1], "paused")
        reader.throttle(200)
        start = time.monotonic()
        reader.resume()
        running.wait_for("p", 101)
        assert time.monotonic() - start > 0.3
        reader.throttle(None)
        time.sleep(0.4)
        store.append("a-1", events(100))
        running.wait_for("p", 201)
    assert seen.positions == list(range(1, 202))


def test_statuses_tell_what_there_is(store: Store) -> None:
    """An operator would see nothing."""
    store.append("a-1", events(3))
    store.catch_up(Processor("b", Seen()), Processor("a", Seen(), partitions=3, version=2))
    store.add("a-1", "later")
    first, second = store.readers()
    assert (first.name, first.version, first.kind, first.lag, len(first.partitions)) == ("a", 2, "processor", 1, 3)
    assert (second.name, second.state, second.checkpoint, second.head, second.failure) == ("b", "idle", 3, 4, None)
    store.reader("a").forget()
    assert [status.name for status in store.readers()] == ["b"]
    with pytest.raises(InvalidInput, match="no reader of this name; known are: b"):
        store.reader("a")


# Bad handlers


def test_a_handler_that_hangs_is_timed_out(store: Store) -> None:
    """One handler that never returns would hold up all others for ever."""
    seen = Seen()
    is_over = False

    def hangs(event: RecordedEvent) -> None:
        while not is_over:
            pass

    bad = Processor("bad", hangs, timeout_s=0.1, retry=Retry(attempts=2, first_s=0))
    store.add("a-1", "first")
    with store.run(bad, Processor("good", seen), threads=1) as running:
        running.wait_for("good", 1)
        with pytest.raises(ProcessorStopped, match=r"longer than 0\.1 s") as caught:
            running.wait_for("bad", 1)
    assert isinstance(caught.value.__cause__, HandlerTimedOut)
    is_over = True
    assert seen.positions == [1]


def test_a_thread_that_a_handler_never_gives_back_is_replaced(store: Store) -> None:
    """A handler that waits inside a C function cannot be stopped; the other processors would stop with it."""
    seen, release = Seen(), threading.Event()
    reported = threading.Event()

    def hangs(event: RecordedEvent) -> None:
        release.wait(20)

    def told(name: str, error: Exception) -> None:
        if name == "bad" and "thread was replaced" in str(error):
            reported.set()

    with store.run(Processor("bad", hangs, timeout_s=0.05), threads=1, on_error=told):
        store.add("a-1", "first")
        assert reported.wait(10)
        with store.run(Processor("good", seen), threads=1) as other:
            other.wait_for("good", 1)
        release.set()
    assert seen.positions == [1]


def test_an_exactly_once_handler_that_hangs_gives_the_write_lock_back(store: Store) -> None:
    """Nobody could append any more."""
    is_over = False

    def hangs(event: RecordedEvent, transaction: Transaction) -> None:
        transaction.put("c", "half", 1)
        while not is_over:
            pass

    store.add("a-1", "first")
    with pytest.raises(ProcessorStopped, match="longer than"):
        store.catch_up(Processor("p", hangs, exactly_once=True, timeout_s=0.1, retry=Retry(attempts=1)))
    is_over = True
    assert store.add("a-1", "second").position == 2
    assert store._storage.get("user/c", ["half"]) == {}


def test_a_statement_that_takes_too_long_is_interrupted(db: Store) -> None:
    """A handler's slow query would hold the write lock as long as it likes."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with db as store:
        store.add("a-1", "first")
        slow = Processor(
            "p",
            lambda event, transaction: transaction.connection.execute(endless).fetchone() and None,
            exactly_once=True,
            timeout_s=0.1,
            retry=Retry(attempts=1),
        )
        with pytest.raises(ProcessorStopped, match="longer than"):
            store.catch_up(slow)
        assert store.add("a-1", "second").position == 2


def test_a_member_waits_for_what_another_member_does(store: Store) -> None:
    """Of two programs that run the same processors, one would wait for ever."""
    done: list[int] = []
    processor = Processor("p", lambda event: done.append(event.position))
    with store.run(processor) as first, store.run(processor) as second:
        for number in range(20):
            store.add(f"a-{number}", "happened")
        first.wait_until_caught_up(20)
        second.wait_until_caught_up(20)
        assert sorted(done) == list(range(1, 21))


def test_an_async_handler_that_hangs_is_cancelled(store: Store) -> None:
    """An async handler would wait for ever for an answer that does not come."""
    cancelled: list[int] = []

    async def hangs(event: RecordedEvent) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(event.position)
            raise

    store.add("a-1", "first")
    with pytest.raises(ProcessorStopped, match="was cancelled"):
        store.catch_up(Processor("p", hangs, timeout_s=0.05, retry=Retry(attempts=1)))
    assert cancelled == [1]


async def not_awaited() -> None: ...


@pytest.mark.parametrize("garbage", [lambda event: not_awaited(), lambda event: (n for n in ())])
def test_a_handler_that_returns_what_never_ran_has_failed(store: Store, garbage: Any) -> None:
    """A handler that forgot its `async` would seem to have worked, and do nothing."""
    store.add("a-1", "first")
    with pytest.raises(ProcessorStopped, match="was never run"):
        store.catch_up(Processor("p", garbage, retry=Retry(attempts=1)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("exactly_once", [False, True])
def test_a_handler_that_answers_itself_for_ever_is_found_out(store: Store, exactly_once: bool) -> None:
    """A loop would fill the disk."""

    def answers(event: RecordedEvent, transaction: Transaction | None = None) -> None:
        if transaction is None:
            store.add("a-1", "again")
        else:
            transaction.add("a-1", "again")

    store.add("a-1", "first")
    with (
        store.run(Processor("p", answers, exactly_once=exactly_once)) as running,
        pytest.raises(ProcessorStopped, match="looks like a loop") as caught,
    ):
        running.wait_for("p", 10_000, 180)
    assert isinstance(caught.value.__cause__, HandlerLoop)
    assert store.head() == 1_001


def test_a_handler_may_append_a_bounded_answer(store: Store) -> None:
    """Handlers that react by appending would be taken for loops."""

    def answers(event: RecordedEvent) -> None:
        store.add(f"answer-{event.position}", "answered", {"to": event.position})

    store.append("a-1", [Event("asked") for _ in range(1_500)])
    store.catch_up(Processor("p", answers, query=Query(types={"asked"})))
    assert store.head() == 3_000


def test_the_store_is_refused_inside_an_exactly_once_handler(store: Store) -> None:
    """A handler that appends by the store would wait for itself for ever."""
    store.add("a-1", "first")
    wrong = Processor("p", lambda event, transaction: store.add("b-1", "x") and None, exactly_once=True, retry=Retry(attempts=1))
    with pytest.raises(ProcessorStopped, match=r"append with the transaction|use the transaction") as caught:
        store.catch_up(wrong)
    assert isinstance(caught.value.__cause__, StoreUnusable)


def test_a_key_that_cannot_be_found_out_stops_the_processor(store: Store) -> None:
    """Events whose order is not known would be handled in any order."""
    store.add("a-1", "first", {})
    with pytest.raises(ProcessorStopped, match="KeyError"):
        store.catch_up(Processor("p", Seen(), partitions=2, partition_by=lambda event: event.data["customer"]))
    with pytest.raises(ProcessorStopped, match="partition_by"):
        store.catch_up(Processor("q", Seen(), partitions=2, partition_by=lambda event: 3))


@pytest.mark.parametrize(
    ("arguments", "error", "field"),
    [
        ({"name": ""}, InvalidInput, "name"),
        ({"name": 3}, InvalidType, "name"),
        ({"handler": "print"}, InvalidType, "handler"),
        ({"handler": Seen}, InvalidType, "handler"),
        ({"query": {"a"}}, InvalidType, "query"),
        ({"version": 0}, InvalidInput, "version"),
        ({"after": "tail"}, InvalidType, "after"),
        ({"after": -1}, InvalidInput, "after"),
        ({"partitions": 0}, InvalidInput, "partitions"),
        ({"partitions": 1_025}, InvalidInput, "partitions"),
        ({"on_failure": "explode"}, InvalidInput, "on_failure"),
        ({"on_failure": 3}, InvalidInput, "on_failure"),
        ({"timeout_s": -1}, InvalidInput, "timeout_s"),
        ({"timeout_s": "1"}, InvalidType, "timeout_s"),
        ({"checkpoint_s": -1}, InvalidInput, "checkpoint_s"),
        ({"retry": 3}, InvalidType, "retry"),
        ({"handler": not_awaited, "exactly_once": True}, InvalidInput, "exactly_once"),
    ],
)
def test_a_bad_definition_is_refused(arguments: dict[str, Any], error: type[Exception], field: str) -> None:
    """A typing error would show when the first event comes, at night."""
    with pytest.raises(error, match=field):
        Processor(**{"name": "p", "handler": Seen(), **arguments})


@pytest.mark.parametrize("arguments", [(0, 1, 2), (3, -1, 2), (3, 0.1, float("nan")), (True, 1, 2)])
def test_a_bad_retry_is_refused(arguments: tuple[Any, ...]) -> None:
    """Pauses would be endless, or none."""
    with pytest.raises(InvalidInput):
        Retry(*arguments)


def test_what_cannot_be_run_is_refused(store: Store) -> None:
    """A wrong list of processors would run a part of them, or nothing."""
    with pytest.raises(InvalidInput, match="two of them"):
        store.run(Processor("p", Seen()), Processor("p", Seen()))
    with pytest.raises(InvalidInput, match="at least one"):
        store.run()
    with pytest.raises(InvalidType, match="expected a Processor"):
        store.run(Seen())
    with pytest.raises(InvalidInput, match="threads"):
        store.run(Processor("p", Seen()), threads=0)
    with pytest.raises(InvalidInput, match="lease_s"):
        store.run(Processor("p", Seen()), lease_s=0)
    with pytest.raises(InvalidInput, match="events_per_s"):
        store.catch_up(Processor("p", Seen()))
        store.reader("p").throttle(0)
    with pytest.raises(InvalidInput, match="the log ends at 0"):
        store.reader("p").reset(7)


# What a review has found


def test_a_newer_version_ends_the_older_one_that_still_runs(store: Store) -> None:
    """In a rolling deploy the old code would move the checkpoint past events that only the new query matches."""
    old, new = Seen(), Seen()
    first = Processor("p", old, query=Query(types={"a"}), checkpoint_s=0)
    second = Processor("p", new, query=Query(types={"a", "b"}), version=2, checkpoint_s=0)
    with store.run(first, lease_s=0.5) as running:
        store.add("x-1", "a")
        running.wait_until_caught_up()
        with store.run(second, lease_s=0.5) as newer:
            store.append("x-1", [Event("b"), Event("a")])
            newer.wait_for("p", 3)
        assert "another version" in str(running.stopped["p"])
        assert len(running.errors) == 1
    store.catch_up(second)
    assert 2 in new.positions
    assert sorted({*old.positions, *new.positions}) == [1, 2, 3]


def test_letters_survive_a_save_that_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy moment would make a parked event disappear."""
    seen = Seen({1: 9})
    processor = Processor("p", seen, on_failure=PARK, retry=Retry(attempts=1), checkpoint_s=0)
    store.append("a-1", events(1))
    store.catch_up(processor)
    store.append("a-1", events(2))
    transact, fails = store._storage.transact, [True]

    def busy_once(work: Any) -> Any:
        if fails and "_write" in work.__qualname__:
            fails.pop()
            raise hansard.StoreBusy("once")
        return transact(work)

    monkeypatch.setattr(store._storage, "transact", busy_once)
    with store.run(processor) as running:
        running.wait_for("p", 3)
    assert [letter.position for letter in store.reader("p").dead_letters] == [1, 2, 3]
    assert not fails


def test_a_handler_that_times_out_while_it_waits_for_the_writer_leaves_the_lock(tmp_path: Path) -> None:
    """Nobody could append any more."""
    waiting = threading.Event()

    def handler(event: RecordedEvent) -> None:
        waiting.set()
        time.sleep(0.05)
        store.timers.set(hansard.Timer("t", timedelta(days=1), "x-1", Event("x")))

    with hansard.open(tmp_path / "log.db") as store:
        store.add("a-1", "happened")
        hasty = Processor("p", handler, timeout_s=0.15, retry=Retry(attempts=1), on_failure=SKIP)
        with store.run(hasty) as running:
            assert waiting.wait(10)
            store._storage.transact(lambda t: time.sleep(0.5))
            assert store.add("b-1", "later").position == 2
            running.wait_for("p", 2)


def test_a_long_page_is_saved_paused_and_kept_in_between(store: Store) -> None:
    """Slow handlers would repeat hundreds of events after a crash, and nobody could stop them."""
    handled: list[int] = []

    def slow(event: RecordedEvent) -> None:
        handled.append(event.position)
        time.sleep(0.01)

    store.append("a-1", events(300))
    with store.run(Processor("p", slow)) as running:
        time.sleep(0.5)
        reader = store.reader("p")
        assert len(handled) - reader.status().checkpoint < 60
        reader.pause()
        time.sleep(0.5)
        count = len(handled)
        time.sleep(0.2)
        assert len(handled) == count < 300
        assert running.position("p") == count


def test_events_before_one_without_a_key_are_handled_once(store: Store) -> None:
    """Each start would repeat what stands before the bad event."""
    seen = Seen()
    for data in ({"k": "x"}, {"k": "y"}, {}):
        store.add("a-1", "happened", data)
    processor = Processor("p", seen, partitions=2, partition_by=lambda event: event.data["k"])
    for _ in range(2):
        with pytest.raises(ProcessorStopped, match="position 3: KeyError"):
            store.catch_up(processor)
    assert seen.positions == [1, 2]


def test_a_callback_that_raises_does_not_end_the_work(store: Store) -> None:
    """A mistake in the error report would stop the processors silently."""
    seen = Seen()

    def told(name: str, error: Exception) -> None:
        raise RuntimeError("in the report")

    bad = Processor("bad", Seen({1: 9}), retry=Retry(attempts=1))
    with store.run(bad, Processor("good", seen), threads=1, on_error=told) as running:
        store.append("a-1", events(2))
        running.wait_for("good", 2)
        deadline = time.monotonic() + 10
        while len(running.errors) < 2 and time.monotonic() < deadline:  # the other one may be stepped after it
            time.sleep(0.01)
        assert [name for name, _ in running.errors] == ["bad", "on_error"]


def test_catching_up_beside_a_runner_that_has_stopped_tells_it(store: Store) -> None:
    """A script would wait for ever for a processor that stands still elsewhere."""
    store.append("a-1", events(2))
    bad = Processor("p", Seen({1: 99}), retry=Retry(attempts=1))
    with store.run(bad) as running:
        with pytest.raises(ProcessorStopped):
            running.wait_for("p", 2)
        with pytest.raises(ProcessorStopped, match="position 1"):
            store.catch_up(bad, timeout_s=20)


def test_a_letter_that_is_discarded_while_it_is_tried_stays_away(store: Store) -> None:
    """What an operator has given up would come back."""

    def handler(event: RecordedEvent) -> None:
        if store.reader("p").dead_letters.sequences():
            store.reader("p").dead_letters.discard("a-1")
        raise ValueError

    processor = Processor("p", handler, on_failure=PARK, retry=Retry(attempts=1))
    store.append("a-1", events(1))
    store.catch_up(processor)
    store.reader("p").dead_letters.retry()
    store.catch_up(processor)
    assert list(store.reader("p").dead_letters) == []


async def test_a_cancelled_catch_up_ends_and_can_be_repeated(tmp_path: Path) -> None:
    """Its thread would go on for ever and keep the others from working."""
    seen: list[int] = []

    def slow(event: RecordedEvent) -> None:
        time.sleep(0.02)
        seen.append(event.position)

    async with hansard.aio.open(tmp_path / "log.db") as store:
        await store.append("a-1", events(50))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await store.catch_up(Processor("p", slow))
        assert len(seen) < 50
        await store.catch_up(Processor("p", slow), timeout_s=20)
    assert seen == list(range(1, 51))
