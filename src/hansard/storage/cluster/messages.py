"""What nodes write to the log: appends, or the transcript of a transaction. A format, a checksum, then MessagePack.

Source of the encoding: https://msgpack.org. Messages of a newer format are not understood, and say so.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from hansard.appends import Append, StreamAppend
from hansard.errors import NewerFormat, StoreCorrupt
from hansard.events import NO_TAGS, Event, RecordedEvent
from hansard.query import AppendCondition, Query, QueryItem
from hansard.streams import ExpectedVersion

FORMAT: Final = 1
RULES = 1
"""The newest rules by which this version decides. Which ones a log goes by is written in it: see Message.rules."""

_MAGIC: Final = b"HL"
_HEAD: Final = len(_MAGIC) + 1 + 4


class EventForm(msgspec.Struct, array_like=True):
    type: str
    id: bytes
    tags: list[str]
    metadata: bytes
    data: bytes


class PartForm(msgspec.Struct, array_like=True):
    stream: str | None
    expected: int
    events: list[EventForm]


class ItemForm(msgspec.Struct, array_like=True):
    types: list[str]
    tags: list[str]
    stream: str | None
    category: str | None


class ConditionForm(msgspec.Struct, array_like=True):
    items: list[ItemForm]
    after: int


class AppendForm(msgspec.Struct, array_like=True):
    parts: list[PartForm]
    condition: ConditionForm | None
    timestamps_us: list[int] | None


class Get(msgspec.Struct, array_like=True, tag="get"):
    collection: str
    keys: list[str]
    found: bytes


class Scan(msgspec.Struct, array_like=True, tag="scan"):
    collection: str
    after: str
    limit: int
    found: bytes


class Put(msgspec.Struct, array_like=True, tag="put"):
    collection: str
    documents: dict[str, bytes | None]


class Drop(msgspec.Struct, array_like=True, tag="drop"):
    collection: str


class Read(msgspec.Struct, array_like=True, tag="read"):
    items: list[ItemForm]
    after: int
    before: int | None
    backwards: bool
    limit: int
    found: bytes


class Head(msgspec.Struct, array_like=True, tag="head"):
    position: int


class Stored(msgspec.Struct, array_like=True, tag="append"):
    """`outcome`: the digest of its place, or of the error that refused it."""

    append: AppendForm
    outcome: bytes


Step = Get | Scan | Put | Drop | Read | Head | Stored


class Message(msgspec.Struct, array_like=True):
    """Of a node, its number there. `appends`, or (if they are none) the `steps` of one transaction; or neither: then it only
    tells how far its node is.

    `applied`, `digest`: what the node has applied, for others to compare; `trail`: short digests of the messages before.
    `name`: for people. `rules`: by which ones all nodes are to decide from the next message on; 0: as before.
    `forgets`: the name of a node that needs the log no more. `asks`: for a word of all others, at once.
    """

    node: bytes
    number: int
    proposed_us: int
    appends: Sequence[AppendForm] = ()
    steps: Sequence[Step] = ()
    name: str = ""
    applied: int = 0
    digest: str = ""
    rules: int = 0
    trail: Sequence[bytes] = ()
    forgets: str = ""
    asks: bool = False


class Arrived(NamedTuple):
    """A message in its place in the log, with its appends as the engine takes them."""

    sequence: int
    message: Message
    appends: Sequence[Append]


_WORDS: Final[dict[int, int]] = {int(word): word for word in ExpectedVersion}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def written(message: Message) -> bytes:
    body = _encode(message)
    return _MAGIC + bytes([FORMAT]) + crc32(body).to_bytes(4, "big") + body


def read(sequence: int, text: bytes) -> Arrived:
    """Raises NewerFormat or StoreCorrupt, which name the sequence."""
    if text[: len(_MAGIC)] != _MAGIC or len(text) < _HEAD:
        raise StoreCorrupt(f"message {sequence} of the log is none of ours; nothing after it was applied")
    if text[len(_MAGIC)] > FORMAT:
        raise NewerFormat(f"message {sequence} of the log", text[len(_MAGIC)], FORMAT)
    body = text[_HEAD:]
    if crc32(body).to_bytes(4, "big") != text[_HEAD - 4 : _HEAD]:
        raise StoreCorrupt(f"message {sequence} of the log is damaged: its checksum does not fit; nothing after it was applied")
    try:
        message = _decode(body)
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"message {sequence} of the log cannot be read: {error}") from error
    if message.rules > RULES:
        raise NewerFormat(f"the rules that message {sequence} of the log switches on", message.rules, RULES)
    return Arrived(sequence, message, [append_of(form) for form in message.appends])


# From values to forms and back


def text_of(append: Append) -> msgspec.Raw:
    """An append as it stands in a message, where it takes the place of its form."""
    return msgspec.Raw(_encode(form_of(append)))


def form_of(append: Append) -> AppendForm:
    condition = append.condition
    return AppendForm(
        [
            PartForm(part.stream, int(part.expected_version), [_event_form(event) for event in part.events])
            for part in append.parts
        ],
        None if condition is None else ConditionForm(items_of(condition.fail_if), condition.after),
        None if append.timestamps_us is None else list(append.timestamps_us),
    )


def append_of(form: AppendForm) -> Append:
    parts = tuple(
        StreamAppend(part.stream, [_event_of(event) for event in part.events], _expected(part.expected)) for part in form.parts
    )
    condition = None if form.condition is None else AppendCondition(query_of(form.condition.items), form.condition.after)
    return Append(parts, condition, form.timestamps_us)


def _expected(expected: int) -> int:
    return _WORDS.get(expected, expected)


def _event_form(event: Event) -> EventForm:
    return EventForm(event.type, event.id_bytes, sorted(event.tags), event.metadata_json, event.data_json)


def _event_of(form: EventForm) -> Event:
    """Its publisher has checked it, and the checksum says that it is the same."""
    return Event.of_checked(form.type, form.data, form.metadata, frozenset(form.tags) if form.tags else NO_TAGS, form.id)


def items_of(query: Query) -> list[ItemForm]:
    return [ItemForm(sorted(item.types), sorted(item.tags), item.stream, item.category) for item in query.items]


def query_of(items: Sequence[ItemForm]) -> Query:
    return Query.of(*[QueryItem(frozenset(i.types), frozenset(i.tags), i.stream, i.category) for i in items])


# What a transaction has seen, as far as it takes to see whether it is the same again


def digest_of(found: Any) -> bytes:
    return blake2b(_encode(found), digest_size=12).digest()


def digest_of_events(events: Sequence[RecordedEvent]) -> bytes:
    return digest_of([(event.position, event.id_bytes) for event in events])
