"""What the pages show."""

from typing import Any

from hansard import Projection, folds
from shop.events import OrderCancelled, OrderPaid, OrderPlaced, PaymentOverdue, StockReceived, StockReleased, StockReserved
from shop.stock import count_after


class OrderList(Projection):
    """One row for each order."""

    name = "orders"
    initial: Any = dict

    def key(self, event: Any) -> str:
        order: str = event.value.order
        return order

    @folds(OrderPlaced)
    def placed(self, row: Any, event: Any) -> Any:
        placed: OrderPlaced = event.value
        items = ", ".join(f"{line.count} {line.item}" for line in placed.lines)
        return {"customer": placed.customer, "items": items, "total": str(placed.total), "state": "placed"}

    @folds(OrderPaid)
    def paid(self, row: Any, event: Any) -> Any:
        return {**row, "state": "paid"}

    @folds(OrderCancelled)
    def cancelled(self, row: Any, event: Any) -> Any:
        return {**row, "state": f"cancelled: {event.value.reason}"}

    @folds(PaymentOverdue)
    def overdue(self, row: Any, event: Any) -> Any:
        return {**row, "state": "cancelled: not paid in time"} if row["state"] == "placed" else row


class StockList(Projection):
    """How many of each item are free."""

    name = "stock"
    initial = 0

    def key(self, event: Any) -> list[str]:
        return [event.value.item] if isinstance(event.value, StockReceived) else list(event.value.counts)

    @folds(StockReceived, StockReserved, StockReleased)
    def changed(self, count: int, event: Any, item: str) -> int:
        return count_after(item, count, event.value)
