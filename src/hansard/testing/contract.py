"""The contract kit: what every engine must do, as tests. Anyone's engine can be held to it.

    class TestMyEngine(StorageContract):
        def make_storage(self, folder, clock_us):
            return MyStorage(folder / "log", clock_us=clock_us)

Each test says in one sentence what would be broken if it failed.
"""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest

from hansard.appends import Append, Appended, StreamAppend
from hansard.errors import (
    AppendConditionFailed,
    Conflict,
    DuplicateEventId,
    HansardError,
    InvalidInput,
    StoreClosed,
    WrongExpectedVersion,
)
from hansard.events import Event
from hansard.limits import NAME_CHARS_MAX, PAGE_EVENTS_MAX, POSITION_MAX
from hansard.query import AppendCondition, Query, QueryItem
from hansard.storage.port import Storage, Ticket
from hansard.store import Store
from hansard.streams import ANY, NO_STREAM, STREAM_EXISTS
from hansard.testing.builders import event, events
from hansard.testing.invariants import assert_log_holds
from hansard.testing.transactions_contract import TransactionContract


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now_us


class StorageContract(TransactionContract):
    """Subclass it and say how a storage is made."""

    def make_storage(self, folder: Path, clock_us: Callable[[], int]) -> Storage:
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def storage(self, tmp_path: Path, clock: Clock) -> Iterator[Storage]:
        storage = self.make_storage(tmp_path, clock)
        yield storage
        storage.close()

    @pytest.fixture
    def store(self, storage: Storage) -> Iterator[Store]:
        store = Store(storage)
        yield store
        try:
            store.head()
        except StoreClosed:
            return
        assert_log_holds(store)

    # Appending

    def test_an_empty_log_has_head_0_and_no_events(self, store: Store) -> None:
        """An empty log would look as if something had happened."""
        assert store.head() == 0
        assert list(store.read()) == []
        assert list(store.streams()) == []
        assert store.stream("a-1").version == 0
        assert store.all("a-1") == []

    def test_positions_and_versions_count_from_1_without_gaps(self, store: Store) -> None:
        """Readers that rest on gapless positions would lose or double events."""
        assert store.append("a-1", events(2)) == Appended(1, 2, 2, {"a-1": 2}, 0)
        assert store.append("b-1", events(1)) == Appended(3, 3, 1, {"b-1": 1}, 0)
        assert store.append("a-1", events(1)) == Appended(4, 4, 3, {"a-1": 3}, 0)
        assert [(e.position, e.stream, e.version) for e in store.read()] == [
            (1, "a-1", 1),
            (2, "a-1", 2),
            (3, "b-1", 1),
            (4, "a-1", 3),
        ]

    def test_an_event_comes_back_as_it_was_given(self, store: Store) -> None:
        """Facts would change by being stored."""
        given = Event("happened", {"ä": [1, 2.5, None, True]}, {"by": "jo"}, {"x", "y:1"})
        store.append("a-1", given)
        (found,) = store.read()
        assert (found.type, found.data) == ("happened", {"ä": [1, 2.5, None, True]})
        assert found.metadata == {"by": "jo"}
        assert found.tags == {"x", "y:1"}
        assert (found.id, found.data_json, found.metadata_json) == (given.id, given.data_json, given.metadata_json)

    def test_json_text_comes_back_byte_for_byte(self, store: Store) -> None:
        """Signatures over the stored bytes would break."""
        text = b' {"b" : 1.0,\n "a":12345678901234567890123456789, "a": "\\u0000\\u00e9" } '
        store.append("a-1", Event("raw", data_json=text, metadata_json=b'{ "z":1e2}'))
        (found,) = store.read()
        assert (found.data_json, found.metadata_json) == (text, b'{ "z":1e2}')

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**40, -(10**40), 0.1, 1e308, -0.0, 5e-324])
    def test_numbers_come_back_exactly(self, store: Store, number: float) -> None:
        """Amounts would change by being stored."""
        store.append("a-1", Event("counted", {"n": number}))
        (found,) = store.read()
        assert repr(found.data["n"]) == repr(number)

    @pytest.mark.parametrize(
        "name",
        [
            "a",
            "ä-1",
            "🦉-🦉",
            "a b/c:d'e\"f#%_*",
            "A-1",
            "é",
            "e\u0301",
            " a ",
            "\u202e",
            "a\nb\t\x01",
            "x" * NAME_CHARS_MAX,
        ],
    )
    def test_names_are_never_changed(self, store: Store, name: str) -> None:
        """Two names would become one, or one two."""
        store.append(name, Event(name, tags={name}))
        (found,) = store.read(Query(types={name}, tags={name}, stream=name))
        assert (found.stream, found.type) == (name, name)
        assert found.tags == {name}
        assert [stream.name for stream in store.streams()] == [name]

    def test_names_differ_by_case_and_by_composition(self, store: Store) -> None:
        """Names that are equal only to some people would share a stream."""
        for name in ("a", "A", "é", "e\u0301"):
            store.append(name, events(1))
        assert [stream.version for stream in store.streams()] == [1, 1, 1, 1]

    def test_several_streams_are_appended_in_the_order_given(self, store: Store) -> None:
        """The order of one transaction would be lost."""
        parts = [StreamAppend("a-1", events(2)), StreamAppend("b-1", events(1)), StreamAppend("a-1", events(1))]
        appended = store.append_streams(parts)
        assert (appended.first_position, appended.last_position) == (1, 4)
        assert (appended.version, appended.versions) == (None, {"a-1": 3, "b-1": 1})
        assert [(e.stream, e.version) for e in store.read()] == [("a-1", 1), ("a-1", 2), ("b-1", 1), ("a-1", 3)]

    def test_an_append_over_several_streams_is_all_or_nothing(self, store: Store) -> None:
        """A transfer would leave one account and not reach the other."""
        store.append("b-1", events(1))
        with pytest.raises(WrongExpectedVersion):
            store.append_streams([StreamAppend("a-1", events(1)), StreamAppend("b-1", events(1), NO_STREAM)])
        assert store.head() == 1
        assert store.stream("a-1").version == 0

    def test_a_later_part_sees_the_earlier_part_of_its_stream(self, store: Store) -> None:
        """A stream could not come twice in one append with exact versions."""
        store.append_streams([StreamAppend("a-1", events(2), NO_STREAM), StreamAppend("a-1", events(1), 2)])
        with pytest.raises(WrongExpectedVersion) as caught:
            store.append_streams([StreamAppend("a-1", events(1), 3), StreamAppend("a-1", events(1), 3)])
        assert (caught.value.expected, caught.value.current) == (3, 4)

    def test_events_without_a_stream_have_position_only(self, store: Store) -> None:
        """Events that belong to several things at once could not be stored."""
        appended = store.append(None, [event(tags={"x"}), event(tags={"y"})])
        assert (appended.last_position, appended.version, appended.versions) == (2, None, {})
        found = list(store.read(Query(tags={"y"})))
        assert [(e.position, e.stream, e.version, e.category) for e in found] == [(2, None, None, None)]

    def test_a_large_append_is_stored_whole(self, store: Store) -> None:
        """Appends over more than one page would lose events."""
        count = 2 * PAGE_EVENTS_MAX + 7
        store.append("a-1", events(count))
        assert [e.data["number"] for e in store.read_stream("a-1")] == list(range(1, count + 1))

    # Time

    def test_time_is_that_of_the_append_and_never_goes_back(self, store: Store, clock: Clock) -> None:
        """A clock that is set back would make the log lie about its order."""
        store.append("a-1", events(2))
        clock.now_us -= 5_000_000
        store.append("a-1", events(1))
        clock.now_us += 9_000_000
        store.append("b-1", events(1))
        start = 1_700_000_000_000_000
        assert [e.timestamp_us - start for e in store.read()] == [0, 0, 0, 4_000_000]
        (last,) = store.read(backwards=True, limit=1)
        assert last.timestamp.isoformat() == "2023-11-14T22:13:24+00:00"

    def test_restored_events_keep_their_ids_times_and_bytes(self, store: Store, clock: Clock) -> None:
        """A copy of a log would not be the same log."""
        with Store(_memory_like(store, clock)) as source:
            source.append("a-1", [event("one", {"n": 1}, tags={"x"}), event("two")])
            clock.now_us += 10
            source.append(None, event("three"))
            given = list(source.read())
        clock.now_us += 1_000_000
        store.restore(given)
        assert list(store.read()) == given
        assert store.restore(given).is_repeat

    def test_restored_times_may_not_go_back(self, store: Store, clock: Clock) -> None:
        """Time would go back in a log that was copied into another one."""
        with Store(_memory_like(store, clock)) as source:
            source.append("a-1", events(1))
            given = list(source.read())
        clock.now_us += 1
        store.append("b-1", events(1))
        with pytest.raises(InvalidInput, match="timestamps_us"):
            store.restore(given)
        assert store.head() == 1

    # Expected versions

    @pytest.mark.parametrize("expected", [ANY, NO_STREAM, 0])
    def test_expected_version_holds_for_a_new_stream(self, store: Store, expected: int) -> None:
        """The first event of a stream could not be stored."""
        assert store.append("a-1", events(1), expected_version=expected).version == 1

    @pytest.mark.parametrize("expected", [ANY, STREAM_EXISTS, 2])
    def test_expected_version_holds_for_a_stream(self, store: Store, expected: int) -> None:
        """A writer that has read the stream could not go on."""
        store.append("a-1", events(2))
        assert store.append("a-1", events(1), expected_version=expected).version == 3

    @pytest.mark.parametrize("expected", [STREAM_EXISTS, 1, POSITION_MAX])
    def test_expected_version_fails_for_a_new_stream(self, store: Store, expected: int) -> None:
        """A writer would go on with a stream that is not there."""
        with pytest.raises(WrongExpectedVersion) as caught:
            store.append("a-1", events(1), expected_version=expected)
        assert (caught.value.stream, caught.value.expected, caught.value.current) == ("a-1", expected, 0)
        assert store.head() == 0

    @pytest.mark.parametrize("expected", [NO_STREAM, 0, 1, 3])
    def test_expected_version_fails_for_a_stream(self, store: Store, expected: int) -> None:
        """Of two writers the later would overrule the earlier."""
        store.append("a-1", events(2))
        with pytest.raises(WrongExpectedVersion) as caught:
            store.append("a-1", events(1), expected_version=expected)
        assert (caught.value.expected, caught.value.current) == (expected, 2)
        assert store.head() == 2

    # Conditions

    @pytest.fixture
    def courses(self, store: Store) -> Store:
        """Five events: positions 1 to 5."""
        store.append("course-1", event("defined", tags={"course:1"}))
        store.append("student-1", event("registered", tags={"student:1"}))
        store.append(None, event("subscribed", tags={"course:1", "student:1"}))
        store.append(None, event("subscribed", tags={"course:1", "student:2"}))
        store.append("course", event("defined", tags={"course:2"}))
        return store

    @pytest.mark.parametrize(
        ("query", "after", "position"),
        [
            (Query(), 0, 1),
            (Query(), 4, 5),
            (Query(types={"subscribed"}), 0, 3),
            (Query(types={"subscribed"}), 3, 4),
            (Query(types={"subscribed", "defined"}), 1, 3),
            (Query(tags={"course:1"}), 0, 1),
            (Query(tags={"course:1", "student:2"}), 0, 4),
            (Query(types={"subscribed"}, tags={"student:1"}), 0, 3),
            (Query(stream="student-1"), 1, 2),
            (Query(category="course"), 0, 1),
            (Query(category="course"), 1, 5),
            (Query(stream="course-1", tags={"course:1"}), 0, 1),
            (Query.of(QueryItem(tags={"nobody"}), QueryItem(types={"registered"})), 0, 2),
        ],
    )
    def test_a_condition_fails_on_the_first_match(self, courses: Store, query: Query, after: int, position: int) -> None:
        """Two decisions that exclude each other would both be stored."""
        found = next(courses.read(after=position - 1))
        with pytest.raises(AppendConditionFailed) as caught:
            courses.append("x-1", events(1), condition=AppendCondition(query, after))
        conflict = caught.value
        assert (conflict.query, conflict.after) == (query, after)
        assert (conflict.position, conflict.type) == (position, found.type)
        assert courses.head() == 5

    @pytest.mark.parametrize(
        ("query", "after"),
        [
            (Query(), 5),
            (Query(), 6),
            (Query(), POSITION_MAX),
            (Query(types={"subscribed"}), 4),
            (Query(types={"unknown"}), 0),
            (Query(tags={"course:1", "course:2"}), 0),
            (Query(tags={"course:1", "unknown"}), 0),
            (Query(types={"defined"}, tags={"student:1"}), 0),
            (Query(stream="student-1"), 2),
            (Query(stream="unknown"), 0),
            (Query(category="student"), 2),
            (Query(category="unknown"), 0),
            (Query(stream="student-1", tags={"course:1"}), 0),
            (Query(stream="student-1", types={"defined"}), 0),
            (Query.of(QueryItem(tags={"nobody"}), QueryItem(types={"registered"})), 2),
        ],
    )
    def test_a_condition_holds_when_nothing_matches_after_it(self, courses: Store, query: Query, after: int) -> None:
        """Decisions that exclude nothing would be refused."""
        assert courses.append("x-1", events(1), condition=AppendCondition(query, after)).last_position == 6

    def test_a_condition_and_a_version_must_both_hold(self, store: Store) -> None:
        """One of two guards would be ignored."""
        store.append("a-1", event("one"))
        condition = AppendCondition(Query(types={"two"}))
        with pytest.raises(WrongExpectedVersion):
            store.append("a-1", event("two"), expected_version=0, condition=condition)
        store.append("a-1", event("two"), expected_version=1, condition=condition)
        with pytest.raises(AppendConditionFailed):
            store.append("a-1", event("two"), expected_version=2, condition=condition)

    def test_a_condition_over_a_long_log_holds_and_fails(self, store: Store) -> None:
        """A long history would be looked at in another way than a short one, with another answer."""
        store.append("a-1", [event("rare", tags={"hot", "rare"})] + [event("hot", tags={"hot"}) for _ in range(1_500)])
        store.append("a-2", [event("cold", tags={"cold"}) for _ in range(1_500)])
        assert store.append(None, event(), condition=AppendCondition(Query(tags={"hot", "cold"}))).last_position == 3_002
        with pytest.raises(AppendConditionFailed) as caught:
            store.append(None, event(), condition=AppendCondition(Query(tags={"hot", "rare"})))
        assert caught.value.position == 1
        with pytest.raises(AppendConditionFailed) as caught:
            store.append(None, event(), condition=AppendCondition(Query(tags={"cold"}), after=1_600))
        assert caught.value.position == 1_601

    # Retries

    def test_the_same_append_again_gives_the_first_result(self, store: Store) -> None:
        """A client that lost its connection would store its events twice, or could not find out."""
        given = events(3)
        first = store.append("a-1", given, expected_version=0)
        store.append("a-1", events(1))
        again = store.append("a-1", given, expected_version=0)
        assert again == first
        assert (first.is_repeat, again.is_repeat) == (False, True)
        assert (again.version, again.timestamp_us) == (3, first.timestamp_us)
        assert store.head() == 4

    def test_a_retry_is_recognised_before_any_check(self, store: Store) -> None:
        """A repeated append would be told that it had lost against itself."""
        given = [event("claimed", tags={"name:jo"})]
        condition = AppendCondition(Query(tags={"name:jo"}))
        first = store.append(None, given, condition=condition)
        assert store.append(None, given, condition=condition) == first
        parts = [StreamAppend("a-1", events(2), 0), StreamAppend("b-1", events(1), 0)]
        assert store.append_streams(parts) == store.append_streams(parts)
        assert store.head() == 4

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda e: Event("other", e.data, id=e.id), "not the same"),
            (lambda e: Event(e.type, {"other": 1}, id=e.id), "not the same"),
            (lambda e: Event(e.type, e.data, {"by": "other"}, id=e.id), "not the same"),
            (lambda e: Event(e.type, e.data, tags={"other"}, id=e.id), "not the same"),
        ],
    )
    def test_a_known_id_with_another_content_is_refused(
        self, store: Store, change: Callable[[Event], Event], reason: str
    ) -> None:
        """One id would name two facts."""
        given = event("happened", {"n": 1})
        store.append("a-1", given)
        with pytest.raises(DuplicateEventId, match=reason) as caught:
            store.append("a-1", change(given))
        assert (caught.value.id, caught.value.position) == (given.id, 1)

    @pytest.mark.parametrize("stream", ["b-1", None])
    def test_a_known_id_in_another_stream_is_refused(self, store: Store, stream: str | None) -> None:
        """One event would stand in two streams."""
        given = events(1)
        store.append("a-1", given)
        with pytest.raises(DuplicateEventId, match="belongs to stream"):
            store.append(stream, given)
        store.append(None, again := events(1))
        with pytest.raises(DuplicateEventId, match="belongs to stream"):
            store.append("a-1", again)

    @pytest.mark.parametrize("expected", [ANY, 0, 2])
    def test_a_known_part_of_an_append_is_refused(self, store: Store, expected: int) -> None:
        """Half of an append would be stored a second time."""
        given = events(3)
        store.append("a-1", given[:2])
        with pytest.raises(DuplicateEventId, match="only a part"):
            store.append("a-1", given, expected_version=expected)
        with pytest.raises(DuplicateEventId, match="only a part"):
            store.append("a-1", [given[2], given[0]], expected_version=expected)
        assert store.head() == 2

    def test_known_ids_in_another_order_or_from_several_appends_are_refused(self, store: Store) -> None:
        """An append that never was one would be confirmed as one."""
        given = events(3)
        store.append("a-1", given[:2])
        store.append("b-1", events(1))
        store.append("a-1", given[2:])
        with pytest.raises(DuplicateEventId, match="another order"):
            store.append("a-1", [given[1], given[0]])
        with pytest.raises(DuplicateEventId, match="another order"):
            store.append("a-1", given)

    def test_an_id_twice_in_one_append_is_refused(self, store: Store) -> None:
        """One id would name two events."""
        given = event()
        with pytest.raises(DuplicateEventId, match="given twice"):
            store.append("a-1", [given, given])
        assert store.head() == 0

    def test_an_event_is_found_by_its_id(self, store: Store) -> None:
        """Nobody could ask whether an append whose answer was lost has been stored."""
        given = events(3)
        store.append("a-1", given)
        found = store.event(given[1].id)
        assert found is not None
        assert (found.position, found.version, found.data) == (2, 2, {"number": 2})
        assert store.event(str(given[1].id)) == found
        assert store.event(uuid4()) is None

    # Groups

    def test_a_failing_append_harms_no_other_of_its_group(self, store: Store, storage: Storage) -> None:
        """A conflict of one client would fail others that happened to be committed with it."""
        known = events(1)
        store.append("a-1", known)
        tickets = _settle_all(
            storage,
            Append((StreamAppend("a-1", events(1), 1),)),
            Append((StreamAppend("a-1", events(1), 1),)),
            Append((StreamAppend("b-1", events(2), 0),)),
            Append((StreamAppend("a-1", known),)),
            Append((StreamAppend(None, [event("x", tags={"t"})]),), AppendCondition(Query(tags={"t"}))),
            Append((StreamAppend(None, [event("y", tags={"t"})]),), AppendCondition(Query(tags={"t"}))),
            Append((StreamAppend("c-1", [twice := event(), twice]),)),
            Append((StreamAppend("b-1", events(1), 2),)),
        )
        outcomes = [type(ticket.error).__name__ if ticket.error else ticket.appended for ticket in tickets]
        assert outcomes[1] == "WrongExpectedVersion"
        assert outcomes[6] == "DuplicateEventId"
        # The conditional ones may be committed in another order than the rest, but one of them wins.
        assert sorted(isinstance(outcome, Appended) for outcome in (outcomes[4], outcomes[5])) == [False, True]
        assert all(isinstance(outcomes[index], Appended) for index in (0, 2, 3, 7))
        assert store.head() == 1 + 1 + 2 + 1 + 1

    def test_equal_appends_in_one_group_are_stored_once(self, store: Store, storage: Storage) -> None:
        """A client that repeats too early would store its events twice."""
        append = Append((StreamAppend("a-1", events(2), 0),))
        first, second, third = _settle_all(storage, append, append, append)
        assert first.appended == second.appended == third.appended
        assert store.head() == 2

    def test_many_threads_append_without_loss(self, store: Store) -> None:
        """Appends of threads that meet in one group would be lost or mixed up."""
        failures: list[HansardError] = []

        def work(worker: int) -> None:
            try:
                for number in range(20):
                    store.append(f"w-{worker}", events(2), expected_version=2 * number)
            except HansardError as error:
                failures.append(error)

        _run_together(*[lambda worker=worker: work(worker) for worker in range(16)])
        assert failures == []
        assert store.head() == 16 * 20 * 2

    def test_of_racing_writers_of_a_version_exactly_one_wins(self, store: Store) -> None:
        """Two writers would both believe that they came first."""
        for version in range(10):
            assert _race(store, 8, lambda: store.append("a-1", event("won"), expected_version=version)) == 1

    def test_of_racing_conditional_appends_exactly_one_wins(self, store: Store) -> None:
        """One user name would be given to two people."""
        for number in range(10):
            query = Query(tags={f"name:{number}"})
            claim = AppendCondition(query)
            assert _race(store, 8, lambda: store.append(None, event("c", tags=query.items[0].tags), condition=claim)) == 1

    # Reading

    def test_bounds_are_exclusive_in_both_directions(self, store: Store) -> None:
        """A reader that goes on from its last event would see it twice or miss the next."""
        store.append("a-1", events(6))

        def positions(**bounds: int | bool | None) -> list[int]:
            return [e.position for e in store.read(**bounds)]  # type: ignore[arg-type]

        assert positions(after=2) == [3, 4, 5, 6]
        assert positions(before=3) == [1, 2]
        assert positions(after=2, before=5) == [3, 4]
        assert positions(after=2, before=5, backwards=True) == [4, 3]
        assert positions(backwards=True) == [6, 5, 4, 3, 2, 1]
        assert positions(after=6) == positions(before=1) == positions(before=0) == positions(after=3, before=4) == []
        assert positions(after=4, before=2) == positions(after=POSITION_MAX) == []
        assert positions(before=POSITION_MAX) == [1, 2, 3, 4, 5, 6]
        assert positions(limit=2) == [1, 2]
        assert positions(limit=0) == []
        assert positions(after=1, backwards=True, limit=2) == [6, 5]
        assert positions(before=6, backwards=True, limit=2) == [5, 4]

    def test_bounds_of_a_stream_are_exclusive_in_both_directions(self, store: Store) -> None:
        """The same for one stream."""
        store.append("other-1", events(3))
        store.append("a-1", events(6))

        def versions(**bounds: int | bool | None) -> list[int | None]:
            return [e.version for e in store.read_stream("a-1", **bounds)]  # type: ignore[arg-type]

        assert versions(after_version=2, before_version=5) == [3, 4]
        assert versions(after_version=2, before_version=5, backwards=True) == [4, 3]
        assert versions(after_version=6) == versions(before_version=1) == versions(before_version=0) == []
        assert versions(backwards=True, limit=2) == [6, 5]
        assert versions(after_version=3, limit=2) == [4, 5]
        assert versions(limit=0) == []

    @pytest.mark.parametrize("count", [PAGE_EVENTS_MAX - 1, PAGE_EVENTS_MAX, PAGE_EVENTS_MAX + 1])
    @pytest.mark.parametrize("backwards", [False, True])
    def test_reads_go_on_over_pages(self, store: Store, count: int, backwards: bool) -> None:
        """Events at the edge of a page would be lost or doubled."""
        store.append("a-1", [event("even" if n % 2 else "odd", {"n": n}, tags={"t"}) for n in range(count)])
        numbers = list(reversed(range(count))) if backwards else list(range(count))
        assert [e.data["n"] for e in store.read(backwards=backwards)] == numbers
        assert [e.data["n"] for e in store.read_stream("a-1", backwards=backwards)] == numbers
        assert [e.data["n"] for e in store.read(Query(tags={"t"}), backwards=backwards)] == numbers
        assert [e.data["n"] for e in store.read(Query(types={"odd", "even"}), backwards=backwards)] == numbers

    def test_a_read_is_lazy_and_ends_where_the_log_ended_when_it_began(self, store: Store) -> None:
        """A loop that appends while it reads would never end."""
        store.append("a-1", events(PAGE_EVENTS_MAX + 5))
        count = 0
        for found in store.read():
            count += 1
            if count % 100 == 0:
                store.append("b-1", event("seen", {"position": found.position}))
        assert count == PAGE_EVENTS_MAX + 5
        assert [e.position for e in islice(store.read(), 2)] == [1, 2]

    @pytest.mark.parametrize(
        ("query", "positions"),
        [
            (Query(), [1, 2, 3, 4, 5]),
            (Query(types={"defined"}), [1, 5]),
            (Query(types={"defined", "registered", "unknown"}), [1, 2, 5]),
            (Query(tags={"course:1"}), [1, 3, 4]),
            (Query(tags={"course:1", "student:1"}), [3]),
            (Query(tags={"course:1", "course:2"}), []),
            (Query(types={"subscribed"}, tags={"student:2"}), [4]),
            (Query(types={"unknown"}, tags={"student:2"}), []),
            (Query(stream="course-1"), [1]),
            (Query(stream="course"), [5]),
            (Query(stream="nothing"), []),
            (Query(category="course"), [1, 5]),
            (Query(category="course", types={"defined"}), [1, 5]),
            (Query(category="course", tags={"course:2"}), [5]),
            (Query(category="student", types={"defined"}), []),
            (Query(category="nothing"), []),
            (Query(types={"subscribed"}) | Query(stream="course-1"), [1, 3, 4]),
            (Query(tags={"student:1"}) | Query(tags={"course:1"}) | Query(types={"subscribed"}), [1, 2, 3, 4]),
            (Query.of(QueryItem(types={"unknown"}), QueryItem()), [1, 2, 3, 4, 5]),
        ],
    )
    @pytest.mark.parametrize("backwards", [False, True])
    def test_queries_find_what_they_say(self, courses: Store, query: Query, positions: list[int], backwards: bool) -> None:
        """Readers would miss events of theirs, or get those of others."""
        wanted = positions[::-1] if backwards else positions
        assert [e.position for e in courses.read(query, backwards=backwards)] == wanted
        assert [e.position for e in courses.read(query, backwards=backwards, limit=2)] == wanted[:2]
        bounded = [position for position in wanted if 1 < position < 5]
        assert [e.position for e in courses.read(query, after=1, before=5, backwards=backwards)] == bounded

    def test_a_query_finds_few_events_among_many(self, store: Store) -> None:
        """Matches that lie far apart would be missed."""
        for number in range(12):
            store.append(f"a-{number % 3}", [event(f"type-{number % 50}") for _ in range(700)])
            store.append(f"b-{number}", event("rare", {"n": number}, tags={"r"}))
        types = {"rare", "never", "type-11"}
        assert len(list(store.read(Query(types=types)))) == 712
        assert [e.data["n"] for e in store.read(Query(types={"rare", "never"}), backwards=True)] == list(range(11, -1, -1))
        assert [e.data["n"] for e in store.read(Query(category="b"))] == list(range(12))
        few = store.read(Query(types={"never"}) | Query(tags={"r"}), after=4_000)
        assert [e.data["n"] for e in few] == [5, 6, 7, 8, 9, 10, 11]

    def test_a_query_finds_events_that_stand_close_together_far_from_both_ends(self, store: Store) -> None:
        """An engine that looks window by window would miss the event at the edge of a window."""
        close = {*range(1_900, 2_100), *range(2_400, 2_600)}
        store.append("a-1", [event(f"close-{n % 2}" if n in close else "other") for n in range(1, 4_501)])
        query = Query(types={"close-0", "close-1"})
        assert [e.position for e in store.read(query)] == sorted(close)
        assert [e.position for e in store.read(query, backwards=True)] == sorted(close, reverse=True)

    def test_a_query_over_very_many_types_and_categories_finds_all(self, store: Store) -> None:
        """A log with many kinds of events would be read only in part."""
        store.append_streams([StreamAppend(f"c{n}-1", [event(f"t{n}"), event("common")]) for n in range(120)])
        assert len(list(store.read(Query(types={"common"})))) == 120
        many = {f"t{n}" for n in range(0, 120, 2)}
        assert [e.type for e in store.read(Query(types=many), backwards=True, limit=3)] == ["t118", "t116", "t114"]
        with pytest.raises(AppendConditionFailed) as caught:
            store.append(None, event(), condition=AppendCondition(Query(types={"common"}), after=100))
        assert caught.value.position == 102

    def test_decoded_data_belongs_to_the_reader(self, store: Store) -> None:
        """A reader that changes what it got would change the log for others."""
        store.append("a-1", Event("happened", {"n": 1}, {"by": "jo"}))
        (found,) = store.read()
        found.data["n"] = 2
        found.metadata["by"] = "eve"
        (again,) = store.read()
        assert (again.data, again.metadata) == ({"n": 1}, {"by": "jo"})

    # Streams

    def test_streams_are_listed_by_name_and_by_category(self, store: Store, clock: Clock) -> None:
        """Streams would be missing from the list, or stand in a random order."""
        for name in ("b-1", "a-2", "a-10", "a", "ab-1", "é-1", "a.b", "Z-1"):
            store.append(name, events(2))
        store.append(None, events(1))
        assert [s.name for s in store.streams()] == ["Z-1", "a", "a-10", "a-2", "a.b", "ab-1", "b-1", "é-1"]
        assert [s.name for s in store.streams(category="a")] == ["a", "a-10", "a-2"]
        assert [s.name for s in store.streams(category="é")] == ["é-1"]
        assert list(store.streams(category="none")) == []
        info = store.stream("a-2")
        assert (info.version, info.last_position, info.last_timestamp_us) == (2, 4, clock.now_us)
        assert (info.category, store.stream("none").last_timestamp) == ("a", None)

    def test_very_many_streams_are_listed_whole(self, store: Store) -> None:
        """Lists of streams over one page would lose some."""
        names = [f"s-{number:05d}" for number in range(2_300)]
        store.append_streams([StreamAppend(name, events(1)) for name in names])
        assert [stream.name for stream in store.streams()] == names
        assert [stream.name for stream in store.streams(category="s")] == names

    # Waiting and closing

    def test_wait_returns_at_once_when_the_head_is_beyond(self, store: Store) -> None:
        """A reader that is behind would wait for nothing."""
        store.append("a-1", events(2))
        assert store.wait(0, 60) == 2
        assert store.wait(2, 0.01) == 2

    def test_wait_ends_with_the_next_append(self, store: Store) -> None:
        """Live readers would sleep through an append."""
        heads: list[int] = []
        waiting = threading.Thread(target=lambda: heads.append(store.wait(0, 60)))
        waiting.start()
        store.append("a-1", events(1))
        waiting.join(30)
        assert heads == [1]

    def test_a_closed_store_refuses_everything(self, store: Store) -> None:
        """A program would go on with a store that is no longer there."""
        store.append("a-1", events(1))
        store.close()
        store.close()
        for call in (
            lambda: store.append("a-1", events(1)),
            store.head,
            lambda: list(store.read()),
            lambda: store.all("a-1"),
            lambda: store.event(uuid4()),
            lambda: store.stream("a-1"),
            lambda: list(store.streams()),
        ):
            with pytest.raises(StoreClosed):
                call()


