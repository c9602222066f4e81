"""From what a user declares to what a runner runs."""

from collections.abc import Sequence

from hansard.errors import InvalidInput, InvalidType
from hansard.processors.calls import Calls
from hansard.processors.definitions import Processor
from hansard.processors.reader import Work
from hansard.processors.runner import Source
from hansard.processors.work import ProcessorWork
from hansard.projections.definition import Projection
from hansard.projections.source import ProjectionSource
from hansard.storage.port import Storage


class ProcessorSource:
    """One processor, one reader."""

    def __init__(self, processor: Processor) -> None:
        self.name = processor.name
        self._processor = processor
        self._work: ProcessorWork | None = None

    def works(self, storage: Storage, calls: Calls) -> Sequence[tuple[Work, int | None, bool]]:
        self._work = self._work or ProcessorWork(self._processor, calls)
        after = None if self._processor.after == "head" else self._processor.after
        return [(self._work, after, self._processor.replay_safe)]


def sources_of(definitions: Sequence[object]) -> list[Source]:
    if not definitions:
        raise InvalidInput("definitions", definitions, "expected at least one processor or projection")
    sources = [_source_of(definition) for definition in definitions]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput("definitions", name, "two of them have this name")
    return sources


def _source_of(definition: object) -> Source:
    if isinstance(definition, Processor):
        return ProcessorSource(definition)
    if isinstance(definition, Projection):
        return ProjectionSource(definition)
    raise InvalidType("definitions", definition, "expected a Processor or a Projection")
