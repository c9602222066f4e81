"""What can happen in the shop."""

from dataclasses import dataclass
from decimal import Decimal

import hansard


@dataclass(frozen=True)
class Line:
    item: str
    count: int
    price: Decimal


@hansard.event("order-placed", tags=["order:{order}"], personal=["customer"])
@dataclass(frozen=True)
class OrderPlaced:
    order: str
    customer: str
    lines: list[Line]

    @property
    def total(self) -> Decimal:
        return sum((line.price * line.count for line in self.lines), Decimal(0))


@hansard.event("order-paid", tags=["order:{order}"])
@dataclass(frozen=True)
class OrderPaid:
    order: str
    amount: Decimal


@hansard.event("order-cancelled", tags=["order:{order}"])
@dataclass(frozen=True)
class OrderCancelled:
    order: str
    reason: str


@hansard.event("payment-overdue", tags=["order:{order}"])
@dataclass(frozen=True)
class PaymentOverdue:
    order: str


@hansard.event("stock-received", tags=["item:{item}"])
@dataclass(frozen=True)
class StockReceived:
    item: str
    count: int


@hansard.event("stock-reserved", tags=lambda event: {f"order:{event.order}", *(f"item:{item}" for item in event.counts)})
@dataclass(frozen=True)
class StockReserved:
    order: str
    counts: dict[str, int]


@hansard.event("stock-released", tags=lambda event: {f"order:{event.order}", *(f"item:{item}" for item in event.counts)})
@dataclass(frozen=True)
class StockReleased:
    order: str
    counts: dict[str, int]


ALL = [OrderPlaced, OrderPaid, OrderCancelled, PaymentOverdue, StockReceived, StockReserved, StockReleased]
