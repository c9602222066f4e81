"""Appending: to one stream, to many, under conditions, in bulk, and as CloudEvents."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from hansard.appends import Append, Appended, StreamAppend, append_of
from hansard.errors import HansardError, InvalidInput, RequestTimedOut, WrongExpectedVersion
from hansard.events import Event
from hansard.limits import OUTCOMES_PAUSE_S
from hansard.server.access.permissions import Permission
from hansard.server.http import cloudevents
from hansard.server.http.parameters import version_tag, whole_number
from hansard.server.operations import JSON, LINES, Operations
from hansard.server.requests import Request, decoded_json
from hansard.server.responses import Answer, Response, Stream, Write, header, line_of_problem
from hansard.server.service import Service
from hansard.streams import ANY, NO_STREAM, STREAM_EXISTS
from hansard.tracing import TRACEPARENT
from hansard.wire.appends import AppendForm, EventForm, EventForms, append_of_form, event_of

_TRACEPARENT: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context."""

operation = Operations("Appending")

_EXPECTATIONS: Final = {
    "if-match": 'The version that the stream must have, as its ETag ("3"); * : the stream must exist.',
    "if-none-match": "* : there must be no such stream.",
}
_UNDER_WAY: Final = 256
"""Appends of one bulk request that are in the writer's queue at once."""

_encode = msgspec.json.Encoder().encode
_append_form = msgspec.json.Decoder(AppendForm).decode


class Outcome(msgspec.Struct, omit_defaults=True):
    """Of one append of a bulk request: where it is, or why nothing of it was stored."""

    appended: Appended | None = None
    problem: dict[str, Any] | None = None


@operation(
    "POST",
    "/api/v1/streams/{stream}/events",
    needs=Permission.APPEND,
    headers=_EXPECTATIONS,
    body={JSON: EventForms | EventForm, cloudevents.ONE: cloudevents.CloudEvent, cloudevents.BATCH: cloudevents.CloudEvents},
    returns={201: {JSON: Appended}, 200: {JSON: Appended}},
)
async def append_to_stream(service: Service, request: Request) -> Answer:
    """Append events to a stream.

    All of them or none, durably. Appending the same ids again gives the first place (200) and stores nothing.
    The expected version is the stream's ETag, in If-Match; a stream that is not as expected is answered with 412.
    CloudEvents are taken in structured, batch and binary mode.
    """
    stream = request.values["stream"]
    request.principal.check_stream(Permission.APPEND, stream)
    request.principal.check_target(stream)
    part = StreamAppend(stream, await _events(request))  # what is wrong with them is told before what does not fit
    part = msgspec.structs.replace(part, expected_version=await _expected(service, request, stream))
    appended = await service.appends.begin(append_of((part,), None))
    return placed(appended)


@operation(
    "POST",
    "/api/v1/events",
    needs=Permission.APPEND,
    body={JSON: AppendForm},
    returns={201: {JSON: Appended}, 200: {JSON: Appended}},
)
async def append(service: Service, request: Request) -> Answer:
    """Append to any number of streams, or to none, under a condition.

    All of it or nothing. A condition that fails is answered with 409, an expected version that does not fit with 412.
    """
    return placed(await _begin(service, request, await request.decoded(AppendForm)))


@operation(
    "POST",
    "/api/v1/appends",
    needs=Permission.APPEND,
    body={LINES: AppendForm},
    returns={200: {LINES: Outcome}},
)
async def append_in_bulk(service: Service, request: Request) -> Answer:
    """Append many times in one request: one append a line in, one outcome a line out, in the same order.

    Each line is an append of its own: one that is refused stops no other. Outcomes are sent as they come, and are to be read
    meanwhile: a client that only sends is waited for, and after a minute cut off. One that cannot do both sends less at a time.
    """
    request.sends(LINES)

    async def write_all(write: Write) -> None:
        async for group in _groups(request):
            outcomes = [await _outcome(service, request, line, pending) for line, pending in _begun(service, request, group)]
            try:
                async with asyncio.timeout(OUTCOMES_PAUSE_S):
                    await write(b"".join(outcomes))
            except TimeoutError:
                raise RequestTimedOut(f"outcomes were not read for {OUTCOMES_PAUSE_S:g} s; read them while you send") from None

    return Stream(write_all, LINES, reads_body=True)


