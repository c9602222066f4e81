"""Named readers (processors, groups, builds of projections) and their dead letters, from outside."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansard.errors import Conflict, InvalidInput, ResourceNotFound
from hansard.limits import HTTP_PAGE_EVENTS_MAX
from hansard.processors.control import ReaderStatus
from hansard.processors.dead_letters import DeadLetter
from hansard.server import audit
from hansard.server.access.permissions import Permission
from hansard.server.http.parameters import described
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Request
from hansard.server.responses import OK, Answer, json_of
from hansard.server.service import Service
from hansard.wire.appends import Position

operation = Operations("Readers and dead letters")

_IN_PATHS: Final = {"name", "build", "sequence", "version"}


class Readers(msgspec.Struct):
    readers: list[ReaderStatus]


class ThrottleForm(msgspec.Struct, forbid_unknown_fields=True):
    """null: as many as there are."""

    events_per_s: Annotated[float, Meta(gt=0, le=1e9)] | None


class ResetForm(msgspec.Struct, forbid_unknown_fields=True):
    position: Position = 0


class LettersParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=HTTP_PAGE_EVENTS_MAX)] = 100


class Letters(msgspec.Struct):
    dead_letters: list[DeadLetter]


class RetryForm(msgspec.Struct, forbid_unknown_fields=True):
    """Letters of one sequence; null: of all."""

    sequence: Annotated[str, described("Its stream, or its partition key.")] | None = None


class DiscardForm(msgspec.Struct, forbid_unknown_fields=True):
    """The letter at a position; null: all letters of the sequence."""

    sequence: str
    position: Position | None = None


class Count(msgspec.Struct):
    count: int


async def found(service: Service, call: Any) -> Any:
    """What is called in a thread; a name in the path that is not known is 404, not bad input."""
    try:
        return await service.in_thread(call)
    except InvalidInput as error:
        if error.field in _IN_PATHS:
            raise ResourceNotFound(str(error)) from None
        if error.field == "position":  # right in itself, but not now
            raise Conflict(str(error)) from None
        raise


@operation("GET", "/api/v1/readers", needs=Permission.SUBSCRIBE, returns={200: {JSON: Readers}})
async def list_readers(service: Service, request: Request) -> Answer:
    """Every named reader: how far it is, how fast, who runs it, what it failed at."""
    request.principal.check_all(Permission.SUBSCRIBE)
    return json_of(Readers(await service.in_thread(lambda: list(service.control.readers()))))


@operation("GET", "/api/v1/readers/{name}", needs=Permission.SUBSCRIBE, returns={200: {JSON: ReaderStatus}})
async def read_reader(service: Service, request: Request) -> Answer:
    """One named reader."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name = request.values["name"]
    return json_of(await found(service, lambda: service.control.reader(name).status()))


@operation("POST", "/api/v1/readers/{name}/pause", needs=Permission.ADMIN, returns={204: {}})
async def pause_reader(service: Service, request: Request) -> Answer:
    """Let it take no more events until it is resumed; also across restarts."""
    name = request.values["name"]
    await found(service, lambda: service.control.reader(name).pause())
    await audit.note(service, request, "reader-paused", name)
    return OK


@operation("POST", "/api/v1/readers/{name}/resume", needs=Permission.ADMIN, returns={204: {}})
async def resume_reader(service: Service, request: Request) -> Answer:
    """Let it go on."""
    name = request.values["name"]
    await found(service, lambda: service.control.reader(name).resume())
    await audit.note(service, request, "reader-resumed", name)
    return OK


@operation("POST", "/api/v1/readers/{name}/throttle", needs=Permission.ADMIN, body={JSON: ThrottleForm}, returns={204: {}})
async def throttle_reader(service: Service, request: Request) -> Answer:
    """Let it take at most so many events a second."""
    name = request.values["name"]
    form: ThrottleForm = await request.decoded(ThrottleForm)
    await found(service, lambda: service.control.reader(name).throttle(form.events_per_s))
    await audit.note(service, request, "reader-throttled", name, events_per_s=form.events_per_s)
    return OK


@operation("POST", "/api/v1/readers/{name}/reset", needs=Permission.ADMIN, body={JSON: ResetForm}, returns={204: {}})
async def reset_reader(service: Service, request: Request) -> Answer:
    """Let it go back, or forward, to a position."""
    name = request.values["name"]
    form: ResetForm = await request.decoded(ResetForm)
    await found(service, lambda: service.control.reader(name).reset(form.position))
    await audit.note(service, request, "reader-reset", name, position=form.position)
    return OK


@operation(
    "GET",
    "/api/v1/readers/{name}/dead-letters",
    needs=Permission.SUBSCRIBE,
    parameters=LettersParameters,
    returns={200: {JSON: Letters}},
)
async def list_dead_letters(service: Service, request: Request) -> Answer:
    """Events that it could not handle, and those that wait behind them."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name, limit = request.values["name"], request.parameters(LettersParameters).limit

    def read() -> list[DeadLetter]:
        letters = iter(service.control.reader(name).dead_letters)
        return [letter for letter, _ in zip(letters, range(limit), strict=False)]

    return json_of(Letters(await found(service, read)))


@operation(
    "POST",
    "/api/v1/readers/{name}/dead-letters/retry",
    needs=Permission.ADMIN,
    body={JSON: RetryForm},
    returns={200: {JSON: Count}},
)
async def retry_dead_letters(service: Service, request: Request) -> Answer:
    """Ask whoever runs it to handle letters again, in order. Returns the number of sequences."""
    name = request.values["name"]
    form: RetryForm = await request.decoded(RetryForm)
    count = await found(service, lambda: service.control.reader(name).dead_letters.retry(form.sequence))
    await audit.note(service, request, "dead-letters-retried", name, sequence=form.sequence)
    return json_of(Count(count))


@operation(
    "POST",
    "/api/v1/readers/{name}/dead-letters/discard",
    needs=Permission.ADMIN,
    body={JSON: DiscardForm},
    returns={200: {JSON: Count}},
)
async def discard_dead_letters(service: Service, request: Request) -> Answer:
    """Give letters up: they are never handled. Returns how many."""
    name = request.values["name"]
    form: DiscardForm = await request.decoded(DiscardForm)
    count = await found(service, lambda: service.control.reader(name).dead_letters.discard(form.sequence, form.position))
    await audit.note(service, request, "dead-letters-discarded", name, sequence=form.sequence, position=form.position)
    return json_of(Count(count))
