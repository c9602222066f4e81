"""A read model as its readers see it: the states of the build that counts, by key."""

from collections.abc import Iterator
from typing import Any

from hansard.errors import CapabilityMissing, InvalidInput
from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.processors.control import ReaderControl
from hansard.projections import builds
from hansard.projections.places import Place, place_of
from hansard.storage.port import Storage


class Model:
    """`store.model(name)`: reads the active build, also while another one is built; `build` names another one."""

    def __init__(self, storage: Storage, name: str, build: str | None = None, place: Place | None = None) -> None:
        self._storage = storage
        self.name = name
        self._build = build
        self._place = place
        self._at_now()

    def get(self, key: str, default: Any = None) -> Any:
        """The state of a key."""
        place, label = self._at_now()
        return place.get(self._storage, self.name, label, [key]).get(key, default)

    def __getitem__(self, key: str) -> Any:
        missing = object()
        state = self.get(key, missing)
        if state is missing:
            raise KeyError(key)
        return state

    def __contains__(self, key: str) -> bool:
        missing = object()
        return self.get(key, missing) is not missing

    def items(self, *, after: str = "") -> Iterator[tuple[str, Any]]:
        """Keys with their states, in the order of the keys; lazily, page by page, from one build."""
        place, label = self._at_now()
        while page := place.page(self._storage, self.name, label, after, PAGE_DOCUMENTS_MAX):
            yield from page
            after = page[-1][0]

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        return sum(1 for _ in self.items())

    @property
    def build(self) -> str:
        """The label of the build that is read."""
        return self._at_now()[1]

    @property
    def position(self) -> int:
        """Every event up to here is in the states."""
        return ReaderControl(self._storage, builds.reader_name(self.name, self.build)).status().checkpoint

    def wait_for(self, position: int, timeout_s: float = 10.0) -> None:
        """Until every event up to a position is in the states: read your own writes. Raises WaitTimedOut."""
        ReaderControl(self._storage, builds.reader_name(self.name, self.build)).wait_for(position, timeout_s)

    def _at_now(self) -> tuple[Place, str]:
        document = builds.known(self._storage, self.name)
        label = self._build if self._build is not None else document.active
        if label is None or label not in document.builds:
            raise InvalidInput("build", label, f"projection {self.name!r} has builds {', '.join(document.builds)}")
        place = self._place or place_of(document.builds[label].place)
        if place is None:
            raise CapabilityMissing("reading of a place of your own; ask the place itself", "projections")
        return place, label