async def _groups(request: Request) -> AsyncIterator[list[bytes]]:
    """Lines that came together, at most _UNDER_WAY."""
    async for lines in request.lines():
        for start in range(0, len(lines), _UNDER_WAY):
            yield lines[start : start + _UNDER_WAY]


def _begun(service: Service, request: Request, lines: Sequence[bytes]) -> list[tuple[bytes, Any]]:
    """Appends under way for all lines: they meet in one group of the writer. A line that is refused has its error instead."""
    begun: list[tuple[bytes, Any]] = []
    for line in lines:
        try:
            begun.append((line, _begin(service, request, _append_of_line(line))))
        except HansardError as error:
            begun.append((line, error))
    return begun


def _append_of_line(line: bytes) -> AppendForm:
    try:
        return _append_form(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        form: AppendForm = decoded_json(line, AppendForm)  # says what is wrong
        return form


async def _outcome(service: Service, request: Request, line: bytes, pending: Any) -> bytes:
    try:
        if isinstance(pending, HansardError):
            raise pending
        return _encode(Outcome(appended=await pending)) + b"\n"
    except HansardError as error:
        return line_of_problem(error)


def _begin(service: Service, request: Request, form: AppendForm) -> Any:
    """An append under way, to be awaited."""
    checked = append_of_form(form)
    _check_allowed(request, checked)
    return service.appends.begin(checked)


def _check_allowed(request: Request, append: Append) -> None:
    principal = request.principal
    if principal.may_all(Permission.ADMIN):
        return
    for part in append.parts:
        principal.check_stream(Permission.APPEND, part.stream)
        principal.check_target(part.stream)
    if append.condition is not None:
        principal.check_query(Permission.READ, append.condition.fail_if)
    if append.timestamps_us is not None:
        principal.check_all(Permission.APPEND)


def placed(appended: Appended) -> Response:
    """Says where an append is; and the version, if it was to one stream."""
    headers = [header("location", f"/api/v1/events?after={appended.first_position - 1}&before={appended.last_position + 1}")]
    if appended.version is not None:
        headers.append(header("etag", version_tag(appended.version)))
    return Response(_encode(appended), 200 if appended.is_repeat else 201, JSON, headers)


async def _events(request: Request) -> list[Event]:
    media = request.media_type
    if media in (cloudevents.ONE, cloudevents.BATCH) or request.header("ce-specversion") is not None:
        return await cloudevents.events(request)
    request.sends(JSON)
    body = await request.body()
    forms = [decoded_json(body, EventForm)] if body.lstrip()[:1] == b"{" else decoded_json(body, list[EventForm])
    return [event_of(_traced(request, form)) for form in forms]


def _traced(request: Request, form: EventForm) -> EventForm:
    """With the trace that the request belongs to; not where the client has made the id, and so may send the event again."""
    traceparent = request.header(TRACEPARENT)
    if (
        traceparent is None
        or not _TRACEPARENT.fullmatch(traceparent)
        or form.id is not None
        or form.metadata_json is not msgspec.UNSET
    ):
        return form
    given = form.metadata
    metadata = decoded_json(bytes(given), dict[str, Any]) if isinstance(given, msgspec.Raw) else {}
    form.metadata = msgspec.Raw(_encode({TRACEPARENT: traceparent, **metadata}))
    return form


async def _expected(service: Service, request: Request, stream: str) -> int:
    """From If-Match and If-None-Match (RFC 9110); both together never hold."""
    match, none_match = request.header("if-match"), request.header("if-none-match")
    if match is None and none_match is None:
        return ANY
    if none_match is not None and none_match.strip() != "*":
        raise InvalidInput("If-None-Match", none_match, "expected *, for a stream that must not exist")
    if match is None:
        return NO_STREAM
    expected = STREAM_EXISTS if match.strip() == "*" else whole_number("If-Match", match)
    if none_match is not None:
        current = (await service.store.stream(stream)).version
        raise WrongExpectedVersion(stream, NO_STREAM if current else expected, current)
    return expected
