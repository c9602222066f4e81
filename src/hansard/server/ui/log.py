"""The log, newest first: search, jump to a position or a time, live tail; and the list of streams, and one stream."""

from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from hansard.limits import POSITION_MAX
from hansard.query import Query, check_category
from hansard.server.access.permissions import Permission
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer
from hansard.server.service import Service
from hansard.server.ui import looking
from hansard.server.ui.pages import number_of, page, pages
from hansard.server.ui.words import words_of

operation = pages()

_ROWS: Final = 50
_STREAMS: Final = 100


class LogAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    type: str = ""
    tag: str = ""
    category: str = ""
    stream: str = ""
    before: str = ""
    after: str = ""
    position: str = ""
    at: str = ""


class StreamsAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    category: str = ""
    after: str = ""


class StreamAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1)]
    after_version: str = ""


@operation("GET", "/", needs=Permission.READ, parameters=LogAsked, returns={200: {HTML: None}})
async def show_log(service: Service, request: Request) -> Answer:
    """The log."""
    asked = request.parameters(LogAsked)
    query = _query(asked)
    request.principal.check_query(Permission.READ, query)
    before, after = number_of("before", asked.before), number_of("after", asked.after)
    if (position := number_of("position", asked.position)) is not None:
        before, after = min(position + _ROWS // 2, POSITION_MAX), None
    if asked.at:
        time_us = looking.time_us_of(asked.at)
        position = await service.in_thread(looking.position_at, service.seen, time_us)
        before, after = None, max(0, position - 1)
    found = await service.in_thread(lambda: looking.shown(service.seen, query, before=before, after=after, limit=_ROWS))
    types, _ = (
        await service.in_thread(looking.sampled_types, service.seen) if request.principal.may_all(Permission.READ) else ([], 0)
    )
    return await page(
        service,
        request,
        "log.html",
        asked=asked,
        found=found,
        marked=position,
        types=[name for name, _ in types[:50]],
        live=_live(asked, found.head),
        is_newest=before is None and after is None,
        is_filtered=query != looking.EVERYTHING,
    )


def _query(asked: LogAsked) -> Query:
    return Query(
        types=words_of(asked.type),
        tags=words_of(asked.tag),
        stream=asked.stream or None,
        category=None if asked.stream else asked.category or None,
    )


def _live(asked: LogAsked, head: int) -> str:
    """Where the tail of what is shown is read."""
    pairs = [*(("type", word) for word in words_of(asked.type)), *(("tag", word) for word in words_of(asked.tag))]
    pairs += [(name, value) for name, value in (("stream", asked.stream), ("category", asked.category)) if value][:1]
    return f"/api/v1/events?{urlencode([*pairs, ('after', str(head))])}"


@operation("GET", "/streams", needs=Permission.READ, parameters=StreamsAsked, returns={200: {HTML: None}})
async def show_streams(service: Service, request: Request) -> Answer:
    """Streams, by name."""
    asked = request.parameters(StreamsAsked)
    if asked.category:
        request.principal.check_stream(Permission.READ, f"{check_category(asked.category)}-")
    else:
        request.principal.check_all(Permission.READ)
    found = await service.in_thread(
        lambda: service.seen.streams(category=asked.category or None, after=asked.after, limit=_STREAMS + 1)
    )
    return await page(service, request, "streams.html", asked=asked, streams=found[:_STREAMS], has_more=len(found) > _STREAMS)


@operation("GET", "/stream", needs=Permission.READ, parameters=StreamAsked, returns={200: {HTML: None}})
async def show_stream(service: Service, request: Request) -> Answer:
    """One stream, by version."""
    asked = request.parameters(StreamAsked)
    request.principal.check_stream(Permission.READ, asked.name)
    after_version = number_of("after_version", asked.after_version) or 0
    info = await service.seen_store.stream(asked.name)
    reading = service.seen_store.read_stream(asked.name, after_version=after_version, limit=_ROWS)
    events = [event async for event in reading]
    return await page(
        service,
        request,
        "stream.html",
        info=info,
        events=events,
        after_version=after_version,
        rows=_ROWS,
        size=looking.sizes(events),
    )
