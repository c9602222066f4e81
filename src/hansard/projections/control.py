"""A projection as seen from outside, by any process: its builds, their progress, rebuild, promote, drop, diff."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from hansard.errors import BuildNotActive, InvalidInput
from hansard.events import RecordedEvent, unfolded
from hansard.limits import PAGE_DOCUMENTS_MAX, PAGE_EVENTS_MAX
from hansard.processors.control import ReaderControl, ReaderStatus
from hansard.projections import builds
from hansard.projections.builds import PROJECTIONS, BuildState, ProjectionDocument
from hansard.projections.definition import Projection, check_projection
from hansard.projections.live import Parting, first_parting
from hansard.projections.model import Model
from hansard.query import Query
from hansard.storage.clock import now_us
from hansard.storage.port import Storage, StorageTransaction

_LOOK_S = 0.02


class BuildStatus(msgspec.Struct, frozen=True):
    """One build: `state` is building, ready, active or retired; `reader` tells how far it is, how fast, and what it waits for."""

    label: str
    version: int
    state: str
    begun_us: int
    reader: ReaderStatus | None


class ProjectionStatus(msgspec.Struct, frozen=True):
    name: str
    active: str | None
    builds: list[BuildStatus]


class Difference(msgspec.Struct, frozen=True):
    """One key that two builds do not agree on. `kind`: "added", "missing" (in the new one) or "changed"; `fields`: (old, new)."""

    key: str
    kind: str
    fields: dict[str, tuple[Any, Any]]


def statuses(storage: Storage) -> Iterator[ProjectionStatus]:
    """All projections, in the order of their names."""
    after = ""
    while page := storage.scan(PROJECTIONS, after=after, limit=PAGE_DOCUMENTS_MAX):
        for name, _ in page:
            yield ProjectionControl(storage, name).status()
        after = page[-1][0]


class ProjectionControl:
    """One projection: `store.projection(name)`."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self.name = name
        builds.known(storage, name)

    def status(self) -> ProjectionStatus:
        document = builds.known(self._storage, self.name)
        shown = [
            BuildStatus(label, build.version, build.state, build.begun_us, self._reader_status(label))
            for label, build in document.builds.items()
        ]
        return ProjectionStatus(self.name, document.active, shown)

    def _reader_status(self, label: str) -> ReaderStatus | None:
        try:
            return self.reader(label).status()
        except InvalidInput:  # nobody has begun with it yet
            return None

    def reader(self, build: str | None = None) -> ReaderControl:
        """The reader of a build (None: of the active one): pause, resume, throttle, wait_for."""
        document = builds.known(self._storage, self.name)
        label = build if build is not None else document.active
        if label is None or label not in document.builds:
            raise _unknown(document, build)
        return ReaderControl(self._storage, builds.reader_name(self.name, label))

    def rebuild(self, version: int | None = None) -> str:
        """Begin a new build of a version (None: of the active one), beside the one that is read. Returns its label.

        Whoever runs that version of the projection builds it, and it takes over when it has caught up.
        """

        def work(transaction: StorageTransaction) -> str:
            document = builds.known(transaction, self.name)
            wanted = version if version is not None else document.builds[document.active or max(document.builds)].version
            if str(wanted) not in document.places:
                raise InvalidInput("version", wanted, f"projection {self.name!r} had versions {', '.join(document.begun)}")
            return builds.begin(transaction, document, wanted, document.places[str(wanted)], now_us())

        return self._storage.transact(work)

    def promote(self, build: str) -> None:
        """Make a build the one that is read: one that is ready, or a retired one, to go back to it."""

        def work(transaction: StorageTransaction, document: ProjectionDocument) -> None:
            if document.builds[build].state is BuildState.BUILDING:
                raise InvalidInput("build", build, "it has not caught up yet")
            builds.activate(transaction, document, build)

        self._change(build, work)

    def drop(self, build: str) -> None:
        """Delete a build with its states: a retired one, or one that is being built, which cancels it."""

        def work(transaction: StorageTransaction, document: ProjectionDocument) -> None:
            if document.builds[build].state is BuildState.ACTIVE:
                raise InvalidInput("build", build, "it is the one that is read; promote another one first")
            builds.drop(transaction, document, build)

        self._change(build, work)

    cancel = drop

    def wait_until_active(self, build: str, timeout_s: float = 60.0) -> None:
        """Until a build has taken over. Raises TimeoutError (of our tree) if it has not within the time."""
        deadline = time.monotonic() + timeout_s
        while builds.known(self._storage, self.name).active != build:
            if time.monotonic() > deadline:
                raise BuildNotActive(f"build {build!r} of {self.name!r} has not taken over within {timeout_s:g} s")
            time.sleep(_LOOK_S)

    def diff(self, old: str, new: str) -> Iterator[Difference]:
        """The keys on which two builds do not agree, in the order of the keys, field by field."""
        before, after = Model(self._storage, self.name, old).items(), Model(self._storage, self.name, new).items()
        return _differences(before, after)

    def parting(self, old: Projection, new: Projection) -> Parting | None:
        """The first event after which two versions differ, folded side by side from the beginning; None if they never do."""
        check_projection(old)
        return first_parting(old, check_projection(new), self._events(old.events | new.events))

    def _events(self, query: Query) -> Iterator[RecordedEvent]:
        after, head = 0, self._storage.head()
        while page := self._storage.read(query, after=after, before=head + 1, backwards=False, limit=PAGE_EVENTS_MAX):
            yield from unfolded(page)
            after = page[-1].position

    def _change(self, build: str, work: Callable[[StorageTransaction, ProjectionDocument], None]) -> None:
        def checked(transaction: StorageTransaction) -> None:
            document = builds.known(transaction, self.name)
            if build not in document.builds:
                raise _unknown(document, build)
            work(transaction, document)

        self._storage.transact(checked)


def _unknown(document: ProjectionDocument, build: object) -> InvalidInput:
    return InvalidInput("build", build, f"projection {document.name!r} has builds {', '.join(document.builds)}")


def _differences(old: Iterator[tuple[str, Any]], new: Iterator[tuple[str, Any]]) -> Iterator[Difference]:
    """Two ordered lists, merged."""
    left, right = next(old, None), next(new, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield Difference(left[0], "missing", {field: (value, None) for field, value in _fields(left[1]).items()})
            left = next(old, None)
        elif left is None or right[0] < left[0]:
            yield Difference(right[0], "added", {field: (None, value) for field, value in _fields(right[1]).items()})
            right = next(new, None)
        else:
            if left[1] != right[1]:
                yield Difference(left[0], "changed", _changed(_fields(left[1]), _fields(right[1])))
            left, right = next(old, None), next(new, None)


def _fields(state: Any) -> dict[str, Any]:
    return state if isinstance(state, dict) else {"": state}


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        field: (old.get(field), new.get(field))
        for field in sorted({*old, *new})
        if field not in old or field not in new or old[field] != new[field]
    }
