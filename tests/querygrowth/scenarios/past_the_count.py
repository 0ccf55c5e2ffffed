"""Bad programs whose number of counted queries is constant, while other work grows."""

import sqlite3

from sqlalchemy import Engine, func, select, text

from scenarios.scenario import Scenario
from scenarios.shop import Item, Note, Order, shop


def raw_cursor(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        cursor = connection.connection.cursor()
        found: list[object] = []
        for order in orders:
            cursor.execute("SELECT product FROM items WHERE order_id = ?", (order,))
            found += cursor.fetchall()
        return found


def raw_connection(engine: Engine) -> list[object]:
    """Sends nothing through SQLAlchemy, so that its events report no query."""
    connection = engine.raw_connection()
    try:
        driver: sqlite3.Connection = connection.driver_connection
        orders = driver.execute("SELECT id FROM orders").fetchall()
        return [
            row
            for order in orders
            for row in driver.execute("SELECT product FROM items WHERE order_id = ?", order)
        ]
    finally:
        connection.close()


def transaction_per_call(engine: Engine) -> list[str]:
    products: list[str] = []
    for order in _orders(engine):
        with engine.begin() as connection:
            products += connection.scalars(select(Item.product).where(Item.order_id == order))
    return products


def empty_transactions(engine: Engine) -> list[int]:
    orders = _orders(engine)
    for _ in orders:
        with engine.begin():
            pass
    return orders


def savepoint_per_order(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        orders = list(connection.scalars(select(Order.id)))
        for _ in orders:
            with connection.begin_nested():
                pass
        return orders


def connection_per_order(engine: Engine) -> list[int]:
    orders = _orders(engine)
    for _ in orders:
        engine.connect().close()
    return orders


def cross_join(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT orders.id, order_id, product FROM orders, items"))
        return [product for order, owner, product in rows if order == owner]


def joins_that_multiply(engine: Engine) -> set[tuple[str, int]]:
    """Items and notes of an order are joined with each other and separated again in Python."""
    together = (
        select(Item.id, Note.id)
        .select_from(Order)
        .join(Item, Item.order_id == Order.id)
        .join(Note, Note.order_id == Order.id)
    )
    with engine.connect() as connection:
        rows = connection.execute(together).all()
    return {("item", item) for item, _ in rows} | {("note", note) for _, note in rows}


def fetched_to_be_thrown_away(engine: Engine) -> list[str]:
    """Fetches all orders and keeps those of one customer."""
    with engine.connect() as connection:
        rows = connection.execute(select(Order.customer_id, Item.product).join(Order.items))
        return [product for owner, product in rows if owner == 0]


def correlated_without_index(engine: Engine) -> list[int]:
    items = select(func.count()).where(Item.unindexed_order == Order.id).scalar_subquery()
    with engine.connect() as connection:
        return list(connection.scalars(select(items).select_from(Order)))


def scan_per_chunk(engine: Engine) -> list[str]:
    """Sends as many queries as declared, but every one reads the whole table."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            product
            for start in range(0, len(orders), 10)
            for product in connection.scalars(
                select(Item.product).where(Item.unindexed_order.in_(orders[start : start + 10]))
            )
        ]


def merge_by_nested_loops(engine: Engine) -> list[tuple[int, list[str]]]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        items = connection.execute(select(Item.order_id, Item.product)).all()
    return [(order, [item.product for item in items if item.order_id == order]) for order in orders]


def _orders(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.id)))


BAD = (
    Scenario("a raw cursor", raw_cursor, shop, "went past SQLAlchemy"),
    Scenario("a raw connection", raw_connection, shop, "went past SQLAlchemy"),
    Scenario("a transaction per call", transaction_per_call, shop, "transactions grew with orders"),
    Scenario("empty transactions", empty_transactions, shop, "transactions grew with orders"),
    Scenario("a savepoint each", savepoint_per_order, shop, "session statements grew with orders"),
    Scenario("a connection each", connection_per_order, shop, "checkouts grew with orders"),
    Scenario("a cross join", cross_join, shop, "fetched rows grew faster than records"),
    Scenario(
        "joins that multiply",
        joins_that_multiply,
        shop,
        "fetched rows grew faster than records",
        axes={"orders": 2, "items": 2, "notes": 2},
        together=(2, 4, 8),
    ),
    Scenario(
        "fetched to be thrown away",
        fetched_to_be_thrown_away,
        shop,
        "fetched rows grew with orders",
    ),
    Scenario(
        "a correlated subquery without an index",
        correlated_without_index,
        shop,
        "vm_steps grew faster than",
        work=("vm_steps",),
    ),
    Scenario(
        "a scan per declared chunk",
        scan_per_chunk,
        shop,
        "vm_steps grew faster than",
        scales=(20, 60, 180),
        work=("vm_steps",),
        allowed={"items": {"chunk": 10}},
    ),
    Scenario(
        "a merge by nested loops",
        merge_by_nested_loops,
        shop,
        "branches grew faster than",
        work=("branches",),
    ),
)
