"""Sessions of the page: whoever has given a key once is known by a cookie until it expires. Kept in this process only."""

import secrets
import time
from typing import Final

COOKIE: Final = "hansard_session"
SESSION_S: Final = 12 * 3600
_SESSIONS_MAX: Final = 10_000


class Sessions:
    """The key stands behind the session and is looked at at each request, so a revoked key ends its sessions."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, str]] = {}

    def begin(self, key: str) -> str:
        """The cookie's value."""
        now = time.monotonic()
        self._of = {id: entry for id, entry in self._of.items() if entry[0] > now}
        while len(self._of) >= _SESSIONS_MAX:
            del self._of[next(iter(self._of))]
        id = secrets.token_urlsafe(32)
        self._of[id] = (now + SESSION_S, key)
        return id

    def key(self, id: str | None) -> str | None:
        """The key of a session that has not expired."""
        expires_s, key = self._of.get(id or "", (0.0, ""))
        return key if expires_s > time.monotonic() else None

    def end(self, id: str | None) -> None:
        self._of.pop(id or "", None)
