"""What the server can be asked: each operation with its path, parameters, bodies and answers. Knows no store and no socket.

Requests are checked against these declarations and the OpenAPI document is made from them, so the two cannot differ.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from hansard.errors import MethodNotAllowed, ResourceNotFound
from hansard.server.access.permissions import Permission

if TYPE_CHECKING:
    from hansard.server.requests import Request
    from hansard.server.responses import Answer
    from hansard.server.service import Service

JSON = "application/json"
LINES = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
HTML = "text/html"

Handler = Callable[["Service", "Request"], Awaitable["Answer"]]
HandlerT = TypeVar("HandlerT", bound=Handler)
Media = Mapping[str, Any]
"""What stands under each media type: a type that msgspec knows; None: anything."""


class NoParameters(msgspec.Struct, forbid_unknown_fields=True):
    """Of operations that take none."""


class Operation(NamedTuple):
    """One thing that can be asked.

    - `parameters`: a Struct: one field for each parameter of the query string; lists may be given several times.
    - `headers`: request headers that it heeds, with what they mean.
    - `body`: what may be sent; empty: nothing. `returns`: what comes back, by status.
    - `needs`: the permission; None: anybody may ask.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    description: str
    tag: str
    needs: Permission | None
    parameters: type[msgspec.Struct]
    headers: Mapping[str, str]
    body: Media
    returns: Mapping[int, Media]

    @property
    def name(self) -> str:
        return self.handler.__name__


class Operations:
    """The operations of one module, gathered by decorators."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.all: list[Operation] = []

    def __call__(
        self,
        method: str,
        path: str,
        *,
        needs: Permission | None,
        parameters: type[msgspec.Struct] = NoParameters,
        headers: Mapping[str, str] | None = None,
        body: Media | None = None,
        returns: Mapping[int, Media],
    ) -> Callable[[HandlerT], HandlerT]:
        def register(handler: HandlerT) -> HandlerT:
            summary, _, description = (handler.__doc__ or "").partition("\n\n")
            self.all.append(
                Operation(
                    method,
                    path,
                    handler,
                    " ".join(summary.split()).rstrip("."),
                    "\n".join(line.strip() for line in description.strip().splitlines()),
                    self._tag,
                    needs,
                    parameters,
                    headers or {},
                    body or {},
                    returns,
                )
            )
            return handler

        return register


class Routes:
    """Finds the operation of a method and a path. A name in braces stands for one segment of the path."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            node = self._root
            for segment in operation.path.strip("/").split("/"):
                node = node.placed(segment)
            assert operation.method not in node.operations, f"two operations at {operation.method} {operation.path}"
            node.operations[operation.method] = operation

    def find(self, method: str, segments: list[str]) -> tuple[Operation, dict[str, str]]:
        """Raises ResourceNotFound or MethodNotAllowed (whose `allowed` names the methods that there are)."""
        node, values = self._root, {}
        for segment in segments:
            if (known := node.children.get(segment)) is not None:
                node = known
            elif node.any is not None:
                node = node.any
                values[node.name] = segment
            else:
                raise ResourceNotFound(f"there is nothing at /{'/'.join(segments)}; /openapi.json lists what there is")
        if not node.operations:
            raise ResourceNotFound(f"there is nothing at /{'/'.join(segments)}; /openapi.json lists what there is")
        operation = node.operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            error = MethodNotAllowed(f"{method} cannot be asked here; allowed are {', '.join(node.methods)}")
            error.allowed = node.methods  # type: ignore[attr-defined]
            raise error
        return operation, values


class _Node:
    def __init__(self, name: str = "") -> None:
        self.name = name
        self.children: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.operations: dict[str, Operation] = {}

    @property
    def methods(self) -> list[str]:
        return sorted({*self.operations, *(["HEAD"] if "GET" in self.operations else [])})

    def placed(self, segment: str) -> "_Node":
        if not segment.startswith("{"):
            return self.children.setdefault(segment, _Node())
        if self.any is None:
            self.any = _Node(segment.strip("{}"))
        assert self.any.name == segment.strip("{}"), f"{segment} and {self.any.name} stand at the same place"
        return self.any
