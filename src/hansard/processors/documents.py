"""What readers keep beside the log, as documents: their definition, partitions, members, orders from outside."""

from typing import Any, TypeVar

import msgspec

from hansard.query import Query, QueryItem

READERS = "reader"
"""One document per reader, by its name: ReaderDocument."""

MEMBERS = "member"
"""One document per member (a running process, or part of one), by its id: MemberDocument."""

ORDERS = "order"
"""One document per reader that was told something, by its name: OrderDocument."""

DocumentT = TypeVar("DocumentT", bound=msgspec.Struct)


class Failure(msgspec.Struct, frozen=True):
    """The last event that could not be handled, and why."""

    position: int
    type: str
    error: str
    attempts: int
    at_us: int


class ReaderDocument(msgspec.Struct):
    """What a name stands for. `fingerprint`: what may not change without a new version."""

    name: str
    kind: str
    version: int
    partitions: int
    fingerprint: str
    query: list[dict[str, Any]]


class PartitionDocument(msgspec.Struct):
    """One share of a reader's events. `epoch` grows with each change of owner; only who knows it may write.

    - `checkpoint`: all of its events up to here are done.
    - `handled`: the highest position that was ever handed to the handler; a replay goes back behind it.
    """

    checkpoint: int
    handled: int = 0
    owner: str | None = None
    epoch: int = 0
    saved_us: int = 0
    events_per_s: float = 0.0
    failure: Failure | None = None
    is_stopped: bool = False


class MemberDocument(msgspec.Struct):
    """`beat` counts up; who stands still for the length of a lease is dead. host, pid and started tell it sooner.

    `label`: what people call it.
    """

    beat: int
    readers: list[str]
    host: str
    pid: int
    started: str
    lease_s: float
    label: str = ""


class OrderDocument(msgspec.Struct):
    """What someone outside wants of a reader. `retries`: sequences of dead letters to be tried again."""

    is_paused: bool = False
    events_per_s: float | None = None
    retries: list[str] = []


def partitions_of(reader: str) -> str:
    """The collection of a reader's partitions; keys are their numbers."""
    return f"partition/{reader}"


def partition_key(number: int) -> str:
    return f"{number:05d}"


def encoded(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(document)


def decoded(text: bytes, type: type[DocumentT]) -> DocumentT:
    return msgspec.json.decode(text, type=type)


def query_document(query: Query) -> list[dict[str, Any]]:
    """A query as JSON, in a fixed order, so that equal queries are equal texts."""
    items = []
    for item in query.items:
        facts: dict[str, Any] = {}
        if item.types:
            facts["types"] = sorted(item.types)
        if item.tags:
            facts["tags"] = sorted(item.tags)
        if item.stream is not None:
            facts["stream"] = item.stream
        if item.category is not None:
            facts["category"] = item.category
        items.append(facts)
    return sorted(items, key=msgspec.json.encode)


def query_of_document(items: list[dict[str, Any]]) -> Query:
    return Query.of(
        *[
            QueryItem(frozenset(item.get("types", ())), frozenset(item.get("tags", ())), item.get("stream"), item.get("category"))
            for item in items
        ]
    )
