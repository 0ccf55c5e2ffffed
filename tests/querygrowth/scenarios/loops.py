"""Bad programs that send one query per item, in ways that hide it."""

from sqlalchemy import Engine, insert, select, text
from sqlalchemy.orm import Session, selectinload

from scenarios.scenario import Scenario
from scenarios.shop import Customer, Item, Note, Order, shop


def core_loop(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            product
            for order in orders
            for product in connection.scalars(select(Item.product).where(Item.order_id == order))
        ]


def lazy_load(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [item.product for order in session.scalars(select(Order)) for item in order.items]


def loop_under_one_parent(engine: Engine) -> list[Item | None]:
    """With one order and one item it sends two queries, which a budget of two allows."""
    with Session(engine) as session:
        items = session.scalars(select(Item.id).where(Item.order_id == 0)).all()
        return [session.get(Item, item) for item in items]


def loop_in_chunks(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            product
            for start in range(0, len(orders), 10)
            for product in connection.scalars(
                select(Item.product).where(Item.order_id.in_(orders[start : start + 10]))
            )
        ]


def literals_in_the_text(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [
            product
            for order in connection.scalars(select(Order.id)).all()
            for product in connection.scalars(
                text(f"SELECT product FROM items WHERE order_id = {order} /* order {order} */")
            )
        ]


def names_in_the_text(engine: Engine) -> list[str]:
    """No two statements have the same shape."""
    with engine.connect() as connection:
        return [
            product
            for order in connection.scalars(select(Order.id)).all()
            for product in connection.scalars(
                text(f"SELECT product AS of_{order} FROM items AS i{order} WHERE order_id = :o"),
                {"o": order},
            )
        ]


def one_dimension_left(engine: Engine) -> list[str]:
    """Items are fetched at once, but notes one order at a time."""
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items))).all()
        items = [item.product for order in orders for item in order.items]
        return items + [note.text for order in orders for note in order.notes]


def lists_of_500(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        keys = connection.scalars(select(Order.id)).all()
        items = select(Item.product).order_by(Item.id)
        return [
            product
            for start in range(0, len(keys), 500)
            for product in connection.scalars(
                items.where(Item.order_id.in_(keys[start : start + 500]))
            )
        ]


def behind_a_lock_step(engine: Engine) -> list[str]:
    """The loop is over customers. Every order adds a customer."""
    with Session(engine) as session:
        return [order.customer.name for order in session.scalars(select(Order))]


def lookup_kept_for_each_key(engine: Engine) -> list[str]:
    """A cache turns a query per order into a query per customer."""
    names: dict[int, str] = {}
    with engine.connect() as connection:
        owners = connection.scalars(select(Order.customer_id)).all()
        for owner in owners:
            if owner not in names:
                found = connection.scalar(select(Customer.name).where(Customer.id == owner))
                names[owner] = str(found)
    return [names[owner] for owner in owners]


def deferred_column(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return [order.remark for order in session.scalars(select(Order))]


def reload_after_commit(engine: Engine) -> list[str]:
    with Session(engine) as session:
        items = session.scalars(select(Item)).all()
        session.commit()
        return [item.product for item in items]


def two_checks_each(engine: Engine) -> int:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order in orders:
            connection.scalar(select(Item.id).where(Item.order_id == order).limit(1))
            connection.scalar(select(Note.id).where(Note.order_id == order).limit(1))
        return len(orders)


def insert_one_by_one(engine: Engine) -> int:
    with engine.begin() as connection:
        orders = connection.scalars(select(Order.id)).all()
        for order in orders:
            connection.execute(insert(Note).values(order_id=order, text="seen"))
        return len(orders)


def loop_under_an_allowance(engine: Engine) -> list[str]:
    """Declared as chunks of 500, but sent one by one: the total is what 500 orders would need."""
    return core_loop(engine)


BAD = (
    Scenario("a Core loop", core_loop, shop, "queries grew with orders"),
    Scenario("an ORM lazy load", lazy_load, shop, "queries grew with orders"),
    Scenario("a loop under one parent", loop_under_one_parent, shop, "queries grew with items"),
    Scenario("a loop in chunks of 10", loop_in_chunks, shop, "chunks of 10"),
    Scenario("literals in the text", literals_in_the_text, shop, "queries grew with orders"),
    Scenario("names in the text", names_in_the_text, shop, "queries grew with orders"),
    Scenario("one dimension left", one_dimension_left, shop, "notes: 2, 20, 60"),
    Scenario(
        "IN lists of 500",
        lists_of_500,
        shop,
        "IN lists split into chunks of 500",
        scales=(2, 20, 501),
    ),
    Scenario(
        "a loop behind a lock-step axis",
        behind_a_lock_step,
        shop,
        "queries grew with orders",
        axes={"orders": 2},
    ),
    Scenario(
        "a lookup kept for each key",
        lookup_kept_for_each_key,
        shop,
        "queries grew with customers",
        axes={"orders": 60, "customers": 2},
    ),
    Scenario("a deferred column", deferred_column, shop, "queries grew with orders"),
    Scenario("reloads after a commit", reload_after_commit, shop, "queries grew with items"),
    Scenario("two checks each", two_checks_each, shop, "queries grew with orders"),
    Scenario("inserts one by one", insert_one_by_one, shop, "INSERT INTO notes", writes=True),
    Scenario(
        "a loop under an allowance",
        loop_under_an_allowance,
        shop,
        "queries grew with orders",
        allowed={"items": {"chunk": 500}},
    ),
)
