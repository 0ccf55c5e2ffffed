"""Pages, chunks and searches: counts that grow in steps, slowly, or up to a level."""

from collections.abc import Iterable
from math import isqrt

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, selectinload

from querygrowth.contracts.contract import QueryContract
from scenarios.billing import Client, Invoice, billing
from scenarios.pair import Pair
from scenarios.shop import Customer, Item, Order
from scenarios.store import store


def pages_by_offset(engine: Engine) -> list[str]:
    products: list[str] = []
    with engine.connect() as connection:
        while True:
            page = select(Item.product).order_by(Item.id).limit(5).offset(len(products))
            found = connection.scalars(page).all()
            products += found
            if len(found) < 5:
                return products


def pages_by_key(engine: Engine) -> list[str]:
    products: list[str] = []
    last = -1
    with engine.connect() as connection:
        while True:
            page = select(Item.id, Item.product).where(Item.id > last).order_by(Item.id).limit(5)
            rows = connection.execute(page).all()
            products += [row.product for row in rows]
            if not rows:
                return products
            last = rows[-1].id


def pages_until_an_empty_one(engine: Engine) -> list[str]:
    """It asks for another page after one that is not full."""
    found: list[str] = []
    last = -1
    with engine.connect() as connection:
        query = select(Item.id, Item.product).order_by(Item.id).limit(7)
        while page := connection.execute(query.where(Item.id > last)).all():
            found += [item.product for item in page]
            last = page[-1].id
    return found


def one_page(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        connection.scalar(select(func.count()).select_from(Item))
        return list(connection.scalars(select(Item.product).order_by(Item.id).limit(5)))


def customers_of_a_page(engine: Engine) -> list[str]:
    """A page of ten with a query for each row: the count levels off at 11."""
    with Session(engine) as session:
        page = session.scalars(select(Order).order_by(Order.id).limit(10)).all()
        return [order.customer.name for order in page]


def customers_of_a_page_loaded(engine: Engine) -> list[str]:
    with Session(engine) as session:
        page = select(Order).options(selectinload(Order.customer)).order_by(Order.id).limit(10)
        return [order.customer.name for order in session.scalars(page)]


def chunks_of_four(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            product
            for start in range(0, len(orders), 4)
            for product in connection.scalars(
                select(Item.product).where(Item.order_id.in_(orders[start : start + 4]))
            )
        ]


def chunks_of_62(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.id)).all()
        return [
            product
            for start in range(0, len(orders), 62)
            for product in connection.scalars(
                select(Item.product).where(Item.order_id.in_(orders[start : start + 62]))
            )
        ]


def loop_declared_as_chunks(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [
            product
            for order in connection.scalars(select(Order.id)).all()
            for product in connection.scalars(select(Item.product).where(Item.order_id == order))
        ]


def selected_items(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order).options(selectinload(Order.items)))
        return [item.product for order in orders for item in order.items]


def items_in_lists_of_500(engine: Engine) -> list[str]:
    with Session(engine) as session:
        orders = session.scalars(select(Order.id)).all()
        found: list[str] = []
        for start in range(0, len(orders), 500):
            chunk = orders[start : start + 500]
            found += session.scalars(select(Item.product).where(Item.order_id.in_(chunk)))
        return found


def labels_of_each_client(engine: Engine) -> list[str]:
    """The options are right, but the query that has them is sent for each client."""
    options = selectinload(Client.invoices).selectinload(Invoice.labels)
    with Session(engine) as session:
        clients = [
            session.scalars(select(Client).where(Client.id == number).options(options)).one()
            for number in session.scalars(select(Client.id)).all()
        ]
        return _labels(clients)


def labels_of_all_clients(engine: Engine) -> list[str]:
    options = selectinload(Client.invoices).selectinload(Invoice.labels)
    with Session(engine) as session:
        return _labels(session.scalars(select(Client).options(options)))


def _labels(clients: Iterable[Client]) -> list[str]:
    return [label.name for client in clients for bill in client.invoices for label in bill.labels]


def halved(engine: Engine) -> list[int]:
    """A search that halves its range with a query for each step."""
    with engine.connect() as connection:
        low, high = 0, connection.scalar(select(func.max(Order.id))) or 0
        while low < high:
            middle = (low + high) // 2
            connection.scalar(select(Order.customer_id).where(Order.id == middle))
            low = middle + 1
        return [low]


