"""Several things in one transaction: the face's `transact`, and SQLAlchemy sessions inside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

import hansard
from hansard import CapabilityMissing, Event, InvalidInput, StoreUnusable, Transaction, WrongExpectedVersion
from hansard.interop.sqlalchemy import session_in
from places import DATABASES, ENGINES, database, place_of


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hansard.Store]:
    with hansard.open(place_of(request.param, tmp_path / "log")) as store:
        yield store


def test_all_of_a_transaction_happens_or_nothing(store: hansard.Store) -> None:
    """A transfer would take money from one account and bring it to none."""
    told: list[str] = []
    store.on("*", lambda event: told.append(event.type))

    def transfer(transaction: Transaction) -> int:
        transaction.add("a-1", "withdrawn", 5)
        transaction.put("totals", "all", 7)
        transaction.append("b-1", Event("deposited", 5), expected_version=0)
        return len(transaction.read())

    assert store.transact(transfer) == 2
    assert told == ["withdrawn", "deposited"]
    with pytest.raises(WrongExpectedVersion):
        store.transact(transfer)
    assert store.head() == 2
    assert store.transact(lambda transaction: transaction.get("totals", "all")) == 7
    with pytest.raises(ZeroDivisionError):
        store.transact(lambda transaction: transaction.add("a-1", "x") and 1 / 0)
    assert (store.head(), told) == (2, ["withdrawn", "deposited"])
    with pytest.raises(InvalidInput, match="work: 3 is int: expected a function"):
        store.transact(3)  # type: ignore[arg-type]


async def test_the_async_store_has_it_too(tmp_path: Path) -> None:
    """Half of the users would have no transactions."""
    told: list[str] = []
    async with hansard.aio.open(tmp_path / "log.db") as store:
        store.on("*", lambda event: told.append(event.type))
        assert (await store.transact(lambda transaction: transaction.add("a-1", "x"))).version == 1
        with pytest.raises(ZeroDivisionError):
            await store.transact(lambda transaction: transaction.add("a-1", "x") and 1 / 0)
        assert await store.head() == 1
    assert told == ["x"]


# SQLAlchemy


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)


Sessions = sessionmaker()


@pytest.fixture(params=DATABASES)
def with_table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hansard.Store]:
    with database(request.param, tmp_path / "log") as place, hansard.open(place) as store:

        def make(transaction: Transaction) -> None:
            with session_in(transaction) as session:
                Base.metadata.create_all(session.connection())

        store.transact(make)
        yield store


def add(name: str, *, fails: bool = False, version: int | None = None) -> Any:
    def work(transaction: Transaction) -> int:
        with session_in(transaction, Sessions) as session:
            customer = Customer(name=name)
            session.add(customer)
            session.flush()
            id = customer.id
            transaction.append(f"customer-{id}", Event("registered", {"name": name}), expected_version=version or 0)
            session.commit()
            if fails:
                raise ValueError("on second thoughts")
        return id

    return work


def names(store: hansard.Store) -> list[str]:
    def look(transaction: Transaction) -> list[str]:
        with session_in(transaction) as session:
            return list(session.scalars(select(Customer.name).order_by(Customer.id)))

    return store.transact(look)


def test_rows_and_events_are_committed_together(with_table: hansard.Store) -> None:
    """A row would be there without its event."""
    id = with_table.transact(add("Jo"))
    assert names(with_table) == ["Jo"]
    assert with_table.all(f"customer-{id}")[0].data == {"name": "Jo"}


def test_whatever_fails_nothing_of_both_is_there(with_table: hansard.Store) -> None:
    """An event would tell of a row that is not there."""
    with_table.transact(add("Jo"))
    with pytest.raises(ValueError, match="second thoughts"):
        with_table.transact(add("Al", fails=True))
    with pytest.raises(IntegrityError):
        with_table.transact(add("Jo"))
    with pytest.raises(WrongExpectedVersion):
        with_table.transact(add("Al", version=7))
    assert (names(with_table), with_table.head()) == (["Jo"], 1)
    with_table.transact(add("Al"))
    assert (names(with_table), with_table.head()) == (["Jo", "Al"], 2)


def test_a_session_that_is_rolled_back_takes_the_events_with_it(with_table: hansard.Store) -> None:
    """The event would stay."""

    def work(transaction: Transaction) -> None:
        with session_in(transaction) as session:
            session.add(Customer(name="Jo"))
            session.flush()
            transaction.add("customer-1", "registered")
            session.rollback()

    with pytest.raises(StoreUnusable, match="the session was rolled back, so nothing of this transaction happens"):
        with_table.transact(work)
    assert (names(with_table), with_table.head()) == ([], 0)


def test_where_there_is_no_database_it_says_so() -> None:
    """The reason would be an AttributeError."""
    with hansard.open(":memory:") as store:
        with pytest.raises(CapabilityMissing):
            store.transact(add("Jo"))
        with pytest.raises(InvalidInput, match=r"transaction: .*expected the transaction"), session_in(store):  # type: ignore[arg-type]
            pass
