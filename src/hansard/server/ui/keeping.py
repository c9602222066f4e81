"""Health, the reference of the HTTP interface, the problems that it tells, signing in, and the files that pages need."""

import time
from importlib.resources import files
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansard import errors
from hansard.errors import HansardError, NotAuthenticated, ResourceNotFound
from hansard.outcomes import OUTCOMES
from hansard.server.access.permissions import Permission
from hansard.server.access.sessions import COOKIE, SESSION_S
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer, Response, header
from hansard.server.service import Service
from hansard.server.ui.pages import form_of, page, pages, see_other
from hansard.storage.port import Capability
from hansard.wire.problems import title_of

operation = pages()

_FORM: Final = "application/x-www-form-urlencoded"
_STATIC: Final = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_FILES: Final = {name: files("hansard.server.ui").joinpath("static", name).read_bytes() for name in _STATIC}


class LoginAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    next: Annotated[str, Meta(max_length=16_000)] = "/"


@operation("GET", "/health", needs=Permission.READ, returns={200: {HTML: None}})
async def show_health(service: Service, request: Request) -> Answer:
    """How the server and its store are."""
    started = time.perf_counter()
    head = await service.store.head()
    is_node = Capability.CLUSTER in service.storage.capabilities
    return await page(
        service,
        request,
        "health.html",
        head=head,
        read_ms=(time.perf_counter() - started) * 1000,
        durability=service.storage.durability,
        capabilities=sorted(service.storage.capabilities),
        up_s=time.monotonic() - service.begun_s,
        under_way=service.requests_under_way,
        held=service.held.count,
        is_read_only=service.settings.read_only,
        cluster=await service.in_thread(lambda: _cluster(service)) if is_node else None,
    )


def _cluster(service: Service) -> Any:
    """As this node knows it, or in words why the log cannot be asked now."""
    try:
        return service.control.cluster.status()
    except HansardError as error:
        return str(error)


@operation("GET", "/reference", needs=Permission.READ, returns={200: {HTML: None}})
async def show_reference(service: Service, request: Request) -> Answer:
    """The HTTP interface, operation by operation."""
    from hansard.server.interface import OPERATIONS  # it is made of all operations, this one too
    from hansard.server.openapi import document

    told = document(OPERATIONS)
    by_tag: dict[str, list[tuple[str, str, dict[str, object]]]] = {}
    for path, methods in told["paths"].items():
        for method, one in methods.items():
            by_tag.setdefault(one["tags"][0], []).append((method.upper(), path, one))
    return await page(service, request, "reference.html", by_tag=by_tag, schemas=told["components"]["schemas"])


@operation("GET", "/problems", needs=None, returns={200: {HTML: None}})
async def show_problems(service: Service, request: Request) -> Answer:
    """What each problem's code means."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HansardError)]
    rows = [(kind.code, OUTCOMES[kind.code], title_of(kind)) for kind in kinds]
    return await page(service, request, "problems.html", rows=rows)


@operation("GET", "/login", needs=None, parameters=LoginAsked, returns={200: {HTML: None}})
async def show_login(service: Service, request: Request) -> Answer:
    """Where a key is given."""
    return await page(service, request, "login.html", next=_local(request.parameters(LoginAsked).next), problem=None)


@operation("POST", "/login", needs=None, body={_FORM: None}, returns={303: {}})
async def log_in(service: Service, request: Request) -> Answer:
    """Begin a session with a key."""
    form = await form_of(request)
    following = _local(form.get("next") or "/")
    try:
        key = form.must("key").strip()
        service.gate.bearer(key)
    except NotAuthenticated as error:
        return await page(service, request, "login.html", status=401, next=following, problem=str(error))
    cookie = f"{COOKIE}={service.gate.sessions.begin(key)}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_S}"
    return see_other(following, [header("set-cookie", f"{cookie}; Secure" if request.scheme == "https" else cookie)])


@operation("POST", "/logout", needs=None, body={_FORM: None}, returns={303: {}})
async def log_out(service: Service, request: Request) -> Answer:
    """End the session."""
    service.gate.sessions.end(request.cookie(COOKIE))
    return see_other("/login", [header("set-cookie", f"{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")])


@operation("GET", "/static/{file}", needs=None, returns={200: {HTML: None}})
async def read_static(service: Service, request: Request) -> Answer:
    """A style sheet, the script, the icon."""
    name = request.values["file"]
    if name not in _STATIC:
        raise ResourceNotFound(f"there is no file {name}")
    return Response(_FILES[name], 200, _STATIC[name])


def _local(path: str) -> str:
    """A path of this server; anything else, such as another host, becomes the first page."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_local else "/"
