"""Writing: one group of appends in one transaction. Knows the rules; is called by one thread at a time.

Every transaction begins by locking the log's head row, in a statement of its own: what later statements see is all that was
committed before, by any process. A group is planned one append at a time (planning.py), so that a failing one drops out and the
others stay, and its rows are then stored by one statement. Ids are not looked up beforehand: the unique index refuses a known
one, and the group is done again with care.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

import msgspec
import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from hansard.appends import Append, Appended, recorded_events
from hansard.errors import (
    HansardError,
    InlineFailed,
    OpenFailed,
    OutcomeUnknown,
    StorageFailed,
    StoreUnusable,
)
from hansard.events import RecordedEvent
from hansard.limits import BUSY_TIMEOUT_S
from hansard.query import Query
from hansard.storage.port import InlineHook, ResultT, StorageTransaction, Ticket
from hansard.storage.postgres.connection import Connection, Database, OwnCursor, first_line, is_lost, named, translated
from hansard.storage.postgres.documents import Documents, PostgresTransaction
from hansard.storage.postgres.planning import NOTHING, Plan
from hansard.storage.postgres.reader import Head
from hansard.storage.postgres.schema import qualified

# The lock, in the same message as BEGIN but in a statement of its own. No parameters, so that one message may hold both.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
    "SELECT head, last_us, streams, kinds FROM {s}.log WHERE id = {log} FOR UPDATE"
)

# The number of this writer's last transaction of documents. Parameters: log, writer, number.
_SIGN = (
    "INSERT INTO {s}.writer (log, id, number) VALUES ($1, $2::uuid, $3) "
    "ON CONFLICT (log, id) DO UPDATE SET number = excluded.number, seen = now()"
)
_WAS_SIGNED = "UPDATE {s}.writer SET seen = now() WHERE log = $1 AND id = $2::uuid AND number = $3 RETURNING 1"

_RECONNECT_PAUSE_S = 0.05
_CAUSED_BY_ONE_APPEND = (errors.DataError, errors.ProgramLimitExceeded, errors.UniqueViolation)
_MAY_PASS = (errors.LockNotAvailable, errors.ReadOnlySqlTransaction)
"""What a transaction may meet while the server, or another one, is still busy with the one whose outcome is open."""

_ENDED = "SQL on the transaction's connection has ended the transaction; leave COMMIT and ROLLBACK out"


class _TransactionEnded(Exception):
    """SQL of a user's function has ended the transaction that it was lent."""


class _OutcomeOpen(Exception):
    """COMMIT was sent, and no answer came, or one that a standby has not confirmed."""


