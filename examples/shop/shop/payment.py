"""What happens by itself: stock is reserved for a placed order, a clock runs for its payment, and it ends in one of two ways."""

from datetime import timedelta
from typing import Any

from hansard import CancelTimer, ProcessManager, Processor, Query, StreamAppend, Timer, Transaction
from shop.events import OrderCancelled, OrderPaid, OrderPlaced, PaymentOverdue, StockReleased, StockReserved
from shop.stock import reserve

TIME_TO_PAY = timedelta(minutes=15)


def reserve_stock(event: Any, transaction: Transaction) -> None:
    """Exactly once for each order: the reservation and the progress of this processor are one transaction."""
    placed: OrderPlaced = event.value
    missing = reserve(transaction, placed)
    if missing is not None:
        transaction.append(f"order-{placed.order}", OrderCancelled(placed.order, missing))


reservations = Processor("reservations", reserve_stock, query=Query(types={OrderPlaced}), exactly_once=True)


def remember(counts: dict[str, int], event: Any) -> dict[str, int]:
    """The state of the process: what was reserved."""
    return event.value.counts if isinstance(event.value, StockReserved) else counts


def next_steps(counts: dict[str, int], event: Any) -> list[Any]:
    order = event.value.order
    match event.value:
        case StockReserved():
            return [Timer(f"payment of {order}", TIME_TO_PAY, f"order-{order}", PaymentOverdue(order))]
        case OrderPaid():
            return [CancelTimer(f"payment of {order}")]
        case PaymentOverdue() | OrderCancelled():
            return [CancelTimer(f"payment of {order}"), StreamAppend(f"stock-{order}", [StockReleased(order, counts)])]
        case _:
            return []


payments = ProcessManager(
    "payments",
    key=lambda event: event.value.order,
    initial={},
    evolve=remember,
    handle=next_steps,
    starts={StockReserved},
    stops={OrderPaid, OrderCancelled, PaymentOverdue},
)
