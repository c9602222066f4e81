"""The library `eventsourcing` on our engines: its own test cases, then what they do not ask."""

import gc
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.dcb import tests as their_dcb
from eventsourcing.dcb.api import DCBAppendCondition, DCBEvent, DCBQuery, DCBQueryItem
from eventsourcing.dcb.persistence import DCBInfrastructureFactory
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate
from eventsourcing.domain import event as recorded_as
from eventsourcing.persistence import (
    DataError,
    InfrastructureFactory,
    IntegrityError,
    InterfaceError,
    Notification,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOAggregateRecorder
from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System
from eventsourcing.tests import application as their_applications
from eventsourcing.tests import persistence as their_recorders
from eventsourcing.tests import projection as their_projections
from eventsourcing.utils import Environment, get_topic
from psycopg.conninfo import conninfo_to_dict

import hansard
from hansard.interchange.eventsourcing_store import import_store
from hansard.interop import eventsourcing as interop
from places import ENGINES, place_of
from postgres_server import shared_url

MODULE = "hansard.interop.eventsourcing"
LOCAL = ["memory", "file", "postgres"]
SHARED = ["file", "postgres"]
"""Engines on which several factories may open one store."""


def env_of(place: str, **more: str) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": MODULE, "HANSARD_PLACE": place, **more}


# Their test cases


class OnEngine:
    """What the library's test cases get: an environment whose place is new for each test."""

    engine: str
    env: Environment

    @pytest.fixture(autouse=True)
    def _environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        variables = env_of(place_of(self.engine, tmp_path))
        for name, value in variables.items():  # for applications that the test cases make without an environment
            monkeypatch.setenv(name, value)
        self.env = Environment("", variables)
        self._opened: list[interop.HansardFactory] = []
        yield
        for factory in self._opened:
            factory.close()
        gc.collect()  # so that a store that was left open tells in the test that left it

    def new_factory(self) -> interop.HansardFactory:
        factory = InfrastructureFactory.construct(self.env)
        assert isinstance(factory, interop.HansardFactory)
        self._opened.append(factory)
        return factory


def on(engines: list[str]) -> Callable[[type], None]:
    """A class for each engine, because test cases of unittest take no parameters."""

    def make(case: type) -> None:
        for engine in engines:
            name = f"{case.__name__}_{engine}"
            globals()[name] = type(name, (case,), {"engine": engine, "__doc__": case.__doc__, "__module__": __name__})

    return make


@on(ENGINES)
class AggregateRecorder(OnEngine, their_recorders.AggregateRecorderTestCase):
    """Aggregates would lose events, or two writers would both win."""

    def create_recorder(self) -> Any:
        return self.new_factory().aggregate_recorder()


@on(ENGINES)
class SnapshotRecorder(OnEngine, their_recorders.AggregateRecorderTestCase):
    """Snapshots would not be found again."""

    def create_recorder(self) -> Any:
        return self.new_factory().aggregate_recorder(purpose="snapshots")


@on(ENGINES)
class ApplicationRecorder(OnEngine, their_recorders.ApplicationRecorderTestCase[interop.HansardApplicationRecorder]):
    """An application's sequence would have holes, or another order."""

    def create_recorder(self) -> interop.HansardApplicationRecorder:
        return self.new_factory().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


@on(LOCAL)
class NumberingFromZero(OnEngine, their_recorders.ApplicationRecorderTestCase[interop.HansardApplicationRecorder]):
    """An application whose aggregates begin at version 0 could not be moved."""

    INITIAL_VERSION = 0

    def create_recorder(self) -> interop.HansardApplicationRecorder:
        return self.new_factory().application_recorder()


@on(LOCAL)
class NotInterleaving(OnEngine, their_recorders.NonInterleavingNotificationIDsBaseCase):
    """Followers would pass by events of a slower writer."""

    def create_recorder(self) -> interop.HansardApplicationRecorder:
        return self.new_factory().application_recorder()


@on(ENGINES)
class TrackingRecorder(OnEngine, their_recorders.TrackingRecorderTestCase):
    """A view would be changed twice by one event."""

    def create_recorder(self) -> interop.HansardTrackingRecorder:
        return self.new_factory().tracking_recorder()


@on(ENGINES)
class ProcessRecorder(OnEngine, their_recorders.ProcessRecorderTestCase):
    """A policy's events would be stored without their tracking record, or the other way round."""

    def create_recorder(self) -> interop.HansardProcessRecorder:
        return self.new_factory().process_recorder()


@on(LOCAL)
class ProcessRecorderAsApplicationRecorder(
    OnEngine, their_recorders.ApplicationRecorderTestCase[interop.HansardApplicationRecorder]
):
    """An application that follows another one would itself not be followed."""

    def create_recorder(self) -> interop.HansardProcessRecorder:
        return self.new_factory().process_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class OtherTrackingRecorder(interop.HansardTrackingRecorder):
    """Named by a topic."""


@on(LOCAL)
class Factory(OnEngine, their_recorders.InfrastructureFactoryTestCase[interop.HansardFactory]):
    """The library would not find our recorders by its environment variables."""

    def expected_factory_class(self) -> type[interop.HansardFactory]:
        return interop.HansardFactory

    def expected_aggregate_recorder_class(self) -> Any:
        return interop.HansardAggregateRecorder

    def expected_application_recorder_class(self) -> Any:
        return interop.HansardApplicationRecorder

    def expected_tracking_recorder_class(self) -> Any:
        return interop.HansardTrackingRecorder

    def tracking_recorder_subclass(self) -> Any:
        return OtherTrackingRecorder

    def expected_process_recorder_class(self) -> Any:
        return interop.HansardProcessRecorder


@on(ENGINES)
class DCBRecorder(OnEngine, their_dcb.DCBRecorderTestCase):
    """Decisions would be taken on events that the recorder did not give."""

    def test_append_read(self) -> None:
        self._test_append_read(self.new_factory().dcb_recorder())

    def test_append_subscribe(self) -> None:
        self._test_append_subscribe(self.new_factory().dcb_recorder())

    def test_append_read_after_others(self) -> None:
        recorder = self.new_factory().dcb_recorder()
        recorder.append([DCBEvent("other", b"data", ["other"])] * 7)
        self._test_append_read(recorder, initial_position=7)

    def test_append_subscribe_after_others(self) -> None:
        recorder = self.new_factory().dcb_recorder()
        recorder.append([DCBEvent("other", b"data", ["other"])] * 7)
        self._test_append_subscribe(recorder, initial_position=7)


@on(LOCAL)
class ExampleApplication(OnEngine, their_applications.ExampleApplicationTestCase):
    """An application with snapshots and a notification log would not run unchanged."""

    expected_factory_topic = get_topic(interop.HansardFactory)


@on(LOCAL)
@pytest.mark.filterwarnings("always::DeprecationWarning")  # one case asks for the library's own warning
class Applications(OnEngine, their_applications.ApplicationTestCase):
    """Caches and concurrent writers of an application would not get on with our conflicts."""


class EventCounters(interop.HansardTrackingRecorder, their_projections.EventCountersView):
    """A view in documents."""

    def get_created_event_counter(self) -> int:
        return int(self.document("counters", "created", 0))

    def get_subsequent_event_counter(self) -> int:
        return int(self.document("counters", "subsequent", 0))

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _increment(self, key: str, tracking: Tracking) -> None:
        self.transact(lambda t: t.put("counters", key, t.get("counters", key, 0) + 1), tracking=tracking)


@on(LOCAL)
class View(OnEngine, their_projections.EventCountersViewTestCase):
    """A materialised view and its tracking record would drift apart."""

    def construct_event_counters_view(self) -> EventCounters:
        view = self.new_factory().tracking_recorder(EventCounters)
        assert isinstance(view, EventCounters)
        return view


@on(LOCAL)
class ProjectionOfAggregates(OnEngine, their_projections.AggregateEventCountersProjectionTestCase):
    """A projection that runs beside its application would miss events."""

    view_class = EventCounters


@on(LOCAL)
class ProjectionOfDecisions(OnEngine, their_projections.TaggedDecisionCountersProjectionTestCase):
    """The same of decisions."""

    view_class = EventCounters

    def setUp(self) -> None:
        self.env["MAPPER_TOPIC"] = "eventsourcing.dcb.msgpack:MessagePackMapper"


@on(LOCAL)
class EventSourcedProjection(OnEngine, their_projections.EventSourcedProjectionTestCase):
    """A projection whose state is aggregates would count twice."""


# What a recorder keeps


@pytest.fixture(params=LOCAL)
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[interop.HansardFactory]:
    made = interop.HansardFactory(Environment("Shop", env_of(place_of(request.param, tmp_path))))
    yield made
    made.close()


STATES = [
    b'{"name":"Jo"}',
    b' {"name": "Jo"} ',
    b'{"base64":"e30="}',
    b'{"a":1,"a":2}',
    b'{"big":123456789012345678901234567890,"float":1.0}',
    b'"\\u0000"',
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\x81\xa1a\x01",
    b"[" * 300 + b"]" * 300,
    bytes(range(256)),
]


def test_states_come_back_byte_for_byte(factory: interop.HansardFactory) -> None:
    """Encrypted, compressed or packed states could not be read any more."""
    originator = uuid4()
    stored = [StoredEvent(originator, version, "shop:Event", state) for version, state in enumerate(STATES, 1)]
    recorder, snapshots = factory.application_recorder(), factory.aggregate_recorder(purpose="snapshots")
    for written in (recorder, snapshots):
        written.insert_events(stored)
        assert list(written.select_events(originator)) == stored
    assert [n.state for n in recorder.select_notifications(1, 100)] == STATES
    decisions = factory.dcb_recorder()
    decisions.append([DCBEvent("decided", state, ["b", "a", "b"]) for state in STATES])
    assert [(one.event.data, one.event.tags) for one in decisions.read()] == [(state, ["b", "a", "b"]) for state in STATES]


def test_states_that_are_json_can_be_read_by_people(factory: interop.HansardFactory) -> None:
    """The log's page, queries and projections would show packed text for everything."""
    originator = uuid4()
    states = [b'{"name":"Jo"}', b"\xff"]
    recorder = factory.application_recorder()
    recorder.insert_events([StoredEvent(originator, version, "shop:Event", state) for version, state in enumerate(states, 1)])
    events = factory.place.store.all(f"shop-{originator}")
    assert [(event.version, event.type, event.data, event.metadata) for event in events] == [
        (1, "shop:Event", {"name": "Jo"}, {}),
        (2, "shop:Event", {"base64": "/w=="}, {}),
    ]


def test_ids_of_originators_keep_their_types(factory: interop.HansardFactory) -> None:
    """An aggregate whose id is text would get a UUID in its place."""
    ids: list[UUID | str] = [uuid4(), str(uuid4()), uuid4().hex, "shop-1/ä", "x/" + "0" * 19]
    recorder, snapshots = factory.application_recorder(), factory.aggregate_recorder(purpose="snapshots")
    stored = [StoredEvent(id, version, "t", b"1") for id in ids for version in (1, 2)]
    recorder.insert_events(stored)
    snapshots.insert_events(stored)
    assert [(n.originator_id, n.originator_version) for n in recorder.select_notifications(1, 100)] == [
        (one.originator_id, one.originator_version) for one in stored
    ]
    for id in ids:
        assert (
            list(recorder.select_events(id)) == list(snapshots.select_events(id)) == [s for s in stored if s.originator_id is id]
        )


def is_refused(insert: Callable[[list[StoredEvent]], object], batch: list[StoredEvent]) -> bool:
    try:
        insert(batch)
    except IntegrityError:
        return True
    return False


def random_batch(dice: random.Random, theirs: POPOAggregateRecorder, begins: dict[str, int]) -> list[StoredEvent]:
    """Next versions of some originators, now and then with a gap, or with one that is recorded already."""
    last = {id: (there[0].originator_version if (there := newest(theirs, id)) else begin - 1) for id, begin in begins.items()}
    batch = []
    for id in dice.choices(list(begins), k=dice.randint(1, 4)):
        last[id] += dice.choice([1, 1, 1, 1, 1, 1, 3])
        batch.append(StoredEvent(id, last[id], "t", b"%d" % last[id]))
    if dice.random() < 0.2 and (there := newest(theirs, dice.choice(list(begins)))):
        batch.insert(dice.randint(0, len(batch)), there[0])
    return batch


def newest(recorder: POPOAggregateRecorder, originator_id: str) -> list[StoredEvent]:
    return list(recorder.select_events(originator_id, desc=True, limit=1))


@pytest.mark.parametrize("seed", range(40))
def test_recorders_agree_with_the_librarys_own(seed: int) -> None:
    """Versions that begin at 0 or at 5, gaps, batches and bounds would be answered otherwise than by the library."""
    dice = random.Random(seed)
    factory = interop.HansardFactory(env_of(":memory:"))
    theirs = POPOAggregateRecorder()
    one, other, snapshots = factory.aggregate_recorder(), factory.application_recorder(), factory.aggregate_recorder("snapshots")
    begins = {id: dice.choice([0, 1, 1, 5]) for id in ("a", "b", "c-1")}
    for _ in range(60):
        if dice.random() < 0.4:
            batch = random_batch(dice, theirs, begins)
            expected = is_refused(theirs.insert_events, batch)
            assert is_refused(dice.choice([one, other]).insert_events, batch) == expected, batch
            assert is_refused(snapshots.insert_events, batch) == expected, batch
        id, gt, lte = (
            dice.choice(list(begins)),
            dice.choice([None, dice.randint(0, 30)]),
            dice.choice([None, dice.randint(0, 30)]),
        )
        desc, limit = dice.random() < 0.5, dice.choice([None, 1, 2, 5])
        wanted = list(theirs.select_events(id, gt=gt, lte=lte, desc=desc, limit=limit))
        for recorder in (one, other, snapshots):
            assert list(recorder.select_events(id, gt=gt, lte=lte, desc=desc, limit=limit)) == wanted, (id, gt, lte, desc, limit)
    factory.close()


def test_applications_of_one_place_do_not_see_each_other(factory: interop.HansardFactory) -> None:
    """Two applications on one database would follow each other's events."""
    other = interop.HansardFactory(Environment("Other-Shop", dict(factory.env)))
    other.place.close()
    other.place = factory.place
    for one in (factory, other):
        one.application_recorder().insert_events([StoredEvent("a", 1, "t", b"1")])
        one.dcb_recorder().append([DCBEvent("t", b"1", ["x"])], DCBAppendCondition())
        one.tracking_recorder().insert_tracking(Tracking("up", 1))
        one.aggregate_recorder(purpose="snapshots").insert_events([StoredEvent("a", 1, "t", b"1")])
    for one, ids in ((factory, (1, 2)), (other, (3, 4))):
        recorder, decisions = one.application_recorder(), one.dcb_recorder()
        assert [n.id for n in recorder.select_notifications(1, 10)] == [recorder.max_notification_id()] == [ids[0]]
        assert [e.position for e in decisions.read()] == [decisions.read().head] == [ids[1]]
        assert len(recorder.select_events("a")) == 1


def test_queries_of_decisions_beyond_the_librarys_own(factory: interop.HansardFactory) -> None:
    """Conditions on several types without tags, which the library refuses on PostgreSQL, would not hold."""
    recorder = factory.dcb_recorder()
    recorder.append([DCBEvent("a", b"1"), DCBEvent("b", b"2", ["x"]), DCBEvent("c", b"3", ["x", "y"])])
    either = DCBQuery([DCBQueryItem(types=["a", "b"]), DCBQueryItem(types=["c"], tags=["y"])])
    assert [one.position for one in recorder.read(either)] == [1, 2, 3]
    assert [one.position for one in recorder.read(DCBQuery([DCBQueryItem()]), after=1, limit=1)] == [2]
    with pytest.raises(IntegrityError, match="position"):
        recorder.append([DCBEvent("a", b"4")], DCBAppendCondition(either, after=2))
    assert recorder.append([DCBEvent("a", b"4")], DCBAppendCondition(either, after=3)) == 4


def test_events_and_tracking_are_stored_together_or_not_at_all(factory: interop.HansardFactory) -> None:
    """A policy's events would be stored twice after a crash, or never."""
    recorder = factory.process_recorder()
    recorder.insert_events([StoredEvent("a", 1, "t", b"1")], tracking=Tracking("up", 5))
    with pytest.raises(IntegrityError, match="processed already"):
        recorder.insert_events([StoredEvent("b", 1, "t", b"1")], tracking=Tracking("up", 5))
    with pytest.raises(IntegrityError):
        recorder.insert_events([StoredEvent("a", 1, "t", b"1")], tracking=Tracking("up", 6))
    assert (recorder.max_tracking_id("up"), recorder.max_notification_id()) == (5, 1)
    with pytest.raises(ZeroDivisionError):
        recorder.transact(lambda transaction: transaction.put("view", "key", 1) or 1 / 0, tracking=Tracking("up", 6))
    assert (recorder.max_tracking_id("up"), recorder.document("view", "key")) == (5, None)


def test_errors_are_the_librarys(factory: interop.HansardFactory) -> None:
    """Programs that catch the library's errors would end with ours."""
    recorder = factory.application_recorder()
    for wrong in (StoredEvent("a", 1, "", b"1"), StoredEvent("a", 1, "t", b"1" * 17_000_000), StoredEvent("a\0", 1, "t", b"1")):
        with pytest.raises(DataError):
            recorder.insert_events([wrong])
    with pytest.raises(DataError):
        factory.dcb_recorder().append([DCBEvent("t", b"1", [""])])
    with pytest.raises(DataError):
        factory.aggregate_recorder(purpose="snapshots").insert_events([StoredEvent("a", -1, "t", b"1")])
    with pytest.raises(IntegrityError):
        recorder.insert_events([StoredEvent("a", -1, "t", b"1")])
    subscription = recorder.subscribe()
    factory.close()
    factory.close()
    for action in (recorder.max_notification_id, lambda: recorder.select_events("a"), lambda: next(subscription)):
        with pytest.raises(InterfaceError):
            action()


def test_a_factory_needs_a_place_and_fitting_classes() -> None:
    """A mistake in the environment would show itself far from its cause."""
    with pytest.raises(OSError, match="SHOP_HANSARD_PLACE or HANSARD_PLACE is not set"):
        interop.HansardFactory(Environment("Shop", {}))
    with pytest.raises(InterfaceError, match="no engine for"):
        interop.HansardFactory(env_of("cassandra://host"))
    factory = interop.HansardFactory(env_of(":memory:", PROCESS_RECORDER_TOPIC=get_topic(interop.HansardTrackingRecorder)))
    with pytest.raises(TypeError, match="no subclass of HansardProcessRecorder"):
        factory.process_recorder()
    factory.close()


# Several at once


@pytest.mark.parametrize("engine", SHARED)
def test_of_racing_writers_one_wins(engine: str, tmp_path: Path) -> None:
    """Two programs would both record version 7 of an aggregate."""
    place = place_of(engine, tmp_path)
    factories = [interop.HansardFactory(env_of(place)) for _ in range(4)]
    won: list[int] = []

    def write(factory: interop.HansardFactory) -> None:
        recorder = factory.process_recorder()
        for version in range(20):
            stored = [StoredEvent("a", version, "t", b"%d" % version)]
            tracking = {"tracking": Tracking("up", version)} if version % 2 else {}
            try:
                recorder.insert_events(stored, **tracking)
            except IntegrityError:
                continue
            won.append(version)

    threads = [threading.Thread(target=write, args=(factory,)) for factory in factories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder = factories[0].application_recorder()
    assert sorted(won) == [one.originator_version for one in recorder.select_events("a")] == list(range(20))
    assert [n.id for n in recorder.select_notifications(None, 100)] == list(range(1, 21))
    for factory in factories:
        factory.close()


@pytest.mark.parametrize("engine", SHARED)
def test_a_subscription_sees_what_another_program_stores(engine: str, tmp_path: Path) -> None:
    """A follower in another process would wait for ever."""
    place = place_of(engine, tmp_path)
    writer, reader = interop.HansardFactory(env_of(place)), interop.HansardFactory(env_of(place))
    notifications = reader.application_recorder().subscribe(gt=None, topics=["wanted"])
    decisions = reader.dcb_recorder().subscribe(DCBQuery([DCBQueryItem(tags=["x"])]))
    with notifications, decisions:
        writer.application_recorder().insert_events([StoredEvent("a", n, f"{'un' * (n % 2)}wanted", b"1") for n in range(4)])
        writer.dcb_recorder().append([DCBEvent("t", b"1"), DCBEvent("t", b"2", ["x"])])
        assert [next(notifications).originator_version for _ in range(2)] == [0, 2]
        assert next(decisions).event.data == b"2"
        for subscription in (notifications, decisions):
            threading.Timer(0.05, subscription.stop).start()
            assert list(subscription) == []
    writer.close()
    reader.close()


@pytest.mark.parametrize("engine", SHARED)
def test_a_store_that_nobody_uses_any_more_is_closed(engine: str, tmp_path: Path) -> None:
    """The library's runners drop factories without closing them: connections would pile up."""
    factory = interop.HansardFactory(env_of(place_of(engine, tmp_path)))
    close, store, recorder = factory.place.close, factory.place.store, factory.tracking_recorder()
    del factory
    gc.collect()
    assert close.alive
    recorder.insert_tracking(Tracking("up", 1))
    del recorder
    gc.collect()
    assert not close.alive
    with pytest.raises(hansard.StoreClosed):
        store.add("a-1", "happened")


# Applications, unchanged


class Dog(Aggregate):
    @recorded_as("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @recorded_as("TrickAdded")
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


class DogSchool(Application[UUID]):
    snapshotting_intervals = {Dog: 3}

    def register(self, name: str, *tricks: str) -> UUID:
        dog = Dog(name)
        for trick in tricks:
            dog.add_trick(trick)
        self.save(dog)
        return dog.id

    def teach(self, dog_id: UUID, trick: str) -> int:
        dog: Dog = self.repository.get(dog_id)
        dog.add_trick(trick)
        return self.save(dog)[-1].notification.id

    def tricks(self, dog_id: UUID, version: int | None = None) -> list[str]:
        dog: Dog = self.repository.get(dog_id, version=version)
        return dog.tricks


class Counter(Aggregate):
    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    @classmethod
    def create_id(cls, name: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/counters/{name}")

    @recorded_as("Incremented")
    def increment(self) -> None:
        self.count += 1


class Counters(ProcessApplication[UUID]):
    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        """Counts tricks only."""

    @policy.register
    def _(self, domain_event: Dog.TrickAdded, processing_event: Any) -> None:
        counter_id = Counter.create_id(domain_event.trick)
        known = self.count(domain_event.trick) > 0
        counter = self.repository.get(counter_id) if known else Counter(domain_event.trick)
        counter.increment()
        processing_event.collect_events(counter)

    def count(self, trick: str) -> int:
        try:
            counter: Counter = self.repository.get(Counter.create_id(trick))
        except AggregateNotFoundError:
            return 0
        return counter.count


def notifications_of(app: Application[UUID]) -> list[Notification]:
    return list(app.recorder.select_notifications(None, 1_000))


@pytest.mark.parametrize("engine", SHARED)
def test_an_application_finds_everything_when_it_is_started_again(engine: str, tmp_path: Path) -> None:
    """Aggregates, snapshots or notifications would live in one process only."""
    env = env_of(place_of(engine, tmp_path))
    with DogSchool(env) as school:
        fido = school.register("Fido", "roll over", "play dead")
        assert school.teach(fido, "fetch") == 4
        section = school.notification_log["1,10"]
        assert ([item.id for item in section.items], section.id) == ([1, 2, 3, 4], "1,4")
    with DogSchool(env) as school:
        assert school.tricks(fido) == ["roll over", "play dead", "fetch"]
        assert school.tricks(fido, version=2) == ["roll over"]
        assert [snapshot.originator_version for snapshot in school.snapshots.get(fido)] == [3]
        school.factory.place.store.check()


@pytest.mark.parametrize("engine", LOCAL)
def test_a_system_of_applications_runs_in_one_place(engine: str, tmp_path: Path) -> None:
    """A process application would count a trick twice, or take its own events for another's."""
    env = env_of(place_of(engine, tmp_path))
    with SingleThreadedRunner(System(pipes=[[DogSchool, Counters]]), env=env) as runner:
        school, counters = runner.get(DogSchool), runner.get(Counters)
        fido = school.register("Fido", "fetch", "roll over")
        school.teach(fido, "fetch")
        assert (counters.count("fetch"), counters.count("roll over"), counters.count("beg")) == (2, 1, 0)
        assert counters.recorder.max_tracking_id("DogSchool") == notifications_of(school)[-1].id
        assert {type(counters.mapper.to_domain_event(n)).__qualname__ for n in notifications_of(counters)} == {
            "Counter.Created",
            "Counter.Incremented",
        }


def test_the_page_runs(tmp_path: Path) -> None:
    """A reader's first lines would fail."""
    page = (Path(__file__).parent.parent / "docs" / "interop-eventsourcing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.py").write_text("".join(blocks))
    ran = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.stdout.startswith("RecordedEvent(position=1, stream='dogschool-")


# Their stores come over


def sqlite_env(path: Path) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}


@pytest.fixture
def database() -> Iterator[tuple[dict[str, str], str]]:
    """An empty PostgreSQL database: the library's environment, and the URL for the import."""
    name = f"hansard_test_{uuid4().hex[:12]}"
    head, _, options = shared_url().partition("?")
    url = f"{head.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")
    at = conninfo_to_dict(url)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": name,
        "POSTGRES_HOST": at["host"],
        "POSTGRES_PORT": at["port"],
        "POSTGRES_USER": at["user"],
        "POSTGRES_PASSWORD": at.get("password", ""),
    }
    with psycopg.connect(shared_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield env, url
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=LOCAL)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place_of(request.param, tmp_path / "target")


def test_a_sqlite_file_comes_over_and_goes_on(tmp_path: Path) -> None:
    """A team that moves would lose events, their order, ids of notifications, or its snapshots."""
    with DogSchool(sqlite_env(tmp_path / "old.db")) as school:
        dogs = [school.register(f"Dog {n}", *("sit" for _ in range(n % 5))) for n in range(600)]
        old, old_snapshots = notifications_of(school), list(school.snapshots.get(dogs[2]))
        assert old_snapshots
    place = place_of("file", tmp_path / "new")
    told: list[int] = []
    with hansard.open(place) as store:
        assert import_store(tmp_path / "old.db", store, application="DogSchool", progress=told.append) == 1_800
        assert told == [1_000, 1_800]
        assert import_store(str(tmp_path / "old.db"), store, application="DogSchool") == 0
        assert store.head() == 1_800
        assert store.check() == []
        first = next(store.read())
        assert (first.stream, first.version, first.data["name"]) == (f"dogschool-{dogs[0]}", 1, "Dog 0")
        assert first.metadata == {"notification_id": 1}
    with DogSchool(env_of(place)) as school:
        assert notifications_of(school) == old[:1_000]
        assert list(school.snapshots.get(dogs[2])) == old_snapshots
        assert (school.teach(dogs[2], "fetch"), school.tricks(dogs[2])) == (1_801, ["sit", "sit", "fetch"])


def test_an_import_goes_on_where_it_was_stopped_and_takes_what_is_new(tmp_path: Path, target: str) -> None:
    """A large store could not be brought over ahead of the day of the move."""

    def stop(stored: int) -> None:
        raise KeyboardInterrupt

    source = tmp_path / "old.db"
    with DogSchool(sqlite_env(source)) as school, hansard.open(target) as store:
        dogs = [school.register("Fido", "sit", "roll over") for _ in range(400)]
        with pytest.raises(KeyboardInterrupt):
            import_store(source, store, progress=stop)
        assert store.head() == 1_000
        assert import_store(source, store) == 200
        school.teach(dogs[0], "fetch")
        assert import_store(source, store) == 1
        assert [event.metadata["notification_id"] for event in store.read()] == list(range(1, 1_202))
        assert store.stream(f"stored-{dogs[0]}").version == 4


def test_two_sources_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    """The second import would go on in the middle of another store."""
    for name in ("one", "two"):
        with DogSchool(sqlite_env(tmp_path / name)) as school:
            school.register(name)
    with hansard.open(":memory:") as store:
        assert import_store(tmp_path / "one", store) == 1
        with pytest.raises(hansard.InvalidInput, match="come from another source"):
            import_store(tmp_path / "two", store)
        assert import_store(tmp_path / "two", store, application="two") == 1


def test_events_that_the_store_has_from_elsewhere_are_not_overtaken(tmp_path: Path) -> None:
    """An aggregate would get two events of one version."""
    with DogSchool(sqlite_env(tmp_path / "old.db")) as school:
        fido = school.register("Fido", "sit")
    place = place_of("file", tmp_path / "new")
    with DogSchool(env_of(place)) as school:
        school.recorder.insert_events([StoredEvent(fido, 1, "t", b"1")])
        with pytest.raises(hansard.WrongExpectedVersion):
            import_store(tmp_path / "old.db", school.factory.place.store, application="DogSchool")
        assert school.recorder.max_notification_id() == 1


@pytest.mark.parametrize("engine", SHARED)
def test_followers_do_not_handle_again_what_they_had_handled(engine: str, tmp_path: Path) -> None:
    """After the move, each trick would be counted a second time."""
    target = place_of(engine, tmp_path / "target")
    paths = {name: str(tmp_path / f"{name}.db") for name in ("DogSchool", "Counters")}
    env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", **{f"{n.upper()}_SQLITE_DBNAME": p for n, p in paths.items()}}
    system = System(pipes=[[DogSchool, Counters]])
    with SingleThreadedRunner(system, env=env) as runner:
        fido = runner.get(DogSchool).register("Fido", "fetch", "fetch")
    with hansard.open(target) as store:
        store.add("earlier-1", "happened")  # so that positions are not the ids of notifications
        for name, path in paths.items():
            import_store(path, store, application=name)
    with SingleThreadedRunner(system, env=env_of(target)) as runner:
        school, counters = runner.get(DogSchool), runner.get(Counters)
        assert counters.recorder.max_tracking_id("DogSchool") == notifications_of(school)[-1].id == 4
        school.teach(fido, "fetch")
        assert counters.count("fetch") == 3


@pytest.mark.parametrize("ids", [[uuid4(), uuid4()], ["dog-1", "dog-2"], [uuid4().hex, "dog-2"]])
def test_numbering_and_ids_of_originators_come_over_as_they_were(ids: list[UUID | str], tmp_path: Path) -> None:
    """Aggregates that begin at version 0, or whose first events were thrown away, would be refused or renumbered."""
    env = {**sqlite_env(tmp_path / "old.db"), "ORIGINATOR_ID_TYPE": "uuid" if isinstance(ids[0], UUID) else "text"}
    factory = InfrastructureFactory.construct(Environment("", env))
    old = factory.application_recorder()
    old.insert_events([StoredEvent(ids[0], version, "t", b"\xff") for version in range(3)])
    old.insert_events([StoredEvent(ids[1], version, "t", b"1") for version in (7, 8, 11)])
    here = interop.HansardFactory(env_of(":memory:"))
    assert import_store(tmp_path / "old.db", here.place.store) == 6
    new = here.application_recorder()
    assert new.select_notifications(None, 10) == old.select_notifications(None, 10)
    for id, last in ((ids[0], 2), (ids[1], 11)):
        assert new.select_events(id, gt=1) == old.select_events(id, gt=1)
        with pytest.raises(IntegrityError):
            new.insert_events([StoredEvent(id, last, "t", b"1")])
        new.insert_events([StoredEvent(id, last + 1, "t", b"1")])
    factory.close()
    here.close()


def test_events_without_an_order_come_over_once(tmp_path: Path) -> None:
    """A store that was written through an aggregate recorder alone would be passed by."""
    factory = InfrastructureFactory.construct(Environment("", sqlite_env(tmp_path / "old.db")))
    old = factory.aggregate_recorder()
    with hansard.open(":memory:") as store:
        for version in (1, 2):
            old.insert_events([StoredEvent(id, version, "t", b"1") for id in (UUID(int=2), UUID(int=1))])
            assert import_store(tmp_path / "old.db", store) == 2
            assert import_store(tmp_path / "old.db", store) == 0
        assert [event.version for event in store.all(f"stored-{UUID(int=1)}")] == [1, 2]
    factory.close()


def test_a_postgresql_database_comes_over(database: tuple[dict[str, str], str], target: str) -> None:
    """A team that moves from PostgreSQL would lose applications, gaps would shift tracking records, or views count twice."""
    env, url = database
    with SingleThreadedRunner(System(pipes=[[DogSchool, Counters]]), env=env) as runner:
        school, counters = runner.get(DogSchool), runner.get(Counters)
        fido = school.register("Fido", "fetch")
        with pytest.raises(IntegrityError):  # takes an id of a notification with it
            school.recorder.insert_events([StoredEvent(fido, 1, "t", b"1")])
        school.register("Rex", "sit", "fetch")
        old_school, old_counters = notifications_of(school), notifications_of(counters)
        assert [n.id for n in old_school] != list(range(1, 6))
        snapshots = list(school.snapshots.get(old_school[-1].originator_id))
    here = interop.HansardFactory(Environment("DogSchool", env_of(target)))
    assert import_store(url, here.place.store) == len(old_school) + len(old_counters)
    assert import_store(url, here.place.store) == 0
    there = interop.HansardFactory(Environment("Counters", dict(here.env)))
    there.close()
    there.place = here.place
    for factory, old in ((here, old_school), (there, old_counters)):
        new = factory.application_recorder().select_notifications(None, 100)
        assert [(n.originator_id, n.originator_version, n.topic, n.state) for n in new] == [
            (n.originator_id, n.originator_version, n.topic, n.state) for n in old
        ]
        ids = [event.metadata["notification_id"] for event in here.place.store.read(hansard.Query(category=factory.category))]
        assert ids == [n.id for n in old]
    last = here.application_recorder().max_notification_id()
    assert there.process_recorder().max_tracking_id("DogSchool") == last
    assert len(here.aggregate_recorder("snapshots").select_events(old_school[-1].originator_id)) == len(snapshots) == 1
    here.close()


def test_one_application_of_several_is_chosen(database: tuple[dict[str, str], str]) -> None:
    """Applications could not be given logs of their own."""
    env, url = database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA old")
    url += f"{'&' if '?' in url else '?'}options=-csearch_path%3Dold"
    for kind in (DogSchool, Kennel):
        with kind({**env, "POSTGRES_SCHEMA": "old"}) as app:
            app.register(kind.name)
    with hansard.open(":memory:") as store:
        assert import_store(url, store, application="Kennel") == 1
        assert [event.data["name"] for event in store.read()] == ["Kennel"]
        with pytest.raises(hansard.InvalidInput, match="no tables of Zoo"):
            import_store(url, store, application="Zoo")


class Kennel(DogSchool):
    """Another application on the same database."""


def test_decisions_come_over_from_postgresql(database: tuple[dict[str, str], str], target: str) -> None:
    """A DCB application would have to begin anew."""
    env, url = database
    old_factory = DCBInfrastructureFactory.construct(
        Environment("Enrolment", {**env, "PERSISTENCE_MODULE": "eventsourcing.dcb.postgres_tt"})
    )
    old = old_factory.dcb_recorder()
    old.append([DCBEvent("registered", b"\x81\x01", ["student:1"]), DCBEvent("registered", b'{"a":1}', ["b", "a"])])
    here = interop.HansardFactory(Environment("Enrolment", env_of(target)))
    assert import_store(url, here.place.store) == 2
    old.append([DCBEvent("joined", b"1", ["student:1", "course:1"])])
    assert import_store(url, here.place.store) == 1
    new = here.dcb_recorder()
    assert list(new.read()) == list(old.read())
    with pytest.raises(IntegrityError):
        new.append([DCBEvent("t", b"1")], DCBAppendCondition(DCBQuery([DCBQueryItem(tags=["course:1"])]), after=2))
    old_factory.close()
    here.close()


def test_what_is_no_store_of_the_library_is_refused(tmp_path: Path) -> None:
    """An import would end without a word, having stored nothing."""
    (tmp_path / "text").write_text("no database")
    with hansard.open(tmp_path / "ours.db") as store:
        store.add("a-1", "happened")
        for source, reason in (
            ("none", "no such file"),
            ("text", "expected a SQLite file"),
            ("ours.db", "no tables of the library"),
        ):
            with pytest.raises(hansard.InvalidInput, match=reason):
                import_store(tmp_path / source, store)
        with pytest.raises(hansard.OpenFailed, match="cannot be read"):
            import_store("postgresql://127.0.0.1:1/none", store)
        assert store.head() == 1
