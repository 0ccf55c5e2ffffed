"""Loops whose statements are easily taken for something else, and budgets of joined tables."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.orm import Session

from querygrowth.contracts.contract import QueryContract
from scenarios.pair import Pair
from scenarios.shop import Item, Order
from scenarios.store import store

ONE_ORDERS_ITEMS = "SELECT product FROM items WHERE order_id = :order"
ALL_ITEMS = "SELECT product FROM items JOIN orders ON orders.id = items.order_id"


def for_every_order(statement: str | Callable[[int], str]) -> Callable[[Engine], list[object]]:
    """A program that sends a text for every order, with the order's id as a value or inside it."""

    def program(engine: Engine) -> list[object]:
        with engine.begin() as connection:
            found: list[object] = []
            for order in orders(connection):
                sql = statement if isinstance(statement, str) else statement(order)
                values = {"order": order} if ":order" in sql else {}
                result = connection.execute(text(sql), values)
                found += result.all() if result.returns_rows else [order]
            return found

    return program


def once(statement: str) -> Callable[[Engine], list[object]]:
    """A program that reads the orders, and sends one more text."""

    def program(engine: Engine) -> list[object]:
        with engine.begin() as connection:
            found = orders(connection)
            result = connection.execute(text(statement))
            return list(result.all()) if result.returns_rows else list(found)

    return program


def for_all_orders(statement: str) -> Callable[[Engine], list[object]]:
    """A program that sends a text once, with the values of all orders (`executemany`)."""

    def program(engine: Engine) -> list[object]:
        with engine.begin() as connection:
            found = orders(connection)
            connection.execute(text(statement), [{"order": order} for order in found])
            return list(found)

    return program


def orders(connection: Connection) -> Sequence[int]:
    return connection.scalars(select(Order.id)).all()


def joined_one_by_one(engine: Engine) -> list[object]:
    """Every query is about an order, and reads its items through a join."""
    with Session(engine) as session:
        return [
            session.scalars(select(Order.id).join(Item).where(Order.id == order)).all()
            for order in session.scalars(select(Order.id)).all()
        ]


def joined_at_once(engine: Engine) -> list[object]:
    with Session(engine) as session:
        return list(session.scalars(select(Order.id).join(Item)))


REPLACE = "REPLACE INTO notes (id, order_id, text) VALUES (:order, :order, 'new')"

PAIRS = (
    Pair(
        "a REPLACE for every order",
        for_every_order(REPLACE),
        for_all_orders(REPLACE),
        ("queries grew with orders", "notes: 2, 8, 20", "REPLACE INTO"),
        store,
        writes=True,
        place="connection.execute",
    ),
    Pair(
        "a writing statement with a common table expression for every order",
        for_every_order(
            "WITH chosen AS (SELECT :order AS id) "
            "DELETE FROM notes WHERE order_id IN (SELECT id FROM chosen)"
        ),
        once("DELETE FROM notes WHERE order_id IN (SELECT id FROM orders)"),
        ("queries grew with orders", "notes: 2, 8, 20"),
        store,
        writes=True,
    ),
    Pair(
        "a common table expression for every order",
        for_every_order(
            "WITH its AS (SELECT product FROM items WHERE order_id = :order) SELECT * FROM its"
        ),
        once(ALL_ITEMS),
        ("queries grew with orders", "items: 2, 8, 20"),
        store,
    ),
    Pair(
        "the order's id inside the text",
        for_every_order(lambda order: f"SELECT product FROM items WHERE order_id = {order}"),
        once(ALL_ITEMS),
        ("queries grew with orders", "items: 2, 8, 20"),
        store,
    ),
    Pair(
        "the order's id in a comment",
        for_every_order(lambda order: f"{ONE_ORDERS_ITEMS} /* route=/orders/{order} */"),
        once(f"{ALL_ITEMS} /* route=/orders */"),
        ("queries grew with orders", "items: 2, 8, 20"),
        store,
    ),
    Pair(
        "tables in capitals and quotes",
        for_every_order('SELECT "product" FROM "main"."ITEMS" WHERE order_id = :order'),
        once(ALL_ITEMS.upper()),
        ("queries grew with orders", "(?i)items: 2, 8, 20"),
        store,
    ),
    Pair(
        "VALUES beside a subquery for every order",
        for_every_order("VALUES ((SELECT count(*) FROM items WHERE order_id = :order))"),
        once("SELECT order_id, count(*) FROM items GROUP BY order_id"),
        ("queries grew with orders",),
        store,
    ),
    Pair(
        "EXPLAIN for every order",
        for_every_order(f"EXPLAIN QUERY PLAN {ONE_ORDERS_ITEMS}"),
        once(ALL_ITEMS),
        ("other statements grew with orders", "20  20 other statements", "most for items"),
        store,
    ),
    Pair(
        "a temporary table for every order",
        for_every_order(lambda order: f"CREATE TEMPORARY TABLE made_{order} (id INTEGER)"),
        once("CREATE TEMPORARY TABLE made (order_id INTEGER)"),
        ("other statements grew with orders", "20  20 other statements"),
        store,
        writes=True,
    ),
    Pair(
        "a pragma for every order",
        for_every_order("PRAGMA user_version"),
        once(ALL_ITEMS),
        ("session statements grew with orders",),
        store,
    ),
    Pair(
        "a budget of a table that is only joined",
        joined_one_by_one,
        joined_at_once,
        ("queries that read items",),
        store,
        contract=QueryContract(per_table={"items": 1}),
    ),
    Pair(
        "a budget with a schema and in another case",
        for_every_order(ONE_ORDERS_ITEMS),
        once(ALL_ITEMS),
        ("queries about main.Items",),
        store,
        contract=QueryContract(per_table={"main.Items": 1}),
    ),
)
