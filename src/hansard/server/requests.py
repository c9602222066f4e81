"""A request as operations see it: path values, checked parameters, headers, bodies of bounded size. Knows ASGI, no store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from hansard.errors import (
    InvalidInput,
    MediaTypeUnsupported,
    NotAcceptable,
    RequestRefused,
    RequestTimedOut,
    RequestTooLarge,
    StoreBusy,
)
from hansard.limits import REQUEST_BODY_PAUSE_S, REQUEST_BYTES_MAX, REQUEST_LINE_BYTES_MAX, REQUESTS_BYTES_MAX
from hansard.server.operations import JSON

if TYPE_CHECKING:
    from hansard.server.access.permissions import Principal
    from hansard.server.operations import Operation

Receive = Callable[[], Awaitable[dict[str, Any]]]
ParametersT = TypeVar("ParametersT", bound=msgspec.Struct)
BodyT = TypeVar("BodyT")


_KEPT = {"data", "metadata"}
_WHOLE_NUMBERS_BYTES_MAX = 65_536
"""Bodies that are looked through for 3.0 instead of 3; that costs much more than reading them."""


class Disconnected(Exception):
    """The client has gone; nobody is left to be told."""


class HeldBytes:
    """How much of all requests' bodies is in memory."""

    def __init__(self) -> None:
        self.count = 0

    def more(self, count: int) -> None:
        if self.count + count > REQUESTS_BYTES_MAX:
            raise StoreBusy(f"the server holds {REQUESTS_BYTES_MAX} bytes of requests already; come again")
        self.count += count

    def less(self, count: int) -> None:
        self.count -= count


