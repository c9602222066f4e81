"""Invoices are numbered 1, 2, 3 … in each year, without a gap and without a number that comes twice, as tax offices want it."""

from dataclasses import dataclass
from typing import Any

import hansard
from hansard import Query, View


@hansard.event("invoice-issued", tags=["year:{year}", "order:{order}"])
@dataclass(frozen=True)
class InvoiceIssued:
    year: int
    number: int
    order: str


class InvoicedBefore(Exception):
    pass


def last_number(year: int) -> View:
    def after(last: int, event: InvoiceIssued) -> int:
        return event.number

    return View(Query(types={InvoiceIssued}, tags={f"year:{year}"}), 0, after)


def invoice_of(order: str) -> View:
    def after(known: InvoiceIssued | None, event: InvoiceIssued) -> InvoiceIssued:
        return event

    return View(Query(types={InvoiceIssued}, tags={f"order:{order}"}), None, after)


def issue(store: hansard.Store, year: int, order: str) -> InvoiceIssued:
    """The number is decided together with the event that uses it: a program that dies in between leaves no gap."""

    def decide(command: None, state: Any) -> list[InvoiceIssued]:
        if state.known is not None:
            raise InvoicedBefore(f"order {order} has invoice {state.known.year}-{state.known.number}")
        return [InvoiceIssued(year, state.last + 1, order)]

    views = {"last": last_number(year), "known": invoice_of(order)}
    done = store.execute(decide, views, None, attempts=100)
    invoice: InvoiceIssued = done.events[0].value
    return invoice


EVENTS = [InvoiceIssued]

if __name__ == "__main__":
    with hansard.open(":memory:", types=EVENTS) as store:
        print(issue(store, 2026, "order-1"), issue(store, 2026, "order-2"))
