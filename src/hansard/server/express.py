"""The plainest of all requests, an append of JSON to one stream, answered without what other requests need.

A request that has anything special about it (another header that matters, a condition, bad input, a full server) is not taken,
and goes the ordinary way: this way gives the same answers, or none. It halves what HTTP adds to an append.
"""

import asyncio
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from hansard.appends import Append, Appended, StreamAppend, append_of
from hansard.errors import HansardError
from hansard.limits import REQUESTS_MAX
from hansard.server.access.permissions import AUDIT_STREAM, Permission, Principal
from hansard.server.app import log
from hansard.server.http.appending import append_to_stream, placed
from hansard.server.responses import PLAIN, Response, problem_response, unexpected
from hansard.server.service import Service
from hansard.tracing import is_in_use
from hansard.wire.appends import EventForm, EventForms, event_of

_PLAIN_URL: Final = re.compile(rb"/api/v1/streams/[A-Za-z0-9._~:@!$&'()*+,;=-]+/events")
"""A stream's name in characters that stand for themselves (RFC 3986), and nothing after the path."""

_BEFORE: Final = b"/api/v1/streams/"
_AFTER: Final = b"/events"
EXPRESS_BYTES_MAX: Final = 65_536
"""Of a body."""
_INDIFFERENT: Final = {b"accept", b"accept-encoding", b"accept-language", b"content-length", b"user-agent"}
_NAME: Final = append_to_stream.__name__

_events = msgspec.json.Decoder(EventForms).decode
_event = msgspec.json.Decoder(EventForm).decode


class Express:
    """Of one server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._gate = service.gate
        self._is_open = service.settings.rate_per_s is None

    def may_take(self, url: bytes) -> bool:
        """Whether a POST to this address may be taken."""
        return self._is_open and _PLAIN_URL.fullmatch(url) is not None

    def begin(
        self, url: bytes, headers: list[tuple[bytes, bytes]], body: bytes, answer: Callable[[bytes], None], fixed: bytes
    ) -> bool:
        """Append what is asked for, and call `answer` with the whole answer later; or False: nothing was done."""
        service = self._service
        if service.requests_under_way >= REQUESTS_MAX or log.isEnabledFor(10) or is_in_use():
            return False
        try:
            principal = self._principal(headers)
            stream = url[len(_BEFORE) : -len(_AFTER)].decode("ascii")
            if principal is None or stream == AUDIT_STREAM:
                return False
            principal.check_stream(Permission.APPEND, stream)
            forms = _events(body) if body[:1] == b"[" else [_event(body)]
            append = append_of((StreamAppend(stream, [event_of(form) for form in forms]),), None)
        except (HansardError, ValueError):  # the ordinary way says what is wrong
            return False
        self._begin(append, answer, fixed)
        return True

    def _principal(self, headers: list[tuple[bytes, bytes]]) -> Principal | None:
        """Who asks; None where a header is not one of the few that matter nothing or are looked at here."""
        bearer, is_json, is_asked = None, False, False
        for name, value in headers:
            if name in _INDIFFERENT:
                continue
            if name == b"host" and not is_asked:
                is_asked = self._gate.is_asked_by(value)
            elif name == b"content-type" and not is_json:
                is_json = value == b"application/json"
            elif name == b"authorization" and bearer is None:
                bearer = value
            elif name != b"connection" or value.lower() != b"keep-alive":
                return None
        if not is_json or not is_asked:
            return None
        return self._gate.principal_of(None if bearer is None else bearer.decode("latin-1"))

    def _begin(self, append: Append, answer: Callable[[bytes], None], fixed: bytes) -> None:
        service, began = self._service, time.perf_counter()
        service.requests_under_way += 1

        def done(future: "asyncio.Future[Appended]") -> None:
            service.requests_under_way -= 1
            response = _response(future)
            service.metrics.answered(_NAME, response.status, time.perf_counter() - began)
            answer(as_bytes(response, fixed))

        service.appends.begin(append).add_done_callback(done)


def _response(future: "asyncio.Future[Appended]") -> Response:
    error = future.exception()
    if error is None:
        return placed(future.result())
    if isinstance(error, HansardError):
        return problem_response(error)
    log.error("unexpected error of an append", exc_info=error)
    return problem_response(unexpected())


def as_bytes(response: Response, fixed: bytes) -> bytes:
    """A whole answer as it goes over the wire; `fixed`: the lines that every answer has."""
    return b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        _START[response.status] + fixed + _PLAIN_LINES,
        (response.media_type or "").encode(),
        len(response.body),
        b"".join([b"%b: %b\r\n" % header for header in response.headers]),
        response.body,
    )


_START: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_PLAIN_LINES: Final = b"".join(b"%b: %b\r\n" % header for header in PLAIN)
