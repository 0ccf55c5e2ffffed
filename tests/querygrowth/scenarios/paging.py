"""Programs that read in pages: bad without a declared page size, good with one."""

from collections.abc import Callable

from sqlalchemy import Engine, select

from scenarios.scenario import Scenario
from scenarios.shop import Item, Order, shop


def by_key(size: int) -> Callable[[Engine], list[str]]:
    def paged_by_key(engine: Engine) -> list[str]:
        products: list[str] = []
        last = 0
        with engine.connect() as connection:
            while True:
                page = select(Item.id, Item.product).where(Item.id > last).order_by(Item.id)
                rows = connection.execute(page.limit(size)).all()
                products += [row.product for row in rows]
                if len(rows) < size:
                    return products
                last = rows[-1].id

    return paged_by_key


def by_offset(engine: Engine) -> list[str]:
    products: list[str] = []
    with engine.connect() as connection:
        while True:
            page = select(Item.product).order_by(Item.id).limit(10).offset(len(products))
            found = connection.scalars(page).all()
            products += found
            if len(found) < 10:
                return products


def in_uneven_chunks(engine: Engine) -> list[str]:
    """Split evenly into the fewest lists of at most 500: 1001 orders as 334, 334 and 333."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        lists = -(-len(orders) // 500)
        return [
            product
            for part in range(lists)
            for product in connection.scalars(
                select(Item.product).where(Item.order_id.in_(orders[part::lists]))
            )
        ]


BAD = (
    Scenario("keyset paging with LIMIT 2", by_key(2), shop, "queries grew with orders"),
    Scenario("offset paging", by_offset, shop, "queries grew with orders"),
)
GOOD = (
    Scenario("declared keyset paging", by_key(10), shop, allowed={"items": {"page": 10}}),
    Scenario(
        "declared uneven IN lists",
        in_uneven_chunks,
        shop,
        scales=(2, 501, 1001),
        axes={"orders": 2},
        allowed={"items": {"chunk": 500}},
    ),
)
