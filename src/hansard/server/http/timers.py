"""Durable timers: which ones wait, setting one, forgetting one."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from hansard.errors import InvalidInput, ResourceNotFound
from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.server import audit
from hansard.server.access.permissions import Permission
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Request
from hansard.server.responses import OK, Answer, json_of
from hansard.server.service import Service
from hansard.timers import Timer, TimerInfo
from hansard.wire.appends import EventForm, Name, QueryForm, event_of, query_of

operation = Operations("Timers")

_LEAP: Final = re.compile(r"(T\d\d:\d\d):60", re.IGNORECASE)
_FIRST_YEAR: Final = 1971


class TimersParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=PAGE_DOCUMENTS_MAX)] = 100


class WaitingTimer(msgspec.Struct):
    name: str
    due: str
    stream: str | None
    type: str


class TimersPage(msgspec.Struct):
    """In the order in which they are due."""

    timers: list[WaitingTimer]


class TimerForm(msgspec.Struct, forbid_unknown_fields=True):
    """Store this event then, unless an event that matches has been stored since the timer was set."""

    due: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    event: EventForm
    stream: Name | None = None
    unless: QueryForm | None = None


@operation("GET", "/api/v1/timers", needs=Permission.SUBSCRIBE, parameters=TimersParameters, returns={200: {JSON: TimersPage}})
async def list_timers(service: Service, request: Request) -> Answer:
    """The timers that wait, the next ones first."""
    limit = request.parameters(TimersParameters).limit
    request.principal.check_all(Permission.SUBSCRIBE)

    def read() -> list[TimerInfo]:
        return [timer for timer, _ in zip(iter(service.control.timers), range(limit), strict=False)]

    return json_of(TimersPage([waiting(timer) for timer in await service.in_thread(read)]))


def waiting(timer: TimerInfo) -> WaitingTimer:
    return WaitingTimer(timer.name, f"{timer.due.isoformat()}", timer.stream, timer.type)


@operation("PUT", "/api/v1/timers/{name}", needs=Permission.APPEND, body={JSON: TimerForm}, returns={204: {}})
async def set_timer(service: Service, request: Request) -> Answer:
    """Set a timer, or set it anew. A program that runs Timers, or a process manager, fires it."""
    name = request.values["name"]
    form: TimerForm = await request.decoded(TimerForm)
    request.principal.check_all(Permission.APPEND)  # a timer takes the place of one of the same name, of whatever stream
    request.principal.check_target(form.stream)
    unless = None if form.unless is None else query_of(form.unless)
    if unless is not None:
        request.principal.check_query(Permission.READ, unless)
    timer = Timer(name, _time(form.due), form.stream, event_of(form.event), unless=unless)
    await service.in_thread(service.control.timers.set, timer)
    return OK


@operation("DELETE", "/api/v1/timers/{name}", needs=Permission.ADMIN, returns={204: {}})
async def cancel_timer(service: Service, request: Request) -> Answer:
    """Forget a timer."""
    name = request.values["name"]
    if not await service.in_thread(service.control.timers.cancel, name):
        raise ResourceNotFound(f"no timer of name {name!r} waits")
    await audit.note(service, request, "timer-cancelled", name)
    return OK


def _time(text: str) -> datetime:
    """A leap second is the one before it; what lies before 1970 is due at once."""
    try:
        time = datetime.fromisoformat(_LEAP.sub(r"\1:59", text))
    except ValueError:
        raise InvalidInput("due", text, "expected a time such as 2030-01-31T12:00:00Z") from None
    if time.tzinfo is None:
        raise InvalidInput("due", text, "expected a time with its zone, such as …Z")
    return time if time.year >= _FIRST_YEAR else datetime(1970, 1, 1, tzinfo=UTC)
