"""The web front, on the standard library alone: one page, three forms."""

import argparse
from decimal import Decimal
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import hansard
from shop.app import order_list, reactions, stock_list, types
from shop.events import Line
from shop.orders import Cancel, Pay, Place, Refused, orders
from shop.stock import received

PRICES = {"pen": Decimal("2.50"), "cup": Decimal("8.00"), "book": Decimal("19.90")}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Shop</title><style>body{{font:16px system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}}
td,th{{text-align:left;padding:.3rem 1rem .3rem 0}} .error{{color:#a00}}</style>
<h1>Shop</h1>{message}<h2>Buy</h2><form method="post" action="/place">
<label>Name <input name="customer" required></label> {items} <button>Order</button></form>
<h2>Orders</h2><table><tr><th>Order<th>Customer<th>Items<th>Total<th>State<th></tr>{orders}</table></html>"""


class Front(BaseHTTPRequestHandler):
    store: hansard.Store

    def do_GET(self) -> None:
        self._show("")

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()))
        try:
            done = self._do(form)
        except (Refused, ValueError) as error:
            self._show(f'<p class="error">{escape(str(error))}</p>', status=400)
            return
        if done.appended is not None:  # the page that comes next is to show it: read your own writes
            self.store.model(order_list.name).wait_for(done.appended.last_position)
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def _do(self, form: dict[str, str]) -> Any:
        order = form.get("order") or uuid4().hex[:8]
        if self.path == "/place":
            lines = [Line(item, int(form[item]), price) for item, price in PRICES.items() if form.get(item, "0") != "0"]
            command: Any = Place(order, form["customer"], lines)
        elif self.path == "/pay":
            command = Pay(order, Decimal(form["amount"]))
        else:
            command = Cancel(order, "the customer has changed their mind")
        return self.store.execute(orders, f"order-{order}", command)

    def _show(self, message: str, status: int = 200) -> None:
        stock = dict(self.store.model(stock_list.name).items())
        items = " ".join(
            f'<label>{item} ({price}, {stock.get(item, 0)} left) <input name="{item}" type="number" min="0" value="0"></label>'
            for item, price in PRICES.items()
        )
        rows = "".join(self._row(order, row) for order, row in self.store.model(order_list.name).items())
        body = PAGE.format(message=message, items=items, orders=rows).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _row(self, order: str, row: dict[str, str]) -> str:
        cells = "".join(f"<td>{escape(row[name])}" for name in ("customer", "items", "total", "state"))
        if row["state"] != "placed":
            return f"<tr><td>{order}{cells}<td></tr>"
        field = f'<input type="hidden" name="order" value="{order}">'
        pay = f'<form method="post" action="/pay">{field}<button name="amount" value="{row["total"]}">Pay</button></form>'
        return f'<tr><td>{order}{cells}<td>{pay}<form method="post" action="/cancel">{field}<button>Cancel</button></form></tr>'

    def log_message(self, format: str, *args: Any) -> None:
        """The log of the shop is its store."""


def front_of(store: hansard.Store) -> type[Front]:
    return type("FrontOfStore", (Front,), {"store": store})


def main() -> None:
    parser = argparse.ArgumentParser(description="A small shop.")
    parser.add_argument("--store", default="shop.db")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    with hansard.open(options.store, types=types) as store:
        if store.head() == 0:
            for item in PRICES:
                received(store, item, 10)
        with store.run(*reactions) as running:
            running.wait_until_caught_up()
            with ThreadingHTTPServer(("127.0.0.1", options.port), front_of(store)) as server:
                print(f"The shop is open at http://127.0.0.1:{server.server_port}/ (Ctrl+C closes it)", flush=True)
                try:
                    server.serve_forever()
                except KeyboardInterrupt:
                    print("closed")


if __name__ == "__main__":
    main()
