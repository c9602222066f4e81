"""Runs the application on a socket: limits on what clients may send, and a stop that loses nothing."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hansard.domain import NO_DOMAIN, Domain
from hansard.errors import OpenFailed
from hansard.limits import KEEP_ALIVE_S, LAST_WRITE_S, REQUEST_HEADERS_BYTES_MAX, REQUEST_HEADERS_S
from hansard.server.access.gate import Gate
from hansard.server.app import App
from hansard.server.express import EXPRESS_BYTES_MAX, Express
from hansard.server.operations import Operation
from hansard.server.service import Service
from hansard.server.settings import Settings
from hansard.storage.port import Storage


class _Joining:
    """A transport that sends the head of an answer together with its body: uvicorn writes them one after the other, and a system
    call costs more than making the answer."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._transport.write(held + data)
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def write_now(self, data: bytes) -> None:
        """What needs no joining."""
        self._flush()
        self._transport.write(data)

    def _flush(self) -> None:
        """Nothing followed in this turn of the loop."""
        held, self._held = self._held, None
        if held is not None:
            self._transport.write(held)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _UnderWay:
    """A request of the express way, as uvicorn sees a request: what it asks of one, and no more."""

    def __init__(self, protocol: "Protocol") -> None:
        self._protocol = protocol
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _NOBODY_WAITS

    def answer(self, text: bytes) -> None:
        self.response_complete = True
        protocol = self._protocol
        if self.disconnected or protocol.transport.is_closing():
            return
        if self.keep_alive:
            protocol.transport.write_now(text)  # type: ignore[attr-defined]
        else:  # the server stops
            protocol.transport.write_now(text.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))  # type: ignore[attr-defined]
            protocol.transport.close()
        protocol.on_response_complete()


_NOBODY_WAITS = asyncio.Event()


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it; but a client that sends its headers too slowly, or too many, is cut off."""

    express: Express

    def connection_made(self, transport: Any) -> None:
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]
        self._held: list[bytes] | None = None
        self._is_in_head, self._head_bytes = True, 0
        self._idle_bytes, self._is_in_body, self._took_body = 0, False, False
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(REQUEST_HEADERS_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._took_body = False
        super().data_received(data)
        self._idle_bytes = self._idle_bytes + len(data) if self._is_in_body and not self._took_body else 0
        if self._idle_bytes > REQUEST_HEADERS_BYTES_MAX:  # trailers, or a line of them without end
            self._cut_off("431 Request Header Fields Too Large")
        if self._is_in_head:  # most heads come whole, and need no timer; a body that came with one is not counted
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(REQUEST_HEADERS_S, self._too_slow)
            if self._head_bytes > REQUEST_HEADERS_BYTES_MAX:
                self._cut_off("431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what comes after the body (a trailer) says nothing to anybody here
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._took_body = True
        if self._held is None:
            super().on_body(body)
        elif sum(map(len, self._held)) + len(body) <= EXPRESS_BYTES_MAX:
            self._held.append(body)
        else:
            held, self._held = b"".join(self._held), None
            self._release(held + body)

    def on_message_complete(self) -> None:
        self._is_in_body = False
        if self._held is not None:
            self._end_held()
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._is_in_body = False, True
        self._stop_timer()
        if self._may_hold():
            self._held = []
        else:
            super().on_headers_complete()

    # The express way: such a request is held until it is whole; if it is not taken then, it goes on as if it had come just now.

    def _may_hold(self) -> bool:
        is_free = self.cycle is None or self.cycle.response_complete
        is_plain = self.parser.get_method() == b"POST" and not self.expect_100_continue and not self.parser.should_upgrade()
        return is_free and is_plain and self.express.may_take(self.url)

    def _end_held(self) -> None:
        body, self._held = b"".join(self._held or ()), None
        under_way = _UnderWay(self)
        is_kept = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        if is_kept and self.express.begin(self.url, self.headers, body, under_way.answer, self._fixed_lines()):
            self.cycle = under_way  # type: ignore[assignment]
            return
        self._release(body)

    def _release(self, body: bytes) -> None:
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _fixed_lines(self) -> bytes:
        return b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._is_in_head:
            self._cut_off("408 Request Timeout")

    def _cut_off(self, status: str) -> None:
        self._stop_timer()
        self.transport.write(f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
        self.transport.close()


class Serving(uvicorn.Server):
    """One server on one socket."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams without an end are ended first; then requests under way have their time."""
        self._service.stop()
        aborting = asyncio.ensure_future(self._abort_stuck())
        try:
            await super().shutdown(sockets)
        finally:
            aborting.cancel()
        self._captured_signals.clear()  # it was asked to stop, and has: that is no failure

    async def _abort_stuck(self) -> None:
        """A connection that is closed, but whose client takes nothing of what is left, is not waited for."""
        left: dict[Any, int] = {}
        while True:
            await asyncio.sleep(LAST_WRITE_S)
            closing = [one for one in self.server_state.connections if one.transport is not None and one.transport.is_closing()]
            before, left = left, {one: one.transport.get_write_buffer_size() for one in closing}
            for connection in closing:
                if left[connection] >= before.get(connection, left[connection] + 1):
                    connection.transport.abort()


async def serve(
    storage: Storage,
    settings: Settings,
    operations: list[Operation],
    gate: Gate,
    *,
    listening: socket.socket,
    on_started: Callable[[Serving], None] = lambda serving: None,
    domain: Domain = NO_DOMAIN,
) -> None:
    """Until it is told to stop (SIGINT, SIGTERM, or `should_exit`). Closes the store."""
    service = Service(storage, settings, gate, domain)
    try:
        config = uvicorn.Config(
            App(service, operations),
            http=type("Protocol", (Protocol,), {"express": Express(service)}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(KEEP_ALIVE_S),
            timeout_graceful_shutdown=max(1, int(settings.stop_timeout_s)),
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            h11_max_incomplete_event_size=REQUEST_HEADERS_BYTES_MAX,
        )
        if settings.tls_certificate is not None:
            config.ssl_context_factory = _tls_context
        serving = Serving(config, service)
        started = asyncio.ensure_future(_tell_started(serving, on_started))
        keeping = asyncio.ensure_future(service.keep())
        try:
            await serving.serve(sockets=[listening])
        finally:
            started.cancel()
            keeping.cancel()
    finally:
        await service.close()


async def _tell_started(serving: Serving, on_started: Callable[[Serving], None]) -> None:
    while not serving.started:  # uvicorn tells nobody
        await asyncio.sleep(0.005)
    on_started(serving)


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; OpenFailed says why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, so that asyncio sets TCP_NODELAY
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1_024)
    except OSError as error:
        listening.close()
        raise OpenFailed(f"{host}:{port}: cannot listen there: {error.strerror or error}") from error
    listening.setblocking(False)
    return listening


def _tls_context(config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def run(main: Any) -> Any:
    """asyncio.run, on uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)