class Writer:
    def __init__(self, database: Database, connection: Connection, log: int, *, clock_us: Callable[[], int]) -> None:
        schema = database.address.schema
        self._database, self._log = database, log
        self._id = str(uuid4())
        self._number = 0
        self._begin_sql = qualified(_BEGIN, schema).replace("{log}", str(log))
        self._sign_sql, self._was_signed_sql = qualified(_SIGN, schema), qualified(_WAS_SIGNED, schema)
        self._documents = Documents(schema, log)
        self._plan = Plan(schema, log, clock_us=clock_us)
        self._inline: InlineHook | None = None
        self._is_warned = False
        self._connection = connection
        connection.add_notice_handler(self._note)

    @property
    def head(self) -> int:
        return self._plan.head.position

    def set_inline(self, hook: InlineHook | None) -> None:
        self._inline = hook

    def close(self) -> None:
        self._connection.close()

    # A group

    def write_group(self, tickets: Sequence[Ticket]) -> None:
        """Give every ticket its outcome. Raises if the group as a whole could not be committed; then nothing is stored, unless it
        is OutcomeUnknown."""
        try:
            outcomes = self._outcomes(tickets)
        except (*_CAUSED_BY_ONE_APPEND, _TransactionEnded) as error:
            if len(tickets) > 1:
                self._write_one_by_one(tickets)
                return
            if isinstance(error, _TransactionEnded):
                raise StoreUnusable(_ENDED) from error
            raise named(self._database.shown, error) from error
        except psycopg.Error as error:
            raise named(self._database.shown, error) from error
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, Appended):
                ticket.appended = outcome
            else:
                ticket.error = outcome

    def _write_one_by_one(self, tickets: Sequence[Ticket]) -> None:
        """One append made a statement fail: it must not harm the others of its group."""
        for ticket in tickets:
            try:
                self.write_group((ticket,))
            except HansardError as error:
                ticket.error = error

    def _outcomes(self, tickets: Sequence[Ticket]) -> list[Appended | HansardError]:
        """Commit, again if need be: with care when an id is known already, and after the connection was lost."""
        is_careful = self._inline is not None
        outcomes: list[Appended | HansardError] = []
        open_outcomes: list[Appended | HansardError] | None = None
        patience = _Patience()
        while True:
            try:
                with self._transaction(moves_head=open_outcomes is not None):
                    outcomes = self._planned_group(tickets, is_careful)
                return outcomes if open_outcomes is None else _first_told(open_outcomes, outcomes)
            except errors.UniqueViolation:
                if is_careful:
                    raise
            except _OutcomeOpen as error:
                open_outcomes = open_outcomes or outcomes
                self._reconnect(patience, error, is_open=True)
            except (psycopg.Error, StorageFailed) as error:
                if open_outcomes is not None and not self._may_pass(error):
                    raise self._unknown(error) from error
                if open_outcomes is None and not is_lost(self._connection):
                    raise
                self._reconnect(patience, error, is_open=open_outcomes is not None)
            is_careful = True
            for ticket in tickets:
                ticket.checked_to = 0  # another server may stand at another head

    def _planned_group(self, tickets: Sequence[Ticket], is_careful: bool) -> list[Appended | HansardError]:
        self._plan.learn([ticket.append for ticket in tickets], is_careful=is_careful)
        return [self._outcome(ticket, is_careful) for ticket in tickets]

    def _outcome(self, ticket: Ticket, is_careful: bool) -> Appended | HansardError:
        hook = self._inline
        plan = None if hook is None else (lambda ticket: self._placed_with_inline(ticket, hook))
        return self._plan.outcome(ticket, is_careful=is_careful, plan=plan)

    def _placed_with_inline(self, ticket: Ticket, hook: InlineHook) -> Appended:
        """The append and what its inline projections write, or neither."""
        self._plan.flush()
        before = self._plan.head
        try:
            with self._lent() as transaction:
                appended = self._plan.place(ticket)
                self._plan.flush()
                try:
                    hook(transaction, recorded_events(ticket.append, appended))
                except Exception as error:
                    if is_lost(self._connection):
                        raise psycopg.OperationalError("the connection was lost") from error
                    raise InlineFailed(f"{type(error).__name__}: {error}") from error
        except HansardError:
            self._plan.go_back(before)
            raise
        return appended

    # Transactions

    @contextmanager
    def _transaction(self, *, moves_head: bool = False, sign: bool = False) -> Iterator[None]:
        """`moves_head`: write something in any case, so that the commit waits until standbys have confirmed all before it."""
        self._roll_back_if_open()
        try:
            self._begin()
            yield
            self._plan.flush(moves_head=moves_head)
            if sign:
                self._connection.own.run(self._sign_sql, (self._log, self._id, self._number))
            self._commit()
        except BaseException:
            self._plan.go_back(NOTHING)
            self._roll_back_if_open()
            raise
        self._plan.committed()

    def _begin(self) -> None:
        cursor = self._connection.plain.execute(self._begin_sql, prepare=False)
        cursor.nextset()
        row = cursor.fetchone()
        if row is None:
            raise StorageFailed(f"{self._database.shown}: the log is not in this database any more")
        self._plan.begin(self._connection, Head(*row))

    def _commit(self) -> None:
        if self._status != TransactionStatus.INTRANS:
            raise _TransactionEnded  # the server would answer the COMMIT of a failed transaction without an error
        self._is_warned = False
        try:
            cursor = self._connection.plain.execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            if is_lost(self._connection):
                raise _OutcomeOpen from error
            raise
        if self._is_warned:
            raise _OutcomeOpen
        if cursor.statusmessage != "COMMIT":
            raise _TransactionEnded

    def _roll_back_if_open(self) -> None:
        """A connection that cannot be brought back to rest is given up: the next group makes a new one."""
        if is_lost(self._connection) or self._is_at_rest():
            return
        with suppress(psycopg.Error):
            self._connection.plain.execute("ROLLBACK", prepare=False)
        if not self._is_at_rest():
            self._connection.close()

    def _is_at_rest(self) -> bool:
        return self._status == TransactionStatus.IDLE

    @property
    def _status(self) -> TransactionStatus:
        return self._connection.info.transaction_status

    def _note(self, diagnostic: errors.Diagnostic) -> None:
        # 01000 comes with a commit whose wait for a standby was cancelled: it is stored here, and perhaps nowhere else.
        self._is_warned = self._is_warned or diagnostic.sqlstate == "01000"

    def _reconnect(self, patience: "_Patience", cause: Exception, *, is_open: bool) -> None:
        """A new connection, to whichever of the URL's hosts takes writes. `is_open`: a commit may have come through."""
        self._connection.close()
        failure: Exception = cause
        while not patience.is_over():
            try:
                self._connection = self._database.connect()
            except (OpenFailed, StorageFailed) as error:
                failure = error
                time.sleep(_RECONNECT_PAUSE_S)
                continue
            self._connection.add_notice_handler(self._note)
            return
        if is_open:
            raise self._unknown(failure) from cause
        raise StorageFailed(f"{self._database.shown}: {first_line(failure)}; nothing was stored") from cause

    def _may_pass(self, error: Exception) -> bool:
        return is_lost(self._connection) or isinstance(error, _MAY_PASS)

    def _unknown(self, failure: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{self._database.shown}: the connection was lost at the commit, and then: {first_line(failure)}; whether it was "
            "stored is not known. Append again with the same ids: what was stored is not stored twice"
        )

    # Transactions of others' making

    def transact(self, work: Callable[[StorageTransaction], ResultT]) -> ResultT:
        """Errors of the database that `work` causes with the connection are its own; those of begin and commit are ours."""
        patience = _Patience()
        self._number += 1
        raised: BaseException | None = None
        while True:
            try:
                with self._transaction(sign=True):
                    try:
                        with self._lent() as transaction:
                            result = work(transaction)
                    except BaseException as error:
                        raised = error
                        raise
                return result
            except _OutcomeOpen as error:
                if self._was_committed(error):
                    return result
            except _TransactionEnded as error:
                raise StoreUnusable(_ENDED) from error
            except Exception as error:
                if is_lost(self._connection):  # whatever the user's function has made of it
                    self._reconnect(patience, error, is_open=False)
                elif error is raised or not isinstance(error, psycopg.Error):
                    raise
                else:
                    raise named(self._database.shown, error) from error

    def _was_committed(self, error: _OutcomeOpen) -> bool:
        """Whether the last transaction, whose outcome is open, has signed. The lock waits for what it still does."""
        cause: Exception = error
        patience = _Patience()
        while True:
            self._reconnect(patience, cause, is_open=True)
            try:
                with self._transaction():
                    signed = self._connection.own.row(self._was_signed_sql, (self._log, self._id, self._number))
                return signed is not None
            except _OutcomeOpen as again:
                cause = again
            except (psycopg.Error, StorageFailed) as again:
                if not self._may_pass(again):
                    raise self._unknown(again) from again
                cause = again

    @contextmanager
    def _lent(self) -> Iterator[PostgresTransaction]:
        """The connection is the user's until the end of the block. A savepoint around it tells whether SQL of theirs has ended
        the transaction, and whether it was left in ruins."""
        connection = self._connection
        transaction = PostgresTransaction(self, connection, self._documents)
        connection.plain.execute("SAVEPOINT hansard", prepare=False)
        was_lent, connection.is_lent = connection.is_lent, True
        try:
            yield transaction
            transaction.is_over, connection.is_lent = True, was_lent
            self._plan.flush()
            connection.plain.execute("RELEASE SAVEPOINT hansard", prepare=False)
        except BaseException as error:
            transaction.is_over, connection.is_lent = True, was_lent
            if not is_lost(connection):
                self._back_to_savepoint()
            if isinstance(error, errors.InFailedSqlTransaction):
                raise StorageFailed("a statement of this transaction failed, so nothing of it happens") from error
            raise

    def _back_to_savepoint(self) -> None:
        try:
            self._connection.plain.execute("ROLLBACK TO SAVEPOINT hansard", prepare=False)
        except (errors.NoActiveSqlTransaction, errors.InvalidSavepointSpecification) as error:
            raise _TransactionEnded from error

    @contextmanager
    def own(self) -> Iterator[OwnCursor]:
        """Inside a transaction of others' making: statements that follow are ours, and so are their errors."""
        self.check_open()
        with translated(self._database.shown):
            yield self._connection.own

    def check_open(self) -> None:
        status = self._status
        if status == TransactionStatus.IDLE:
            raise StoreUnusable(_ENDED)
        if status == TransactionStatus.INERROR:
            raise StorageFailed("a statement of this transaction failed, so nothing of it happens")

    def append_within(self, append: Append, then: InlineHook | None) -> Appended:
        """One append inside the transaction that is open; a refusal leaves nothing of it."""
        self._plan.learn([append], is_careful=True)
        hook, self._inline = self._inline, then or self._inline
        try:
            outcome = self._outcome(Ticket(append, _nobody), is_careful=True)
        finally:
            self._inline = hook
        if isinstance(outcome, HansardError):
            raise outcome
        self._plan.flush()
        return outcome

    def read_within(self, query: Query, *, after: int, before: int | None, backwards: bool, limit: int) -> list[RecordedEvent]:
        return self._plan.reader.read(self._connection, query, after=after, before=before, backwards=backwards, limit=limit)


class _Patience:
    """How long a server may stay away, from the first loss of the connection on."""

    def __init__(self) -> None:
        self._until_s: float | None = None

    def is_over(self) -> bool:
        now = time.monotonic()
        if self._until_s is None:
            self._until_s = now + BUSY_TIMEOUT_S
        return now >= self._until_s


def _first_told(
    first: Sequence[Appended | HansardError], now: Sequence[Appended | HansardError]
) -> list[Appended | HansardError]:
    """What this writer itself had stored before it lost the connection is no repetition to its callers."""
    return [
        msgspec.structs.replace(outcome, is_repeat=False)
        if isinstance(outcome, Appended) and isinstance(before, Appended) and not before.is_repeat
        else outcome
        for before, outcome in zip(first, now, strict=True)
    ]


def _nobody(tickets: Sequence[Ticket]) -> None:
    """The ticket of an append inside a transaction: its outcome is looked at at once."""
