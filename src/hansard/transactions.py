"""One transaction as user code gets it: the verbs of the store, documents as JSON values, and the database's connection."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from hansard import causation
from hansard.appends import Append, Appended, StreamAppend, append_of, checked_parts, recorded_events
from hansard.errors import InvalidType
from hansard.events import NO_TAGS, Event, RecordedEvent, event_of, unfolded
from hansard.limits import DATA_BYTES_MAX, PAGE_DOCUMENTS_MAX, PAGE_EVENTS_MAX
from hansard.names import check_name
from hansard.query import AppendCondition, Query, check_query
from hansard.reading import Paging
from hansard.serialization import decode_json, encode_json
from hansard.storage.clock import now_us
from hansard.storage.port import StorageTransaction
from hansard.streams import ANY, check_bound
from hansard.timers import Timer, cancel_in, set_in


class Transaction:
    """Everything that is done through it happens, with the checkpoint of the handler that was given it; or nothing does.

    It sees its own changes. It is over when the handler returns.
    """

    def __init__(self, transaction: StorageTransaction) -> None:
        self._transaction = transaction
        self.recorded: list[RecordedEvent] = []

    # Events

    def add(
        self,
        stream: str | None,
        type: Any,
        data: Any = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = NO_TAGS,
        id: UUID | str | None = None,
    ) -> Appended:
        """See `Store.add`."""
        return self.append(stream, event_of(type, data, metadata, tags, id))

    def append(
        self,
        stream: str | None,
        events: Iterable[Event | Any] | Event | Any,
        *,
        expected_version: int = ANY,
        condition: AppendCondition | None = None,
    ) -> Appended:
        """See `Store.append`. A refusal (Conflict) may be caught; nothing of that append is stored then."""
        return self._append(append_of((StreamAppend(stream, events, expected_version),), condition))  # type: ignore[arg-type]

    def append_streams(self, appends: Iterable[StreamAppend], *, condition: AppendCondition | None = None) -> Appended:
        """See `Store.append_streams`."""
        return self._append(append_of(checked_parts(appends), condition))

    def _append(self, append: Append) -> Appended:
        appended = self._transaction.append(append)
        causation.note(appended)
        if not appended.is_repeat:
            self.recorded += recorded_events(append, appended)
        return appended

    def read(
        self,
        query: Query | None = None,
        *,
        after: int = 0,
        before: int | None = None,
        backwards: bool = False,
        limit: int = PAGE_EVENTS_MAX,
    ) -> list[RecordedEvent]:
        """Up to `limit` (at most PAGE_EVENTS_MAX) events; see `Store.read`."""
        wanted = Query() if query is None else check_query("query", query)
        limit = min(check_bound("limit", limit), PAGE_EVENTS_MAX)
        paging = Paging(after=after, before=before, backwards=backwards, limit=limit)
        found: list[RecordedEvent] = []
        while (page := paging.next_page) is not None:  # more than one where events are left out, see ReplacedEvent
            events = self._transaction.read(wanted, after=page.after, before=page.before, backwards=backwards, limit=page.limit)
            paging.took(events)
            found += unfolded(events, backwards=backwards)
        return found

    def head(self) -> int:
        """The last position; nobody else appends before this transaction is over."""
        return self._transaction.head()

    # Timers

    def set_timer(self, timer: Timer, *, from_us: int | None = None) -> None:
        """Set a timer. `from_us`: what a timedelta counts from, in microseconds since 1970 UTC (None: now)."""
        if not isinstance(timer, Timer):
            raise InvalidType("timer", timer, "expected a Timer")
        set_in(self._transaction, timer, now_us() if from_us is None else from_us)

    def cancel_timer(self, name: str) -> bool:
        """Forget the timer of a name. Returns whether there was one that waited."""
        return cancel_in(self._transaction, check_name("name", name))

    # Documents of the user's own

    def get(self, collection: str, key: str, default: Any = None) -> Any:
        """A JSON value that was put under a key of a collection; `default` if there is none."""
        text = self._transaction.get(_collection(collection), [check_name("key", key)]).get(key)
        return default if text is None else decode_json(text)

    def put(self, collection: str, key: str, value: Any) -> None:
        """Keep a JSON value under a key of a collection."""
        text = encode_json("value", value, DATA_BYTES_MAX)
        self._transaction.put(_collection(collection), {check_name("key", key): text})

    def delete(self, collection: str, key: str) -> None:
        self._transaction.put(_collection(collection), {check_name("key", key): None})

    def documents(self, collection: str) -> Iterator[tuple[str, Any]]:
        """Keys and values of a collection, in the order of the keys."""
        after = ""
        while page := self._transaction.scan(_collection(collection), after=after, limit=PAGE_DOCUMENTS_MAX):
            yield from ((key, decode_json(text)) for key, text in page)
            after = page[-1][0]

    # Tables of the user's own

    @property
    def connection(self) -> Any:
        """The database's connection, in this transaction (SQLite: `sqlite3.Connection`), for the user's own tables.

        It refuses COMMIT, ROLLBACK and changes of the log. CapabilityMissing where the engine has none.
        """
        return self._transaction.connection

    def execute(self, statement: str, parameters: Any = ()) -> Any:
        """Run one statement on the user's own tables; returns the driver's cursor."""
        return self._transaction.connection.execute(statement, parameters)


def _collection(name: str) -> str:
    """The user's collections stand apart from the store's own."""
    return f"user/{check_name('collection', name)}"
