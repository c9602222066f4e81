"""How a page is made: its template, its headers, its forms. Each module beside this one holds the pages of one thing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from jinja2 import DictLoader, Environment, StrictUndefined

from hansard import __version__
from hansard.errors import HansardError, InvalidInput, NotAuthenticated, RequestTooLarge
from hansard.outcomes import OUTCOMES
from hansard.server.access.permissions import NOBODY, Permission
from hansard.server.operations import Operations
from hansard.server.requests import Request, converted
from hansard.server.responses import Header, Response, header
from hansard.server.service import Service
from hansard.server.ui.words import word_of
from hansard.streams import check_bound
from hansard.wire.problems import title_of
from hansard.wire.recorded import time_text

HTML: Final = "text/html; charset=utf-8"
TAG: Final = "Pages"
_FORM_BYTES_MAX: Final = 64 * 1024
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_NAVIGATION: Final = (
    ("/", "Log"),
    ("/streams", "Streams"),
    ("/charts", "Charts"),
    ("/catalogue", "Catalogue"),
    ("/projections", "Projections"),
    ("/readers", "Readers"),
    ("/timers", "Timers"),
    ("/health", "Health"),
    ("/reference", "API"),
)


def pages() -> Operations:
    return Operations(TAG)


async def page(service: Service, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Drawn in a thread: a large page stops nobody else."""
    return await service.in_thread(lambda: _drawn(request, template, status=status, **values))


def _drawn(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    principal = getattr(request, "principal", NOBODY)
    body = _environment.get_template(template).render(
        navigation=_NAVIGATION,
        path=request.path,
        who=principal,
        may_change=principal.may(Permission.ADMIN),
        hansard_version=__version__,
        **values,
    )
    return Response(body.encode(), status, HTML, HEADERS)


def error_page(request: Request, error: HansardError) -> Response:
    if isinstance(error, NotAuthenticated) and request.method == "GET":
        return see_other(f"/login?{urlencode({'next': local_path(request)})}")
    status = OUTCOMES[error.code].http_status
    return _drawn(request, "error.html", status=status, error=error, title=title_of(type(error)), status_code=status)


def see_other(path: str, headers: Sequence[Header] = ()) -> Response:
    """After a change: the browser asks for the page that shows it."""
    return Response(b"", 303, None, [header("location", path), *headers, *HEADERS])


def local_path(request: Request) -> str:
    """The first page where it is too long to be remembered."""
    try:
        query = request.query_string
    except RequestTooLarge:
        return "/"
    return request.local_path + (f"?{query}" if query else "")


class Form(msgspec.Struct, frozen=True):
    """What a form has sent."""

    values: dict[str, str]

    def get(self, name: str) -> str | None:
        """None for a field that is missing or empty."""
        return self.values.get(name) or None

    def must(self, name: str) -> str:
        if not (value := self.get(name)):
            raise InvalidInput(name, value, "expected a value")
        return value


async def form_of(request: Request) -> Form:
    request.sends("application/x-www-form-urlencoded")
    text = await request.body(_FORM_BYTES_MAX)
    try:
        return Form(dict(parse_qsl(text.decode(), keep_blank_values=True, errors="strict")))
    except (UnicodeDecodeError, ValueError):
        raise InvalidInput("form", text[:100], "expected UTF-8, percent-encoded") from None


def number_of(field: str, text: str | None) -> int | None:
    """A whole number that somebody has typed; None for an empty field."""
    if not text:
        return None

    class _Number(msgspec.Struct):
        value: int

    try:
        value = converted({"value": text.strip().replace(",", "")}, _Number, strict=False).value
    except InvalidInput:
        raise InvalidInput(field, text, "expected a whole number") from None
    return check_bound(field, value)


_NODES_MAX: Final = 2_000


def tree_of(value: Any) -> Any:
    """A value to be drawn as a tree; None for one with more nodes than somebody could look through."""
    count, level = 0, [value]
    while level:
        count += len(level)
        if count > _NODES_MAX:
            return None
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return value


# What templates call


def _short_time(timestamp_us: int) -> str:
    return time_text(timestamp_us)[:23].replace("T", " ")


def _link(path: str, **values: Any) -> str:
    pairs = [(name, str(value)) for name, value in values.items() if value not in (None, "")]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _segment(text: str) -> str:
    return quote(text, safe="")


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _ago(timestamp_us: int) -> str:
    return f"{_duration(max(0.0, datetime.now(UTC).timestamp() - timestamp_us / 1e6))} ago"


def _bytes(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1024:,.1f} KiB"


def _templates() -> dict[str, str]:
    """Read once, when the server starts: nothing may wait for the disk while it serves."""
    return {file.name: file.read_text() for file in files("hansard.server.ui").joinpath("templates").iterdir()}


_environment = Environment(
    loader=DictLoader(_templates()),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "word": word_of,
    "time": _short_time,
    "segment": _segment,
    "count": _count,
    "duration": _duration,
    "ago": _ago,
    "bytes": _bytes,
}
_environment.globals["link"] = _link
