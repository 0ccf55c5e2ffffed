"""Children that are fetched for every parent."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, selectinload

from scenarios.pair import Pair
from scenarios.shop import Order
from scenarios.store import store


def lazy_items(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [item.product for order in session.scalars(select(Order)) for item in order.items]


def selected_items(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [item.product for order in orders for item in order.items]


PAIRS = (
    Pair(
        "one to many",
        lazy_items,
        selected_items,
        ("queries grew with orders", "items: 2, 7, 23"),
        store,
        place="order.items",
    ),
)
