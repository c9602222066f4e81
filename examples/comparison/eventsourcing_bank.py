"""A bank account, with eventsourcing 9.5."""

import os
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate, event


class NotEnough(Exception):
    pass


class Account(Aggregate):
    @event("Opened")
    def __init__(self, name: str) -> None:
        self.name = name
        self.balance = 0

    @staticmethod
    def create_id(name: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/accounts/{name}")

    @event("Deposited")
    def deposit(self, amount: int) -> None:
        self.balance += amount

    @event("Withdrawn")
    def withdraw(self, amount: int) -> None:
        if amount > self.balance:
            raise NotEnough(f"only {self.balance} left")
        self.balance -= amount


class Bank(Application[UUID]):
    def deposit(self, name: str, amount: int) -> int:
        account = self._account(name)
        account.deposit(amount)
        self.save(account)
        return account.balance

    def withdraw(self, name: str, amount: int) -> int:
        account = self._account(name)
        account.withdraw(amount)
        self.save(account)
        return account.balance

    def _account(self, name: str) -> Account:
        try:
            return self.repository.get(Account.create_id(name))
        except AggregateNotFoundError:
            return Account(name)


def main(place: str = ":memory:") -> int:
    os.environ["PERSISTENCE_MODULE"] = "eventsourcing.sqlite"
    os.environ["SQLITE_DBNAME"] = place
    with Bank() as bank:
        bank.deposit("1", 10)
        return bank.withdraw("1", 3)


if __name__ == "__main__":
    print(main())
