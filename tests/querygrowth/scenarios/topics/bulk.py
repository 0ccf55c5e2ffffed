"""Rows that are written in bulk: SQLAlchemy splits them, and programs do."""

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.orm import Session

from querygrowth.contracts.contract import QueryContract
from scenarios.pair import Pair
from scenarios.shop import Item, Note, Order
from scenarios.store import store


def _rows(orders: list[int]) -> list[dict[str, object]]:
    return [{"order_id": order, "text": "seen"} for order in orders for _ in range(5)]


def _orders(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Order.id)))


def returning(engine: Engine) -> int:
    """2,505 rows at the largest scale: three statements of up to 1,000 rows."""
    orders = _orders(engine)
    with engine.begin() as connection:
        connection.execute(insert(Note).returning(Note.id), _rows(orders)).all()
    return len(orders)


def executemany(engine: Engine) -> int:
    orders = _orders(engine)
    with engine.begin() as connection:
        connection.execute(insert(Note), _rows(orders))
    return len(orders)


def objects_added(engine: Engine) -> int:
    """On SQLite, SQLAlchemy 2.1 sends a statement for every object whose key it has to learn."""
    orders = _orders(engine)
    with Session(engine) as session:
        session.add_all(Note(**row) for row in _rows(orders))
        session.commit()
    return len(orders)


def executemany_of_100(engine: Engine) -> int:
    orders = _orders(engine)
    rows = _rows(orders)
    with engine.begin() as connection:
        for start in range(0, len(rows), 100):
            connection.execute(insert(Note), rows[start : start + 100])
    return len(orders)


def values_of_100(engine: Engine) -> int:
    orders = _orders(engine)
    rows = _rows(orders)
    with engine.begin() as connection:
        for start in range(0, len(rows), 100):
            connection.execute(insert(Note).values(rows[start : start + 100]))
    return len(orders)


def returning_each(engine: Engine) -> int:
    """A bulk INSERT of five rows for every order is still a loop."""
    orders = _orders(engine)
    with engine.begin() as connection:
        for order in orders:
            connection.execute(insert(Note).returning(Note.id), _rows([order])).all()
    return len(orders)


def flushed_each(engine: Engine) -> int:
    orders = _orders(engine)
    with Session(engine) as session:
        for order in orders:
            session.add_all(Note(**row) for row in _rows([order]))
            session.flush()
        session.commit()
    return len(orders)


def deleted_in_chunks(engine: Engine) -> int:
    orders = _orders(engine)
    with engine.begin() as connection:
        for start in range(0, len(orders), 100):
            chunk = orders[start : start + 100]
            connection.execute(delete(Item).where(Item.order_id.in_(chunk)))
    return len(orders)


LARGE = {"orders": (2, 20, 501)}
NOTES = QueryContract().allow("notes", chunk=100)

PAIRS = (
    Pair("rows returned", None, returning, (), store, ("orders",), scales=LARGE, writes=True),
    Pair("an executemany of all", None, executemany, (), store, ("orders",), scales=LARGE,
         writes=True),
    Pair("objects added", None, objects_added, (), store, ("orders",), writes=True),
    Pair(
        "executemany in batches",
        executemany_of_100,
        executemany_of_100,
        ("queries grew with orders", "stepwise, chunks of 20", r"allow\('notes', chunk=...\)"),
        store,
        ("orders",),
        scales=LARGE,
        twin_contract=NOTES,
        writes=True,
    ),
    Pair(
        "VALUES in batches",
        values_of_100,
        values_of_100,
        ("queries grew with orders", "stepwise, chunks of 20"),
        store,
        ("orders",),
        scales=LARGE,
        twin_contract=NOTES,
        writes=True,
    ),
    Pair(
        "a bulk INSERT for every item",
        returning_each,
        returning,
        ("queries grew with orders", "INSERT INTO notes", "linear, slope 1.00"),
        store,
        ("orders",),
        contract=NOTES,
        writes=True,
    ),
    Pair(
        "a flush of five for every item",
        flushed_each,
        objects_added,
        ("queries grew with orders", "INSERT INTO notes"),
        store,
        ("orders",),
        writes=True,
    ),
    Pair(
        "deletes in chunks",
        deleted_in_chunks,
        deleted_in_chunks,
        ("queries grew with orders", "stepwise, chunks of 100"),
        store,
        ("orders",),
        scales=LARGE,
        twin_contract=QueryContract().allow("items", chunk=100),
        writes=True,
    ),
)  # fmt: skip
