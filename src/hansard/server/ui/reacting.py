"""Readers, groups, dead letters, projections and timers: how far they are, and what can be done about it."""

from typing import Any, Final

import msgspec

from hansard.errors import InvalidInput
from hansard.processors.control import ReaderStatus
from hansard.processors.dead_letters import DeadLetter
from hansard.projections.control import Difference, ProjectionStatus
from hansard.server import audit
from hansard.server.access.permissions import Permission
from hansard.server.http.readers import found
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer
from hansard.server.service import Service
from hansard.server.ui.pages import Form, form_of, number_of, page, pages, see_other
from hansard.timers import TimerInfo

operation = pages()

_LETTERS: Final = 200
_DIFFERENCES: Final = 100
_STATES: Final = 50
_TIMERS: Final = 200


class NothingAsked(msgspec.Struct, forbid_unknown_fields=True):
    pass


class DiffAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    old: str = ""
    new: str = ""


class StatesAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    build: str = ""
    after: str = ""


# Readers


@operation("GET", "/readers", needs=Permission.SUBSCRIBE, parameters=NothingAsked, returns={200: {HTML: None}})
async def show_readers(service: Service, request: Request) -> Answer:
    """All named readers."""
    request.principal.check_all(Permission.SUBSCRIBE)
    readers = await service.in_thread(lambda: list(service.control.readers()))
    return await page(service, request, "readers.html", readers=readers)


@operation("GET", "/readers/{name}", needs=Permission.SUBSCRIBE, parameters=NothingAsked, returns={200: {HTML: None}})
async def show_reader(service: Service, request: Request) -> Answer:
    """One reader, with its members and dead letters."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name = request.values["name"]

    def read() -> tuple[ReaderStatus, list[DeadLetter]]:
        control = service.control.reader(name)
        return control.status(), [letter for letter, _ in zip(control.dead_letters, range(_LETTERS), strict=False)]

    status, letters = await found(service, read)
    return await page(service, request, "reader.html", reader=status, letters=letters, letters_max=_LETTERS)


@operation("POST", "/readers/{name}", needs=Permission.ADMIN, body={"application/x-www-form-urlencoded": None}, returns={303: {}})
async def change_reader(service: Service, request: Request) -> Answer:
    """Pause, resume, throttle, reset; retry and discard dead letters."""
    name, form = request.values["name"], await form_of(request)
    verb, parameters, call = _reader_change(service, name, form)
    await found(service, call)
    await audit.note(service, request, verb, name, **parameters)
    return see_other(request.local_path)


def _reader_change(service: Service, name: str, form: Form) -> tuple[str, dict[str, Any], Any]:
    def control() -> Any:
        return service.control.reader(name)

    match form.get("do"):
        case "pause":
            return "reader-paused", {}, lambda: control().pause()
        case "resume":
            return "reader-resumed", {}, lambda: control().resume()
        case "throttle":
            rate = number_of("events_per_s", form.get("events_per_s"))
            return "reader-throttled", {"events_per_s": rate}, lambda: control().throttle(rate)
        case "reset":
            position = number_of("position", form.must("position"))
            return "reader-reset", {"position": position}, lambda: control().reset(position or 0)
        case "retry":
            sequence = form.get("sequence")
            return "dead-letters-retried", {"sequence": sequence}, lambda: control().dead_letters.retry(sequence)
        case "discard":
            sequence, at = form.must("sequence"), number_of("position", form.get("position"))
            told = {"sequence": sequence, "position": at}
            return "dead-letters-discarded", told, lambda: control().dead_letters.discard(sequence, at)
    raise InvalidInput("do", form.get("do"), "expected pause, resume, throttle, reset, retry or discard")


# Projections


@operation("GET", "/projections", needs=Permission.SUBSCRIBE, parameters=NothingAsked, returns={200: {HTML: None}})
async def show_projections(service: Service, request: Request) -> Answer:
    """All projections with their builds."""
    request.principal.check_all(Permission.SUBSCRIBE)
    projections = await service.in_thread(lambda: list(service.control.projections()))
    return await page(service, request, "projections.html", projections=projections)


@operation("GET", "/projections/{name}", needs=Permission.SUBSCRIBE, parameters=StatesAsked, returns={200: {HTML: None}})
async def show_projection(service: Service, request: Request) -> Answer:
    """One projection: builds, progress, states."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name, asked = request.values["name"], request.parameters(StatesAsked)
    request.principal.check_all(Permission.READ)

    def read() -> tuple[ProjectionStatus, list[tuple[str, Any]]]:
        status = service.control.projection(name).status()
        if status.active is None and not asked.build:
            return status, []
        items = service.control.model(name, build=asked.build or None).items(after=asked.after)
        return status, [item for item, _ in zip(items, range(_STATES), strict=False)]

    status, states = await found(service, read)
    return await page(service, request, "projection.html", projection=status, states=states, asked=asked, states_max=_STATES)


@operation(
    "GET", "/projections/{name}/differences", needs=Permission.SUBSCRIBE, parameters=DiffAsked, returns={200: {HTML: None}}
)
async def show_differences(service: Service, request: Request) -> Answer:
    """The keys on which two builds do not agree."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name, asked = request.values["name"], request.parameters(DiffAsked)
    request.principal.check_all(Permission.READ)

    def read() -> list[Difference]:
        differences = service.control.projection(name).diff(asked.old, asked.new)
        return [one for one, _ in zip(differences, range(_DIFFERENCES), strict=False)]

    return await page(
        service,
        request,
        "differences.html",
        name=name,
        asked=asked,
        differences=await found(service, read),
        differences_max=_DIFFERENCES,
    )


@operation(
    "POST", "/projections/{name}", needs=Permission.ADMIN, body={"application/x-www-form-urlencoded": None}, returns={303: {}}
)
async def change_projection(service: Service, request: Request) -> Answer:
    """Rebuild; promote or drop a build; pause and resume it."""
    name, form = request.values["name"], await form_of(request)
    verb, parameters, call = _projection_change(service, name, form)
    await found(service, call)
    await audit.note(service, request, verb, name, **parameters)
    return see_other(request.local_path)


def _projection_change(service: Service, name: str, form: Form) -> tuple[str, dict[str, Any], Any]:
    def control() -> Any:
        return service.control.projection(name)

    match form.get("do"):
        case "rebuild":
            version = number_of("version", form.get("version"))
            return "projection-rebuilt", {"version": version}, lambda: control().rebuild(version)
        case "promote":
            build = form.must("build")
            return "build-promoted", {"build": build}, lambda: control().promote(build)
        case "drop":
            build = form.must("build")
            return "build-dropped", {"build": build}, lambda: control().drop(build)
        case "pause":
            build = form.must("build")
            return "reader-paused", {"build": build}, lambda: control().reader(build).pause()
        case "resume":
            build = form.must("build")
            return "reader-resumed", {"build": build}, lambda: control().reader(build).resume()
    raise InvalidInput("do", form.get("do"), "expected rebuild, promote, drop, pause or resume")


# Timers


@operation("GET", "/timers", needs=Permission.SUBSCRIBE, parameters=NothingAsked, returns={200: {HTML: None}})
async def show_timers(service: Service, request: Request) -> Answer:
    """The timers that wait, the next ones first."""
    request.principal.check_all(Permission.SUBSCRIBE)

    def read() -> list[TimerInfo]:
        return [timer for timer, _ in zip(iter(service.control.timers), range(_TIMERS), strict=False)]

    return await page(service, request, "timers.html", timers=await service.in_thread(read), timers_max=_TIMERS)
