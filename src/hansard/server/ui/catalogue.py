"""The catalogue of events: types, versions, fields, who makes and who reads them, how many there are, when the last came."""

from typing import Any, Final

import msgspec

from hansard.errors import InvalidType
from hansard.event_types.registry import EventType
from hansard.events import RecordedEvent
from hansard.processors.control import ReaderControl
from hansard.query import Query
from hansard.schema.shapes import shape_of
from hansard.server.access.permissions import Permission
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer
from hansard.server.service import Service
from hansard.server.ui import looking
from hansard.server.ui.pages import page, pages

operation = pages()

_TYPES_MAX: Final = 300


class Field(msgspec.Struct, frozen=True):
    name: str
    kind: str
    is_required: bool
    is_personal: bool


class Entry(msgspec.Struct, frozen=True):
    """One type. `share`: of the samples; `last`: the last event of it; `old`: names under which it was stored before."""

    name: str
    version: int | None
    class_name: str | None
    fields: list[Field]
    tags: list[str]
    old: list[str]
    producers: list[str]
    consumers: list[str]
    share: float
    last: RecordedEvent | None


@operation("GET", "/catalogue", needs=Permission.READ, returns={200: {HTML: None}})
async def show_catalogue(service: Service, request: Request) -> Answer:
    """The catalogue of events."""
    request.principal.check_all(Permission.READ)
    entries, samples = await service.in_thread(lambda: _entries(service))
    return await page(
        service,
        request,
        "catalogue.html",
        entries=entries[:_TYPES_MAX],
        more=max(0, len(entries) - _TYPES_MAX),
        samples=samples,
        head=await service.seen_store.head(),
        has_types=service.domain.types is not None,
    )


def _entries(service: Service) -> tuple[list[Entry], int]:
    counted, samples = looking.sampled_types(service.seen)
    shares = {name: number / samples for name, number in counted}
    types = service.domain.types
    known = {one.name: one for one in types} if types is not None else {}
    names = sorted({*known, *shares})
    consumers = _consumers(service)
    return [_entry(service, name, known.get(name), shares.get(name, 0.0), consumers) for name in names], samples


def _entry(service: Service, name: str, one: EventType | None, share: float, consumers: list[tuple[str, Query]]) -> Entry:
    last = looking.last_of(service.seen, Query(types={name}))
    types = service.domain.types
    old = sorted(types.stored_names(name) - {name}) if types is not None else []
    producers = sorted(
        decider.name for decider in service.domain.deciders.values() if one is not None and one.kind in decider.events
    )
    reading = [reader for reader, query in consumers if any(not item.types or name in item.types for item in query.items)]
    if one is None:
        return Entry(name, None, None, [], [], old, producers, reading, share, last)
    tags = [template.text for template in one.definition.templates]
    return Entry(name, one.version, one.kind.__name__, _fields(one), tags, old, producers, reading, share, last)


def _consumers(service: Service) -> list[tuple[str, Query]]:
    """Named readers of the store, whichever program runs them."""
    names = [status.name for status in service.control.readers()]
    return [(name, ReaderControl(service.storage, name).query) for name in names]


def _fields(one: EventType) -> list[Field]:
    try:
        schema = shape_of(one).schema
    except InvalidType:  # pydantic can keep more than it can describe
        return []
    must = set(schema.get("required", ()))
    personal = {one.codec.wire_name(path.partition(".")[0]) for path in one.definition.personal}
    return [
        Field(name, _kind(field, schema), name in must, name in personal) for name, field in schema.get("properties", {}).items()
    ]


def _kind(field: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_kind(one, schema) for one in field["anyOf"])
    if "enum" in field:
        return "one of " + ", ".join(map(str, field["enum"]))
    kind = field.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if words == "array" and isinstance(field.get("items"), dict):
        return f"list of {_kind(field['items'], schema)}"
    return f"{words} ({field['format']})" if "format" in field else words
