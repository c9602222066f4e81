"""Transactions that a client drives step by step. Each has a thread that holds the store's write lock while it lasts.

A client that is silent for TRANSACTION_IDLE_S loses its transaction: nothing of it happens.
"""

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from uuid_utils import uuid7

from hansard.consistency import placed
from hansard.errors import Conflict, HansardError, InlineFailed, InvalidInput, ResourceNotFound, StorageFailed, StoreBusy
from hansard.events import RecordedEvent
from hansard.limits import TRANSACTION_IDLE_S, TRANSACTIONS_MAX
from hansard.storage.port import Storage, StorageTransaction
from hansard.wire.appends import append_of_form, query_of
from hansard.wire.problems import problem_of
from hansard.wire.recorded import form_of
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

PRIVATE = "server/"
"""Collections that begin so are the server's own (its keys); no client sees or changes them."""


class _Asked(NamedTuple):
    form: StepsForm
    answer: "asyncio.Future[list[Any]]"


class _RolledBack(BaseException):
    """Ends the work of a transaction that its client, or the clock, has given up. No engine takes it for an error of its own."""


class _Refused(Exception):
    """Takes a tentative append back."""


class OpenTransactions:
    """All transactions of one server."""

    def __init__(self, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        self._storage = storage
        self._loop = loop
        self._open: dict[str, _Driven] = {}

    async def begin(self, form: StepsForm) -> tuple[str | None, list[Any]]:
        """The new transaction's id (None if it is over already), and what its first steps gave."""
        if len(self._open) >= TRANSACTIONS_MAX:
            raise StoreBusy(f"{TRANSACTIONS_MAX} transactions are open or wait for their turn; come again")
        id = str(uuid7())
        driven = self._open[id] = _Driven(self._storage, self._loop, lambda: self._open.pop(id, None))
        results = await driven.ask(form)
        return (id if form.then == "continue" else None), results

    async def go_on(self, id: str, form: StepsForm) -> list[Any]:
        driven = self._open.get(id)
        if driven is None:
            raise ResourceNotFound(
                f"there is no transaction {id}: it was undone ({TRANSACTION_IDLE_S:g} s of silence), or the server has restarted"
            )
        return await driven.ask(form)

    async def close(self) -> None:
        """Undo what is open."""
        for driven in list(self._open.values()):
            driven.give_up()
        while self._open:  # their threads end by themselves
            await asyncio.sleep(0.005)


class _Driven:
    """One transaction, its thread, and the steps that are on their way to it."""

    def __init__(self, storage: Storage, loop: asyncio.AbstractEventLoop, over: Any) -> None:
        self._storage = storage
        self._loop = loop
        self._over = over
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._answering: _Asked | None = None
        self._is_busy = False
        self._results: list[Any] = []
        self._steps = self._coming()
        threading.Thread(target=self._run, name="hansard-transaction", daemon=True).start()

    async def ask(self, form: StepsForm) -> list[Any]:
        if self._is_busy:
            raise InvalidInput("transaction", "…", "its last steps have not ended yet; one request at a time")
        self._is_busy = True
        asked = _Asked(form, self._loop.create_future())
        self._asked.put(asked)
        try:
            return await asked.answer
        except asyncio.CancelledError:  # nobody waits for it any more
            self.give_up()
            raise
        finally:
            self._is_busy = False

    def give_up(self) -> None:
        self._asked.put(None)

    # On its own thread

    def _run(self) -> None:
        calls = 0

        def work(transaction: StorageTransaction) -> None:
            nonlocal calls
            calls += 1
            if calls > 1:  # the engine wants to try again, but the steps of the first time are gone
                raise StorageFailed("the transaction was interrupted; begin it again")
            for step in self._steps:
                self._results.append(self._done(transaction, step))

        error: BaseException | None = None
        try:
            self._storage.transact(work)
        except _RolledBack:
            pass
        except HansardError as raised:
            error = raised
        except Exception as raised:
            error = StorageFailed(f"the transaction failed: {type(raised).__name__}: {raised}")
        self._answer(self._results, error)
        self._loop.call_soon_threadsafe(self._end, error)

    def _coming(self) -> Iterator[Step]:
        """The steps of all requests, as they come; ends with the commit. What they gave is told at each request's end."""
        while True:
            asked = self._next()
            yield from asked.form.steps
            if asked.form.then == "commit":
                return
            if asked.form.then == "rollback":
                raise _RolledBack
            self._answer(self._results)
            self._results = []

    def _done(self, transaction: StorageTransaction, step: Step) -> Any:
        match step:
            case AppendStep():
                return self._appended(transaction, step)
            case GetStep():
                return {"documents": transaction.get(shared(step.collection), step.keys)}
            case ScanStep():
                return {"page": transaction.scan(shared(step.collection), after=step.after, limit=step.limit)}
            case PutStep():
                transaction.put(shared(step.collection), step.documents)
            case DropStep():
                transaction.drop(shared(step.collection))
            case ReadStep():
                events = transaction.read(
                    query_of(step.query), after=step.after, before=step.before, backwards=step.backwards, limit=step.limit
                )
                return {"events": [msgspec.Raw(form_of(event)) for event in events]}
            case HeadStep():
                return {"head": transaction.head()}
            case KeepStep() | RefuseStep():
                raise InvalidInput("do", "keep, refuse", "there is no tentative append")
        return {}

    def _appended(self, transaction: StorageTransaction, step: AppendStep) -> dict[str, Any]:
        """Of a tentative append the result is told before the steps that belong to it; what follows them stands here."""
        append = append_of_form(step.append)
        try:
            if not step.is_tentative:
                return {"appended": transaction.append(append)}
            appended = transaction.append(append, then=self._tentatively)
            return {"appended": appended} if appended.is_repeat else {}
        except InlineFailed as error:
            if isinstance(error.__cause__, _Refused):
                return {}
            if isinstance(error.__cause__, InvalidInput):
                raise error.__cause__ from None
            raise
        except Conflict as error:
            return {"problem": problem_of(error)}

    def _tentatively(self, transaction: StorageTransaction, recorded: Sequence[RecordedEvent]) -> None:
        versions = {event.stream: event.version for event in recorded if event.stream is not None and event.version is not None}
        place = placed(recorded[0].position, recorded[-1].position, versions, recorded[-1].timestamp_us)
        self._results.append({"appended": place})
        for step in self._steps:
            if isinstance(step, KeepStep):
                return
            if isinstance(step, RefuseStep):
                raise _Refused
            self._results.append(self._done(transaction, step))
        raise InvalidInput("then", "commit", "a tentative append waits to be kept or refused; nothing was stored")

    def _next(self) -> _Asked:
        try:
            asked = self._asked.get(timeout=TRANSACTION_IDLE_S)
        except queue.Empty:
            raise _RolledBack from None
        if asked is None:
            raise _RolledBack
        self._answering = asked
        return asked

    def _answer(self, results: Sequence[Any], error: BaseException | None = None) -> None:
        asked, self._answering = self._answering, None
        if asked is not None:
            self._loop.call_soon_threadsafe(_settle, asked.answer, list(results), error)

    def _end(self, error: BaseException | None) -> None:
        """On the loop, where steps come from: refuse those that came too late, or first, if the write lock could not be had."""
        self._over()
        while not self._asked.empty():
            if (asked := self._asked.get()) is not None:
                _settle(asked.answer, [], error or ResourceNotFound("the transaction is over; it was undone"))


def _settle(answer: "asyncio.Future[list[Any]]", results: list[Any], error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(results)


def shared(collection: str) -> str:
    """A collection that clients may see."""
    if collection.startswith(PRIVATE):
        raise InvalidInput("collection", collection, "it is the server's own")
    return collection
