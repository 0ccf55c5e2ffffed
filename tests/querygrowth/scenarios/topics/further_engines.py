"""Queries in a loop on another engine than the first one, or on several that populate returns."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, NullPool, create_engine, func, select
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import Session, selectinload, sessionmaker

from scenarios.pair import Pair
from scenarios.shop import Item, Order, shop


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


@contextmanager
def shards(orders: int, items: int) -> Iterator[sessionmaker[Session]]:
    """Two databases behind one session."""
    with shop(orders, items) as first, shop(orders, items) as second:
        yield sessionmaker(
            class_=ShardedSession,
            shards={"first": first, "second": second},
            shard_chooser=lambda *_: "first",
            identity_chooser=lambda *_, **__: ["first", "second"],
            execute_chooser=lambda _: ["first", "second"],
        )


def lazily_on_shards(sessions: sessionmaker[Session]) -> list[int]:
    with sessions() as session:
        return [len(order.items) for order in session.scalars(select(Order))]  # on every shard


def eagerly_on_shards(sessions: sessionmaker[Session]) -> list[int]:
    with sessions() as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [len(order.items) for order in orders]


@contextmanager
def primary_and_replica(orders: int, items: int) -> Iterator[list[Engine]]:
    """Two engines, of which the programs below use the second one alone."""
    with shop() as primary, shop(orders, items) as replica:
        yield [primary, replica]


def in_the_replica(engines: list[Engine]) -> list[int]:
    counted = select(func.count()).select_from(Item)
    with Session(engines[1]) as session:
        orders = session.scalars(select(Order.id)).all()
        return [session.scalar(counted.where(Item.order_id == each)) or 0 for each in orders]


def grouped_in_the_replica(engines: list[Engine]) -> list[int]:
    with Session(engines[1]) as session:
        return list(session.scalars(select(func.count(Item.id)).group_by(Item.order_id)))


PAIRS = (
    Pair(
        "lazy loads on shards", lazily_on_shards, eagerly_on_shards,
        ("queries grew with orders", "relationship: Order.items", r"selectinload\(Order.items"),
        shards, ("orders", "items"), "# on every shard", scales=(2, 9, 20),
    ),
    Pair(
        "a loop in the second of two engines", in_the_replica, grouped_in_the_replica,
        ("queries grew with orders", "queries items once per item of orders"),
        primary_and_replica, ("orders", "items"), "counted.where", scales=(2, 9, 20),
    ),
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
