"""The shop's tests: rules as sentences, the process with its timeout, races, and the web front."""

import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import hansard
from hansard.testing import FrozenStore, scenario, state_machine
from shop.app import order_list, reactions, stock_list, types
from shop.events import Line, OrderCancelled, OrderPaid, OrderPlaced, PaymentOverdue, StockReleased, StockReserved
from shop.orders import Cancel, Order, Pay, Place, Refused, orders
from shop.payment import TIME_TO_PAY, payments
from shop.stock import received
from shop.web import front_of

PENS = [Line("pen", 2, Decimal("2.50"))]
PLACED = OrderPlaced("7", "Jo", PENS)


def test_an_order_is_placed_paid_and_cancelled() -> None:
    """The rules of the shop."""
    scenario(orders).when(Place("7", "Jo", PENS)).then(PLACED).then_state(Order("placed", Decimal("5.00")))
    scenario(orders).given(PLACED).when(Pay("7", Decimal(5))).then(OrderPaid("7", Decimal(5)))
    scenario(orders).given(PLACED).when(Pay("7", Decimal(4))).then_raises(Refused, r"costs 5\.00, not 4")
    scenario(orders).given(PLACED, OrderPaid("7", Decimal(5))).when(Pay("7", Decimal(5))).then_nothing()
    scenario(orders).given(PLACED, OrderPaid("7", Decimal(5))).when(Cancel("7", "x")).then_raises(Refused, "is paid")
    scenario(orders).given(PLACED, PaymentOverdue("7")).when(Pay("7", Decimal(5))).then_raises(Refused, "is cancelled")
    scenario(orders).when(Place("7", "Jo", [])).then_raises(Refused, "at least one item")


def sane(order: Order) -> bool:
    return order.state in {"new", "placed", "paid", "cancelled"} and order.total >= 0


lines = st.lists(st.builds(Line, st.sampled_from(["pen", "cup"]), st.integers(0, 3), st.just(Decimal(2))), max_size=3)
amounts = st.sampled_from([Decimal(0), Decimal(2), Decimal(4)])
TestOrders = state_machine(
    orders,
    {
        Place: st.builds(Place, st.just("1"), st.just("Jo"), lines),
        Pay: st.builds(Pay, st.just("1"), amounts),
        Cancel: st.builds(Cancel, st.just("1"), st.just("x")),
    },
    invariants=[sane],
    refusals=(Refused,),
).TestCase


def test_an_order_that_is_not_paid_in_time_gives_its_stock_back() -> None:
    """The payment's timeout, without waiting for it."""
    reserved = StockReserved("7", {"pen": 2})
    one = scenario(payments, types=types).when("stock-7", reserved).then_nothing().then_timer("payment of 7", TIME_TO_PAY)
    one.after(TIME_TO_PAY - timedelta(seconds=1)).then_nothing()
    one.after(timedelta(seconds=1)).then("order-7", PaymentOverdue("7"), "stock-7", StockReleased("7", {"pen": 2}))
    scenario(payments, types=types).given("stock-7", reserved).when("order-7", OrderPaid("7", Decimal(5))).then_no_timer()


def test_the_whole_shop_on_one_store() -> None:
    """From an order to the lists."""
    with FrozenStore(types) as store:
        received(store, "pen", 3)
        store.execute(orders, "order-7", Place("7", "Jo", PENS))
        store.execute(orders, "order-8", Place("8", "Al", PENS))
        store.catch_up(*reactions)
        assert store.model(stock_list.name)["pen"] == 1
        assert store.model(order_list.name)["8"]["state"] == "cancelled: pen: 1 left, 2 wanted"
        store.clock.advance(TIME_TO_PAY)
        store.catch_up(*reactions)
        assert store.model(order_list.name)["7"]["state"] == "cancelled: not paid in time"
        assert store.model(stock_list.name)["pen"] == 3


def test_stock_is_never_sold_twice(tmp_path: Path) -> None:
    """Sixteen customers at the same moment, two processes that reserve."""
    place = tmp_path / "shop.db"
    with hansard.open(place, types=types) as store, hansard.open(place, types=types) as other:
        received(store, "pen", 7)
        with store.run(*reactions) as running, other.run(*reactions) as second:

            def buy(number: int) -> None:
                line = [Line("pen", 1, Decimal(1))]
                (store, other)[number % 2].execute(orders, f"order-{number}", Place(str(number), "Jo", line))

            customers = [threading.Thread(target=buy, args=(number,)) for number in range(16)]
            for customer in customers:
                customer.start()
            for customer in customers:
                customer.join()
            running.wait_until_caught_up()
            second.wait_until_caught_up()
        store.catch_up(*reactions)
        states = [row["state"] for _, row in store.model(order_list.name).items()]
        assert (states.count("placed"), len(states)) == (7, 16)
        assert store.model(stock_list.name)["pen"] == 0
        cancelled = list(store.read(hansard.Query(types={OrderCancelled})))
        assert len(cancelled) == 9


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with hansard.open(tmp_path / "shop.db", types=types) as store:
        received(store, "pen", 3)
        with store.run(*reactions) as running:
            running.wait_until_caught_up()
            with ThreadingHTTPServer(("127.0.0.1", 0), front_of(store)) as server:
                thread = threading.Thread(target=server.serve_forever)
                thread.start()
                yield f"http://127.0.0.1:{server.server_port}"
                server.shutdown()
                thread.join()


def post(url: str, **form: Any) -> str:
    with urlopen(url, urlencode(form).encode()) as answer:
        return str(answer.read().decode())


def test_the_web_front(url: str) -> None:
    """What a customer does."""
    page = post(f"{url}/place", customer="Jo <3", pen=2, order="7")
    assert "Jo &lt;3" in page
    assert "2 pen" in page
    assert "paid" in post(f"{url}/pay", order="7", amount="5.00")
    with pytest.raises(HTTPError) as caught:
        post(f"{url}/cancel", order="7")
    with caught.value as refused:
        assert "order 7 is paid, and cannot be cancelled" in refused.read().decode()
