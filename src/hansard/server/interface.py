"""All operations of the server, in the order in which the reference shows them."""

from typing import Final

from hansard.server.http import appending, documents, groups, health, projections, readers, reading, reference, streams, timers
from hansard.server.operations import Operation
from hansard.server.ui import catalogue, charts, event, keeping, log, reacting, travel

OPERATIONS: Final[list[Operation]] = [
    operation
    for module in (
        appending,
        reading,
        streams,
        groups,
        readers,
        projections,
        timers,
        health,
        documents,
        reference,
        log,
        event,
        travel,
        charts,
        catalogue,
        reacting,
        keeping,
    )
    for operation in module.operation.all
]
