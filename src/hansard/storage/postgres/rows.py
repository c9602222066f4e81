"""What a group of appends adds, as columns, and the one statement that stores it. Knows the schema; decides nothing."""

from collections.abc import Sequence

from hansard.appends import StreamAppend
from hansard.events import tags_text
from hansard.storage.postgres import arrays
from hansard.storage.postgres.connection import OwnCursor
from hansard.storage.postgres.reader import Head
from hansard.storage.postgres.schema import qualified
from hansard.storage.tags import signature

# Parts of one statement. $1 is the log; {a}, {b} … are the part's own parameters.
_STREAMS = (
    "INSERT INTO {s}.stream (log, id, name) SELECT $1, {a} + n, name FROM unnest({b}::text[]) WITH ORDINALITY u (name, n)",
    2,
)
_KINDS = (
    (
        "INSERT INTO {s}.kind (log, id, type, category) SELECT $1, {a} + n, type, category "
        "FROM unnest({b}::text[], {c}::text[]) WITH ORDINALITY u (type, category, n)"
    ),
    3,
)
_EVENTS = (
    (
        "INSERT INTO {s}.event (log, position, stream, version, kind, timestamp, id, tags, metadata, data) "
        "SELECT $1, {a} + n, nullif(stream, 0), nullif(version, 0), kind, timestamp, id, nullif(tags, ''), metadata, data "
        "FROM unnest({b}::int8[], {c}::int8[], {d}::int8[], {e}::int8[], {f}::uuid[], {g}::text[], {h}::text[], {i}::text[]) "
        "WITH ORDINALITY u (stream, version, kind, timestamp, id, tags, metadata, data, n)"
    ),
    9,
)
_TAGS = (
    (
        "INSERT INTO {s}.tag (log, tag, position, kind, signature) SELECT $1, tag, position, kind, signature "
        "FROM unnest({a}::text[], {b}::int8[], {c}::int8[], {d}::int8[]) u (tag, position, kind, signature)"
    ),
    4,
)
_MOVE_HEAD = ("UPDATE {s}.log SET head = {a}, last_us = {b}, streams = {c}, kinds = {d} WHERE id = $1", 4)

_LETTERS = "abcdefghi"


class Rows:
    """Rows that are planned, and the head row as it was when the first of them was."""

    def __init__(self, schema: str, log: int) -> None:
        self._schema, self._log = schema, log
        self._statements: dict[tuple[bool, bool, bool, bool], str] = {}
        self.forget()

    def forget(self) -> None:
        self.bytes = 0
        self._streams: list[str] = []
        self._kinds: list[tuple[str, str]] = []
        self._stream_ids: list[int] = []
        self._versions: list[int] = []
        self._event_kinds: list[int] = []
        self._times: list[int] = []
        self._ids: list[bytes] = []
        self._tags_texts: list[str] = []
        self._metadata: list[bytes] = []
        self._data: list[bytes] = []
        self._tags: list[tuple[str, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._ids)

    def add_stream(self, name: str) -> None:
        self._streams.append(name)

    def add_kind(self, type: str, category: str) -> None:
        self._kinds.append((type, category))

    def add_events(
        self, part: StreamAppend, stream: int, version: int, position: int, kinds: Sequence[int], times: Sequence[int]
    ) -> None:
        """The events of a part, after a version (of stream 0: none) and a position."""
        events = part.events
        count = len(events)
        self._stream_ids += [stream] * count
        self._versions += range(version + 1, version + count + 1) if stream else [0] * count
        self._event_kinds += kinds
        self._times += times
        for event, kind in zip(events, kinds, strict=True):
            position += 1
            tags = event.tags
            self._ids.append(event.id_bytes)
            self._tags_texts.append((tags_text(tags) or "") if tags else "")
            self._metadata.append(event.metadata_json)
            self._data.append(event.data_json)
            self.bytes += len(event.data_json)
            if tags:
                bits = signature(tags)
                self._tags += [(tag, position, kind, bits) for tag in tags]

    def store(self, own: OwnCursor, before: Head, after: Head) -> None:
        """Insert all of it and move the head."""
        parameters: list[object] = [self._log]
        if self._streams:
            parameters += (before.streams, arrays.texts(self._streams))
        if self._kinds:
            types, categories = zip(*self._kinds, strict=True)
            parameters += (before.kinds, arrays.texts(types), arrays.texts(categories))
        if self._ids:
            columns = (self._stream_ids, self._versions, self._event_kinds, self._times)
            parameters += (before.position, *map(arrays.int8s, columns), arrays.uuids(self._ids))
            parameters += (arrays.texts(self._tags_texts), arrays.texts(self._metadata), arrays.texts(self._data))
        if self._tags:
            tags, positions, kinds, bits = zip(*self._tags, strict=True)
            parameters += (arrays.texts(tags), arrays.int8s(positions), arrays.int8s(kinds), arrays.int8s(bits))
        parameters += after.position, after.last_us, after.streams, after.kinds
        own.run(self._statement(bool(self._streams), bool(self._kinds), bool(self._ids), bool(self._tags)), parameters)
        self.forget()

    def _statement(self, *has: bool) -> str:
        """The statement for these parts: streams, kinds, events, tags."""
        key = (has[0], has[1], has[2], has[3])
        statement = self._statements.get(key)
        if statement is None:
            parts = [part for part, is_there in zip((_STREAMS, _KINDS, _EVENTS, _TAGS), has, strict=True) if is_there]
            statement = self._statements[key] = qualified(_joined(parts), self._schema)
        return statement


def _joined(parts: Sequence[tuple[str, int]]) -> str:
    texts: list[str] = []
    number = 2
    for text, count in (*parts, _MOVE_HEAD):
        for letter in _LETTERS[:count]:
            text = text.replace(f"{{{letter}}}", f"${number}")
            number += 1
        texts.append(text)
    *inserts, last = texts
    clauses = ", ".join(f"p{number} AS ({text})" for number, text in enumerate(inserts))
    return f"WITH {clauses} {last}" if clauses else last
