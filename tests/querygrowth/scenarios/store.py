"""The tables of the shop in memory: customers with orders, orders with items and notes."""

from scenarios.pair import in_memory, numbered
from scenarios.shop import Base, Customer, Item, Note, Order


def _rows(orders: int = 2, items: int = 2, notes: int = 1, customers: int | None = None):
    buyers = customers or orders
    return {
        Customer.__table__: numbered(buyers, name=lambda n: f"customer {n}"),
        Order.__table__: numbered(orders, customer_id=lambda n: n % buyers),
        Item.__table__: numbered(
            orders * items,
            order_id=lambda n: n % orders,
            unindexed_order=lambda n: n % orders,
            product=lambda n: f"product {n}",
        ),
        Note.__table__: numbered(orders * notes, order_id=lambda n: n % orders, text="note"),
    }


store = in_memory(Base.metadata, _rows)
