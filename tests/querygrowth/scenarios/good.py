"""Good programs, on which no verdict may fail."""

from collections import defaultdict
from itertools import groupby

from sqlalchemy import Engine, func, insert, select, text, update
from sqlalchemy.orm import Session, joinedload, selectinload

from scenarios.scenario import Scenario
from scenarios.shop import Customer, Item, Note, Order, shop


def joined_load(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(joinedload(Order.items))).unique()
        return [item.product for order in orders for item in order.items]


def declared_eager_load(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [item.product for order in orders for item in order.items]


def constant_lookups(engine: Engine) -> list[str]:
    """The same query five times at every size."""
    with engine.connect() as connection:
        for number in range(5):
            connection.scalar(select(Customer.name).where(Customer.id == number))
        return list(connection.scalars(select(Item.product)))


def bulk_insert(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        connection.execute(insert(Note), [{"order_id": o, "text": "seen"} for o in orders])
        return len(orders)


def bulk_update(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(update(Item).values(product="sold")).rowcount


def streaming(engine: Engine) -> int:
    with engine.connect().execution_options(yield_per=50) as connection:
        return sum(1 for _ in connection.execute(select(Item)))


def merged_streams(engine: Engine) -> list[tuple[int, list[str]]]:
    """Two ordered results are open at once; their DBAPI cursors are merged while they are read."""
    owned = select(Item.order_id, Item.product).order_by(Item.order_id)
    with engine.connect() as connection:
        orders = connection.execute(select(Order.id).order_by(Order.id)).cursor
        items = connection.execute(owned).cursor
        groups = groupby(items, key=lambda item: item[0])
        return [(order, [product for _, product in next(groups)[1]]) for (order,) in orders]


def correlated_with_index(engine: Engine) -> list[int]:
    items = select(func.count()).where(Item.order_id == Order.id).scalar_subquery()
    with engine.connect() as connection:
        return list(connection.scalars(select(items).select_from(Order)))


def merge_by_dictionary(engine: Engine) -> list[tuple[int, list[str]]]:
    products: defaultdict[int, list[str]] = defaultdict(list)
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order, product in connection.execute(select(Item.order_id, Item.product)):
            products[order].append(product)
    return [(order, products[order]) for order in orders]


def one_savepoint(engine: Engine) -> list[str]:
    with engine.begin() as connection, connection.begin_nested():
        return list(connection.scalars(select(Item.product)))


def values_as_parameters(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.scalars(text("SELECT product FROM items WHERE id > :low"), {"low": 0})
        )


GOOD = (
    Scenario("a joined load", joined_load, shop),
    Scenario(
        "a declared selectinload",
        declared_eager_load,
        shop,
        scales=(2, 20, 501),
        axes={"orders": 2},
        allowed={"items": {"chunk": 500}},
    ),
    Scenario("constant lookups", constant_lookups, shop),
    Scenario("a bulk insert", bulk_insert, shop, writes=True),
    Scenario("a bulk update", bulk_update, shop, writes=True),
    Scenario("streaming", streaming, shop, work=("vm_steps", "branches")),
    Scenario("merged streams", merged_streams, shop, work=("vm_steps", "branches")),
    Scenario(
        "a correlated subquery with an index", correlated_with_index, shop, work=("vm_steps",)
    ),
    Scenario("a merge by dictionary", merge_by_dictionary, shop, work=("vm_steps", "branches")),
    Scenario("one savepoint", one_savepoint, shop),
    Scenario("values as parameters", values_as_parameters, shop),
)
