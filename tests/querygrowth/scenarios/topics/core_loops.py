"""Loops of Core and ORM statements that read or write one row at a time."""

from sqlalchemy import Engine, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from scenarios.pair import Pair
from scenarios.shop import Customer, Item, Note, Order
from scenarios.store import store


def read_each(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [
            connection.scalars(select(Customer.name).where(Customer.id == order)).one()
            for order in connection.scalars(select(Order.customer_id)).all()
        ]


def read_in_one(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        joined = select(Customer.name).join(Order, Order.customer_id == Customer.id)
        return list(connection.scalars(joined))


def updated_each(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order in orders:
            connection.execute(update(Item).where(Item.order_id == order).values(product="sold"))
        return len(orders)


def updated_in_one(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(update(Item).values(product="sold")).rowcount


def deleted_each(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order in orders:
            connection.execute(delete(Item).where(Item.order_id == order))
        return len(orders)


def deleted_in_one(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(delete(Item)).rowcount


def inserted_each(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order in orders:
            connection.execute(insert(Note).values(order_id=order, text="seen"))
        return len(orders)


def inserted_at_once(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        connection.execute(insert(Note), [{"order_id": order, "text": "seen"} for order in orders])
        return len(orders)


def flushed_each(engine: Engine) -> int:
    with Session(engine) as session:
        orders = session.scalars(select(Order.id)).all()
        for order in orders:
            session.add(Note(order_id=order, text="seen"))
            session.flush()
        session.commit()
        return len(orders)


def flushed_at_once(engine: Engine) -> int:
    with Session(engine) as session:
        orders = session.scalars(select(Order.id)).all()
        session.add_all(Note(order_id=order, text="seen") for order in orders)
        session.commit()
        return len(orders)


def merged_each(engine: Engine) -> int:
    with Session(engine) as session:
        orders = session.scalars(select(Order.id)).all()
        for order in orders:
            session.merge(Note(id=order, order_id=order, text="merged"))
        session.commit()
        return len(orders)


def upserted_each(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order in orders:
            row = upsert(Note).values(id=order, order_id=order, text="new")
            connection.execute(row.on_conflict_do_update(set_={"text": row.excluded.text}))
        return len(orders)


def upserted_at_once(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        rows = [{"id": order, "order_id": order, "text": "new"} for order in orders]
        statement = upsert(Note)
        connection.execute(
            statement.on_conflict_do_update(set_={"text": statement.excluded.text}), rows
        )
        return len(orders)


def checked_and_inserted(engine: Engine) -> int:
    """get_or_create: a query before every insert."""
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        missing = [
            order
            for order in orders
            if connection.scalar(select(Note.id).where(Note.text == f"of {order}")) is None
        ]
        connection.execute(insert(Note), [{"order_id": o, "text": f"of {o}"} for o in missing])
        return len(orders)


def checked_at_once(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        present = set(connection.scalars(select(Note.text)))
        rows = [{"order_id": o, "text": f"of {o}"} for o in orders if f"of {o}" not in present]
        connection.execute(insert(Note), rows)
        return len(orders)


def called_each(engine: Engine) -> list[str]:
    """A function of the database for every item: no table is involved."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [str(connection.scalar(select(func.hex(order)))) for order in orders]


def called_in_one(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(func.hex(Order.id))))


def texts_each(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [
            product
            for order in connection.scalars(text("SELECT id FROM orders")).all()
            for product in connection.scalars(
                text(f"SELECT product FROM items WHERE order_id = {order}")
            )
        ]


def driver_sql_each(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [
            row[0]
            for order in connection.scalars(select(Order.id)).all()
            for row in connection.exec_driver_sql(
                "SELECT product FROM items WHERE order_id = ?", (order,)
            )
        ]


def products(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product)))


def nested(engine: Engine) -> list[int]:
    """Every order against every order."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            connection.scalar(
                select(func.count()).where(Item.order_id == one, Item.unindexed_order == other)
            )
            or 0
            for one in orders
            for other in orders
        ]


def earlier(engine: Engine) -> list[int]:
    """Every order against those before it: n (n - 1) / 2 queries."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            connection.scalar(select(func.count()).where(Item.order_id.in_([one, other]))) or 0
            for place, one in enumerate(orders)
            for other in orders[:place]
        ]


def counted(engine: Engine) -> list[int]:
    grouped = select(func.count(Item.id)).group_by(Item.order_id)
    with engine.connect() as connection:
        return list(connection.scalars(grouped))


def two_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [
            connection.scalar(select(func.count(model.id)).where(model.order_id == order)) or 0
            for order in connection.scalars(select(Order.id)).all()
            for model in (Item, Note)
        ]


def updated_by_key(engine: Engine) -> int:
    """One executemany with many sets of values."""
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        statement = update(Item).where(Item.order_id == bindparam("o")).values(product="sold")
        connection.execute(statement, [{"o": order} for order in orders])
        return len(orders)


PAIRS = (
    Pair("a read each", read_each, read_in_one, ("queries grew", "customers: "), store),
    Pair(
        "an update each",
        updated_each,
        updated_in_one,
        ("queries grew with orders", "UPDATE items"),
        store,
        writes=True,
    ),
    Pair(
        "a delete each",
        deleted_each,
        deleted_in_one,
        ("queries grew with orders", "DELETE FROM items"),
        store,
        writes=True,
    ),
    Pair(
        "an insert each",
        inserted_each,
        inserted_at_once,
        ("queries grew with orders", "INSERT INTO notes"),
        store,
        writes=True,
    ),
    Pair(
        "a flush each",
        flushed_each,
        flushed_at_once,
        ("queries grew with orders", "INSERT INTO notes"),
        store,
        writes=True,
    ),
    Pair(
        "a merge each",
        merged_each,
        flushed_at_once,
        ("queries grew with orders", "notes: "),
        store,
        writes=True,
    ),
    Pair(
        "an upsert each",
        upserted_each,
        upserted_at_once,
        ("queries grew with orders", "INSERT INTO notes"),
        store,
        writes=True,
    ),
    Pair(
        "a check before every insert",
        checked_and_inserted,
        checked_at_once,
        ("queries grew with orders", "SELECT notes.id"),
        store,
        writes=True,
    ),
    Pair(
        "a function each",
        called_each,
        called_in_one,
        ("queries grew with orders", r"\(no table\): 2, 8, 20"),
        store,
    ),
    Pair(
        "a text each", texts_each, products, ("queries grew with orders", "items: 2, 8, 20"), store
    ),
    Pair(
        "driver SQL each",
        driver_sql_each,
        products,
        ("queries grew with orders", "items: 2, 8, 20"),
        store,
    ),
    Pair(
        "nested loops",
        nested,
        counted,
        ("queries grew with orders", "polynomial of degree 2", "inside nested loops"),
        store,
        ("orders",),
        scales=(2, 5, 9),
    ),
    Pair(
        "pairs of items",
        earlier,
        counted,
        ("queries grew with orders", "items: 1, 10, 36", "polynomial of degree 2"),
        store,
        ("orders",),
        scales=(2, 5, 9),
    ),
    Pair(
        "two queries each",
        two_each,
        counted,
        ("queries grew with orders", "items: 2, 8, 20", "notes: 2, 8, 20"),
        store,
    ),
    Pair("an executemany", None, updated_by_key, (), store, writes=True),
)
