"""Makes recorders from environment variables. The library finds it by PERSISTENCE_MODULE."""

from typing import TypeVar

from eventsourcing.dcb.persistence import DCBInfrastructureFactory
from eventsourcing.persistence import AggregateRecorder, InfrastructureFactory
from eventsourcing.utils import Environment, EnvType, resolve_topic

from hansard.interchange.eventsourcing_store.layout import category_of
from hansard.interop.eventsourcing.aggregates import HansardAggregateRecorder, HansardApplicationRecorder
from hansard.interop.eventsourcing.decisions import HansardDCBRecorder
from hansard.interop.eventsourcing.opening import HansardRecorder, OpenPlace
from hansard.interop.eventsourcing.snapshots import HansardSnapshotRecorder
from hansard.interop.eventsourcing.tracking import HansardProcessRecorder, HansardTrackingRecorder

_RecorderT = TypeVar("_RecorderT", bound=HansardRecorder)


class HansardFactory(InfrastructureFactory[HansardTrackingRecorder], DCBInfrastructureFactory[HansardTrackingRecorder]):
    """For applications with aggregates and for those with decisions (DCB).

    - `HANSARD_PLACE`: whatever `hansard.open` takes: ":memory:", a path, postgresql://…?log=name, http://….
    - `HANSARD_CATEGORY`: whose events these are; the application's name if not given.
    - `HANSARD_DURABILITY`: as `hansard.open` takes it.

    As with every variable of the library, one that begins with the application's name and "_" goes before the bare one.
    """

    HANSARD_PLACE = "HANSARD_PLACE"
    HANSARD_CATEGORY = "HANSARD_CATEGORY"
    HANSARD_DURABILITY = "HANSARD_DURABILITY"

    aggregate_recorder_class = HansardAggregateRecorder
    snapshot_recorder_class = HansardSnapshotRecorder
    application_recorder_class = HansardApplicationRecorder
    tracking_recorder_class = HansardTrackingRecorder
    process_recorder_class = HansardProcessRecorder
    dcb_recorder_class = HansardDCBRecorder

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        place = self.env.get(self.HANSARD_PLACE)
        if not place:
            keys = " or ".join(self.env.create_keys(self.HANSARD_PLACE))
            raise OSError(f"{keys} is not set; give ':memory:', a path, postgresql://… or http://…")
        self.place = OpenPlace(place, durability=self.env.get(self.HANSARD_DURABILITY) or "fsync")
        self.category = category_of(self.env.get(self.HANSARD_CATEGORY) or self.env.name)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """The application's events; for any other purpose something that is kept beside them."""
        if purpose == "events":
            return self.aggregate_recorder_class(self.place, self.category)
        return self.snapshot_recorder_class(self.place, self.category, purpose=purpose)

    def application_recorder(self) -> HansardApplicationRecorder:
        chosen = self._chosen(None, self.APPLICATION_RECORDER_TOPIC, self.application_recorder_class)
        return chosen(self.place, self.category)

    def tracking_recorder(self, tracking_recorder_class: type[HansardTrackingRecorder] | None = None) -> HansardTrackingRecorder:
        chosen = self._chosen(tracking_recorder_class, self.TRACKING_RECORDER_TOPIC, self.tracking_recorder_class)
        return chosen(self.place, self.category)

    def process_recorder(self) -> HansardProcessRecorder:
        chosen = self._chosen(None, self.PROCESS_RECORDER_TOPIC, self.process_recorder_class)
        return chosen(self.place, self.category)

    def dcb_recorder(self) -> HansardDCBRecorder:
        return self.dcb_recorder_class(self.place, self.category)

    def _chosen(self, given: type[_RecorderT] | None, topic_key: str, usual: type[_RecorderT]) -> type[_RecorderT]:
        """A class that was given, or that the environment names, or the usual one."""
        topic = self.env.get(topic_key)
        chosen = given or (resolve_topic(topic) if topic else usual)
        if not isinstance(chosen, type) or not issubclass(chosen, usual):
            raise TypeError(f"{chosen!r} is no subclass of {usual.__name__}")
        return chosen

    def close(self) -> None:
        self.place.close()
