"""All of the shop together: what a store is opened with, and what runs on it."""

from hansard import EventTypes, Processor, Projection
from shop import events
from shop.lists import OrderList, StockList
from shop.orders import orders
from shop.payment import payments, reservations

types = EventTypes(*events.ALL)
order_list, stock_list = OrderList(), StockList()
reactions: list[Processor | Projection] = [order_list, stock_list, reservations, payments]
all = [types, orders, *reactions]  # for: hansard run, serve, ui, schema --app shop.app:all
