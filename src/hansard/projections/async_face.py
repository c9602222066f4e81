"""Read models and projections from asyncio: the same verbs, awaited."""

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from typing import Any

from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.projections.control import Difference, ProjectionControl, ProjectionStatus
from hansard.projections.model import Model
from hansard.storage.port import Storage

InThread = Callable[..., Awaitable[Any]]


class AsyncModel:
    """See Model."""

    def __init__(self, storage: Storage, name: str, build: str | None, in_thread: InThread) -> None:
        self._storage = storage
        self._build = build
        self._in_thread = in_thread
        self.name = name

    async def _do(self, verb: Callable[[Model], Any]) -> Any:
        return await self._in_thread(lambda: verb(Model(self._storage, self.name, self._build)))

    async def get(self, key: str, default: Any = None) -> Any:
        return await self._do(lambda model: model.get(key, default))

    async def items(self, *, after: str = "") -> AsyncIterator[tuple[str, Any]]:
        while True:
            page = await self._do(lambda model, after=after: list(islice(model.items(after=after), PAGE_DOCUMENTS_MAX)))  # type: ignore[misc]
            if not page:
                return
            for item in page:
                yield item
            after = page[-1][0]

    async def position(self) -> int:
        position: int = await self._do(lambda model: model.position)
        return position

    async def wait_for(self, position: int, timeout_s: float = 10.0) -> None:
        await self._do(lambda model: model.wait_for(position, timeout_s))


class AsyncProjectionControl:
    """See ProjectionControl."""

    def __init__(self, storage: Storage, name: str, in_thread: InThread) -> None:
        self._storage = storage
        self._in_thread = in_thread
        self.name = name

    async def _do(self, verb: Callable[[ProjectionControl], Any]) -> Any:
        return await self._in_thread(lambda: verb(ProjectionControl(self._storage, self.name)))

    async def status(self) -> ProjectionStatus:
        status: ProjectionStatus = await self._do(lambda projection: projection.status())
        return status

    async def rebuild(self, version: int | None = None) -> str:
        label: str = await self._do(lambda projection: projection.rebuild(version))
        return label

    async def promote(self, build: str) -> None:
        await self._do(lambda projection: projection.promote(build))

    async def drop(self, build: str) -> None:
        await self._do(lambda projection: projection.drop(build))

    async def wait_until_active(self, build: str, timeout_s: float = 60.0) -> None:
        await self._do(lambda projection: projection.wait_until_active(build, timeout_s))

    async def diff(self, old: str, new: str) -> list[Difference]:
        found: list[Difference] = await self._do(lambda projection: list(projection.diff(old, new)))
        return found
