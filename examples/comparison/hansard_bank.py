"""A bank account, with Hansard."""

from dataclasses import dataclass

import hansard
from hansard import Decider


@hansard.event("deposited")
@dataclass(frozen=True)
class Deposited:
    amount: int


@hansard.event("withdrawn")
@dataclass(frozen=True)
class Withdrawn:
    amount: int


@dataclass(frozen=True)
class Deposit:
    amount: int


@dataclass(frozen=True)
class Withdraw:
    amount: int


class NotEnough(Exception):
    pass


def decide(command: Deposit | Withdraw, balance: int) -> list[Deposited | Withdrawn]:
    if isinstance(command, Deposit):
        return [Deposited(command.amount)]
    if command.amount > balance:
        raise NotEnough(f"only {balance} left")
    return [Withdrawn(command.amount)]


def evolve(balance: int, event: Deposited | Withdrawn) -> int:
    return balance + event.amount if isinstance(event, Deposited) else balance - event.amount


account = Decider("account", initial=0, decide=decide, evolve=evolve, events=[Deposited, Withdrawn])


def main(place: str = ":memory:") -> int:
    with hansard.open(place, types=account.events) as store:
        store.execute(account, "account-1", Deposit(10))
        return store.execute(account, "account-1", Withdraw(3)).state


if __name__ == "__main__":
    print(main())
