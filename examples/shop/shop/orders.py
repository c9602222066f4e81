"""How an order is decided."""

from dataclasses import dataclass, replace
from decimal import Decimal

from hansard import Decider
from shop.events import Line, OrderCancelled, OrderPaid, OrderPlaced, PaymentOverdue


@dataclass(frozen=True)
class Place:
    order: str
    customer: str
    lines: list[Line]


@dataclass(frozen=True)
class Pay:
    order: str
    amount: Decimal


@dataclass(frozen=True)
class Cancel:
    order: str
    reason: str


Command = Place | Pay | Cancel
Happened = OrderPlaced | OrderPaid | OrderCancelled | PaymentOverdue


@dataclass(frozen=True)
class Order:
    state: str = "new"
    total: Decimal = Decimal(0)


class Refused(Exception):
    """Why a command cannot be done, for the customer to read."""


def decide(command: Command, order: Order) -> list[OrderPlaced | OrderPaid | OrderCancelled]:
    match command:
        case Place(id, customer, lines):
            if order.state != "new":
                raise Refused(f"order {id} was placed before")
            if not lines or any(line.count < 1 for line in lines):
                raise Refused("an order needs at least one item")
            return [OrderPlaced(id, customer, lines)]
        case Pay(id, amount):
            if order.state == "paid":
                return []
            if order.state != "placed":
                raise Refused(f"order {id} is {order.state}, and cannot be paid")
            if amount != order.total:
                raise Refused(f"order {id} costs {order.total}, not {amount}")
            return [OrderPaid(id, amount)]
        case Cancel(id, reason):
            if order.state == "cancelled":
                return []
            if order.state != "placed":
                raise Refused(f"order {id} is {order.state}, and cannot be cancelled")
            return [OrderCancelled(id, reason)]


def evolve(order: Order, event: Happened) -> Order:
    match event:
        case OrderPlaced():
            return Order("placed", event.total)
        case OrderPaid():
            return replace(order, state="paid")
        case OrderCancelled():
            return replace(order, state="cancelled")
        case PaymentOverdue():  # of the two, payment and timeout, the one that is first in the log counts
            return replace(order, state="cancelled") if order.state == "placed" else order


orders = Decider(
    "order",
    initial=Order(),
    decide=decide,
    evolve=evolve,
    events=[OrderPlaced, OrderPaid, OrderCancelled, PaymentOverdue],
    commands=[Place, Pay, Cancel],
)
