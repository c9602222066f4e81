"""Parameters that several operations take."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hansard.errors import InvalidInput
from hansard.limits import HTTP_PAGE_EVENTS_MAX, POSITION_MAX
from hansard.query import Query
from hansard.server.requests import Request, decoded_json
from hansard.wire.appends import Category, Name, QueryForm, query_of

Bound = Annotated[int, Meta(ge=0, le=POSITION_MAX)]
PageLimit = Annotated[int, Meta(ge=1, le=HTTP_PAGE_EVENTS_MAX)]
Limit = Annotated[int, Meta(ge=0, le=POSITION_MAX)]


def described(text: str) -> Meta:
    return Meta(extra_json_schema={"description": text})


class Which(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which events of the log."""

    type: Annotated[list[Name], described("Events of this type; several: of one of them.")] = []
    tag: Annotated[list[Name], described("Events with this tag; several: with all of them.")] = []
    stream: Annotated[Name, described("Events of this stream.")] | None = None
    category: Annotated[Category, described('Events of streams whose name up to the first "-" is this.')] | None = None
    query: (
        Annotated[str, Meta(extra_json_schema={"description": 'A whole query as JSON: {"items": […]}; instead of the others.'})]
        | None
    ) = None


def query_from(which: Which) -> Query:
    """Raises InvalidInput."""
    if which.query is None:
        return Query(which.type, which.tag, which.stream, which.category)
    if which.type or which.tag or which.stream is not None or which.category is not None:
        raise InvalidInput("query", which.query, "give a whole query, or type, tag, stream and category, not both")
    return query_of(decoded_json(which.query.encode(), QueryForm))


def version_tag(version: int) -> str:
    """The ETag of a stream at a version."""
    return f'"{version}"'


def whole_number(field: str, text: str) -> int:
    """From a header."""
    digits = text.strip().strip('"')
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > POSITION_MAX:
        raise InvalidInput(field, text, f"expected a whole number from 0 to {POSITION_MAX}")
    return int(digits)


def last_event_id(request: Request) -> int | None:
    """Where a client that comes back goes on from."""
    text = request.header("last-event-id")
    return None if text is None else whole_number("Last-Event-ID", text)


def as_query(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Parameters as pairs for a URL; None is left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, list):
            pairs += [(name, str(item)) for item in value]
        elif isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs
