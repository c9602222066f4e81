"""Which builds of a projection there are, which one counts, and how one takes over from another.

A *build* is one filling of a read model, by one version of the definition. Its label is the version, with a number behind it
where the same version is built again: 2, 2.1, 2.2.
"""

from enum import StrEnum
from typing import Any

import msgspec

from hansard.errors import InvalidInput
from hansard.processors.documents import READERS, decoded, encoded, partitions_of
from hansard.projections.places import place_of
from hansard.storage.port import Storage, StorageTransaction

PROJECTIONS = "projection"
"""One document per projection, by its name: ProjectionDocument."""


class BuildState(StrEnum):
    """BUILDING: catching up. READY: caught up, waits to be promoted. ACTIVE: the one that is read. RETIRED: was active before."""

    BUILDING = "building"
    READY = "ready"
    ACTIVE = "active"
    RETIRED = "retired"


class BuildDocument(msgspec.Struct):
    version: int
    state: BuildState
    begun_us: int
    place: dict[str, Any]


class ProjectionDocument(msgspec.Struct):
    """`begun`: every version that was ever built, with how often, and its place; labels are never used again."""

    name: str
    builds: dict[str, BuildDocument] = {}
    begun: dict[str, int] = {}
    places: dict[str, dict[str, Any]] = {}

    @property
    def active(self) -> str | None:
        return next((label for label, build in self.builds.items() if build.state is BuildState.ACTIVE), None)

    def labels_of(self, version: int) -> list[str]:
        return [label for label, build in self.builds.items() if build.version == version]


def reader_name(name: str, label: str) -> str:
    return f"{name}@{label}"


def find(source: Storage | StorageTransaction, name: str) -> ProjectionDocument | None:
    text = source.get(PROJECTIONS, [name]).get(name)
    return None if text is None else decoded(text, ProjectionDocument)


def known(source: Storage | StorageTransaction, name: str) -> ProjectionDocument:
    """The projection of a name; InvalidInput if there is none."""
    document = find(source, name) if isinstance(name, str) else None
    if document is None:
        names = ", ".join(key for key, _ in source.scan(PROJECTIONS, limit=20)) or "none yet"
        raise InvalidInput("name", name, f"there is no projection of this name; known are: {names}")
    return document


def begin(transaction: StorageTransaction, document: ProjectionDocument, version: int, facts: dict[str, Any], now_us: int) -> str:
    """A new build of a version. The first one of a projection counts at once, because there is no other to be read."""
    times = document.begun.get(str(version), 0)
    label = str(version) if not times else f"{version}.{times}"
    document.begun[str(version)] = times + 1
    document.places[str(version)] = facts
    state = BuildState.BUILDING if document.builds else BuildState.ACTIVE
    document.builds[label] = BuildDocument(version, state, now_us, facts)
    if (place := place_of(facts)) is not None:
        place.make(transaction, document.name, label)
        if state is BuildState.ACTIVE:
            place.switch(transaction, document.name, label)
    put(transaction, document)
    return label


def put(transaction: StorageTransaction, document: ProjectionDocument) -> None:
    transaction.put(PROJECTIONS, {document.name: encoded(document)})


def activate(transaction: StorageTransaction, document: ProjectionDocument, label: str) -> None:
    """From this commit on the build is the one that is read; the former one is kept, and stands still."""
    for build in document.builds.values():
        if build.state is BuildState.ACTIVE:
            build.state = BuildState.RETIRED
    document.builds[label].state = BuildState.ACTIVE
    if (place := place_of(document.builds[label].place)) is not None:
        place.switch(transaction, document.name, label)
    put(transaction, document)


def drop(transaction: StorageTransaction, document: ProjectionDocument, label: str) -> None:
    """Delete a build, its states (but those in a place of the user's own) and its checkpoint."""
    build = document.builds.pop(label)
    put(transaction, document)
    reader = reader_name(document.name, label)
    transaction.drop(partitions_of(reader))
    transaction.put(READERS, {reader: None})
    if (place := place_of(build.place)) is not None:
        place.drop(transaction, document.name, label)
