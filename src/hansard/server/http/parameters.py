"""Parameters that several operations take."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hansard.errors import InvalidInput, ResourceNotFound
from hansard.limits import POSITION_MAX
from hansard.query import Query
from hansard.server.requests import Request
from hansard.streams import category_of
from hansard.wire.appends import Category, Name

Bound = Annotated[int, Meta(ge=0, le=POSITION_MAX)]
Limit = Annotated[int, Meta(ge=0, le=POSITION_MAX)]


_DIGITS_MAX = len(str(POSITION_MAX))


def described(text: str) -> Meta:
    return Meta(extra_json_schema={"description": text})


class Which(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Which events of the log."""

    type: Annotated[list[Name], described("Events of this type; several: of one of them.")] = []
    tag: Annotated[list[Name], described("Events with this tag; several: with all of them.")] = []
    stream: Annotated[Name, described("Events of this stream.")] | None = None
    category: Annotated[Category, described('Events of streams whose name up to the first "-" is this.')] | None = None


def query_from(which: Which) -> Query:
    """Raises InvalidInput; ResourceNotFound where nothing can match."""
    if which.stream is not None and which.category is not None:
        if category_of(which.stream) != which.category:
            raise ResourceNotFound(f"stream {which.stream!r} is not of category {which.category!r}")
        return Query(which.type, which.tag, which.stream)
    return Query(which.type, which.tag, which.stream, which.category)


def version_tag(version: int) -> str:
    """The ETag of a stream at a version."""
    return f'"{version}"'


def whole_number(field: str, text: str) -> int:
    """From a header."""
    digits = text.strip().strip('"')
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _DIGITS_MAX or int(digits) > POSITION_MAX:
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
