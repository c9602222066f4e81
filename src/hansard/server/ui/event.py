"""One event: its data as a tree, its bytes, how to get it by curl and Python; and what caused it and what it has caused."""

import shlex
from typing import Any, Final

import msgspec

from hansard.errors import InvalidInput, ResourceNotFound
from hansard.events import RecordedEvent, check_event_id
from hansard.processors.control import ReaderControl
from hansard.server.access.permissions import Permission
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer
from hansard.server.service import Service
from hansard.server.ui import drawing, looking
from hansard.server.ui.causes import Graph, graph_of
from hansard.server.ui.pages import page, pages, tree_of

operation = pages()

_SHOWN_BYTES: Final = 200_000


class Readership(msgspec.Struct, frozen=True):
    """A named reader that asks for an event: whether it is past it, and whether it has it as a dead letter."""

    name: str
    kind: str
    is_past: bool
    has_letter: bool


@operation("GET", "/event/{id}", needs=Permission.READ, returns={200: {HTML: None}})
async def show_event(service: Service, request: Request) -> Answer:
    """One event. `id`: its UUID, or its position."""
    event = await _found(service, request)
    stored = (await service.in_thread(looking.event_at, service.storage, event.position)) or event
    base = f"{request.scheme}://{request.header('host') or 'localhost'}"
    key = "" if request.principal.is_local else '-H "Authorization: Bearer $HANSARD_KEY" '
    keyed = "" if request.principal.is_local else "  # its key: HANSARD_KEY in the environment"
    return await page(
        service,
        request,
        "event.html",
        event=event,
        data=_tree(event.data_json),
        metadata=tree_of(event.metadata),
        stored=stored,
        size=len(stored.data_json),
        is_cut=len(stored.data_json) > _SHOWN_BYTES,
        is_null=event.data_json == b"null",
        raw=stored.data_json[:_SHOWN_BYTES].decode("utf-8", "replace"),
        curl=f"curl -s {key}{shlex.quote(f'{base}/api/v1/events/{stored.id}')}",
        python=f'import hansard\n\nstore = hansard.open({base!r}){keyed}\nevent = store.event("{stored.id}")',
    )


@operation("GET", "/event/{id}/graph", needs=Permission.READ, returns={200: {HTML: None}})
async def show_graph(service: Service, request: Request) -> Answer:
    """What caused an event, what it has caused, and who has handled it."""
    event = await _found(service, request)
    request.principal.check_all(Permission.READ)
    graph: Graph = await service.in_thread(graph_of, service.seen, event)
    readership = await service.in_thread(lambda: [one for e in graph.events for one in _readership(service, e)])
    by_event: dict[int, list[Readership]] = {}
    for position, one in readership:
        by_event.setdefault(position, []).append(one)
    return await page(
        service,
        request,
        "graph.html",
        event=event,
        graph=graph,
        readers=by_event,
        drawn=drawing.graph(graph, by_event, event.position),
    )


def _readership(service: Service, event: RecordedEvent) -> list[tuple[int, Readership]]:
    found = []
    for status in service.control.readers():
        control = ReaderControl(service.storage, status.name)
        if control.query.matches(event, event.stream):
            has_letter = any(letter.position == event.position for letter in control.dead_letters)
            found.append((event.position, Readership(status.name, status.kind, status.checkpoint >= event.position, has_letter)))
    return found


async def _found(service: Service, request: Request) -> RecordedEvent:
    given = request.values["id"]
    event: RecordedEvent | None
    if given.isascii() and given.isdigit() and len(given) < 19:
        event = await service.in_thread(looking.event_at, service.seen, int(given))
    else:
        try:
            event = await service.seen_store.event(check_event_id("id", given))
        except InvalidInput as error:
            raise ResourceNotFound(str(error)) from None
    if event is None:
        raise ResourceNotFound(f"there is no event {given}")
    request.principal.check_stream(Permission.READ, event.stream)
    return event


def _tree(text: bytes) -> Any:
    return tree_of(msgspec.json.decode(text)) if len(text) <= _SHOWN_BYTES else None
