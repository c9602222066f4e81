"""What the server counts, for Prometheus; and the log of what was slow."""

import logging
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hansard.errors import HansardError

log = logging.getLogger("hansard.slow")

_SLOW_EVERY_S: Final = 0.1
_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """Observes the engine and the requests of one server."""

    def __init__(self, slow_ms: float) -> None:
        self._slow_s = slow_ms / 1000
        self.registry = CollectorRegistry()
        self._verbs = Histogram(
            "hansard_storage_seconds", "Time of the engine's verbs.", ["verb"], buckets=_SECONDS, registry=self.registry
        )
        self._events = Counter("hansard_events", "Events appended or read.", ["verb"], registry=self.registry)
        self._errors = Counter(
            "hansard_errors", "Verbs that failed, by the code of their error.", ["verb", "code"], registry=self.registry
        )
        self._requests = Histogram(
            "hansard_http_request_seconds", "Time of requests.", ["operation"], buckets=_SECONDS, registry=self.registry
        )
        self._answers = Counter("hansard_http_answers", "Answers, by status.", ["operation", "status"], registry=self.registry)
        self.head = Gauge("hansard_head", "The last position of the log.", registry=self.registry)
        self.under_way = Gauge("hansard_http_requests_under_way", "Requests and streams under way.", registry=self.registry)
        self.lag = Gauge("hansard_reader_lag", "Positions between a reader and the head.", ["reader"], registry=self.registry)
        self.letters = Gauge(
            "hansard_reader_dead_letters", "Events that a reader could not handle.", ["reader"], registry=self.registry
        )
        self._silent_until_s, self._left_out = 0.0, 0
        self._by_verb: dict[str, tuple[Histogram, Counter]] = {}
        self._by_operation: dict[tuple[str, int], tuple[Histogram, Counter]] = {}

    def observed(self, verb: str, seconds: float, *, events: int, error: HansardError | None, what: Callable[[], str]) -> None:
        known = self._by_verb.get(verb)
        if known is None:
            known = self._by_verb[verb] = (self._verbs.labels(verb), self._events.labels(verb))
        known[0].observe(seconds)
        known[1].inc(events)
        if error is not None:
            self._errors.labels(verb, error.code).inc()
        if seconds >= self._slow_s:
            self._tell_slow(verb, seconds, what)

    def _tell_slow(self, verb: str, seconds: float, what: Callable[[], str]) -> None:
        """Where everything is slow, a line now and then says it better than all of them."""
        now = time.monotonic()
        if now < self._silent_until_s:
            self._left_out += 1
            return
        more = f" (and {self._left_out} more)" if self._left_out else ""
        self._silent_until_s, self._left_out = now + _SLOW_EVERY_S, 0
        log.warning("slow %s: %s%s", verb, what(), more, extra={"ms": round(seconds * 1000, 1)})

    def answered(self, operation: str, status: int, seconds: float) -> None:
        known = self._by_operation.get((operation, status))
        if known is None:
            known = (self._requests.labels(operation), self._answers.labels(operation, str(status)))
            self._by_operation[operation, status] = known
        known[0].observe(seconds)
        known[1].inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
