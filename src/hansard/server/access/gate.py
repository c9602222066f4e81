"""Says who asks: by an API key, a token, or the session of the page; and refuses what another site's page has sent."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from hansard.errors import AccessDenied, NotAuthenticated
from hansard.server.access.keys import Keys, is_key
from hansard.server.access.permissions import LOCAL, LOCAL_READER, Principal
from hansard.server.access.sessions import COOKIE, Sessions
from hansard.server.access.tokens import Tokens
from hansard.server.requests import Request
from hansard.server.settings import Settings

_SAFE: Final = {"GET", "HEAD", "OPTIONS"}


class Gate:
    def __init__(self, settings: Settings, keys: Keys | None, tokens: Tokens | None, sessions: Sessions) -> None:
        self._keys = keys
        self._tokens = tokens
        self.sessions = sessions
        self._anybody = LOCAL_READER if settings.read_only else LOCAL
        self._asks = keys is not None or tokens is not None
        self._hosts = {host.lower() for host in settings.allowed_hosts}
        self._takes_any_host = not is_loopback(settings.host)
        self._asked_before: bytes | None = None

    def principal(self, request: Request) -> Principal | None:
        """Who asks; None: nobody that is known. Raises AccessDenied for what another site has sent, NotAuthenticated for a
        key or token that is not valid."""
        self._check_host(request)
        self._check_origin(request)
        if not self._asks:
            return self._anybody
        header = request.header("authorization")
        if header is not None:
            return self.principal_of(header)
        key = self.sessions.key(request.cookie(COOKIE))
        try:
            return None if key is None else self.bearer(key)
        except NotAuthenticated:  # it was revoked, or has expired
            return None

    def principal_of(self, header: str | None) -> Principal | None:
        """By an Authorization header alone; None: nobody that is known."""
        if not self._asks:
            return self._anybody
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise NotAuthenticated("expected Authorization: Bearer and a key or token")
        return self.bearer(text)

    def bearer(self, text: str) -> Principal:
        """Whose key or token this is. Raises NotAuthenticated."""
        if is_key(text) or self._tokens is None:
            principal = self._keys.principal(text) if self._keys is not None else None
            if principal is None:
                raise NotAuthenticated("the key is not known, or not valid any more")
            return principal
        return self._tokens.principal(text)

    def _check_host(self, request: Request) -> None:
        """A name that somebody else has pointed at this machine (DNS rebinding) opens nothing that listens on it alone."""
        header = request.header("host")
        if not self.is_asked_by((header or "").encode("latin-1")):
            host = host_of(header)
            raise AccessDenied(f"Host: {host}: this server is not asked by this name; allowed_hosts lists more")

    def is_asked_by(self, header: bytes) -> bool:
        """Whether a Host header names this server."""
        if header == self._asked_before or (self._takes_any_host and not self._hosts):
            return True
        host = host_of(header.decode("latin-1"))
        if host in self._hosts or host == "localhost" or is_loopback(host) or (self._takes_any_host and _is_address(host)):
            self._asked_before = header
            return True
        return False

    def _check_origin(self, request: Request) -> None:
        """Pages of other sites may not make a browser change anything here (CSRF)."""
        if request.method in _SAFE:
            return
        site, origin = request.header("sec-fetch-site"), request.header("origin")
        if site is not None and site not in ("same-origin", "none"):
            raise AccessDenied("the request comes from a page of another site")
        if origin is not None and _host_of_origin(origin) != (request.header("host") or "").lower():
            raise AccessDenied("the request comes from a page of another origin")


def _host_of_origin(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    """An address cannot be pointed elsewhere, as a name can."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_of(header: str | None) -> str:
    """The name in a Host header, without its port."""
    host = (header or "").strip().lower()
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
