"""A projection as a runner's source: a reader for each build of its version that is under way or is the one that is read."""

from collections.abc import Callable, Sequence

from hansard.errors import DefinitionChanged
from hansard.processors.calls import Calls
from hansard.processors.runner import Wanted, reader_of
from hansard.projections import builds
from hansard.projections.builds import BuildState, ProjectionDocument
from hansard.projections.definition import Projection
from hansard.projections.work import ProjectionWork
from hansard.storage.clock import now_us
from hansard.storage.port import Storage, StorageTransaction

_FOLLOWS = (BuildState.BUILDING, BuildState.READY, BuildState.ACTIVE)


class ProjectionSource:
    def __init__(self, projection: Projection) -> None:
        self.name = f"{projection.name} version {projection.version}"
        self._projection = projection.checked()
        self._works: dict[str, ProjectionWork] = {}

    def wanted(self, storage: Storage, calls: Calls) -> Sequence[Wanted]:
        projection = self._projection
        document = ensured(storage, projection)
        labels = [label for label in document.labels_of(projection.version) if document.builds[label].state in _FOLLOWS]
        self._works = {label: self._works.get(label) or self._work(document, label) for label in labels}
        return [reader_of(work, after=0, begins_anew=False) for work in self._works.values()]

    def _work(self, document: ProjectionDocument, label: str) -> ProjectionWork:
        return ProjectionWork(self._projection, label, is_unfinished=document.builds[label].state is not BuildState.ACTIVE)


def ensured(storage: Storage, projection: Projection, clock_us: Callable[[], int] = now_us) -> ProjectionDocument:
    """The projection's builds; with one of this version, unless a newer version has taken over."""
    document = builds.find(storage, projection.name)
    if document is not None and not _wants_build(document, projection):
        return document

    def work(transaction: StorageTransaction) -> ProjectionDocument:
        found = builds.find(transaction, projection.name) or ProjectionDocument(projection.name)
        if _wants_build(found, projection):
            builds.begin(transaction, found, projection.version, projection.into.facts, clock_us())
        return found

    return storage.transact(work)


def _wants_build(document: ProjectionDocument, projection: Projection) -> bool:
    if document.places.get(str(projection.version), projection.into.facts) != projection.into.facts:
        raise DefinitionChanged(projection.name, projection.version, "it is kept elsewhere now; give it a new version")
    newest = max([int(version) for version in document.begun], default=0)
    return projection.version > newest
