"""Children that are fetched, counted or looked for one parent at a time."""

from collections import defaultdict

from sqlalchemy import Engine, exists, func, select
from sqlalchemy.orm import Session, aliased, selectinload, subqueryload

from scenarios.company import Department, company
from scenarios.pair import Pair
from scenarios.shop import Customer, Item, Order
from scenarios.store import store


def lazy_items(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [item.product for order in session.scalars(select(Order)) for item in order.items]


def selected_items(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [item.product for order in orders for item in order.items]


def length_of_items(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [len(order.items) for order in session.scalars(select(Order))]


def counted_items(engine: Engine) -> list[int]:
    counted = select(func.count(Item.id)).join(Order).group_by(Order.id)
    with Session(engine) as session:
        return list(session.scalars(counted))


def one_collection_of_two(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items))).all()
        return [n.text for order in orders if order.items for n in order.notes]


def both_collections(engine: Engine) -> list[str]:
    loaded = (selectinload(Order.items), selectinload(Order.notes))
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(*loaded)).all()
        return [n.text for order in orders if order.items for n in order.notes]


def empty_collections(engine: Engine) -> list[bool]:
    """No order has notes; every look for them is a query all the same."""
    with Session(engine) as session:
        return [bool(order.notes) for order in session.scalars(select(Order))]


def any_notes(engine: Engine) -> list[bool]:
    with Session(engine) as session:
        return list(session.scalars(select(Order.notes.any())))


def existence_each(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return [
            order
            for order in session.scalars(select(Order.id))
            if session.scalar(select(exists().where(Item.order_id == order)))
        ]


def existence_in_one(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return list(session.scalars(select(Order.id).where(Order.items.any())))


def latest_each(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [
            session.scalars(
                select(Item.product).where(Item.order_id == order).order_by(Item.id.desc()).limit(1)
            ).one()
            for order in session.scalars(select(Order.id))
        ]


def latest_in_one(engine: Engine) -> list[str]:
    number = func.row_number().over(partition_by=Item.order_id, order_by=Item.id.desc())
    numbered = select(Item.product, number.label("n")).subquery()
    with Session(engine) as session:
        return list(session.scalars(select(numbered.c.product).where(numbered.c.n == 1)))


def grandchildren(engine: Engine) -> list[str]:
    with Session(engine) as session:
        customers = session.scalars(select(Customer)).all()
        orders: dict[int, list[Order]] = defaultdict(list)
        for order in session.scalars(select(Order)):
            orders[order.customer_id].append(order)
        return [i.product for c in customers for order in orders[c.id] for i in order.items]


def subquery_grandchildren(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(subqueryload(Order.items))).all()
        return [item.product for order in orders for item in order.items]


def people_of_departments(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [p.name for d in session.scalars(select(Department)) for p in d.people]


def people_loaded(engine: Engine) -> list[str]:
    loaded = selectinload(Department.people)
    with Session(engine) as session:
        departments = session.scalars(select(Department).options(loaded))
        return [person.name for department in departments for person in department.people]


def refreshed_collection(engine: Engine) -> int:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items))).all()
        for order in orders:
            session.refresh(order, ["items"])
        return sum(len(order.items) for order in orders)


def neighbours(engine: Engine) -> list[int]:
    """Every order with the one before it, through a query for each."""
    with Session(engine) as session:
        return [
            session.scalar(select(func.max(Order.id)).where(Order.id < order)) or 0
            for order in session.scalars(select(Order.id))
        ]


def neighbours_in_one(engine: Engine) -> list[int]:
    before = aliased(Order)
    largest = select(func.max(before.id)).where(before.id < Order.id).scalar_subquery()
    with Session(engine) as session:
        return [number or 0 for number in session.scalars(select(largest))]


ITEMS = ("queries grew with orders", r"items: 2, 8, 20", "linear, slope 1.00")

PAIRS = (
    Pair("one to many", lazy_items, selected_items, ITEMS, store, place="order.items"),
    Pair("the length of a collection", length_of_items, counted_items, ITEMS, store),
    Pair(
        "one collection of two",
        one_collection_of_two,
        both_collections,
        ("queries grew with orders", "notes: 2, 8, 20"),
        store,
        ("orders", "items", "notes"),
    ),
    Pair(
        "empty collections",
        empty_collections,
        any_notes,
        ("queries grew with orders", "notes: "),
        store,
        {"orders": 2, "notes": 0},
        scales={"orders": (2, 20, 60), "notes": (0, 1, 2)},
    ),
    Pair("a look for children each", existence_each, existence_in_one, ITEMS, store),
    Pair("the latest child each", latest_each, latest_in_one, ITEMS, store),
    Pair(
        "grandchildren",
        grandchildren,
        subquery_grandchildren,
        ("queries grew with orders",),
        store,
        ("orders", "customers", "items"),
    ),
    Pair(
        "people of departments",
        people_of_departments,
        people_loaded,
        ("queries grew with departments", "people: "),
        company,
        ("people", "departments"),
    ),
    Pair(
        "a collection that is refreshed each",
        refreshed_collection,
        selected_items,
        (
            "queries grew with orders",
            r"refresh\(\) of Order.items for every Order: let the query at",
        ),
        store,
    ),
    Pair("a neighbour each", neighbours, neighbours_in_one, ("queries grew with orders",), store),
)
