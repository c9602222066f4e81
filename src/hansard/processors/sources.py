"""From what a user declares to what a runner runs."""

from collections.abc import Sequence

from hansard.errors import InvalidInput, InvalidType
from hansard.process_managers import ProcessManager
from hansard.processors.calls import Calls
from hansard.processors.definitions import Processor
from hansard.processors.runner import Source, Wanted, reader_of
from hansard.processors.timers_at_work import TimersAtWork
from hansard.processors.work import ProcessorWork
from hansard.projections.definition import Projection
from hansard.projections.source import ProjectionSource
from hansard.storage.port import Storage
from hansard.timers import Timers


class ProcessorSource:
    """One processor, one reader."""

    def __init__(self, processor: Processor) -> None:
        self.name = processor.name
        self._processor = processor
        self._work: ProcessorWork | None = None

    def wanted(self, storage: Storage, calls: Calls) -> Sequence[Wanted]:
        self._work = self._work or ProcessorWork(self._processor, calls)
        after = None if self._processor.after == "head" else self._processor.after
        return [reader_of(self._work, after=after, begins_anew=self._processor.replay_safe)]


class TimersSource:
    """The timers of a store; fired by everyone who runs them, each timer once."""

    name = "timers"

    def wanted(self, storage: Storage, calls: Calls) -> Sequence[Wanted]:
        return [Wanted(self.name, TimersAtWork)]


def sources_of(definitions: Sequence[object]) -> list[Source]:
    if not definitions:
        raise InvalidInput("definitions", definitions, "expected at least one processor or projection")
    sources = [_source_of(definition) for definition in definitions]
    if any(isinstance(definition, ProcessManager) for definition in definitions):
        sources = [*(source for source in sources if source.name != TimersSource.name), TimersSource()]
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
    if definition is Timers or isinstance(definition, Timers):
        return TimersSource()
    raise InvalidType("definitions", definition, "expected a Processor, a Projection, or Timers")
