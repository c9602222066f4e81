"""Kept-alive connections to one server, and what is tried again when one is lost. Knows HTTP, no events.

A request that may be repeated (a read; an append, whose ids tell a repetition) is sent again until an answer comes or the
time is over. One that may not is reported as OutcomeUnknown.
"""

import os
import select
import ssl
import threading
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, NamedTuple

import msgspec

from hansard.errors import HansardError, OpenFailed, OutcomeUnknown, StorageFailed, StoreClosed, StoreForked, TooManyRequests
from hansard.limits import BUSY_TIMEOUT_S
from hansard.storage.remote.address import Address
from hansard.wire.problems import error_of

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
_PATIENCE_S: Final = BUSY_TIMEOUT_S
"""How long an answer that should come at once is waited for, and how long a server that is gone is tried again."""
_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_KEPT_MAX: Final = 64
_KEPT_S: Final = 30.0
"""Servers and what stands in front of them close connections that are silent for about a minute."""
_TRIED_AGAIN: Final = {429, 502, 503, 504}
_TRIED_AGAIN_CODES: Final = {"busy", "closed", "too-many-requests", "open-failed"}


class Reply(NamedTuple):
    status: int
    body: bytes
    was_resent: bool
    """Whether the request had been sent before, without an answer."""


class Connections:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._headers = {"User-Agent": "hansard-python"}
        if address.key is not None:
            self._headers["Authorization"] = f"Bearer {address.key}"
        self._tls = _tls(address)
        self._kept: list[tuple[HTTPConnection, float]] = []
        self._no_later_than = float("inf")
        self._waiting: set[HTTPConnection] = set()
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_closed = False

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        accept: str = JSON,
        sends: str = JSON,
        wait_s: float = 0.0,
        stores: bool = False,
        may_repeat: bool = True,
        patience_s: float = _PATIENCE_S,
    ) -> Reply:
        """The answer, with a status below 300; other statuses are raised as their errors.

        `wait_s`: how long the server may keep it waiting, beyond what is usual. `stores`: without an answer it is not known what
        has happened.
        """
        headers = {**self._headers, "Accept": accept}
        if body is not None:
            headers["Content-Type"] = sends
        deadline = time.monotonic() + patience_s
        was_sent, tries = False, 0
        while True:
            self.check_open()
            try:
                status, answer = self._once(method, path, body, headers, wait_s)
                if status < 300:
                    return Reply(status, answer, was_sent)
                refusal = self._refusal(status, answer)
                if status not in _TRIED_AGAIN or refusal.code not in _TRIED_AGAIN_CODES:
                    raise refusal
                failed: BaseException | None = refusal
            except _NotSent as failure:
                failed = failure.__cause__
            except (OSError, HTTPException) as error:
                self.check_open()
                if not may_repeat:
                    raise self._lost(error, stores=stores) from error
                was_sent, failed = True, error
            pause_s = _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
            if time.monotonic() + pause_s > min(deadline, self._no_later_than):
                raise self._given_up(failed, was_sent=was_sent and stores, patience_s=patience_s) from failed
            tries += 1
            time.sleep(pause_s)

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], wait_s: float) -> tuple[int, bytes]:
        connection, is_fresh = self._take()
        try:
            response = self._sent(connection, method, path, body, headers, wait_s, is_fresh=is_fresh)
            answer = response.read()
        except BaseException:
            self._waiting.discard(connection)
            connection.close()
            raise
        self._waiting.discard(connection)
        if response.will_close:
            connection.close()
        else:
            self._keep(connection)
        return response.status, answer

    def _sent(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        wait_s: float,
        *,
        is_fresh: bool,
    ) -> HTTPResponse:
        if is_fresh:
            try:
                connection.connect()
            except OSError as error:
                raise _NotSent from error
        assert connection.sock is not None
        connection.sock.settimeout(_PATIENCE_S + wait_s)
        if wait_s:
            self._waiting.add(connection)
        connection.request(method, self._address.prefix + path, body, dict(headers))
        return connection.getresponse()

    def _take(self) -> tuple[HTTPConnection, bool]:
        """A kept connection that the server has not closed meanwhile, or a fresh one."""
        with self._lock:
            while self._kept:
                connection, kept_s = self._kept.pop()
                if time.monotonic() - kept_s < _KEPT_S and not _is_over(connection):
                    return connection, False
                connection.close()
        address = self._address
        if self._tls is not None:
            return HTTPSConnection(address.host, address.port, timeout=_PATIENCE_S, context=self._tls), True
        return HTTPConnection(address.host, address.port, timeout=_PATIENCE_S), True

    def _keep(self, connection: HTTPConnection) -> None:
        with self._lock:
            if not self._is_closed and len(self._kept) < _KEPT_MAX:
                self._kept.append((connection, time.monotonic()))
                return
        connection.close()

    def _refusal(self, status: int, body: bytes) -> HansardError:
        """Raises HTTPException where something between here and the server has no answer of it."""
        try:
            problem: Any = msgspec.json.decode(body)
        except msgspec.DecodeError:
            problem = None
        if isinstance(problem, dict) and "code" in problem:
            return error_of(problem)
        if status in _TRIED_AGAIN:
            raise HTTPException(f"status {status} from something in front of the server")
        return StorageFailed(f"{self._address.shown} answered with status {status}, which is not a Hansard server's answer")

    def _lost(self, error: Exception, *, stores: bool) -> HansardError:
        said = f"{self._address.shown}: the connection was lost ({_said(error)}) before an answer"
        return OutcomeUnknown(said) if stores else StorageFailed(said)

    def _given_up(self, failed: BaseException | None, *, was_sent: bool, patience_s: float) -> HansardError:
        if isinstance(failed, HansardError) and not was_sent:
            return failed
        said = f"{self._address.shown} gave no answer ({_said(failed)}) for {patience_s:g} s"
        return OutcomeUnknown(f"{said}; append again with the same ids to find out") if was_sent else StorageFailed(said)

    def end_soon(self) -> None:
        """What is still to be sent shares one patience from now on."""
        self._no_later_than = time.monotonic() + _PATIENCE_S

    @property
    def is_in_child(self) -> bool:
        return os.getpid() != self._pid

    def check_open(self) -> None:
        if self.is_in_child:
            raise StoreForked("the store was opened before a fork; open it again in this process")
        if self._is_closed:
            raise StoreClosed("the store is closed; open it again")

    def close(self) -> None:
        """Lets go of all connections; requests that wait for something to happen end."""
        with self._lock:
            self._is_closed = True
            kept, self._kept = self._kept, []
        if self.is_in_child:
            return  # the connections are the parent's
        for connection, _ in kept:
            connection.close()
        for connection in list(self._waiting):
            if connection.sock is not None:
                try:
                    connection.sock.shutdown(2)
                except OSError:  # it has ended by itself
                    continue


class _NotSent(Exception):
    """There was no connection, so nothing was sent; the cause says why."""


def _is_over(connection: HTTPConnection) -> bool:
    """Whether the server has closed it: a connection that waits for its next request has nothing to read but its end."""
    if connection.sock is None:
        return True
    readable, _, _ = select.select([connection.sock], [], [], 0)
    return bool(readable)


def _tls(address: Address) -> ssl.SSLContext | None:
    if address.scheme != "https":
        return None
    try:
        return ssl.create_default_context(cafile=address.ca)
    except (OSError, ssl.SSLError) as error:
        raise OpenFailed(f"{address.ca}: not a file of certificates: {error}") from error


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


assert TooManyRequests.code in _TRIED_AGAIN_CODES
