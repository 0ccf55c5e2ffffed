"""Programs with async engines and threads, bad and good."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from scenarios.scenario import Scenario
from scenarios.shop import Item, Order, async_shop, shop


async def async_loop(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        orders = (await connection.scalars(select(Order.id))).all()
        return [
            product
            for order in orders
            for product in await connection.scalars(
                select(Item.product).where(Item.order_id == order)
            )
        ]


async def awaited_lazy_load(engine: AsyncEngine) -> list[str]:
    async with AsyncSession(engine) as session:
        orders = (await session.scalars(select(Order))).all()
        return [item.product for o in orders for item in await o.awaitable_attrs.items]


def threads_that_loop(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(lambda order: _products(engine, [order]), orders))
    return [product for products in found for product in products]


async def async_join(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list(await connection.scalars(select(Item.product).join(Order)))


async def async_stream(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        result = await connection.stream_scalars(select(Item.product).order_by(Item.id))
        return [product async for product in result]


def four_threads(engine: Engine) -> list[str]:
    """A fixed number of workers, which share the orders."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
    with ThreadPoolExecutor(max_workers=4) as pool:
        shares = [orders[part::4] for part in range(4)]
        found = list(pool.map(lambda share: _products(engine, list(share)), shares))
    return [product for products in found for product in products]


def _products(engine: Engine, orders: list[int]) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).where(Item.order_id.in_(orders))))


BAD = (
    Scenario("an async loop", async_loop, async_shop, "queries grew with orders"),
    Scenario("an awaited lazy load", awaited_lazy_load, async_shop, "queries grew with orders"),
    Scenario("threads that loop", threads_that_loop, shop, "queries grew with orders"),
)
GOOD = (
    Scenario("an async join", async_join, async_shop),
    Scenario("an async stream", async_stream, async_shop),
    Scenario("four threads", four_threads, shop),
)
