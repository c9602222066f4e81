"""Charts: events over time and by type, lengths of streams, the rate of writing now."""

import time
from typing import Final

import msgspec

from hansard.errors import InvalidInput
from hansard.server.access.permissions import Permission
from hansard.server.operations import HTML
from hansard.server.requests import Request
from hansard.server.responses import Answer
from hansard.server.service import Service
from hansard.server.ui import drawing, looking
from hansard.server.ui.pages import page, pages
from hansard.wire.recorded import time_text

operation = pages()

_BARS: Final = 60
_STREAMS_MAX: Final = 5_000
_SPANS_S: Final = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400, "year": 365 * 86_400}


class ChartsAsked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    span: str = ""


@operation("GET", "/charts", needs=Permission.READ, parameters=ChartsAsked, returns={200: {HTML: None}})
async def show_charts(service: Service, request: Request) -> Answer:
    """Charts."""
    span = request.parameters(ChartsAsked).span
    if span and span not in _SPANS_S:
        raise InvalidInput("span", span, f"expected one of {', '.join(_SPANS_S)}")
    request.principal.check_all(Permission.READ)
    storage = service.seen
    now_us = time.time_ns() // 1_000
    first = await service.in_thread(looking.event_at, storage, 1)
    start_us = now_us - _SPANS_S[span] * 1_000_000 if span else (first.timestamp_us if first else now_us - 60_000_000)
    buckets = await service.in_thread(looking.over_time, storage, start_us, now_us + 1, _BARS)
    minute = await service.in_thread(looking.over_time, storage, now_us - 60_000_000, now_us, _BARS)
    types, samples = await service.in_thread(looking.sampled_types, storage)
    lengths, streams, is_all = await service.in_thread(looking.stream_lengths, storage, _STREAMS_MAX)
    return await page(
        service,
        request,
        "charts.html",
        span=span,
        spans=list(_SPANS_S),
        total=sum(bucket.count for bucket in buckets),
        start_us=start_us,
        over_time=drawing.bars([(time_text(b.start_us)[:19], b.count) for b in buckets], label="Events over time"),
        rate=sum(bucket.count for bucket in minute[-10:]) / 10,
        live=drawing.bars(
            [(time_text(b.start_us)[11:19], b.count) for b in minute], label="Events a second in the last minute", height=80
        ),
        types=types[:25],
        samples=samples,
        lengths=drawing.bars(
            [(name, float(count)) for name, count in lengths], label="Streams by their number of events", height=120
        ),
        length_rows=lengths,
        streams=streams,
        is_all=is_all,
    )
