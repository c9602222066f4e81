"""Groups of consumers over HTTP: join, take, and finish each event by ack, nack or park."""

import asyncio
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hansard.limits import CONSUMER_WINDOW_MAX, LEASE_S, LEASE_S_MAX, LEASE_S_MIN, LONG_POLL_S_MAX, PARTITIONS_MAX
from hansard.server.access.permissions import Permission
from hansard.server.groups import HeldConsumer
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Disconnected, Request
from hansard.server.responses import OK, Answer, Response, json_of
from hansard.server.service import Service
from hansard.wire.appends import Position, QueryForm, QueryItemForm, query_of
from hansard.wire.recorded import RecordedEventForm, form_of

operation = Operations("Groups")


class JoinForm(msgspec.Struct, forbid_unknown_fields=True):
    """All consumers of a group give the same query and partitions. `after`: where a new group begins.

    `lease_s`: how long this consumer may be silent before others have its events.
    """

    query: QueryForm = msgspec.field(default_factory=lambda: QueryForm([QueryItemForm()]))
    partitions: Annotated[int, Meta(ge=1, le=PARTITIONS_MAX)] = 16
    after: Position | Literal["head"] = 0
    lease_s: Annotated[float, Meta(ge=LEASE_S_MIN, le=LEASE_S_MAX)] = LEASE_S


class Joined(msgspec.Struct):
    consumer: str


class TakeForm(msgspec.Struct, forbid_unknown_fields=True):
    """Up to `limit` events; the first one is waited for."""

    limit: Annotated[int, Meta(ge=1, le=CONSUMER_WINDOW_MAX)] = 16
    wait_s: Annotated[float, Meta(ge=0, le=LONG_POLL_S_MAX)] = 0.0


class TakenEvents(msgspec.Struct):
    events: list[RecordedEventForm]


Positions = Annotated[list[Position], Meta(max_length=CONSUMER_WINDOW_MAX)]


class AckForm(msgspec.Struct, forbid_unknown_fields=True):
    positions: Positions


class NackForm(msgspec.Struct, forbid_unknown_fields=True):
    """The events come again: after `delay_s`, or when the group's rule for retries says."""

    positions: Positions
    delay_s: Annotated[float, Meta(ge=0, le=LEASE_S_MAX)] | None = None


class ParkForm(msgspec.Struct, forbid_unknown_fields=True):
    """The events become dead letters; later ones of their streams wait behind them."""

    positions: Positions
    reason: Annotated[str, Meta(min_length=1, max_length=1_000)] = "parked by a consumer"


@operation(
    "POST", "/api/v1/groups/{group}/consumers", needs=Permission.SUBSCRIBE, body={JSON: JoinForm}, returns={201: {JSON: Joined}}
)
async def join_group(service: Service, request: Request) -> Answer:
    """Join a group: each event that matches goes to one of its consumers, until it is acked.

    Order is kept within a stream. A consumer that is silent for longer than its lease loses its events to others.
    """
    group = request.values["group"]
    form: JoinForm = await request.decoded(JoinForm)
    query = query_of(form.query)
    request.principal.check_query(Permission.SUBSCRIBE, query)
    id = await service.groups.join(
        group,
        query,
        partitions=form.partitions,
        after=form.after,
        lease_s=form.lease_s,
        owner=request.principal.name,
    )
    return json_of(Joined(id), 201)


@operation(
    "POST",
    "/api/v1/groups/{group}/consumers/{consumer}/take",
    needs=Permission.SUBSCRIBE,
    body={JSON: TakeForm},
    returns={200: {JSON: TakenEvents}},
)
async def take_events(service: Service, request: Request) -> Answer:
    """Take events whose turn it is. They are yours until you finish them, or are silent for longer than your lease."""
    form: TakeForm = await request.decoded(TakeForm)
    held = _held(service, request)
    wait_s = min(form.wait_s, held.lease_s / 2)
    taking = asyncio.ensure_future(held.take(form.limit, wait_s))
    gone, stopping = asyncio.ensure_future(request.disconnected()), asyncio.ensure_future(service.stopping.wait())
    try:
        await asyncio.wait((taking, gone, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_gone = gone.done()
        for waiting in (taking, gone, stopping):
            waiting.cancel()
    try:
        events = await taking
    except asyncio.CancelledError:  # it has put back what it had
        events = []
    if is_gone:
        await held.put_back(events)
        raise Disconnected
    return Response(b'{"events":[%b]}' % b",".join([form_of(event) for event in events]))


@operation(
    "POST", "/api/v1/groups/{group}/consumers/{consumer}/ack", needs=Permission.SUBSCRIBE, body={JSON: AckForm}, returns={204: {}}
)
async def ack_events(service: Service, request: Request) -> Answer:
    """These events are done."""
    form: AckForm = await request.decoded(AckForm)
    return await _finished(service, request, "ack", form.positions)


@operation(
    "POST",
    "/api/v1/groups/{group}/consumers/{consumer}/nack",
    needs=Permission.SUBSCRIBE,
    body={JSON: NackForm},
    returns={204: {}},
)
async def nack_events(service: Service, request: Request) -> Answer:
    """These events are to be tried again."""
    form: NackForm = await request.decoded(NackForm)
    return await _finished(service, request, "nack", form.positions, delay_s=form.delay_s)


@operation(
    "POST",
    "/api/v1/groups/{group}/consumers/{consumer}/park",
    needs=Permission.SUBSCRIBE,
    body={JSON: ParkForm},
    returns={204: {}},
)
async def park_events(service: Service, request: Request) -> Answer:
    """These events cannot be handled: they become dead letters."""
    form: ParkForm = await request.decoded(ParkForm)
    return await _finished(service, request, "park", form.positions, reason=form.reason)


@operation("DELETE", "/api/v1/groups/{group}/consumers/{consumer}", needs=Permission.SUBSCRIBE, returns={204: {}})
async def leave_group(service: Service, request: Request) -> Answer:
    """Leave: events that are not finished go to others at once."""
    group, consumer = request.values["group"], request.values["consumer"]
    await service.groups.leave(group, consumer, request.principal.name)
    return OK


def _held(service: Service, request: Request) -> HeldConsumer:
    return service.groups.of(request.values["group"], request.values["consumer"], request.principal.name)


async def _finished(
    service: Service,
    request: Request,
    verb: Literal["ack", "nack", "park"],
    positions: list[int],
    *,
    delay_s: float | None = None,
    reason: str = "",
) -> Answer:
    held = _held(service, request)
    await held.finish(verb, positions, delay_s=delay_s, reason=reason)
    return OK
