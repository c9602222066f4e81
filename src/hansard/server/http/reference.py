"""The interface described by itself: the OpenAPI document."""

from functools import cache
from typing import Any

import msgspec

from hansard.server import openapi
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Request
from hansard.server.responses import Answer, Response
from hansard.server.service import Service

operation = Operations("Reference")


@operation("GET", "/openapi.json", needs=None, returns={200: {JSON: dict[str, Any]}})
async def read_openapi(service: Service, request: Request) -> Answer:
    """This interface as an OpenAPI 3.1 document."""
    return Response(_document())


@cache
def _document() -> bytes:
    from hansard.server.interface import OPERATIONS  # it is made of all operations, this one too

    return msgspec.json.format(msgspec.json.encode(openapi.document(OPERATIONS)), indent=2)
