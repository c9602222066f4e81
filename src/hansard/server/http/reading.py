"""Reading: the log, a stream, one event; as pages of JSON, as lines, or as a stream that never ends (see tailing.py)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from hansard.errors import InvalidInput, ResourceNotFound
from hansard.events import RecordedEvent, check_event_id
from hansard.limits import HTTP_PAGE_EVENTS_MAX, PAGE_EVENTS_MAX, POSITION_MAX
from hansard.query import Query
from hansard.reading import Page, Paging
from hansard.server.access.permissions import Permission
from hansard.server.http.parameters import (
    Bound,
    Limit,
    Which,
    as_query,
    described,
    last_event_id,
    query_from,
    version_tag,
)
from hansard.server.http.tailing import tail
from hansard.server.operations import EVENT_STREAM, JSON, LINES, Operations
from hansard.server.requests import Request
from hansard.server.responses import Answer, Response, Stream, Write, header
from hansard.server.service import Service
from hansard.wire.appends import Position, QueryForm, query_of
from hansard.wire.recorded import RecordedEventForm, form_of

operation = Operations("Reading")

_PAGE_LIMIT: Final = 100
_PAGE_BYTES: Final = 16 * 1024 * 1024
"""A page of JSON ends here, even if it could have more events: it is made in memory."""
_LIMIT: Final = "At most so many events. A page has at most 1,000, and 100 if this is not given."
_encode = msgspec.json.Encoder().encode


class EventsPage(msgspec.Struct):
    """Events, and the path of the next page; null where there is none."""

    events: list[RecordedEventForm]
    next: str | None
    head: Position


class LogParameters(Which, kw_only=True):
    """Which part of the log. A page has at most 1,000 events; as lines, everything up to `limit` comes."""

    after: Annotated[Bound, described("Only events after this position.")] = 0
    before: Annotated[Bound, described("Only events before this position.")] | None = None
    backwards: bool = False
    limit: Annotated[Limit, described(_LIMIT)] | None = None


class StreamParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    after_version: Annotated[Bound, described("Only events after this version.")] = 0
    before_version: Annotated[Bound, described("Only events before this version.")] | None = None
    backwards: bool = False
    limit: Annotated[Limit, described(_LIMIT)] | None = None


class ReadForm(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A read whose query is too large for a URL."""

    query: QueryForm
    after: Position = 0
    before: Position | None = None
    backwards: bool = False
    limit: Annotated[int, Meta(ge=0, le=POSITION_MAX)] | None = None


class IdsForm(msgspec.Struct, forbid_unknown_fields=True):
    ids: Annotated[
        list[Annotated[str, Meta(extra_json_schema={"format": "uuid"})]],
        Meta(max_length=HTTP_PAGE_EVENTS_MAX),
    ]


@operation(
    "GET",
    "/api/v1/events",
    needs=Permission.READ,
    parameters=LogParameters,
    headers={"last-event-id": "For text/event-stream: the position to go on from."},
    returns={200: {JSON: EventsPage, LINES: RecordedEventForm, EVENT_STREAM: None}},
)
async def read_log(service: Service, request: Request) -> Answer:
    """Read the log: all events, or those that match.

    `Accept: application/json` gives a page, `application/x-ndjson` one event a line up to the head as it is now,
    `text/event-stream` those after a position and all that come, for ever; its ids are positions.
    """
    asked, resumed = request.parameters(LogParameters), last_event_id(request)
    query = query_from(asked)
    request.principal.check_query(Permission.READ, query)
    match request.accepts(JSON, LINES, EVENT_STREAM):
        case "text/event-stream":
            _check_tail(asked, "before")
            return tail(service, query, asked.after if resumed is None else resumed)
        case "application/x-ndjson":
            return _lines(service, query, asked.after, asked.before, asked.backwards, asked.limit)
    limit = _page_limit(asked.limit)
    events, head = await _log_page(service, query, asked.after, asked.before, asked.backwards, limit)
    following = None
    if (
        events
        and (len(events) == limit or sum(len(event.data_json) for event in events) >= _PAGE_BYTES)
        and events[-1].position != head
    ):
        bound = {"before": events[-1].position} if asked.backwards else {"after": events[-1].position}
        following = _next("/api/v1/events", asked, {**bound, "limit": limit})
    return _page(events, following, head)


