"""What a served store tells of itself: traces that go on in handlers, figures for Prometheus, a log of what was slow."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

import hansard
from hansard import Event, Processor
from hansard.server.logs import JsonLines, Lines
from hansard.server.settings import Settings
from hansard.storage.opening import open_storage
from hansard.tracing import traced_metadata
from servers import Client, served

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    return memory


@pytest.fixture(scope="module")
def reader() -> InMemoryMetricReader:
    memory = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([memory]))
    return memory


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def test_a_handler_goes_on_in_the_trace_of_its_event(spans: InMemorySpanExporter) -> None:
    """Nobody could follow a request from the web page to the mail that it has caused."""
    store, seen = hansard.open(":memory:"), []
    with trace.get_tracer("test").start_as_current_span("web request") as asked:
        event = Event("placed", metadata=traced_metadata({"by": "jo"}))
        store.append("order-1", event)
        store.append("order-1", event)  # a retry stays one
    store.catch_up(Processor("mailer", lambda event: seen.append(trace.get_current_span().get_span_context().trace_id)))
    assert seen == [asked.get_span_context().trace_id]
    handled = next(span for span in spans.get_finished_spans() if span.name == "handle placed")
    assert dict(handled.attributes or {}) == {"hansard.position": 1, "hansard.type": "placed", "hansard.reader": "mailer"}


def test_the_servers_appends_keep_the_trace_of_their_request(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """A trace would end at the server."""
    with served(open_storage(tmp_path / "log.db")) as url:
        client = Client(url, {"traceparent": PARENT})
        client.post(
            "/api/v1/streams/a-1/events",
            [{"type": "x", "metadata": {"by": "jo"}}, {"type": "x", "metadata": {"traceparent": "own"}}],
        )
        event = {"type": "y", "id": "0190c7a4-8f00-7000-8000-000000000001"}
        assert [client.post("/api/v1/streams/a-1/events", event).status for _ in range(2)] == [201, 200]
        kept = [e["metadata"] for e in client.get("/api/v1/streams/a-1/events").json["events"]]
    assert kept == [{"traceparent": PARENT, "by": "jo"}, {"traceparent": "own"}, {}]
    seen: list[int] = []
    with hansard.open(tmp_path / "log.db") as store:
        store.catch_up(Processor("p", lambda event: seen.append(trace.get_current_span().get_span_context().trace_id)))
    assert f"{seen[0]:032x}" == PARENT.split("-")[1]


def test_a_servers_spans_stand_in_the_trace_of_their_request(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    """What took so long in a request could not be seen where the request is."""
    with served(open_storage(tmp_path / "log.db")) as url:
        client = Client(url, {"traceparent": PARENT})
        client.post("/api/v1/streams/a-1/events", {"type": "x"})
        client.get("/api/v1/events")
        client.get("/api/v1/events", {"Accept": "application/x-ndjson"})
        client.get("/api/v1/events/0190c7a4-8f00-7000-8000-000000000001")
        Client(url).post("/api/v1/streams/a-1/events", {"type": "x"})
    found = spans.get_finished_spans()
    names = [span.name for span in found if f"{span.context.trace_id:032x}" == PARENT.split("-")[1]]
    assert names == [
        "POST /api/v1/streams/{stream}/events",
        *("hansard.read", "GET /api/v1/events"),
        *("hansard.read", "GET /api/v1/events"),
        *("hansard.events", "GET /api/v1/events/{id}"),
    ]
    statuses = [dict(span.attributes or {}).get("http.response.status_code") for span in found if span.name[:3] in ("GET", "POS")]
    assert statuses == [201, 200, 200, 404, 201]
    assert not any(span.events for span in found if span.name.startswith("GET")), "a 404 is no exception"
    read = next(span for span in found if span.name == "hansard.read")
    asked = next(span for span in found if span.name == "GET /api/v1/events")
    assert read.parent is not None
    assert read.parent.span_id == asked.context.span_id
    assert len([span for span in found if span.name.startswith("POST")]) == 2, "one without a trace begins one"


def test_opentelemetry_is_told_the_figures(tmp_path: Path, reader: InMemoryMetricReader) -> None:
    """A program that has its metrics there would have to scrape itself."""
    with served(open_storage(tmp_path / "log.db")) as url:
        client = Client(url)
        client.post("/api/v1/streams/a-1/events", [{"type": "x"}, {"type": "y"}])
        client.post("/api/v1/streams/a-1/events", {"type": "x"}, {"If-Match": '"99"'})
        client.get("/api/v1/events")
    data: Any = reader.get_metrics_data()
    found = {one.name: one for of in data.resource_metrics for scope in of.scope_metrics for one in scope.metrics}
    moved = {tuple(sorted(point.attributes.values())): point.value for point in found["hansard.storage.events"].data.data_points}
    assert moved["append",] >= 2
    assert moved["read",] >= 2
    times = {
        tuple(sorted(point.attributes.values())): point.count for point in found["hansard.storage.duration"].data.data_points
    }
    assert times["append", "wrong-expected-version"] >= 1


def test_prometheus_can_read_the_figures(tmp_path: Path) -> None:
    """An alarm would never go off."""
    with served(open_storage(tmp_path / "log.db")) as url:
        client = Client(url)
        for _ in range(3):
            client.post("/api/v1/streams/a-1/events", [{"type": "x"}, {"type": "y"}])
        client.post("/api/v1/streams/a-1/events", {"type": "x"}, {"If-Match": '"99"'})
        client.get("/api/v1/events")
        with hansard.open(url) as store:
            store.catch_up(Processor("mailer", print, query=hansard.Query(types={"none"})))
            store.add("a-1", "z")
        families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").body.decode())}

    def value(name: str, **labels: str) -> float:
        family = families[name.removesuffix("_total").removesuffix("_count")]
        return sum(s.value for s in family.samples if s.name == name and labels.items() <= s.labels.items())

    assert value("hansard_head") == 7
    assert value("hansard_events_total", verb="append") == 7
    assert value("hansard_storage_seconds_count", verb="append") == 5
    assert value("hansard_errors_total", verb="append", code="wrong-expected-version") == 1
    assert value("hansard_http_answers_total", operation="append_to_stream", status="201") == 3
    assert value("hansard_http_answers_total", operation="append_to_stream", status="412") == 1
    assert value("hansard_reader_lag", reader="mailer") >= 0


def test_what_is_slow_is_logged_without_its_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waits would not know for what; or a password in an event would stand in a log file."""
    with caplog.at_level(logging.WARNING, "hansard.slow"), served(open_storage(tmp_path / "log.db"), Settings(slow_ms=0)) as url:
        client = Client(url, {"Authorization": "Bearer secret-key"})
        client.post("/api/v1/streams/a-1/events", {"type": "x", "data": {"password": "hunter2"}})
        time.sleep(0.2)  # one line now and then is enough
        client.get("/api/v1/events?type=x")
    told = " ".join(record.getMessage() for record in caplog.records)
    assert "slow append: 1 events to a-1" in told
    assert "slow read: Query(types=['x']) after 0" in told
    assert "hunter2" not in caplog.text
    assert "secret-key" not in caplog.text


def test_log_lines_are_one_line_each() -> None:
    """What a client sends could make up lines of the log, or steer the terminal of whoever reads it."""
    record = logging.LogRecord("hansard.server", logging.INFO, "", 0, "GET /x\n2026 error made up \x1b[31m", None, None)
    record.ms = 3
    assert "\n" not in Lines().format(record)
    assert "\x1b" not in Lines().format(record)
    assert json.loads(JsonLines().format(record))["ms"] == 3