def found_in_one(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [connection.scalar(select(Order.id).order_by(Order.id.desc()).limit(1)) or 0]


def square_root(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        orders = connection.scalar(select(func.count()).select_from(Order)) or 0
        return [
            connection.scalar(select(func.count()).where(Item.order_id == number)) or 0
            for number in range(isqrt(orders))
        ]


def counted(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(select(func.count(Item.id)).group_by(Item.order_id)))


def first_three(engine: Engine) -> list[str]:
    """Only three customers are ever looked up, but one by one."""
    with engine.connect() as connection:
        orders = connection.scalars(select(Order.customer_id).order_by(Order.id)).all()
        return [
            connection.scalars(select(Customer.name).where(Customer.id == customer)).one()
            for customer in orders[:3]
        ]


ITEMS = QueryContract().allow("items", chunk=4)

PAIRS = (
    Pair(
        "pages by offset",
        pages_by_offset,
        pages_by_offset,
        ("queries grew with orders", "items: ", "declare it"),
        store,
        twin_contract=QueryContract().allow("items", page=5),
    ),
    Pair(
        "pages by key",
        pages_by_key,
        pages_by_key,
        ("queries grew with orders", "items: "),
        store,
        twin_contract=QueryContract().allow("items", page=5),
    ),
    Pair(
        "pages until an empty one",
        pages_until_an_empty_one,
        pages_until_an_empty_one,
        ("pages of items: read larger ones", r"allow\('items', page=...\)"),
        store,
        ("orders",),
        contract=QueryContract(per_table=1),
        twin_contract=QueryContract(per_table=1).allow("items", page=7),
    ),
    Pair("one page and a count", None, one_page, (), store),
    Pair(
        "the customers of a page",
        customers_of_a_page,
        customers_of_a_page_loaded,
        (
            "queries grew with orders",
            "levels off at 10",
            r"joinedload\(Order\.customer\)",
        ),
        store,
        ("orders",),
        scales=(2, 20, 60),
    ),
    Pair(
        "the customers of a page, of two axes",
        customers_of_a_page,
        customers_of_a_page_loaded,
        ("queries grew with orders and customers together", "levels off at 10"),
        store,
        ("orders", "customers"),
        scales=(2, 20, 60),
    ),
    Pair(
        "chunks of four",
        chunks_of_four,
        chunks_of_four,
        ("queries grew with orders", "stepwise, chunks of 4", r"allow\('items', chunk=...\)"),
        store,
        twin_contract=ITEMS,
    ),
    Pair(
        "chunks of 62",
        chunks_of_62,
        chunks_of_62,
        ("queries grew with orders", "stepwise, chunks of 56 to 62"),
        store,
        ("orders",),
        scales=(2, 20, 501),
        twin_contract=QueryContract().allow("items", chunk=62),
    ),
    Pair(
        "a loop declared as chunks",
        loop_declared_as_chunks,
        chunks_of_four,
        ("queries grew with orders", "but items in chunks of 4"),
        store,
        contract=ITEMS,
    ),
    Pair(
        "selectinload past 500 parents",
        items_in_lists_of_500,
        selected_items,
        ("queries grew with orders", "IN lists split into chunks of 500"),
        store,
        ("orders",),
        scales=(2, 20, 501),
    ),
    Pair(
        "selectinload of two levels for each parent",
        labels_of_each_client,
        labels_of_all_clients,
        ("queries grew with clients", "\nlook at: a loop that queries clients once per item"),
        billing,
        ("clients",),
    ),
    Pair(
        "selectinload of two levels past 1,000 parents",
        None,
        labels_of_all_clients,
        (),
        billing,
        ("clients",),
        scales=(2, 20, 501, 1_002),
    ),
    Pair(
        "a search by halves",
        halved,
        found_in_one,
        ("queries grew with orders", "logarithmic", "a search that queries orders"),
        store,
        ("orders",),
        scales=(2, 20, 501),
    ),
    Pair(
        "a square root of the items",
        square_root,
        counted,
        ("queries grew with orders", r"n\^0\.\d+ to n\^0\.\d+"),
        store,
        ("orders",),
        scales=(2, 20, 501),
    ),
    Pair(
        "the first three",
        first_three,
        customers_of_a_page_loaded,
        ("queries grew with", "customers: 2, 3, 3", "levels off at 3"),
        store,
        ("orders",),
    ),
)
