"""Streams and the head of the log."""

from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from hansard.limits import LONG_POLL_S_MAX, PAGE_STREAMS_MAX
from hansard.query import check_category
from hansard.server.access.permissions import Permission
from hansard.server.http.parameters import Bound, as_query, described, version_tag
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Request
from hansard.server.responses import Answer, Response, header, json_of
from hansard.server.service import Service
from hansard.streams import StreamInfo, check_stream
from hansard.wire.appends import Category, Name, Position

operation = Operations("Streams")


class StreamsParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    category: Annotated[Category, described("Only streams of this category.")] | None = None
    after: Annotated[Name, described("Only streams whose name comes after this one.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_STREAMS_MAX)] = 100


class StreamsPage(msgspec.Struct):
    streams: list[StreamInfo]
    next: str | None


class HeadParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    after: Annotated[Bound, described("Answer when the head is beyond this position …")] | None = None
    wait_s: Annotated[float, Meta(ge=0, le=LONG_POLL_S_MAX), described("… or after so many seconds.")] = 0.0


class Head(msgspec.Struct):
    head: Position


@operation("GET", "/api/v1/head", needs=Permission.READ, parameters=HeadParameters, returns={200: {JSON: Head}})
async def read_head(service: Service, request: Request) -> Answer:
    """The last position; 0 in an empty log.

    With `after` and `wait_s` the answer waits until something is appended, or the time is over.
    """
    asked = request.parameters(HeadParameters)
    head = await service.store.head()
    if asked.after is not None and asked.wait_s and head <= asked.after:
        head = await service.unless_stopping(service.store.wait(asked.after, asked.wait_s), head)
    return json_of(Head(head))


@operation("GET", "/api/v1/streams", needs=Permission.READ, parameters=StreamsParameters, returns={200: {JSON: StreamsPage}})
async def list_streams(service: Service, request: Request) -> Answer:
    """The streams, in the order of their names."""
    asked = request.parameters(StreamsParameters)
    after = "" if asked.after is None else check_stream(asked.after)
    if asked.category is None:
        request.principal.check_all(Permission.READ)
    else:
        request.principal.check_stream(Permission.READ, f"{check_category(asked.category)}-")
    found = await service.in_thread(lambda: service.storage.streams(category=asked.category, after=after, limit=asked.limit))
    following = None
    if len(found) == asked.limit:
        pairs = as_query({"category": asked.category, "after": found[-1].name, "limit": asked.limit})
        following = f"/api/v1/streams?{urlencode(pairs)}"
    return json_of(StreamsPage(found, following))


@operation("GET", "/api/v1/streams/{stream}", needs=Permission.READ, returns={200: {JSON: StreamInfo}, 304: {}})
async def read_stream_info(service: Service, request: Request) -> Answer:
    """A stream's version, and where its last event is. Version 0 if there is no such stream. The ETag is the version."""
    stream = request.values["stream"]
    request.principal.check_stream(Permission.READ, stream)
    info = await service.store.stream(stream)
    headers = [header("etag", version_tag(info.version))]
    if request.header("if-none-match") == version_tag(info.version):
        return Response(b"", 304, None, headers)
    return json_of(info, headers=headers)