@operation(
    "POST",
    "/api/v1/events/query",
    needs=Permission.READ,
    body={JSON: ReadForm},
    headers={"last-event-id": "For text/event-stream: the position to go on from."},
    returns={200: {JSON: EventsPage, LINES: RecordedEventForm, EVENT_STREAM: None}},
)
async def query_log(service: Service, request: Request) -> Answer:
    """Read the log, with the query in the body.

    The same as GET /api/v1/events, for queries that are too large for a URL. Its pages have no `next`: ask again with
    the last position.
    """
    asked: ReadForm = await request.decoded(ReadForm)
    query, resumed = query_of(asked.query), last_event_id(request)
    request.principal.check_query(Permission.READ, query)
    match request.accepts(JSON, LINES, EVENT_STREAM):
        case "text/event-stream":
            _check_tail(asked, "before")
            return tail(service, query, asked.after if resumed is None else resumed)
        case "application/x-ndjson":
            return _lines(service, query, asked.after, asked.before, asked.backwards, asked.limit)
    events, head = await _log_page(service, query, asked.after, asked.before, asked.backwards, _page_limit(asked.limit))
    return _page(events, None, head)


@operation("GET", "/api/v1/events/{id}", needs=Permission.READ, returns={200: {JSON: RecordedEventForm}, 304: {}})
async def read_event(service: Service, request: Request) -> Answer:
    """Read one event by its id. It never changes."""
    id = check_event_id("id", request.values["id"])
    event = await service.store.event(id)
    if event is None:
        raise ResourceNotFound(f"there is no event of id {id}")
    request.principal.check_stream(Permission.READ, event.stream)
    headers = [header("etag", f'"{event.id}"')]
    if request.header("if-none-match") == f'"{event.id}"':
        return Response(b"", 304, None, headers)
    return Response(form_of(event), 200, JSON, headers)


@operation("POST", "/api/v1/events/by-id", needs=Permission.READ, body={JSON: IdsForm}, returns={200: {LINES: RecordedEventForm}})
async def read_events(service: Service, request: Request) -> Answer:
    """Read events by their ids. Ids that are not known are left out."""
    asked: IdsForm = await request.decoded(IdsForm)
    ids = [check_event_id("ids", id).bytes for id in asked.ids]
    found = await service.in_thread(service.storage.events, ids)
    for event in found.values():
        request.principal.check_stream(Permission.READ, event.stream)
    return Response(b"".join([form_of(event) + b"\n" for event in found.values()]), 200, LINES)


@operation(
    "GET",
    "/api/v1/streams/{stream}/events",
    needs=Permission.READ,
    parameters=StreamParameters,
    headers={
        "if-none-match": "The ETag of the last answer; 304 if the stream is still at this version.",
        "last-event-id": "For text/event-stream: the position to go on from.",
    },
    returns={200: {JSON: EventsPage, LINES: RecordedEventForm, EVENT_STREAM: None}, 304: {}},
)
async def read_stream(service: Service, request: Request) -> Answer:
    """Read a stream, by version.

    An unknown stream has no events. The ETag of a page is the stream's version.
    """
    stream = request.values["stream"]
    asked, resumed = request.parameters(StreamParameters), last_event_id(request)
    request.principal.check_stream(Permission.READ, stream)
    info = await service.store.stream(stream)
    match request.accepts(JSON, LINES, EVENT_STREAM):
        case "text/event-stream":
            after = await _tail_after(service, stream, asked, resumed)
            return tail(service, Query(stream=stream), after, after_version=asked.after_version)
        case "application/x-ndjson":
            return _stream_lines(service, stream, asked)
    headers = [header("etag", version_tag(info.version))]
    if request.header("if-none-match") == version_tag(info.version):
        return Response(b"", 304, None, headers)
    limit = _page_limit(asked.limit)
    events = await _stream_page(service, stream, asked, limit)
    following = None
    if len(events) == limit and limit and events[-1].version != (1 if asked.backwards else info.version):
        bound = {"before_version" if asked.backwards else "after_version": events[-1].version}
        following = _next(f"/api/v1/streams/{quote(stream, safe='')}/events", asked, {**bound, "limit": limit})
    return _page(events, following, await service.store.head(), headers)


async def _tail_after(service: Service, stream: str, asked: StreamParameters, resumed: int | None) -> int:
    """Where a stream's tail begins: `Last-Event-ID` is a position, `after_version` a version."""
    _check_tail(asked, "before_version")
    if resumed is not None:
        return resumed
    if not asked.after_version:
        return 0
    before = None if asked.after_version >= POSITION_MAX else asked.after_version + 1
    found = await service.in_thread(
        lambda: service.storage.read_stream(stream, after_version=0, before_version=before, backwards=True, limit=1)
    )
    return found[0].position if found else 0


