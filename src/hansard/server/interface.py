"""All operations of the server, in the order in which the reference shows them."""

from typing import Final

from hansard.server.http import appending, documents, groups, health, projections, reading, readers, reference, streams, timers
from hansard.server.operations import Operation

OPERATIONS: Final[list[Operation]] = [
    operation
    for module in (appending, reading, streams, groups, readers, projections, timers, health, documents, reference)
    for operation in module.operation.all
]
