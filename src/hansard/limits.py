"""Every bound of the product, each with its reason. Nothing here is tunable at run time."""

from typing import Final

NAME_CHARS_MAX: Final = 512
"""Stream names, event types and tags. Long enough for a page title with its site; short enough to stay in one index page."""

TAGS_PER_EVENT_MAX: Final = 64
"""Each tag is one more index entry; an event that needs more is several events."""

DATA_BYTES_MAX: Final = 16 * 1024 * 1024
"""One event's JSON data. Larger things belong in a blob store, with their address in the event."""

METADATA_BYTES_MAX: Final = 1024 * 1024
"""One event's JSON metadata: who, why, from where; not a payload."""

JSON_DEPTH_MAX: Final = 200
"""Nesting of data and metadata. Decoders recurse; 200 is readable from any stack depth that real programs have."""

EVENTS_PER_APPEND_MAX: Final = 100_000
"""One append is one transaction and is held in memory; larger loads are several appends."""

APPEND_BYTES_MAX: Final = 64 * 1024 * 1024
"""Data and metadata of one append together, for the same reason."""

SCHEMA_VERSION_MAX: Final = 10_000
"""Of an event type. Whoever changes one so often has another problem."""

POSITION_MAX: Final = 2**63 - 1
"""Positions and versions are signed 64-bit integers on every engine."""

TIMESTAMP_US_MAX: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999, which calendars of programs end with."""

UUID_BYTES: Final = 16
"""The length of an event's id (RFC 9562)."""

TIMEOUT_S_MAX: Final = 1_000_000_000.0
"""How long one may wait: some thirty years; operating systems refuse more."""

QUERY_ITEMS_MAX: Final = 100
"""Each item is one more index range in every page of a read."""

QUERY_NAMES_MAX: Final = 1_000
"""Types or tags of one query item."""

PAGE_EVENTS_MAX: Final = 500
"""Events an engine returns at once: enough to hide the cost of a call, few enough to stay in the processor's cache."""

PAGE_STREAMS_MAX: Final = 1_000
"""Streams an engine lists at once."""

PAGE_DOCUMENTS_MAX: Final = 1_000
"""Documents an engine lists at once."""

GROUP_APPENDS_MAX: Final = 1_024
"""Appends committed together. More would lengthen the wait of the first without raising the rate."""

QUEUE_APPENDS_MAX: Final = 16_384
"""Appends waiting for the writer. A full queue makes callers wait, then fail with StoreBusy."""

BUSY_TIMEOUT_S: Final = 30.0
"""How long an append waits for its turn (queue and write lock) before StoreBusy."""

READERS_MAX: Final = 4
"""Reading connections that one store object keeps, and reading threads of an async one. More gain nothing under one
interpreter lock."""

CAUSED_DEPTH_MAX: Final = 1_000
"""How long a chain may grow in which a processor handles events that it has caused itself. Longer is a loop."""

CAUSED_REMEMBERED_MAX: Final = 100_000
"""Events whose chains are remembered; those that the processor does not ask for would stay for ever."""

CONSUMER_WINDOW_MAX: Final = 256
"""Events that one consumer of a group holds: out, or waiting for their turn."""

RUNNER_THREADS_MAX: Final = 64
"""Threads of one runner. More would wait for one another."""

PARTITIONS_MAX: Final = 1_024
"""Partitions of one reader; each is a document that its members look at whenever one comes or goes."""

LEASE_S: Final = 10.0
"""How long a member may be silent before others take over its partitions, unless the program says otherwise."""

LEASE_S_MIN: Final = 0.1
"""Shorter leases would be lost whenever the machine is busy."""

LEASE_S_MAX: Final = 86_400.0
"""A day; nobody wants to wait longer for a takeover."""

PROJECTION_NAME_CHARS_MAX: Final = 200
"""Names of projections; the name of a build adds a label to it."""

EXECUTE_ATTEMPTS: Final = 16
"""How often a command is decided anew when others were faster, unless the caller says otherwise."""

SNAPSHOTS_WAITING_MAX: Final = 1_000
"""Snapshots that wait to be written. More are not taken: losing one costs time, nothing else."""

TABLE_COLUMNS_MAX: Final = 200
"""Columns of a projection's table; a state with more fields is a document."""

STATES_CACHED_MAX: Final = 50_000
"""States that a projection keeps in memory between two batches."""

WEBHOOK_SECRET_BYTES_MIN: Final = 16
"""Shorter secrets can be guessed."""

BATCH_S: Final = 0.02
"""How long handlers may hold the write lock at a time, and so how long appends may wait for them."""

SHARED_EVENTS_MAX: Final = 2_000
"""Events at the end of the log that many live readers of one store object share in memory."""

SHARED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Their data together."""

HANDLER_CASCADE_MAX: Final = 10_000
"""Events that handlers may cause by appending, counted from one append. More than this is a loop."""

POLL_INTERVAL_S: Final = 0.015
"""How often a waiting reader looks for appends of other processes where the kernel does not report them."""

REQUEST_BYTES_MAX: Final = 96 * 1024 * 1024
"""A request's body: an append of APPEND_BYTES_MAX with what JSON adds."""

REQUESTS_BYTES_MAX: Final = 512 * 1024 * 1024
"""Bodies that a server holds at once; more would let a few clients take all of its memory."""

REQUESTS_MAX: Final = 4_096
"""Requests under way in one server, streams included; each costs some 50 KiB."""

REQUEST_LINE_BYTES_MAX: Final = 16 * 1024
"""A request's path and query string: three names of NAME_CHARS_MAX, percent-encoded; larger queries go as a body."""

REQUEST_HEADERS_BYTES_MAX: Final = 64 * 1024
"""A request's first line and headers: tokens and trace contexts with room."""

REQUEST_HEADERS_S: Final = 10.0
"""How long a client may take for its first line and headers; slower ones hold connections without asking for anything."""

REQUEST_BODY_PAUSE_S: Final = 30.0
"""How long a client may pause within a body."""

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may wait for its next request."""

RETRY_AFTER_S: Final = 1
"""When a client that was sent away may come again."""

HEARTBEAT_S: Final = 15.0
"""How often a silent stream of server-sent events says that it lives; proxies close silent ones after a minute."""

HTTP_PAGE_EVENTS_MAX: Final = 1_000
"""Events of one JSON page; larger reads are streams of lines."""

LONG_POLL_S_MAX: Final = 30.0
"""How long a request may wait for something to happen."""

TRANSACTION_IDLE_S: Final = 10.0
"""How long a remote transaction may be silent before it is undone; it keeps all others from writing."""

TRANSACTIONS_MAX: Final = 64
"""Remote transactions that wait for their turn, one thread each."""

GROUP_CONSUMERS_MAX: Final = 1_000
"""Consumers of groups that one server holds for HTTP clients."""

OUTCOMES_PAUSE_S: Final = 60.0
"""How long a client of a bulk append may leave outcomes unread."""

LAST_WRITE_S: Final = 2.0
"""How long a server waits for a client to take the last piece of a stream, before the connection is cut."""

API_KEYS_MAX: Final = 1_000
"""Keys of one store; all are kept in the server's memory."""

AUDIT_DETAIL_CHARS_MAX: Final = 1_000
"""What an audit event tells of an action's parameters."""
