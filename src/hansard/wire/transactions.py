"""What a remote transaction asks for, and what it is told, in JSON. Documents are bytes, so they go as base64."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from hansard.limits import PAGE_DOCUMENTS_MAX, PAGE_EVENTS_MAX
from hansard.wire.appends import AppendForm, Position, QueryForm

STEPS_MAX: Final = 2_000
"""Steps of one request; their results are all held."""

_Limit = Annotated[int, Meta(ge=1, le=PAGE_DOCUMENTS_MAX)]


class GetStep(msgspec.Struct, tag="get", tag_field="do", forbid_unknown_fields=True):
    """The documents of these keys: {"documents": {key: base64}}."""

    collection: str
    keys: list[str]


class ScanStep(msgspec.Struct, tag="scan", tag_field="do", forbid_unknown_fields=True):
    """Keys > after with their documents, in the order of the keys: {"page": [[key, base64]]}."""

    collection: str
    after: str
    limit: _Limit


class PutStep(msgspec.Struct, tag="put", tag_field="do", forbid_unknown_fields=True):
    """Set these documents; null deletes one: {}."""

    collection: str
    documents: dict[str, bytes | None]


class DropStep(msgspec.Struct, tag="drop", tag_field="do", forbid_unknown_fields=True):
    """Delete all documents of a collection: {}."""

    collection: str


class AppendStep(msgspec.Struct, tag="append", tag_field="do", forbid_unknown_fields=True):
    """Append; a refusal leaves the transaction as it was: {"appended": …} or {"problem": …}.

    `is_tentative`: steps that follow belong to it, until one says `keep` or `refuse`; not if it is a repetition.
    """

    append: AppendForm
    is_tentative: bool = False


class KeepStep(msgspec.Struct, tag="keep", tag_field="do", forbid_unknown_fields=True):
    """The tentative append stays, with the steps since then: {}."""


class RefuseStep(msgspec.Struct, tag="refuse", tag_field="do", forbid_unknown_fields=True):
    """The tentative append is taken back, with the steps since then: {}."""


class ReadStep(msgspec.Struct, tag="read", tag_field="do", forbid_unknown_fields=True):
    """Events that match: {"events": […]}."""

    query: QueryForm
    after: Position
    before: Position | None
    backwards: bool
    limit: Annotated[int, Meta(ge=1, le=PAGE_EVENTS_MAX)]


class HeadStep(msgspec.Struct, tag="head", tag_field="do", forbid_unknown_fields=True):
    """The last position: {"head": 7}."""


Step = GetStep | ScanStep | PutStep | DropStep | AppendStep | KeepStep | RefuseStep | ReadStep | HeadStep


class StepsForm(msgspec.Struct, forbid_unknown_fields=True):
    """Steps of a transaction, and what follows them: more of it, or its end."""

    steps: Annotated[list[Step], Meta(max_length=STEPS_MAX)] = []
    then: Literal["continue", "commit", "rollback"] = "continue"
