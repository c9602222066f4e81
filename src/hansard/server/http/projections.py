"""Projections: their builds, progress, rebuild, diff, promote, drop; and the states of their read models."""

from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from hansard.errors import ResourceNotFound
from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.projections.control import Difference, ProjectionStatus
from hansard.server import audit
from hansard.server.access.permissions import Permission
from hansard.server.http.parameters import as_query, described
from hansard.server.http.readers import found
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Request
from hansard.server.responses import OK, Answer, json_of
from hansard.server.service import Service

operation = Operations("Projections")

Limit = Annotated[int, Meta(ge=1, le=PAGE_DOCUMENTS_MAX)]


class Projections(msgspec.Struct):
    projections: list[ProjectionStatus]


class RebuildForm(msgspec.Struct, forbid_unknown_fields=True):
    """null: the version that is read now."""

    version: Annotated[int, Meta(ge=1, le=2**31)] | None = None


class BuildLabel(msgspec.Struct):
    build: str


class DiffParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    old: Annotated[str, described("The label of a build.")]
    new: Annotated[str, described("The label of another one.")]
    limit: Limit = 100


class FieldDifference(msgspec.Struct):
    old: Any
    new: Any


class KeyDifference(msgspec.Struct):
    """`kind`: added, missing (in the new build) or changed."""

    key: str
    kind: str
    fields: dict[str, FieldDifference]


class Differences(msgspec.Struct):
    """Keys on which two builds do not agree, in the order of the keys."""

    differences: list[KeyDifference]


class StatesParameters(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    build: Annotated[str, described("The label of a build; without it, of the one that is read.")] | None = None
    after: Annotated[str, described("Only keys after this one.")] = ""
    limit: Limit = 100


class State(msgspec.Struct):
    key: str
    state: Any


class States(msgspec.Struct):
    states: list[State]
    next: str | None


@operation("GET", "/api/v1/projections", needs=Permission.SUBSCRIBE, returns={200: {JSON: Projections}})
async def list_projections(service: Service, request: Request) -> Answer:
    """Every projection with its builds: state, progress, rate."""
    request.principal.check_all(Permission.SUBSCRIBE)
    return json_of(Projections(await service.in_thread(lambda: list(service.control.projections()))))


@operation("GET", "/api/v1/projections/{name}", needs=Permission.SUBSCRIBE, returns={200: {JSON: ProjectionStatus}})
async def read_projection(service: Service, request: Request) -> Answer:
    """One projection with its builds."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name = request.values["name"]
    return json_of(await found(service, lambda: service.control.projection(name).status()))


@operation(
    "POST",
    "/api/v1/projections/{name}/rebuild",
    needs=Permission.ADMIN,
    body={JSON: RebuildForm},
    returns={200: {JSON: BuildLabel}},
)
async def rebuild_projection(service: Service, request: Request) -> Answer:
    """Begin a new build beside the one that is read.

    Whoever runs that version of the projection builds it; it takes over when it has caught up.
    """
    name = request.values["name"]
    form: RebuildForm = await request.decoded(RebuildForm)
    label = await found(service, lambda: service.control.projection(name).rebuild(form.version))
    await audit.note(service, request, "projection-rebuilt", name, version=form.version, build=label)
    return json_of(BuildLabel(label))


@operation("POST", "/api/v1/projections/{name}/builds/{build}/promote", needs=Permission.ADMIN, returns={204: {}})
async def promote_build(service: Service, request: Request) -> Answer:
    """Make a build the one that is read: one that is ready, or a retired one, to go back to it."""
    name, build = request.values["name"], request.values["build"]
    await found(service, lambda: service.control.projection(name).promote(build))
    await audit.note(service, request, "build-promoted", name, build=build)
    return OK


@operation("DELETE", "/api/v1/projections/{name}/builds/{build}", needs=Permission.ADMIN, returns={204: {}})
async def drop_build(service: Service, request: Request) -> Answer:
    """Delete a build with its states: a retired one, or one that is being built, which cancels it."""
    name, build = request.values["name"], request.values["build"]
    await found(service, lambda: service.control.projection(name).drop(build))
    await audit.note(service, request, "build-dropped", name, build=build)
    return OK


@operation(
    "GET",
    "/api/v1/projections/{name}/diff",
    needs=Permission.SUBSCRIBE,
    parameters=DiffParameters,
    returns={200: {JSON: Differences}},
)
async def diff_builds(service: Service, request: Request) -> Answer:
    """The first keys on which two builds do not agree, field by field."""
    request.principal.check_all(Permission.SUBSCRIBE)
    name, asked = request.values["name"], request.parameters(DiffParameters)
    request.principal.check_all(Permission.READ)

    def read() -> list[Difference]:
        differences = service.control.projection(name).diff(asked.old, asked.new)
        return [difference for difference, _ in zip(differences, range(asked.limit), strict=False)]

    return json_of(Differences([_form(difference) for difference in await found(service, read)]))


def _form(difference: Difference) -> KeyDifference:
    fields = {name: FieldDifference(old, new) for name, (old, new) in difference.fields.items()}
    return KeyDifference(difference.key, difference.kind, fields)


@operation(
    "GET",
    "/api/v1/projections/{name}/states",
    needs=Permission.READ,
    parameters=StatesParameters,
    returns={200: {JSON: States}},
)
async def list_states(service: Service, request: Request) -> Answer:
    """The read model: keys with their states, in the order of the keys."""
    name, asked = request.values["name"], request.parameters(StatesParameters)
    request.principal.check_all(Permission.READ)

    def read() -> list[State]:
        items = service.control.model(name, build=asked.build).items(after=asked.after)
        return [State(key, state) for (key, state), _ in zip(items, range(asked.limit), strict=False)]

    states = await found(service, read)
    following = None
    if len(states) == asked.limit:
        pairs = as_query({"build": asked.build, "after": states[-1].key, "limit": asked.limit})
        following = f"/api/v1/projections/{quote(name, safe='')}/states?{urlencode(pairs)}"
    return json_of(States(states, following))


@operation("GET", "/api/v1/projections/{name}/states/{key}", needs=Permission.READ, returns={200: {JSON: State}})
async def read_state(service: Service, request: Request) -> Answer:
    """The state of one key."""
    name, key = request.values["name"], request.values["key"]
    request.principal.check_all(Permission.READ)
    nothing = object()
    state = await found(service, lambda: service.control.model(name).get(key, nothing))
    if state is nothing:
        raise ResourceNotFound(f"projection {name!r} has no state of key {key!r}")
    return json_of(State(key, state))
