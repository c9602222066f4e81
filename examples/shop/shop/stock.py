"""How stock is reserved: one decision over all items of an order, whoever else buys at the same moment."""

from typing import Any

import hansard
from hansard import AppendCondition, Query, Transaction
from shop.events import OrderPlaced, StockReceived, StockReleased, StockReserved

STOCK = {StockReceived, StockReserved, StockReleased}


def available(item: str) -> Query:
    return Query(types=STOCK, tags={f"item:{item}"})


def count_after(item: str, count: int, event: Any) -> int:
    match event:
        case StockReceived():
            return count + event.count
        case StockReserved():
            return count - event.counts.get(item, 0)
        case StockReleased():
            return count + event.counts.get(item, 0)
        case _:
            return count


def reserve(transaction: Transaction, placed: OrderPlaced) -> str | None:
    """Reserves all items of an order, or says which one is missing. In a transaction nobody else comes in between."""
    wanted: dict[str, int] = {}
    for line in placed.lines:
        wanted[line.item] = wanted.get(line.item, 0) + line.count
    for item, count in wanted.items():
        there = 0
        for event in transaction.read(available(item)):
            there = count_after(item, there, event.value)
        if there < count:
            return f"{item}: {there} left, {count} wanted"
    once = AppendCondition(Query(types={StockReserved}, tags={f"order:{placed.order}"}))
    transaction.append(f"stock-{placed.order}", StockReserved(placed.order, wanted), condition=once)
    return None


def received(store: hansard.Store, item: str, count: int) -> None:
    store.append(f"item-{item}", StockReceived(item, count))
