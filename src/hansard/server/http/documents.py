"""Documents and transactions, for clients that are a store again: hansard.open("http://…"). Others need neither."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from hansard.limits import PAGE_DOCUMENTS_MAX
from hansard.projections.places import MODELS
from hansard.server.access.permissions import Permission
from hansard.server.operations import JSON, Operations
from hansard.server.requests import Disconnected, Request
from hansard.server.responses import Answer, json_of
from hansard.server.service import Service
from hansard.server.transactions import shared
from hansard.wire.transactions import AppendStep, StepsForm

operation = Operations("Documents and transactions")

_T = TypeVar("_T")


class KeysForm(msgspec.Struct, forbid_unknown_fields=True):
    collection: str
    keys: list[str]


class ScanForm(msgspec.Struct, forbid_unknown_fields=True):
    collection: str
    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=PAGE_DOCUMENTS_MAX)] = PAGE_DOCUMENTS_MAX


class FoundDocuments(msgspec.Struct):
    """Documents in base64, by key."""

    documents: dict[str, bytes]


class KeyedDocument(msgspec.Struct):
    key: str
    document: bytes


class DocumentsPage(msgspec.Struct):
    """Keys and documents in base64, in the order of the keys."""

    documents: list[KeyedDocument]


class TransactionAnswer(msgspec.Struct):
    """What each step gave. `id`: to go on with; null when the transaction is over."""

    id: str | None
    results: list[dict[str, Any]]


@operation(
    "POST", "/api/v1/documents/get", needs=Permission.SUBSCRIBE, body={JSON: KeysForm}, returns={200: {JSON: FoundDocuments}}
)
async def get_documents(service: Service, request: Request) -> Answer:
    """The documents of some keys of a collection. Unknown keys are left out."""
    asked: KeysForm = await request.decoded(KeysForm)
    _check_allowed(request, asked.collection)
    return json_of(FoundDocuments(await service.in_thread(service.storage.get, shared(asked.collection), asked.keys)))


@operation(
    "POST", "/api/v1/documents/scan", needs=Permission.SUBSCRIBE, body={JSON: ScanForm}, returns={200: {JSON: DocumentsPage}}
)
async def scan_documents(service: Service, request: Request) -> Answer:
    """The documents of a collection, in the order of their keys."""
    asked: ScanForm = await request.decoded(ScanForm)
    _check_allowed(request, asked.collection)
    collection = shared(asked.collection)
    page = await service.in_thread(lambda: service.storage.scan(collection, after=asked.after, limit=asked.limit))
    return json_of(DocumentsPage([KeyedDocument(key, document) for key, document in page]))


def _check_allowed(request: Request, collection: str) -> None:
    """States of read models are read; what readers keep of themselves is for whoever subscribes."""
    request.principal.check_all(Permission.SUBSCRIBE)
    if collection.startswith(MODELS):
        request.principal.check_all(Permission.READ)


@operation(
    "POST", "/api/v1/transactions", needs=Permission.SUBSCRIBE, body={JSON: StepsForm}, returns={200: {JSON: TransactionAnswer}}
)
async def begin_transaction(service: Service, request: Request) -> Answer:
    """Begin a transaction over documents and the log, and do its first steps.

    It keeps all others from writing until it ends; after 10 seconds of silence it is undone.
    """
    form = await _form(request)
    id, results = await _while_connected(request, service.transactions.begin(form))
    return json_of(TransactionAnswer(id, results))


@operation(
    "POST",
    "/api/v1/transactions/{id}",
    needs=Permission.SUBSCRIBE,
    body={JSON: StepsForm},
    returns={200: {JSON: TransactionAnswer}},
)
async def go_on_with_transaction(service: Service, request: Request) -> Answer:
    """More steps of a transaction, or its end."""
    id = request.values["id"]
    form = await _form(request)
    results = await _while_connected(request, service.transactions.go_on(id, form))
    return json_of(TransactionAnswer(id if form.then == "continue" else None, results))


async def _form(request: Request) -> StepsForm:
    """A transaction sees and changes everything, so everything must be allowed."""
    form: StepsForm = await request.decoded(StepsForm)
    for permission in (Permission.SUBSCRIBE, Permission.READ, Permission.APPEND):
        request.principal.check_all(permission)
    for step in form.steps:
        if isinstance(step, AppendStep):
            for part in step.append.appends:
                request.principal.check_target(part.stream)
    return form


async def _while_connected(request: Request, steps: Coroutine[Any, Any, _T]) -> _T:
    """Cancels the steps of a client that has gone: they would hold the write lock for nobody."""
    doing = asyncio.ensure_future(steps)
    gone = asyncio.ensure_future(request.disconnected())
    try:
        await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Disconnected
        return doing.result()
    finally:
        doing.cancel()
        gone.cancel()
