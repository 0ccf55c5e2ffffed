"""Queries in a loop on another engine than the one that the action was given."""

from sqlalchemy import Engine, NullPool, create_engine, select

from scenarios.pair import Pair
from scenarios.shop import Order, shop


def in_a_second_engine(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
    other = create_engine(engine.url)
    with other.connect() as connection:
        found = [
            connection.scalars(select(Order.customer_id).where(Order.id == order)).one()  # other
            for order in orders
        ]
    other.dispose()
    return found


def in_one_query_of_a_second_engine(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        connection.scalars(select(Order.id)).all()
    other = create_engine(engine.url)
    with other.connect() as connection:
        found = connection.scalars(select(Order.customer_id)).all()
    other.dispose()
    return list(found)


def in_an_engine_for_each(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
    return [customer_of(create_engine(engine.url, poolclass=NullPool), order) for order in orders]


def customer_of(engine: Engine, order: int) -> int:
    with engine.connect() as connection:
        query = select(Order.customer_id).where(Order.id == order)
        return connection.scalars(query).one()  # an engine for each


PAIRS = (
    Pair(
        "a loop in a second engine", in_a_second_engine, in_one_query_of_a_second_engine,
        ("queries grew with orders",), shop, ("orders",), "# other", scales=(2, 9, 20),
    ),
    Pair(
        "an engine for each item", in_an_engine_for_each, in_one_query_of_a_second_engine,
        ("queries grew with orders", "transactions grew"), shop, ("orders",),
        "# an engine for each", scales=(2, 9, 20),
    ),
)  # fmt: skip
