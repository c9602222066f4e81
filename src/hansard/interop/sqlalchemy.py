"""SQLAlchemy sessions inside a store's transaction: rows of your own tables and events are committed together, or not at all.

The tables are in the store's SQLite file, or in the PostgreSQL database that the log is in.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from hansard.errors import InvalidType, StoreUnusable
from hansard.transactions import Transaction

_ROLLED_BACK: Final = "the session was rolled back, so nothing of this transaction happens; raise your own error to say why"


@contextmanager
def session_in(transaction: Transaction, maker: Callable[..., Session] = Session, **options: Any) -> Iterator[Session]:
    """A session on the transaction's connection, made by your own `sessionmaker`. It is flushed at the end of the block, and
    committed when the transaction is; `session.commit()` inside only flushes.

    Raises CapabilityMissing where the engine has no connection (memory, a server), StoreUnusable after `session.rollback()`.

        def place(transaction):
            with session_in(transaction, Sessions) as session:
                session.add(Order(id=7))
                transaction.append("order-7", OrderPlaced("7"), expected_version=NO_STREAM)

        store.transact(place)
    """
    if not isinstance(transaction, Transaction):
        raise InvalidType("transaction", transaction, "expected the transaction that a function of store.transact was given")
    engine = engine_on(transaction.connection)
    is_rolled_back = False

    def note(session: Session) -> None:
        nonlocal is_rolled_back
        is_rolled_back = True

    with engine.connect() as connection:
        session = maker(bind=connection, join_transaction_mode="rollback_only", **options)
        event.listen(session, "after_rollback", note)
        try:
            yield session
            session.flush()
            session.expunge_all()
            if is_rolled_back:
                raise StoreUnusable(_ROLLED_BACK)
        finally:
            event.remove(session, "after_rollback", note)
            session.close()


def engine_on(connection: Any) -> Engine:
    """An engine whose only connection is this one, which it can neither commit nor close."""
    lent = _Lent(connection)
    common: dict[str, Any] = {"creator": lambda: lent, "poolclass": StaticPool, "pool_reset_on_return": None}
    if isinstance(connection, sqlite3.Connection):
        return create_engine("sqlite://", **common)
    return create_engine("postgresql+psycopg://", use_native_hstore=False, **common)


class _Lent:
    """A connection without what would end its transaction: that is the store's to do."""

    def __init__(self, connection: Any) -> None:
        self.__dict__["_connection"] = connection

    def commit(self) -> None:
        """Done by the store, at the end."""

    def rollback(self) -> None:
        """Done by the store, if the transaction fails."""

    def close(self) -> None:
        """It is the store's."""

    def create_function(self, *arguments: Any, **options: Any) -> None:
        """SQLAlchemy adds REGEXP to every SQLite connection; not to one that it is lent."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("autocommit", "isolation_level", "prepare_threshold"):
            return None
        return setattr(self._connection, name, value)
