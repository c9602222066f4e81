"""All operations of the server, in the order in which the reference shows them."""

from typing import Final

from hansard.server.http import appending, documents, health, reading, streams
from hansard.server.operations import Operation

OPERATIONS: Final[list[Operation]] = [
    operation
    for module in (appending, reading, streams, health, documents)
    for operation in module.operation.all
]
