"""Rows that are fetched to be changed, deleted or put into texts: needed, whatever is returned."""

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session, joinedload

from scenarios.pair import Pair
from scenarios.shop import Item, Note, Order
from scenarios.store import store


def updates_one_by_one(engine: Engine) -> bool:
    with Session(engine) as session:
        for note in session.scalars(select(Note)).all():
            session.execute(update(Note).where(Note.id == note.id).values(text="x"))  # one by one
        session.commit()
        return True


def updates_at_once(engine: Engine) -> bool:
    with Session(engine) as session:
        for note in session.scalars(select(Note)).all():
            note.text = "changed"
        session.commit()
        return True


def deletes_one_by_one(engine: Engine) -> bool:
    with Session(engine) as session:
        for note in session.scalars(select(Note)).all():
            session.delete(note)
            session.flush()  # deletes one
        session.commit()
        return True


def deletes_at_once(engine: Engine) -> bool:
    with Session(engine) as session:
        for note in session.scalars(select(Note)).all():
            session.delete(note)
        session.commit()
        return True


def deletes_of_each_order(engine: Engine) -> int:
    with Session(engine) as session:
        deleted = 0
        for order in session.scalars(select(Order.id)).all():
            deleted += session.execute(delete(Note).where(Note.order_id == order)).rowcount  # each
        session.commit()
        return deleted


def deletes_by_subquery(engine: Engine) -> int:
    with Session(engine) as session:
        ids = select(Order.id)
        deleted = session.execute(delete(Note).where(Note.order_id.in_(ids))).rowcount
        session.commit()
        return int(deleted)


def deletes_everything(engine: Engine) -> int:
    with Session(engine) as session:
        deleted = sum(session.execute(delete(each)).rowcount for each in (Note, Item, Order))
        session.commit()
        return deleted


def line_of(order: Order) -> str:
    return f"{order.id}: " + ", ".join(item.product for item in order.items)  # in a line


def lines(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [line_of(order) for order in session.scalars(select(Order))]


def lines_joined(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(joinedload(Order.items))).unique()
        return [line_of(order) for order in orders]


def products_by_order(engine: Engine) -> dict[int, list[str]]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(joinedload(Order.items))).unique()
        return {order.id: [item.product for item in order.items] for order in orders}


PAIRS = (
    Pair(
        "updates one by one that return True", updates_one_by_one, updates_at_once,
        ("UPDATE on notes",), store, ("orders",), "# one by one", writes=True,
    ),
    Pair(
        "deletes one by one that return True", deletes_one_by_one, deletes_at_once,
        ("DELETE on notes",), store, ("orders",), "# deletes one", writes=True,
    ),
    Pair(
        "deletes for each order", deletes_of_each_order, deletes_by_subquery,
        ("DELETE on notes",), store, ("orders", "notes"), "# each", writes=True,
    ),
    Pair("tables that are emptied", None, deletes_everything, (), store, writes=True),
    Pair(
        "a line of text for each order", lines, lines_joined,
        ("relationship: Order.items",), store, place="# in a line",
    ),
    Pair("a line of text for each of two orders", None, lines_joined, (), store, ("items",)),
    Pair("lists in a dict", None, products_by_order, (), store),
)  # fmt: skip
