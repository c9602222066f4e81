"""Each engine does what the memory engine does, whatever is done in whatever order."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hansard import AppendCondition, Event, HansardError, Query, QueryItem, StreamAppend
from hansard.storage.memory import MemoryStorage
from hansard.storage.postgres.address import parse
from hansard.storage.postgres.storage import PostgresStorage
from hansard.storage.sqlite.storage import SqliteStorage
from hansard.store import Store
from hansard.streams import ANY, STREAM_EXISTS
from hansard.testing.contract import Clock
from hansard.testing.invariants import assert_log_holds
from postgres_server import log_url

STREAMS = st.sampled_from(["a-1", "a-2", "a", "b-1", "ä b/1", None])
TYPES = st.sampled_from(["one", "two", "three"])
TAGS = st.frozensets(st.sampled_from(["x", "y", "z"]), max_size=3)
VERSIONS = st.sampled_from([ANY, STREAM_EXISTS, 0, 1, 2, 3])
EVENTS = st.lists(st.builds(lambda type, n, tags: Event(type, n, tags=tags), TYPES, st.integers(), TAGS), min_size=1, max_size=4)
BOUNDS = st.one_of(st.none(), st.integers(0, 40))


@st.composite
def items(draw: st.DrawFn) -> QueryItem:
    place = draw(st.sampled_from([{}, {}, {"stream": "a-1"}, {"stream": "a"}, {"category": "a"}, {"category": "ä b/1"}]))
    return QueryItem(types=draw(st.frozensets(TYPES, max_size=2)), tags=draw(TAGS), **place)


QUERIES = st.lists(items(), min_size=1, max_size=3).map(lambda some: Query.of(*some))
CONDITIONS = st.one_of(st.none(), st.builds(AppendCondition, QUERIES, st.integers(0, 40)))


@st.composite
def parts(draw: st.DrawFn) -> list[StreamAppend]:
    streams = draw(st.lists(STREAMS, min_size=1, max_size=3))
    return [StreamAppend(s, draw(EVENTS), ANY if s is None else draw(VERSIONS)) for s in streams]


class EnginesAgree(RuleBasedStateMachine):
    """Each rule does the same to both and compares what comes back, errors too."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.model = Store(MemoryStorage(clock_us=self.clock))
        self.store = self.opened()
        self.sent: list[list[StreamAppend]] = []

    def opened(self) -> Store:
        return Store(SqliteStorage(str(self.folder / "log.db"), clock_us=self.clock))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert assert_log_holds(self.store) == assert_log_holds(self.model)
            self.store.close()
            shutil.rmtree(self.folder)

    def same(self, call: Any) -> Any:
        results = [outcome(call, store) for store in (self.model, self.store)]
        assert results[0] == results[1], results
        return results[0]

    @rule(given=parts(), condition=CONDITIONS, us=st.integers(-5, 50))
    def append(self, given: list[StreamAppend], condition: AppendCondition | None, us: int) -> None:
        self.clock.now_us += us
        self.same(lambda store: store.append_streams(given, condition=condition))
        self.sent.append(given)

    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        if self.sent:
            given = data.draw(st.sampled_from(self.sent))
            self.same(lambda store: store.append_streams(given))

    @rule(data=st.data(), stream=STREAMS)
    def append_known_events_elsewhere(self, data: st.DataObject, stream: str | None) -> None:
        if self.sent:
            known = [e for part in data.draw(st.sampled_from(self.sent)) for e in part.events]
            some = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
            self.same(lambda store: store.append(stream, some))

    @rule(query=QUERIES, after=st.integers(0, 40), before=BOUNDS, backwards=st.booleans(), limit=BOUNDS)
    def read(self, query: Query, after: int, before: int | None, backwards: bool, limit: int | None) -> None:
        self.same(lambda store: list(store.read(query, after=after, before=before, backwards=backwards, limit=limit)))

    @rule(stream=STREAMS, after=st.integers(0, 9), before=BOUNDS, backwards=st.booleans(), limit=BOUNDS)
    def read_stream(self, stream: str | None, after: int, before: int | None, backwards: bool, limit: int | None) -> None:
        bounds = {"after_version": after, "before_version": before, "backwards": backwards, "limit": limit}
        self.same(lambda store: list(store.read_stream(stream or "none", **bounds)))

    @rule(category=st.sampled_from([None, "a", "b", "ä b/1", "none"]))
    def streams(self, category: str | None) -> None:
        self.same(lambda store: list(store.streams(category=category)))

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule(given=EVENTS)
    def append_by_another_store_object(self, given: list[Event]) -> None:
        self.same(lambda store: store.append("a-1", given) if store is self.model else append_beside(self.opened(), given))

    @invariant()
    def heads_agree(self) -> None:
        if hasattr(self, "store"):
            self.same(Store.head)


def append_beside(store: Store, given: list[Event]) -> object:
    with store:
        return store.append("a-1", given)


def outcome(call: Any, store: Store) -> object:
    try:
        return call(store)
    except HansardError as error:
        return type(error), str(error)


class PostgresAgrees(EnginesAgree):
    """The same on PostgreSQL."""

    def opened(self) -> Store:
        return Store(PostgresStorage(parse(log_url(self.folder)), clock_us=self.clock))


def steps(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


TestEnginesAgree = EnginesAgree.TestCase
TestEnginesAgree.settings = steps(60)
TestPostgresAgrees = PostgresAgrees.TestCase
TestPostgresAgrees.settings = steps(30)
