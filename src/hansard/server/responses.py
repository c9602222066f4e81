"""What operations give back: an answer that is whole, or a stream that is written piece by piece at the client's pace."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from hansard.errors import HansardError, MethodNotAllowed, NotAuthenticated, StorageFailed, StoreBusy, TooManyRequests
from hansard.limits import RETRY_AFTER_S
from hansard.outcomes import OUTCOMES
from hansard.server.operations import JSON
from hansard.wire.problems import problem_of

PROBLEM = "application/problem+json"
Header = tuple[bytes, bytes]
Write = Callable[[bytes], Awaitable[None]]
"""Sends a piece; returns when the client has room for the next one."""


class Response(NamedTuple):
    """A whole answer. None for `media_type`: no body."""

    body: bytes = b""
    status: int = 200
    media_type: str | None = JSON
    headers: Sequence[Header] = ()


class Stream(NamedTuple):
    """An answer of any length: `write_all` writes the pieces.

    `goodbye` is sent if the server stops before the end; None: the end is waited for. `reads_body`: the request's body is read
    meanwhile.
    """

    write_all: Callable[[Write], Awaitable[None]]
    media_type: str
    status: int = 200
    headers: Sequence[Header] = ()
    goodbye: bytes | None = None
    reads_body: bool = False


Answer = Response | Stream

_encode = msgspec.json.Encoder().encode

OK = Response(b"", 204, None)

PLAIN: Sequence[Header] = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Headers of every answer."""


def json_of(value: Any, status: int = 200, headers: Sequence[Header] = ()) -> Response:
    return Response(_encode(value), status, JSON, headers)


def header(name: str, value: str) -> Header:
    """Raises ValueError for what would end the header."""
    if not value.isprintable():
        raise ValueError(f"{name}: {value!r} cannot be in a header")
    return name.encode("ascii"), value.encode("latin-1", "replace")


def problem_response(error: HansardError) -> Response:
    """RFC 9457."""
    headers: list[Header] = []
    if isinstance(error, StoreBusy | TooManyRequests):
        headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
    if isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="hansard"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(getattr(error, "allowed", ())).encode()))
    return Response(_encode(problem_of(error)), OUTCOMES[error.code].http_status, PROBLEM, headers)


def line_of_problem(error: HansardError) -> bytes:
    """Of a stream of outcomes."""
    return _encode({"problem": problem_of(error)}) + b"\n"


def unexpected() -> HansardError:
    """What a client is told of an error of our own."""
    error = StorageFailed("the server failed unexpectedly; its log says more")
    error.code = "error"
    return error
