"""Traces across appends and handlers, by OpenTelemetry where the program uses it; nothing at all where it does not.

An event made with `traced_metadata()` carries the trace that it belongs to (`traceparent`, W3C Trace Context); a processor's
handler goes on in that trace, whenever and wherever it runs.
"""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Final

from hansard.events import RecordedEvent

TRACEPARENT: Final = "traceparent"
_NAME: Final = "hansard"
_NOTHING: Final = nullcontext()


def traced_metadata(metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Metadata with the present trace, for a new event; as it was given where there is no trace.

    Not to be called again for an event that is appended once more: its content would be another one.

    >>> traced_metadata({"by": "jo"})
    {'by': 'jo'}
    """
    given = dict(metadata or {})
    if is_in_use() and TRACEPARENT not in given:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # only where it is used

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        given |= {name: carrier[name] for name in (TRACEPARENT,) if name in carrier}
    return given


def following(event: RecordedEvent, reader: str) -> AbstractContextManager[Any]:
    """While a reader handles an event: in the trace that the event belongs to."""
    if not is_in_use():
        return _NOTHING
    from opentelemetry import trace  # only where it is used

    attributes = {"hansard.position": event.position, "hansard.type": event.type, "hansard.reader": reader}
    context, kind = context_of(event.metadata.get(TRACEPARENT)), trace.SpanKind.CONSUMER
    started: AbstractContextManager[Any] = _tracer().start_as_current_span(
        f"handle {event.type}", context=context, kind=kind, attributes=attributes
    )
    return started


def span(name: str) -> AbstractContextManager[Any]:
    """A step of the present trace."""
    if not is_in_use():
        return _NOTHING
    started: AbstractContextManager[Any] = _tracer().start_as_current_span(name)
    return started


def request_span(name: str, traceparent: str | None) -> AbstractContextManager[Any]:
    """While a server answers a request: in the trace that the client has named."""
    if not is_in_use():
        return _NOTHING
    from opentelemetry import trace  # only where it is used

    started: AbstractContextManager[Any] = _tracer().start_as_current_span(
        name,
        context=context_of(traceparent),
        kind=trace.SpanKind.SERVER,
        record_exception=False,  # that a client has gone is no failure
        set_status_on_exception=False,
    )
    return started


def measured(verb: str, seconds: float, events: int, error: str | None) -> None:
    """Tell OpenTelemetry's metrics, where the program uses them, what a verb of an engine took and moved."""
    if "opentelemetry.metrics" not in sys.modules:
        return
    durations, moved = _instruments()
    attributes = {"hansard.verb": verb} if error is None else {"hansard.verb": verb, "error.type": error}
    durations.record(seconds, attributes)
    if events:
        moved.add(events, attributes)


@cache
def _instruments() -> tuple[Any, Any]:
    """Those of the program's provider, also of one that it sets later."""
    from opentelemetry import metrics  # only where it is used

    meter = metrics.get_meter(_NAME)
    return (
        meter.create_histogram("hansard.storage.duration", unit="s", description="Time of the engine's verbs."),
        meter.create_counter("hansard.storage.events", unit="{event}", description="Events appended or read."),
    )


def context_of(traceparent: object) -> Any:
    """The OpenTelemetry context of a traceparent; None for none, or for one that is not valid."""
    if not isinstance(traceparent, str):
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # only where it is used

    return TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent})


def _tracer() -> Any:
    from opentelemetry import trace  # only where it is used

    return trace.get_tracer(_NAME)


def is_in_use() -> bool:
    """A program that uses it has imported it; looking for it would cost every other program."""
    return "opentelemetry.trace" in sys.modules
