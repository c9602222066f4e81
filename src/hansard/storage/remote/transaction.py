"""A transaction that the server holds and the client drives. Steps that give nothing wait until one that does, or the end."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from hansard.appends import Append, Appended, recorded_events
from hansard.errors import CapabilityMissing, HansardError, InlineFailed, OutcomeUnknown, ResourceNotFound, StorageFailed
from hansard.events import RecordedEvent
from hansard.query import Query
from hansard.storage.port import Capability, Dialect, InlineHook
from hansard.storage.remote.connection import Connections
from hansard.wire.appends import AppendForm, append_form, query_form
from hansard.wire.problems import error_of
from hansard.wire.recorded import recorded_of
from hansard.wire.transactions import (
    AppendStep,
    DropStep,
    GetStep,
    HeadStep,
    KeepStep,
    PutStep,
    ReadStep,
    RefuseStep,
    ScanStep,
    Step,
    StepsForm,
)

_STEPS_HELD_MAX: Final = 1_000
_BYTES_HELD_MAX: Final = 8 * 1024 * 1024
_ASKED_S: Final = 2.0
_BEGIN: Final = "/api/v1/transactions"


class _Result(msgspec.Struct):
    """What a step gave."""

    documents: dict[str, bytes] = {}
    page: list[tuple[str, bytes]] = []
    appended: Appended | None = None
    problem: dict[str, Any] | None = None
    events: list[msgspec.Raw] = []
    head: int = 0


class _Answer(msgspec.Struct):
    id: str | None
    results: list[_Result]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode
_ROLLBACK: Final = _encode(StepsForm([], "rollback"))
_append_form = msgspec.json.Decoder(AppendForm).decode


class RemoteTransaction:
    """See StorageTransaction."""

    def __init__(self, connections: Connections, inline: InlineHook | None) -> None:
        self._connections = connections
        self._inline = inline
        self._id: str | None = None
        self._held: list[Step] = []
        self._held_bytes = 0
        self.was_lost = False
        """Whether the server undid it before its end: nothing of it has happened, and it can be done again."""

    # Ends

    def commit(self) -> None:
        """Raises OutcomeUnknown if the connection is lost before the answer."""
        if self._id is not None or self._held:
            self._send("commit", may_repeat=False)

    def undo(self) -> None:
        self._held = []
        if self._id is not None:
            self._send("rollback", may_repeat=False)

    # Documents

    def get(self, collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        return self._done(GetStep(collection, list(keys))).documents

    def scan(self, collection: str, *, after: str = "", limit: int) -> list[tuple[str, bytes]]:
        return self._done(ScanStep(collection, after, limit)).page

    def put(self, collection: str, documents: Mapping[str, bytes | None]) -> None:
        some: dict[str, bytes | None] = {}
        for key, document in documents.items():
            some[key] = document
            self._held_bytes += len(key) + len(document or b"")
            if self._held_bytes > _BYTES_HELD_MAX:
                self._hold(PutStep(collection, some))
                some = {}
        if some:
            self._hold(PutStep(collection, some))

    def drop(self, collection: str) -> None:
        self._hold(DropStep(collection))

    # The log

    def append(self, append: Append, *, then: InlineHook | None = None) -> Appended:
        hook = then or self._inline
        result = self._done(AppendStep(_append_form(append_form(append)), is_tentative=hook is not None))
        if result.problem is not None:
            raise error_of(result.problem)
        assert result.appended is not None
        if hook is not None and not result.appended.is_repeat:
            try:
                hook(self, recorded_events(append, result.appended))
            except Exception as error:
                self._hold(RefuseStep())
                raise InlineFailed(f"{type(error).__name__}: {error}") from error
            self._hold(KeepStep())
        return result.appended

    def read(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        if limit == 0:
            return []
        result = self._done(ReadStep(query_form(query), after, before, backwards, limit))
        return [recorded_of(bytes(text)) for text in result.events]

    def head(self) -> int:
        return self._done(HeadStep()).head

    @property
    def dialect(self) -> Dialect:
        raise CapabilityMissing(Capability.CONNECTION, "remote")

    @property
    def connection(self) -> Any:
        raise CapabilityMissing(Capability.CONNECTION, "remote")

    # Steps

    def _hold(self, step: Step) -> None:
        self._held.append(step)
        if len(self._held) >= _STEPS_HELD_MAX or self._held_bytes > _BYTES_HELD_MAX:
            self._send("continue", may_repeat=self._id is None)

    def _done(self, step: Step) -> _Result:
        self._held.append(step)
        return self._send("continue", may_repeat=self._id is None)[-1]

    def _was_undone(self, path: str) -> bool:
        """After a commit without an answer: whether the server still had it open, so that it was not committed."""
        try:
            self._connections.ask("POST", path, _ROLLBACK, patience_s=_ASKED_S)
        except HansardError:
            return False
        return path != _BEGIN

    def _send(self, then: str, *, may_repeat: bool) -> list[_Result]:
        """First steps may be sent again: a transaction whose client went away is undone."""
        body = _encode(StepsForm(self._held, then))  # type: ignore[arg-type]
        path = _BEGIN if self._id is None else f"{_BEGIN}/{quote(self._id)}"
        self._held, self._held_bytes = [], 0
        if then != "continue":
            self._id = None
        may_repeat = may_repeat and then == "continue"
        try:
            reply = self._connections.ask("POST", path, body, stores=then == "commit", may_repeat=may_repeat)
        except ResourceNotFound as error:
            self.was_lost = True
            raise StorageFailed(f"the transaction was lost: {error}") from error
        except OutcomeUnknown:
            self.was_lost = self._was_undone(path)
            raise
        except StorageFailed:
            self.was_lost = not may_repeat  # one that may be repeated has had its tries
            raise
        answer = _decode(reply.body)
        self._id = answer.id
        return answer.results
