"""From a place and settings to a server that runs: what is refused, who may ask, what is said at the start."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from hansard.domain import NO_DOMAIN, Domain
from hansard.errors import HansardError, InvalidInput
from hansard.names import shown_place
from hansard.server.access.gate import Gate, is_loopback
from hansard.server.access.keys import Keys, all_of
from hansard.server.access.sessions import Sessions
from hansard.server.access.tokens import Tokens
from hansard.server.interface import OPERATIONS
from hansard.server.logs import set_up_logs
from hansard.server.serving import Serving, listen, run, serve
from hansard.server.settings import Settings
from hansard.storage.clock import now_us
from hansard.storage.opening import open_storage
from hansard.storage.port import Storage

log = logging.getLogger("hansard.server")

_REFRESH_S = 1.0


def start(
    place: str | os.PathLike[str],
    settings: Settings,
    *,
    on_started: Callable[[str], None],
    domain: Domain = NO_DOMAIN,
) -> None:
    """Serve the store at a place until the process is told to stop. `on_started` is called with the URL.

    `domain`: what the page knows of events and streams.

    Raises InvalidInput for what is not safe, OpenFailed if the store or the address cannot be opened.
    """
    check_safe(settings)
    for name, path in (("tls_certificate", settings.tls_certificate), ("tls_key", settings.tls_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise InvalidInput(name, path, "there is no such file, or it cannot be read")
    storage = open_storage(place, read_only=settings.read_only, must_exist=settings.read_only)
    try:
        gate, refreshing = gate_of(storage, settings)
        listening = listen(settings.host, settings.port)
    except BaseException:
        storage.close()
        raise
    url = _url(settings, listening.getsockname()[1])

    def started(serving: Serving) -> None:
        log.info("serving %s at %s", shown_place(os.fsdecode(place)), url)
        on_started(url)

    async def main() -> None:
        async with _refreshed(refreshing):
            await serve(storage, settings, OPERATIONS, gate, listening=listening, on_started=started, domain=domain)

    logs = set_up_logs(settings)
    try:
        run(main())
    finally:
        logs.stop()


def check_safe(settings: Settings) -> None:
    """Other machines are let in over TLS and with authentication only, unless somebody says otherwise in plain words."""
    if is_loopback(settings.host) or settings.allow_insecure:
        return
    missing = []
    if settings.tls_certificate is None:
        missing.append("TLS (tls_certificate, tls_key)")
    if settings.authentication is False:
        missing.append("authentication")
    if missing:
        raise InvalidInput(
            "host",
            settings.host,
            f"others could reach it without {' and '.join(missing)}; give both, listen on 127.0.0.1, or say allow_insecure",
        )


def asks_for_keys(settings: Settings) -> bool:
    if settings.authentication is not None:
        return settings.authentication
    if settings.jwt_jwks is not None:
        return True
    return not is_loopback(settings.host) and not settings.allow_insecure


def gate_of(storage: Storage, settings: Settings) -> tuple[Gate, list[Keys | Tokens]]:
    """The gate, and what it knows by heart and is to be looked up again. Raises InvalidInput if nobody could come in."""
    keys = Keys(storage, now_us) if asks_for_keys(settings) else None
    tokens = None
    if settings.jwt_jwks is not None and keys is not None:
        tokens = Tokens(settings.jwt_jwks, audience=settings.jwt_audience or "", issuer=settings.jwt_issuer)
        tokens.refresh()
    if keys is not None:
        if tokens is None and not all_of(storage):
            raise InvalidInput(
                "authentication", True, "nobody could come in: make a key first (hansard keys add), or give jwt_jwks"
            )
        keys.refresh()
    return Gate(settings, keys, tokens, Sessions()), [one for one in (keys, tokens) if one is not None]


@asynccontextmanager
async def _refreshed(known: list[Keys | Tokens]) -> AsyncIterator[None]:
    async def refresh_for_ever(one: Keys | Tokens) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            if one.is_old:
                try:
                    await asyncio.to_thread(one.refresh)
                except HansardError as error:
                    log.warning("what the server knows of keys is not fresh: %s", error)
                except Exception:  # whatever a source gives, it is looked up again
                    log.exception("what the server knows of keys is not fresh")

    tasks = [asyncio.ensure_future(refresh_for_ever(one)) for one in known]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _url(settings: Settings, port: int) -> str:
    scheme = "http" if settings.tls_certificate is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}"
