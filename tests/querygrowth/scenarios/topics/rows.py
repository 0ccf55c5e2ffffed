"""Fetched rows: those that are thrown away, those that multiply, and those that are all needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from sqlalchemy import Engine, StaticPool, create_engine, exists, func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from querygrowth.contracts.contract import QueryContract
from scenarios.pair import Pair
from scenarios.shop import Customer, Item, Note, Order
from scenarios.store import store


def first_ten(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).order_by(Item.id)))[:10]


def limit_ten(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).order_by(Item.id).limit(10)))


def filtered_in_python(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        rows = connection.execute(select(Order.id, Order.customer_id))
        return [str(row.id) for row in rows if row.customer_id == 0]


def filtered(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [str(n) for n in connection.scalars(select(Order.id).where(Order.customer_id == 0))]


def keys_filtered_in_python(engine: Engine) -> list[int]:
    """One key, which may as well be a figure made of all rows, but it is the same at every size."""
    with Session(engine) as session:
        return [order.id for order in session.scalars(select(Order)) if order.id == 1][:5]


def keys_filtered(engine: Engine) -> list[int]:
    with Session(engine) as session:
        return list(session.scalars(select(Order.id).where(Order.id == 1).limit(5)))


def nothing_left_to_change(engine: Engine) -> bool:
    """Every product is as it has to be, and all have to be read to know that."""
    with Session(engine) as session:
        for item in session.scalars(select(Item)):
            if not item.product:
                item.product = "unnamed"
        session.commit()
        return True


def any_by_fetching(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalars(select(Item.id)).all())


def any_by_exists(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(select(exists().select_from(Item))))


def every_other_thrown_away(engine: Engine) -> list[str]:
    """Half of the rows are used at every size: a share that stays the same is no growth."""
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).order_by(Item.id)))[::2]


def last_in_python(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [connection.scalars(select(Item.product).order_by(Item.id)).all()[-1]]


def last_in_sql(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).order_by(Item.id.desc()).limit(1)))


def two_collections_joined(engine: Engine) -> list[Order]:
    both = (joinedload(Order.items), joinedload(Order.notes))
    with Session(engine) as session:
        return list(session.scalars(select(Order).options(*both)).unique())


def two_collections_selected(engine: Engine) -> list[Order]:
    both = (selectinload(Order.items), selectinload(Order.notes))
    with Session(engine) as session:
        return list(session.scalars(select(Order).options(*both)))


def product_of_core_joins(engine: Engine) -> set[tuple[str, int]]:
    joined = (
        select(Item.id.label("item"), Note.id.label("note"))
        .join(Order, Order.id == Item.order_id)
        .join(Note, Note.order_id == Order.id)
    )
    with engine.connect() as connection:
        rows = connection.execute(joined).all()
    return {("item", row.item) for row in rows} | {("note", row.note) for row in rows}


def items_and_notes(engine: Engine) -> set[tuple[str, int]]:
    with engine.connect() as connection:
        items = connection.scalars(select(Item.id)).all()
        notes = connection.scalars(select(Note.id)).all()
    return {("item", item) for item in items} | {("note", note) for note in notes}


def missing_condition(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        rows = connection.execute(select(Order.id, Item.order_id, Item.product).select_from(Order)
                                  .join(Item, Item.id >= 0))  # fmt: skip
        return [row.product for row in rows if row.id == row.order_id]


def joined(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.product).join(Order, Order.id == Item.order_id)))


def one_text(engine: Engine) -> str:
    with engine.connect() as connection:
        return "\n".join(connection.scalars(select(Item.product)))


def one_text_in_a_dict(engine: Engine) -> dict[str, str]:
    return {"report": one_text(engine)}


def one_count(engine: Engine) -> int:
    """The number of different products is the same at every size."""
    with engine.connect() as connection:
        return len({product[:1] for product in connection.scalars(select(Item.product))})


def one_sum(engine: Engine) -> float:
    with engine.connect() as connection:
        return sum(0.5 for _ in connection.scalars(select(Item.product)))


def one_median(engine: Engine) -> float:
    with engine.connect() as connection:
        return median(connection.scalars(select(Item.id)))


def medians(engine: Engine) -> dict[int, float]:
    found: dict[int, list[int]] = {}
    with engine.connect() as connection:
        for customer, item in connection.execute(
            select(Order.customer_id, Item.id).join(Item, Item.order_id == Order.id)
        ):
            found.setdefault(customer, []).append(item)
    return {customer: median(items) for customer, items in found.items()}


def summary(engine: Engine) -> tuple[int, int]:
    with engine.connect() as connection:
        items = connection.scalars(select(Item.id)).all()
    return min(items), len(items) and 1


def nothing_returned(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.scalars(select(Item.id)).all()


def tops_in_a_list(engine: Engine) -> list[float]:
    """A list of one median."""
    return [one_median(engine)]


def reference_table(engine: Engine) -> list[str]:
    """A small table is read whole beside a page of the large one."""
    with engine.connect() as connection:
        rows = connection.execute(select(Customer.id, Customer.name))
        names = {row.id: row.name for row in rows}
        page = select(Order.customer_id).order_by(Order.id).limit(2)
        return [names[customer] for customer in connection.scalars(page)]


def nested_result(engine: Engine) -> list[dict[str, object]]:
    loaded = selectinload(Order.items)
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(loaded))
        return [{"id": o.id, "items": [item.product for item in o.items]} for o in orders]


def counts_of_children(engine: Engine) -> list[tuple[int, int]]:
    """A count for each order, from all items: a count can be asked for, but nothing is lost."""
    with engine.connect() as connection:
        counted = select(Order.id, func.count(Item.id)).outerjoin(Order.items).group_by(Order.id)
        return [(order, count) for order, count in connection.execute(counted)]


def totals(engine: Engine) -> list[dict[str, int]]:
    """A total for each order, from all of its items: the rows grow faster than the records."""
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [{"id": order.id, "total": sum(i.id for i in order.items)} for order in orders]


def counts_as_texts(engine: Engine) -> list[str]:
    """A line for each order, with the number of its items."""
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [f"order {order.id}: {len(order.items)} items" for order in orders]


def totals_as_texts(engine: Engine) -> list[dict[str, str]]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [{"order": "a", "sum": f"EUR {sum(i.id for i in o.items)}.00"} for o in orders]


def kinds_in_a_list(engine: Engine) -> list[tuple[str, int]]:
    """For each order the number of its different products, which is 1 at every size."""
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [(f"{o.customer_id}", len({i.product[:1] for i in o.items})) for o in orders]


@contextmanager
def shared(**sizes: int) -> Iterator[Engine]:
    """The store on one connection for all, as applications have it in their tests."""
    with store(**sizes) as engine, engine.connect() as connection:
        driver = connection.connection.driver_connection
        yield create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool)


def first_ten_numbers(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.id).order_by(Item.id)))[:10]


def limit_ten_numbers(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(Item.id).order_by(Item.id).limit(10)))


THROWN_AWAY = ("fetched rows grew", "rows fetched only to be thrown away", r"allow_rows\(")
MULTIPLIED = ("fetched rows grew faster than", "joins that multiply")

PAIRS = (
    Pair("the first ten of all", first_ten, limit_ten, THROWN_AWAY, store, place="Item.product"),
    Pair(
        "the first ten of 501", first_ten, limit_ten, THROWN_AWAY, store, ("orders",),
        scales=(2, 20, 501),
    ),
    Pair(
        "a filter in Python",
        filtered_in_python,
        filtered,
        THROWN_AWAY,
        store,
        {"orders": 2},
    ),
    Pair(
        "keys filtered in Python", keys_filtered_in_python, keys_filtered, THROWN_AWAY, store,
        ("customers", "orders"), place="session.scalars(select(Order)) if",
    ),
    Pair(
        "keys filtered in Python, of one axis", keys_filtered_in_python, keys_filtered, THROWN_AWAY,
        store, ("orders",),
    ),
    Pair("a count for each order as a text", None, counts_as_texts, (), store),
    Pair("a count for each of two orders as a text", None, counts_as_texts, (), store, ("items",)),
    Pair("a total for each order as a text", None, totals_as_texts, (), store),
    Pair("different products of each of two orders", None, kinds_in_a_list, (), store, ("items",)),
    Pair("a total for each order, on a shared connection", None, totals_as_texts, (), shared),
    Pair("a median for each customer, on one too", None, medians, (), shared, ("orders", "items")),
    Pair("nothing left to change", None, nothing_left_to_change, (), store, writes=True),
    Pair("yes or no by fetching", any_by_fetching, any_by_exists, THROWN_AWAY, store),
    Pair("the last of all", last_in_python, last_in_sql, THROWN_AWAY, store),
    Pair(
        "two collections joined",
        two_collections_joined,
        two_collections_selected,
        ("fetched rows grew faster than the rows of the tables along items and notes together",),
        store,
        ("orders", "items", "notes"),
    ),
    Pair(
        "two collections joined, of two axes",
        two_collections_joined,
        two_collections_selected,
        ("fetched rows grew faster than", "items and notes together"),
        store,
        ("items", "notes"),
    ),
    Pair(
        "a product of joins",
        product_of_core_joins,
        items_and_notes,
        ("fetched rows grew faster than records along items and notes together",),
        store,
        ("orders", "items", "notes"),
    ),
    Pair("a missing join condition", missing_condition, joined, MULTIPLIED, store),
    Pair("the first ten numbers", first_ten_numbers, limit_ten_numbers, THROWN_AWAY, store),
    Pair("a total for each order", None, totals, (), store),
    Pair("a total for each of two orders", None, totals, (), store, ("items",)),
    Pair("every second row", None, every_other_thrown_away, (), store),
    Pair("one text of all rows", None, one_text, (), store),
    Pair("one text in a dict", None, one_text_in_a_dict, (), store),
    Pair("one count of all rows", None, one_count, (), store),
    Pair("one sum of all rows", None, one_sum, (), store),
    Pair("one median of all rows", None, one_median, (), store),
    Pair("a median for each customer", None, medians, (), store, ("orders", "customers")),
    Pair("a median for each of two customers", None, medians, (), store, ("items",)),
    Pair("a summary of two numbers", None, summary, (), store),
    Pair("a result of None", None, nothing_returned, (), store),
    Pair("a nested result", None, nested_result, (), store),
    Pair("counts of children", None, counts_of_children, (), store),
    Pair("one median in a list", None, tops_in_a_list, (), store),
    Pair(
        "a reference table beside a page",
        reference_table,
        reference_table,
        THROWN_AWAY,
        store,
        ("orders", "customers"),
        twin_contract=QueryContract().allow_rows("customers"),
    ),
)  # fmt: skip