class Request:
    operation: "Operation"
    principal: "Principal"

    def __init__(self, scope: dict[str, Any], receive: Receive, held: HeldBytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.values: dict[str, str] = {}
        self._scope = scope
        self._receive = receive
        self._headers: dict[str, str] | None = None
        self._held = held
        self._held_here = 0

    # What it says

    @property
    def segments(self) -> list[str]:
        """The path's segments, each decoded: a stream's name may hold anything, a slash too."""
        path: bytes = self._scope.get("raw_path") or self._scope["path"].encode()
        if len(path) > REQUEST_LINE_BYTES_MAX:
            raise RequestTooLarge(f"the path has {len(path)} bytes; expected at most {REQUEST_LINE_BYTES_MAX}")
        path = path.partition(b"?")[0].removeprefix(b"/")
        try:
            if b"%" not in path:
                return path.decode().split("/")
            return [_decoded(segment) for segment in path.split(b"/")]
        except UnicodeDecodeError:
            raise InvalidInput("path", self.path, "expected UTF-8, percent-encoded") from None

    def header(self, name: str) -> str | None:
        """A header's value by its name in lower case; the values of one that comes several times, joined by commas."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for key, value in self._scope["headers"]:
                text = value.decode("latin-1")
                known = headers.get(name_ := key.decode("latin-1"))
                headers[name_] = text if known is None else f"{known}, {text}"
            self._headers = headers
        return self._headers.get(name)

    @property
    def header_names(self) -> list[str]:
        self.header("")
        return list(self._headers or ())

    @property
    def local_path(self) -> str:
        """The path as it was sent, percent-encoded."""
        path: bytes = self._scope.get("raw_path") or self._scope["path"].encode()
        return path.decode("latin-1")

    def cookie(self, name: str) -> str | None:
        for part in (self.header("cookie") or "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return value
        return None

    @property
    def client(self) -> str:
        """The address at the other end."""
        client = self._scope.get("client")
        return client[0] if client else "unknown"

    @property
    def scheme(self) -> str:
        return str(self._scope.get("scheme", "http"))

    @property
    def query_string(self) -> str:
        raw: bytes = self._scope["query_string"]
        if len(raw) > REQUEST_LINE_BYTES_MAX:
            raise RequestTooLarge(f"the query string has {len(raw)} bytes; expected at most {REQUEST_LINE_BYTES_MAX}")
        return raw.decode("latin-1")

    def parameters(self, kind: type[ParametersT]) -> ParametersT:
        """The query string, as a Struct. Raises InvalidInput, which names the parameter."""
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        given: dict[str, Any] = {}
        try:
            pairs = parse_qsl(self.query_string, keep_blank_values=True, strict_parsing=False, errors="strict")
        except (UnicodeDecodeError, ValueError):
            raise InvalidInput("query string", self.query_string, "expected UTF-8, percent-encoded") from None
        for name, value in pairs:
            if value.lower() == "null" and not _is_text(fields[name].type if name in fields else str):
                raise InvalidInput(name, value, "leave it out instead")
            if name not in fields:
                raise InvalidInput(name, value, f"there is no such parameter; known are {', '.join(fields) or 'none'}")
            if _is_list(fields[name].type):
                given.setdefault(name, []).append(value)
            elif name in given:
                raise InvalidInput(name, value, "given twice; expected once")
            else:
                given[name] = value
        return converted(given, kind, strict=False)

    def accepts(self, *offered: str) -> str:
        """The first media type of those offered that the client accepts best."""
        accept = self.header("accept")
        if accept is None:
            return offered[0]
        ranked = sorted(_accepted(accept), key=lambda item: -item[1])
        for pattern, quality in ranked:
            for media in offered:
                if quality > 0 and _is_matched(pattern, media):
                    return media
        raise NotAcceptable(f"expected an Accept header with one of {', '.join(offered)}, not {accept[:200]}")

    @property
    def media_type(self) -> str:
        """Of the body, without its parameters, in lower case."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    def sends(self, *known: str) -> str:
        """The media type of the body, which must be one of these."""
        self._check_plain()
        media = self.media_type
        if media not in known:
            raise MediaTypeUnsupported(f"Content-Type: {media or 'none'}: expected {' or '.join(known)}")
        return media

    def _check_plain(self) -> None:
        encoding = (self.header("content-encoding") or "identity").strip().lower()
        if encoding != "identity":
            raise MediaTypeUnsupported(f"Content-Encoding: {encoding}: bodies are taken as they are, not compressed")

    # Its body

    async def body(self, bytes_max: int = REQUEST_BYTES_MAX) -> bytes:
        """The whole body. Raises RequestTooLarge, RequestTimedOut, StoreBusy, or MediaTypeUnsupported for a compressed one."""
        self._check_plain()
        announced = int(self.header("content-length") or 0)
        self._check_size(announced, bytes_max)
        message = await self._next(asyncio.timeout(REQUEST_BODY_PAUSE_S))
        first: bytes = message.get("body", b"")
        if not message.get("more_body"):
            self._check_size(len(first), bytes_max)
            return first
        chunks = [first]
        size = len(first)
        self._hold(size)
        async for chunk in self.chunks():
            size += len(chunk)
            self._check_size(size, bytes_max)
            self._hold(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)

    async def decoded(self, kind: type[BodyT] | Any, bytes_max: int = REQUEST_BYTES_MAX) -> BodyT:
        """The body, which must be JSON, as a type. Raises MediaTypeUnsupported, or InvalidInput, which names the place in it."""
        self.sends(JSON)
        return decoded_json(await self.body(bytes_max), kind)  # type: ignore[no-any-return]

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._next(asyncio.timeout(REQUEST_BODY_PAUSE_S))
            if chunk := message.get("body", b""):
                yield chunk
            if not message.get("more_body"):
                return

    async def disconnected(self) -> None:
        """Returns when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def lines(self, bytes_max: int = REQUEST_BYTES_MAX) -> AsyncIterator[list[bytes]]:
        """The lines of the body, as many as come together; empty ones are left out. The client is not read from while nobody
        asks. Raises RequestTooLarge for a line that is too long."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            *ended, rest = chunk.split(b"\n")
            if ended:
                ended[0] = b"".join([*parts, ended[0]])
                self.release()
                parts, size = [], 0
                if lines := [line for line in ended if line.strip()]:
                    yield lines
            size += len(rest)
            self._check_size(size, bytes_max)
            self._hold(len(rest))
            parts.append(rest)
        if (last := b"".join(parts)).strip():
            yield [last]

    def release(self) -> None:
        """Its body is no longer held."""
        self._held.less(self._held_here)
        self._held_here = 0

    async def _next(self, within: asyncio.Timeout) -> dict[str, Any]:
        try:
            async with within:
                message = await self._receive()
        except TimeoutError:
            raise RequestTimedOut(f"nothing more of the body came within {REQUEST_BODY_PAUSE_S:g} s") from None
        if message["type"] == "http.disconnect":
            raise Disconnected
        return message

    def _check_size(self, size: int, bytes_max: int) -> None:
        if size > bytes_max:
            raise RequestTooLarge(f"the body has more than {bytes_max} bytes; send it in parts")

    def _hold(self, count: int) -> None:
        self._held.more(count)
        self._held_here += count


def decoded_json(text: bytes, kind: Any) -> Any:
    """JSON as a type. Raises InvalidInput, which names the place in it."""
    try:
        return _decoded_strictly(text, kind)
    except msgspec.ValidationError as error:
        raise _invalid(error, text) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("body", text[:200], f"not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidInput("body", text[:200], "nested too deep") from None


def _decoded_strictly(text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error) or len(text) > _WHOLE_NUMBERS_BYTES_MAX:
            raise
    return msgspec.json.decode(whole_numbers(text), type=kind)


def whole_numbers(text: bytes) -> bytes:
    """JSON with 3.0 written as 3, which JSON takes for the same number; but not in what is stored byte for byte."""
    start = text.lstrip()[:1]
    if start == b"{":
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        kept = {name: raw if name in _KEPT else msgspec.Raw(whole_numbers(bytes(raw))) for name, raw in members.items()}
        return msgspec.json.encode(kept)
    if start == b"[":
        items = msgspec.json.decode(text, type=list[msgspec.Raw])
        return msgspec.json.encode([msgspec.Raw(whole_numbers(bytes(raw))) for raw in items])
    value = msgspec.json.decode(text)
    return b"%d" % value if isinstance(value, float) and value.is_integer() else text


def converted(value: Any, kind: type[ParametersT], *, strict: bool = True) -> ParametersT:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _invalid(error, value) from None


def _invalid(error: msgspec.ValidationError, given: Any) -> InvalidInput:
    """msgspec's "Expected `int`, got `str` - at `$.after`", as an error that names the field and its value."""
    message, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").removeprefix(".") or "body"
    limit = message[:1].lower() + message[1:]
    return InvalidInput(field, _found(given, field), limit.replace("`", ""))


def _found(given: Any, path: str) -> Any:
    """The value at a path such as appends[0].stream, as far as it can be found."""
    try:
        value = msgspec.json.decode(given) if isinstance(given, bytes) else given
        for step in path.replace("[", ".[").split("."):
            if step.startswith("["):
                value = value[int(step.strip("[]"))]
            elif step and path != "body":
                value = value[step]
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError, ValueError, RecursionError):
        return given[:200] if isinstance(given, bytes) else given
    return value


def _decoded(segment: bytes) -> str:
    return unquote_to_bytes(segment).decode() if b"%" in segment else segment.decode()


def _is_text(kind: Any) -> bool:
    return kind is str or str in getattr(kind, "__args__", ()) or any(_is_text(k) for k in getattr(kind, "__args__", ()))


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is list or (
        hasattr(kind, "__metadata__") and getattr(kind.__origin__, "__origin__", None) is list
    )


def _accepted(accept: str) -> list[tuple[str, float]]:
    found = []
    for part in accept.split(","):
        media, *parameters = [piece.strip() for piece in part.split(";")]
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    raise RequestRefused(f"Accept: {parameter}: expected a number from 0 to 1") from None
        found.append((media.lower(), quality))
    return found


def _is_matched(pattern: str, media: str) -> bool:
    return pattern in ("*/*", media) or (pattern.endswith("/*") and media.startswith(pattern[:-1]))