def _memory_like(store: Store, clock: Clock) -> Storage:
    """A second, empty log to copy from: the memory engine, which is the specification."""
    from hansard.storage.memory import MemoryStorage  # only here does the kit need an engine of its own

    return MemoryStorage(clock_us=clock)


def _settle_all(storage: Storage, *appends: Append) -> list[Ticket]:
    """Submit appends together and wait for all their outcomes."""
    done = threading.Semaphore(0)

    def settled(tickets: object) -> None:
        for _ in tickets:  # type: ignore[attr-defined]
            done.release()

    tickets = [Ticket(append, settled) for append in appends]
    storage.submit(tickets)
    for _ in tickets:
        assert done.acquire(timeout=60), "an append was never settled"
    return tickets


def _run_together(*works: Callable[[], object]) -> None:
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], object]) -> None:
        barrier.wait()
        work()

    threads = [threading.Thread(target=start, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _race(store: Store, count: int, attempt: Callable[[], object]) -> int:
    """How many of several simultaneous attempts win; all others lose by a Conflict."""
    wins: list[object] = []
    losses: list[Conflict] = []

    def run() -> None:
        try:
            wins.append(attempt())
        except Conflict as conflict:
            losses.append(conflict)

    _run_together(*[run] * count)
    assert len(wins) + len(losses) == count
    return len(wins)
