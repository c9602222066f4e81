"""The ASGI application: finds the operation of a request, says who asks, runs it, and turns every error into a problem."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from hansard.errors import HansardError, NotAuthenticated, StoreBusy
from hansard.limits import LAST_WRITE_S, REQUESTS_MAX
from hansard.server.access.permissions import NOBODY, Principal
from hansard.server.access.rates import Rates
from hansard.server.operations import Operation, Routes
from hansard.server.requests import Disconnected, Request
from hansard.server.responses import PLAIN, Answer, Response, Stream, line_of_problem, problem_response, unexpected
from hansard.server.service import Service
from hansard.server.ui.pages import error_page
from hansard.tracing import TRACEPARENT, request_span

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

log = logging.getLogger("hansard.server")

_PROBES = "/health/"
_FOR_PROGRAMS = ("/api/", "/health/", "/openapi.json", "/metrics")


class App:
    """Serves one Service."""

    def __init__(self, service: Service, operations: Iterable[Operation]) -> None:
        self.service = service
        self._routes = Routes(operations)
        rate = service.settings.rate_per_s
        self._rates = None if rate is None else Rates(rate)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: only HTTP is spoken here")
        service = self.service
        request = Request(scope, receive, service.held)
        started = time.perf_counter()
        service.requests_under_way += 1
        try:
            with request_span(request.method, request.header(TRACEPARENT)) as span:
                answer = await self._answer(request)
                if span is not None:
                    _tell(span, request, answer)
                await self._send(request, answer, send)
            self._note(request, answer, time.perf_counter() - started)
        except Disconnected:
            return
        except asyncio.CancelledError:
            if not service.stopping.is_set():
                raise
            log.warning("%s %s was under way for too long when the server stopped", request.method, request.path)
        finally:
            service.requests_under_way -= 1
            request.release()

    async def _answer(self, request: Request) -> Answer:
        try:
            if self.service.requests_under_way > REQUESTS_MAX:
                raise StoreBusy(f"{REQUESTS_MAX} requests are under way already; come again")
            principal = self._principal(request)
            operation, request.values = self._routes.find(request.method, request.segments)
            request.operation = operation
            if self._rates is not None and not request.path.startswith(_PROBES):
                self._rates.check(request.client if principal is None or principal.is_local else principal.name)
            if operation.needs is not None:
                if principal is None:
                    raise NotAuthenticated("give a key or token: Authorization: Bearer …")
                principal.check(operation.needs)
            request.principal = principal or NOBODY
            return await operation.handler(self.service, request)
        except HansardError as error:
            return error_page(request, error) if _is_page(request) else problem_response(error)
        except (Disconnected, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("unexpected error at %s %s", request.method, request.path)
            return problem_response(unexpected())

    def _principal(self, request: Request) -> Principal | None:
        """Guessing is counted, too."""
        try:
            return self.service.gate.principal(request)
        except NotAuthenticated:
            if self._rates is not None:
                self._rates.check(request.client)
            raise

    async def _send(self, request: Request, answer: Answer, send: Send) -> None:
        headers = [*PLAIN, *answer.headers]
        if answer.media_type is not None:
            headers.append((b"content-type", answer.media_type.encode()))
        if isinstance(answer, Response):
            if answer.status != 204:
                headers.append((b"content-length", b"%d" % len(answer.body)))
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else answer.body})
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if request.method != "HEAD":
            await self._send_stream(request, answer, send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_stream(self, request: Request, stream: Stream, send: Send) -> None:
        """Until the stream ends, the client goes, or the server stops (if the stream has a goodbye)."""

        async def write(piece: bytes) -> None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        tasks: set[asyncio.Future[Any]] = {asyncio.ensure_future(stream.write_all(write))}
        (writing,) = tasks
        if not stream.reads_body:
            tasks.add(asyncio.ensure_future(request.disconnected()))
        if stream.goodbye is not None:
            tasks.add(asyncio.ensure_future(self.service.stopping.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if writing.cancelled():
            if self.service.stopping.is_set() and stream.goodbye is not None and not await _in_time(write(stream.goodbye)):
                raise Disconnected
        elif (error := writing.exception()) is not None and not isinstance(error, Disconnected | OSError):
            # The status is sent already: the connection ends without its last chunk, so the client sees that it was cut off.
            level = logging.WARNING if isinstance(error, HansardError) else logging.ERROR
            log.log(level, "stream at %s ended early: %s: %s", request.path, type(error).__name__, error)
            if stream.reads_body:  # its client reads outcomes, line by line
                known = error if isinstance(error, HansardError) else unexpected()
                await _in_time(write(line_of_problem(known)))
            raise Disconnected

    def _note(self, request: Request, answer: Answer, seconds: float) -> None:
        operation = getattr(request, "operation", None)
        self.service.metrics.answered("unknown" if operation is None else operation.name, answer.status, seconds)
        if log.isEnabledFor(logging.DEBUG):
            who = getattr(request, "principal", NOBODY).name
            facts = {"status": answer.status, "ms": round(seconds * 1000, 1), "who": who, "client": request.client}
            log.debug("%s %s", request.method, request.path, extra=facts)


def _tell(span: Any, request: Request, answer: Answer) -> None:
    """What OpenTelemetry calls a request: by its method and route, not by its path."""
    operation = getattr(request, "operation", None)
    if operation is not None:
        span.update_name(f"{operation.method} {operation.path}")
        span.set_attribute("http.route", operation.path)
    span.set_attribute("http.request.method", request.method)
    span.set_attribute("http.response.status_code", answer.status)


async def _in_time(last: Coroutine[Any, Any, None]) -> bool:
    """What is written last; False if the client takes nothing any more."""
    try:
        async with asyncio.timeout(LAST_WRITE_S):
            await last
    except (TimeoutError, OSError, Disconnected):
        return False
    return True


def _is_page(request: Request) -> bool:
    """Whether a browser asks for a page: it is told in one, too, what went wrong."""
    return not request.path.startswith(_FOR_PROGRAMS) and "text/html" in (request.header("accept") or "")
