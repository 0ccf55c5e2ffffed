"""Statements of every kind for every item: the total is judged, and not only that of one table."""

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, inspect, select, text

from scenarios.pair import Pair, in_memory
from scenarios.shop import Item, Order
from scenarios.store import store

WORDS = "abcdefghijklmnopqrstuvwxyz"


def _table(metadata: MetaData, name: str) -> Table:
    return Table(name, metadata, Column("amount", Integer))


def numbered_tables(tenants: int = 2):
    metadata = MetaData()
    tables = [_table(metadata, f"sales_{number}") for number in range(tenants)]
    return in_memory(metadata, lambda: {table: [{"amount": 1}] for table in tables})()


def named_tables(tenants: int = 2):
    """No two names differ in a number only."""
    metadata = MetaData()
    tables = [_table(metadata, f"{WORDS[n % 26] * (1 + n // 26)}_sales") for n in range(tenants)]
    return in_memory(metadata, lambda: {table: [{"amount": 1}] for table in tables})()


def query_for_each_table(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [
            amount
            for name in inspect(connection).get_table_names()
            for amount in connection.scalars(text(f"SELECT amount FROM {name}"))
        ]


def union_of_tables(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        sql = " UNION ALL ".join(f"SELECT amount FROM {name}" for name in names)
        return list(connection.scalars(text(sql)))


def _orders(connection: Connection) -> list[int]:
    return list(connection.scalars(select(Order.id)))


def explained_each(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [
            str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").first())
            for order in _orders(connection)
            for sql in [f"SELECT product FROM items WHERE order_id = {order}"]
        ]


def explained_once(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM items").first())
        return [plan for _ in _orders(connection)]


def temporary_table_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = _orders(connection)
        for order in orders:
            connection.exec_driver_sql(f"CREATE TEMPORARY TABLE work_{order} (id INTEGER)")
            connection.exec_driver_sql(f"DROP TABLE work_{order}")
        return orders


def temporary_table(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = _orders(connection)
        connection.exec_driver_sql("CREATE TEMPORARY TABLE work (id INTEGER)")
        connection.exec_driver_sql("DROP TABLE work")
        return orders


def filled_table_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = _orders(connection)
        for order in orders:
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE copy_{order} AS SELECT * FROM items"
            )
        return orders


def analysed_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = _orders(connection)
        for _ in orders:
            connection.exec_driver_sql("ANALYZE")
        return orders


def analysed_if_large(engine: Engine) -> list[int]:
    """A single statement that only larger runs need."""
    with engine.connect() as connection:
        orders = _orders(connection)
        if len(orders) > 5:
            connection.exec_driver_sql("ANALYZE")
        return orders


def pragma_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = _orders(connection)
        for _ in orders:
            connection.exec_driver_sql("PRAGMA user_version").all()
        return orders


def savepoint_each(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        orders = _orders(connection)
        for _ in orders:
            with connection.begin_nested():
                pass
        return orders


def one_savepoint(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        orders = _orders(connection)
        with connection.begin_nested():
            return orders


def transaction_each(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = _orders(connection)
    products: list[str] = []
    for order in orders:
        with engine.begin() as connection:
            products += connection.scalars(select(Item.product).where(Item.order_id == order))
    return products


def one_transaction(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        return list(connection.scalars(select(Item.product)))


def connection_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = _orders(connection)
    for _ in orders:
        engine.connect().close()
    return orders


def inspected_each(engine: Engine) -> list[int]:
    """Reflection sends PRAGMAs on SQLite."""
    with engine.connect() as connection:
        orders = _orders(connection)
        for _ in orders:
            inspect(connection).get_columns("items")
        return orders


def inspected_once(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        inspect(connection).get_columns("items")
        return _orders(connection)


def constants_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [connection.scalar(text("SELECT 1")) or 0 for _ in _orders(connection)]


PAIRS = (
    Pair(
        "a numbered table for every item",
        query_for_each_table,
        union_of_tables,
        ("queries grew with tenants", "sales_#: 2, 20, 60", "a query for each of 60 tables"),
        numbered_tables,
        ("tenants",),
        scales=(2, 20, 60),
    ),
    Pair(
        "a named table for every item",
        query_for_each_table,
        union_of_tables,
        ("queries grew with tenants", "tables such as aa_sales, ", "each of 58 tables"),
        named_tables,
        ("tenants",),
        scales=(2, 20, 60),
    ),
    Pair(
        "EXPLAIN each",
        explained_each,
        explained_once,
        ("other statements grew with orders", "EXPLAIN QUERY PLAN", "linear, slope 1.00"),
        store,
        place="EXPLAIN QUERY PLAN",
    ),
    Pair(
        "a temporary table each",
        temporary_table_each,
        temporary_table,
        ("other statements grew with orders", "CREATE TEMPORARY TABLE", "slope 2.00"),
        store,
    ),
    Pair(
        "a copy of a table each",
        filled_table_each,
        temporary_table,
        ("grew with orders", "CREATE TEMPORARY TABLE"),
        store,
    ),
    Pair(
        "ANALYZE each",
        analysed_each,
        analysed_if_large,
        ("other statements grew with orders", "ANALYZE"),
        store,
    ),
    Pair(
        "a pragma each",
        pragma_each,
        one_savepoint,
        ("session statements grew with orders", "a loop that sends PRAGMA: set it once"),
        store,
    ),
    Pair(
        "a savepoint each",
        savepoint_each,
        one_savepoint,
        ("session statements grew with orders", "slope 2.00"),
        store,
    ),
    Pair(
        "a transaction each",
        transaction_each,
        one_transaction,
        ("queries grew with orders", "as a result: transactions grew with orders"),
        store,
    ),
    Pair(
        "a connection each",
        connection_each,
        one_savepoint,
        ("checkouts grew with orders", "a connection taken from the pool in a loop"),
        store,
    ),
    Pair(
        "reflection each",
        inspected_each,
        inspected_once,
        ("session statements grew with orders",),
        store,
    ),
    Pair(
        "a constant each",
        constants_each,
        one_savepoint,
        ("queries grew with orders", r"\(no table\): 2, 8, 20"),
        store,
    ),
)
