"""Bad programs that do nothing, which would keep every budget."""

from collections.abc import Iterator

from sqlalchemy import Engine, select

from scenarios.scenario import Scenario
from scenarios.shop import Item, Order, shop


def unconsumed_generator(engine: Engine) -> Iterator[str]:
    with engine.connect() as connection:
        for order in connection.scalars(select(Order.id)).all():
            yield from connection.scalars(select(Item.product).where(Item.order_id == order))


def another_engine(_engine: Engine) -> list[str]:
    with shop(orders=20) as other, other.connect() as connection:
        return list(connection.scalars(select(Item.product)))


def nothing_sent(engine: Engine) -> int:
    with engine.connect():
        return 5


def nothing_found(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).where(Item.product == "unheard of")))


BAD = (
    Scenario(
        "an unconsumed generator",
        unconsumed_generator,
        shop,
        "returned an iterator that was not consumed",
    ),
    Scenario("another engine", another_engine, shop, "the engine was never used"),
    Scenario("nothing sent", nothing_sent, shop, "sent no query"),
    Scenario("nothing found", nothing_found, shop, "emitted no record"),
)
