"""The domain that all of these web applications share: bank accounts, and a list of balances."""

from dataclasses import dataclass

import hansard
from hansard import Decider, EventTypes, Projection, folds


@hansard.event("deposited")
@dataclass(frozen=True)
class Deposited:
    amount: int


@hansard.event("withdrawn")
@dataclass(frozen=True)
class Withdrawn:
    amount: int


@dataclass(frozen=True)
class Move:
    """More (a positive amount) or less (a negative one)."""

    amount: int


class NotEnough(Exception):
    pass


def decide(command: Move, balance: int) -> list[Deposited | Withdrawn]:
    if balance + command.amount < 0:
        raise NotEnough(f"only {balance} left")
    return [Deposited(command.amount) if command.amount > 0 else Withdrawn(-command.amount)]


def evolve(balance: int, event: Deposited | Withdrawn) -> int:
    return balance + event.amount if isinstance(event, Deposited) else balance - event.amount


account = Decider("account", initial=0, decide=decide, evolve=evolve, events=[Deposited, Withdrawn])
types = EventTypes(Deposited, Withdrawn)


class Balances(Projection):
    name = "balances"
    initial = 0

    @folds(Deposited, Withdrawn)
    def moved(self, balance: int, event: hansard.RecordedEvent) -> int:
        return evolve(balance, event.value)


balances = Balances()