def _check_tail(asked: Any, before: str) -> None:
    """What has no meaning for a tail is not passed over in silence."""
    for name in (before, "backwards", "limit"):
        if value := getattr(asked, name):
            raise InvalidInput(name, value, "a stream of events that go on (text/event-stream) has no end and one direction")


# Pages


def _page_limit(limit: int | None) -> int:
    return _PAGE_LIMIT if limit is None else min(limit, HTTP_PAGE_EVENTS_MAX)


async def _log_page(
    service: Service, query: Query, after: int, before: int | None, backwards: bool, limit: int
) -> tuple[list[RecordedEvent], int]:
    """In one hop to a thread."""

    def read() -> tuple[list[RecordedEvent], int]:
        paging = Paging(after=after, before=before, backwards=backwards, limit=limit)
        events: list[RecordedEvent] = []
        while (page := paging.next_page) is not None and sum(len(event.data_json) for event in events) < _PAGE_BYTES:
            found = service.storage.read(query, after=page.after, before=page.before, backwards=backwards, limit=page.limit)
            paging.took(found)
            events += found
            if paging.needs_end:
                paging.end_at(service.storage.head())
        return events, service.storage.head()

    return await service.in_thread(read)


async def _stream_page(service: Service, stream: str, asked: StreamParameters, limit: int) -> list[RecordedEvent]:
    events = service.store.read_stream(
        stream,
        after_version=asked.after_version,
        before_version=asked.before_version,
        backwards=asked.backwards,
        limit=limit,
    )
    return [event async for event in events]


def _page(events: Sequence[RecordedEvent], following: str | None, head: int, headers: Sequence[Any] = ()) -> Response:
    body = b'{"events":[%b],"next":%b,"head":%d}' % (b",".join([form_of(event) for event in events]), _encode(following), head)
    if following is not None:
        headers = [*headers, header("link", f'<{following}>; rel="next"')]
    return Response(body, 200, JSON, headers)


def _next(path: str, asked: msgspec.Struct, changed: dict[str, Any]) -> str:
    values = {**msgspec.structs.asdict(asked), **changed}
    kept = {name: value for name, value in values.items() if value not in (None, False, []) and (name, value) != ("after", 0)}
    return f"{path}?{urlencode(as_query(kept))}"


# Lines


def _lines(service: Service, query: Query, after: int, before: int | None, backwards: bool, limit: int | None) -> Stream:
    paging = Paging(after=after, before=before, backwards=backwards, limit=limit)

    def fetch(page: Page) -> list[RecordedEvent]:
        return service.storage.read(query, after=page.after, before=page.before, backwards=backwards, limit=page.limit)

    return _paged(service, paging, fetch, service.storage.head)


def _stream_lines(service: Service, stream: str, asked: StreamParameters) -> Stream:
    paging = Paging(
        after=asked.after_version,
        before=asked.before_version,
        backwards=asked.backwards,
        limit=asked.limit,
        of_stream=True,
    )

    def fetch(page: Page) -> list[RecordedEvent]:
        return service.storage.read_stream(
            stream, after_version=page.after, before_version=page.before, backwards=asked.backwards, limit=page.limit
        )

    return _paged(service, paging, fetch, lambda: service.storage.stream(stream).version)


def _paged(service: Service, paging: Paging, fetch: Callable[[Page], list[RecordedEvent]], last: Callable[[], int]) -> Stream:
    """Page by page, each read and written out in a thread while the client takes the one before."""

    def text_of_page() -> bytes | None:
        page = paging.next_page
        if page is None:
            return None
        events = fetch(page)
        paging.took(events)
        if paging.needs_end:
            paging.end_at(last())
        return b"".join([form_of(event) + b"\n" for event in events])

    async def write_all(write: Write) -> None:
        async for text in _texts(lambda: service.in_thread(text_of_page)):
            await write(text)

    return Stream(write_all, LINES)


async def _texts(next_text: Callable[[], Awaitable[bytes | None]]) -> AsyncIterator[bytes]:
    while (text := await next_text()) is not None:
        if text:
            yield text


assert PAGE_EVENTS_MAX <= HTTP_PAGE_EVENTS_MAX
