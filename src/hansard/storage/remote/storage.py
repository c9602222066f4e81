"""The remote engine: the port's verbs, asked of a server."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from hansard.appends import Append, Appended
from hansard.errors import CapabilityMissing, HansardError, OpenFailed, OutcomeUnknown, StorageFailed, StoreReadOnly
from hansard.events import RecordedEvent
from hansard.limits import BUSY_TIMEOUT_S, LONG_POLL_S_MAX
from hansard.query import Query
from hansard.storage.group_commit import GroupCommit
from hansard.storage.port import Capability, Dialect, InlineHook, ResultT, StorageTransaction, Ticket
from hansard.storage.remote.address import Address
from hansard.storage.remote.connection import LINES, Connections
from hansard.storage.remote.transaction import RemoteTransaction
from hansard.streams import StreamInfo
from hansard.wire.appends import append_form, query_form
from hansard.wire.problems import error_of
from hansard.wire.recorded import recorded_of

_TRANSACTIONS_TRIED: Final = 5
_OPEN_S: Final = 2.0
_REQUEST_BYTES: Final = 128 * 1024
"""Appends of one request, unless one alone is larger. All of it is sent before the answer is read, and the outcomes, which come
meanwhile, have to fit into what lies between."""


class _About(msgspec.Struct):
    version: str
    durability: str
    capabilities: list[str]
    is_read_only: bool


class _Head(msgspec.Struct):
    head: int


class _Streams(msgspec.Struct):
    streams: list[StreamInfo]


class _Documents(msgspec.Struct):
    documents: dict[str, bytes]


class _KeyedDocument(msgspec.Struct):
    key: str
    document: bytes


class _Page(msgspec.Struct):
    documents: list[_KeyedDocument]


class _Problems(msgspec.Struct):
    problems: list[str]


class _Outcome(msgspec.Struct):
    appended: Appended | None = None
    problem: dict[str, Any] | None = None


_encode = msgspec.json.Encoder().encode
_outcomes = msgspec.json.Decoder(_Outcome).decode_lines


class RemoteStorage:
    """A store that a Hansard server holds. Group commit happens there, so clients share each wait for the disk."""

    def __init__(self, address: Address, *, read_only: bool = False) -> None:
        self._address = address
        self._connections = Connections(address)
        try:
            about = self._opened()
        except BaseException:
            self._connections.close()
            raise
        self.durability = f"{about.durability}; at {address.shown}"
        self.capabilities = frozenset({Capability.PROCESSES} | ({Capability.CHECK} if "check" in about.capabilities else set()))
        self._is_read_only = read_only or about.is_read_only
        self._commits = GroupCommit(self._write_group)
        self._inline: InlineHook | None = None
        self._is_closed = False

    def _opened(self) -> _About:
        """Asked without patience: whoever opens a store wants to know at once that the address is wrong."""
        try:
            return self._got("GET", "/api/v1/store", _About, patience_s=_OPEN_S)
        except StorageFailed as error:
            raise OpenFailed(f"{error}; is the address right, and `hansard serve` running there?") from error

    # Appending

    def append(self, append: Append) -> Appended:
        self._check_writable()
        return self._commits.append(append)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        self._check_writable()
        self._commits.submit(tickets)

    def _check_writable(self) -> None:
        self._connections.check_open()
        if self._is_read_only:
            raise StoreReadOnly(f"{self._address.shown} was opened, or is served, read-only")

    def _write_group(self, tickets: Sequence[Ticket]) -> None:
        """What has gathered while the last request was under way goes in the next one."""
        if self._inline is not None:
            self._write_one_by_one(tickets)
            return
        lines = [append_form(ticket.append) for ticket in tickets]
        for some in _in_requests(lines):
            self._send(tickets[some], lines[some])

    def _send(self, tickets: Sequence[Ticket], lines: Sequence[bytes]) -> None:
        reply = self._connections.ask("POST", "/api/v1/appends", b"\n".join(lines), accept=LINES, sends=LINES, stores=True)
        try:
            outcomes = _outcomes(reply.body)
        except msgspec.MsgspecError as error:
            raise StorageFailed(f"{self._address.shown}: not a Hansard server's answer: {error}") from error
        if len(outcomes) != len(tickets):
            raise OutcomeUnknown(f"{self._address.shown}: {len(outcomes)} outcomes for {len(tickets)} appends; append again")
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if outcome.problem is not None:
                ticket.error = error_of(outcome.problem)
            elif outcome.appended is not None:
                ticket.appended = _first_time(outcome.appended, was_resent=reply.was_resent)

    def _write_one_by_one(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            try:
                ticket.appended = self._transacted(lambda transaction, append=ticket.append: transaction.append(append))  # type: ignore[misc]
            except HansardError as error:
                ticket.error = error

    # Reading

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        asked = {
            "query": query_form(query),
            "after": after,
            "before": before,
            "backwards": backwards,
            "limit": limit,
        }
        return self._events("POST", "/api/v1/events/query", _encode(asked))

    def read_stream(
        self, stream: str, *, after_version: int, before_version: int | None, backwards: bool, limit: int
    ) -> list[RecordedEvent]:
        bounds: dict[str, Any] = {"after_version": after_version, "limit": limit}
        if before_version is not None:
            bounds["before_version"] = before_version
        if backwards:
            bounds["backwards"] = "true"
        return self._events("GET", f"/api/v1/streams/{quote(stream, safe='')}/events?{urlencode(bounds)}")

    def events(self, ids: Sequence[bytes]) -> dict[bytes, RecordedEvent]:
        found: dict[bytes, RecordedEvent] = {}
        for start in range(0, len(ids), 1_000):
            asked = {"ids": [str(UUID(bytes=id)) for id in ids[start : start + 1_000]]}
            found |= {event.id_bytes: event for event in self._events("POST", "/api/v1/events/by-id", _encode(asked))}
        return found

    def head(self) -> int:
        return self._got("GET", "/api/v1/head", _Head).head

    def stream(self, name: str) -> StreamInfo:
        return self._got("GET", f"/api/v1/streams/{quote(name, safe='')}", StreamInfo)

    def streams(self, *, category: str | None, after: str, limit: int) -> list[StreamInfo]:
        bounds: dict[str, Any] = {"limit": limit}
        if category is not None:
            bounds["category"] = category
        if after:
            bounds["after"] = after
        return self._got("GET", f"/api/v1/streams?{urlencode(bounds)}", _Streams).streams

    def wait(self, after: int, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while True:
            wait_s = max(0.0, min(deadline - time.monotonic(), LONG_POLL_S_MAX))
            head = self._got("GET", f"/api/v1/head?after={after}&wait_s={wait_s:.3f}", _Head, wait_s=wait_s).head
            if head > after or time.monotonic() >= deadline:
                return head

    def _events(self, method: str, path: str, body: bytes | None = None) -> list[RecordedEvent]:
        reply = self._connections.ask(method, path, body, accept=LINES)
        try:
            return [recorded_of(line) for line in reply.body.split(b"\n") if line]
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise StorageFailed(f"{self._address.shown}: not an event: {error}") from error

    # Documents

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        asked = _encode({"collection": collection, "keys": list(keys)})
        return self._got("POST", "/api/v1/documents/get", _Documents, asked).documents

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        asked = _encode({"collection": collection, "after": after, "limit": limit})
        page = self._got("POST", "/api/v1/documents/scan", _Page, asked)
        return [(one.key, one.document) for one in page.documents]

    @property
    def dialect(self) -> Dialect:
        raise CapabilityMissing(Capability.CONNECTION, "remote")

    def rows(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        raise CapabilityMissing(Capability.CONNECTION, "remote")

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        self._check_writable()
        return self._commits.exclusively(lambda: self._transacted(work))

    def _transacted(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        for tries_left in reversed(range(_TRANSACTIONS_TRIED)):
            transaction = RemoteTransaction(self._connections, self._inline)
            try:
                result = work(transaction)
                transaction.commit()
                return result
            except BaseException:
                if transaction.was_lost and tries_left:
                    continue
                with suppress(HansardError):  # the server undoes it when it hears nothing more
                    transaction.undo()
                raise
        raise AssertionError("unreachable")

    def set_inline(self, hook: InlineHook | None) -> None:
        def change() -> None:
            self._inline = hook

        self._commits.exclusively(change)

    # Keeping

    def barrier(self) -> None:
        """There is one copy of the log."""

    def check(self) -> list[str]:
        if Capability.CHECK not in self.capabilities:
            raise CapabilityMissing(Capability.CHECK, "served")
        return self._got("POST", "/api/v1/store/check", _Problems, wait_s=86_400.0).problems

    def backup(self, target: str) -> int:
        raise CapabilityMissing(Capability.BACKUP, "remote", "use hansard backup where the server runs, or hansard copy")

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if not self._connections.is_in_child:
            self._connections.end_soon()
            self._commits.close()
        self._connections.close()

    def _got(
        self,
        method: str,
        path: str,
        kind: type[ResultT],
        body: bytes | None = None,
        *,
        wait_s: float = 0.0,
        patience_s: float = BUSY_TIMEOUT_S,
    ) -> ResultT:
        reply = self._connections.ask(method, path, body, wait_s=wait_s, patience_s=patience_s)
        return self._decoded(reply.body, kind)

    def _decoded(self, body: bytes, kind: type[ResultT]) -> ResultT:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise StorageFailed(f"{self._address.shown}: not a Hansard server's answer: {error}") from error


def _in_requests(lines: Sequence[bytes]) -> Iterator[slice]:
    """The lines in portions of a bounded size."""
    start, size = 0, 0
    for number, line in enumerate(lines):
        if size and size + len(line) > _REQUEST_BYTES:
            yield slice(start, number)
            start, size = number, 0
        size += len(line)
    yield slice(start, len(lines))


def _first_time(appended: Appended, *, was_resent: bool) -> Appended:
    """A repetition that only this client's own second try has made is none: its handlers have not been called yet."""
    return msgspec.structs.replace(appended, is_repeat=False) if was_resent and appended.is_repeat else appended
