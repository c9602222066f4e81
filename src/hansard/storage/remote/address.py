"""Where a server is and how it is asked, from a URL."""

import os
from typing import Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hansard.errors import InvalidInput
from hansard.names import shown_place

_DEFAULT_PORTS: Final = {"http": 7878, "https": 443}
_OPTIONS: Final = {"ca"}


class Address(NamedTuple):
    """`key`: what is sent as a bearer token. `ca`: the file of the authorities that sign the server's certificate."""

    scheme: str
    host: str
    port: int
    prefix: str
    key: str | None
    ca: str | None
    shown: str


def parse(url: str) -> Address:
    """http://host:port or https://host; a key as the password (https://:KEY@host), or in HANSARD_KEY."""
    shown = shown_place(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput("place", shown, f"not a URL: {error}") from None
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise InvalidInput("place", shown, "its host is no name that a machine can have") from None
    if not parts.hostname:
        raise InvalidInput("place", shown, "expected http://host:port or https://host")
    options = parse_qs(parts.query, keep_blank_values=True)
    if unknown := sorted({*options} - _OPTIONS):
        raise InvalidInput("place", shown, f"there is no option {unknown[0]!r}; known is ca")
    key = unquote(parts.password) if parts.password else os.environ.get("HANSARD_KEY") or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise InvalidInput("key", "…", "expected the text that `hansard keys add` has printed")
    return Address(
        parts.scheme,
        parts.hostname,
        port or _DEFAULT_PORTS[parts.scheme],
        quote(parts.path.rstrip("/"), safe="/%"),
        key,
        options.get("ca", [None])[0],
        shown,
    )
