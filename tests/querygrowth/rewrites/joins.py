"""Loops of queries replaced by joins, and joins by window functions."""

from sqlalchemy import Connection, Row, func, literal, select, text, union, union_all
from sqlalchemy.orm import Session, aliased

from rewrites.models import Customer, Employee, Item, Order, Stock, Tag, Tenant
from rewrites.rewrite import Rewrite


def names_and_orders(session: Session) -> list[tuple[str, int]]:
    found = []
    for customer in session.scalars(select(Customer).order_by(Customer.id)):
        query = select(Order.id).where(Order.customer_id == customer.id).order_by(Order.id)
        found += [(customer.name, number) for number in session.scalars(query)]
    return found


def names_and_orders_joined(session: Session) -> list[tuple[str, int]]:
    query = select(Customer.name, Order.id).join(Customer.orders)
    return [(a, b) for a, b in session.execute(query.order_by(Customer.id, Order.id))]


def names_and_orders_by_name(session: Session) -> list[tuple[str, int]]:
    query = select(Customer.name, Order.id).join(Customer.orders)
    return [(a, b) for a, b in session.execute(query.order_by(Customer.name, Order.id))]


def names_and_orders_outer(session: Session) -> list[tuple[str, int]]:
    query = select(Customer.name, Order.id).outerjoin(Customer.orders)
    return [(a, b) for a, b in session.execute(query.order_by(Customer.id, Order.id))]


def names_and_orders_distinct(session: Session) -> list[tuple[str, int]]:
    query = select(Customer.name, func.min(Order.id)).join(Customer.orders)
    return [(a, b) for a, b in session.execute(query.group_by(Customer.id).order_by(Customer.id))]


def customers_with_orders(session: Session) -> list[str]:
    found = session.scalars(select(Customer).order_by(Customer.id))
    return [customer.name for customer in found if customer.orders]


def customers_with_orders_exists(session: Session) -> list[str]:
    query = select(Customer.name).where(Customer.orders.any()).order_by(Customer.id)
    return list(session.scalars(query))


def customers_with_orders_joined(session: Session) -> list[str]:
    return list(session.scalars(select(Customer.name).join(Customer.orders).order_by(Customer.id)))


def customers_with_orders_distinct_names(session: Session) -> list[str]:
    names = session.scalars(
        select(Customer.name)
        .join(Customer.orders)
        .group_by(Customer.name)
        .order_by(func.min(Customer.id))
    )
    return list(names)


def customers_without(session: Session) -> list[int]:
    taken = set(session.scalars(select(Order.customer_id)))
    return [n for n in session.scalars(select(Customer.id).order_by(Customer.id)) if n not in taken]


def customers_without_exists(session: Session) -> list[int]:
    query = select(Customer.id).where(~Customer.orders.any()).order_by(Customer.id)
    return list(session.scalars(query))


def customers_without_not_in(session: Session) -> list[int]:
    taken = select(Order.customer_id)
    query = select(Customer.id).where(Customer.id.not_in(taken)).order_by(Customer.id)
    return list(session.scalars(query))


def latest_orders(session: Session) -> list[tuple[int, int]]:
    found = []
    for number in session.scalars(select(Customer.id).order_by(Customer.id)):
        query = select(Order.id).where(Order.customer_id == number)
        latest = session.scalars(query.order_by(Order.placed.desc(), Order.id).limit(1)).first()
        if latest is not None:
            found.append((number, latest))
    return found


def latest_orders_by_window(session: Session) -> list[tuple[int, int]]:
    place = func.row_number().over(
        partition_by=Order.customer_id, order_by=[Order.placed.desc(), Order.id]
    )
    ranked = select(Order.customer_id, Order.id, place.label("place")).subquery()
    query = select(ranked.c.customer_id, ranked.c.id).where(
        ranked.c.place == 1, ranked.c.customer_id.is_not(None)
    )
    return [(a, b) for a, b in session.execute(query.order_by(ranked.c.customer_id))]


def latest_orders_without_tie_break(session: Session) -> list[tuple[int, int]]:
    place = func.row_number().over(partition_by=Order.customer_id, order_by=Order.placed.desc())
    ranked = select(Order.customer_id, Order.id, place.label("place")).subquery()
    query = select(ranked.c.customer_id, ranked.c.id).where(
        ranked.c.place == 1, ranked.c.customer_id.is_not(None)
    )
    return [(a, b) for a, b in session.execute(query.order_by(ranked.c.customer_id))]


def latest_orders_by_rank(session: Session) -> list[tuple[int, int]]:
    place = func.rank().over(partition_by=Order.customer_id, order_by=Order.placed.desc())
    ranked = select(Order.customer_id, Order.id, place.label("place")).subquery()
    query = select(ranked.c.customer_id, ranked.c.id).where(
        ranked.c.place == 1, ranked.c.customer_id.is_not(None)
    )
    return [(a, b) for a, b in session.execute(query.order_by(ranked.c.customer_id, ranked.c.id))]


def latest_orders_with_null(session: Session) -> list[tuple[int, int]]:
    place = func.row_number().over(
        partition_by=Order.customer_id, order_by=[Order.placed.desc(), Order.id]
    )
    ranked = select(Order.customer_id, Order.id, place.label("place")).subquery()
    query = select(ranked.c.customer_id, ranked.c.id).where(ranked.c.place == 1)
    return [(a, b) for a, b in session.execute(query.order_by(ranked.c.customer_id))]


def bosses(session: Session) -> list[tuple[int, int | None]]:
    found = []
    for each in session.scalars(select(Employee).order_by(Employee.id)):
        boss = session.get(Employee, each.manager_id) if each.manager_id else None
        found.append((each.id, boss.salary if boss else None))
    return found


def bosses_joined(session: Session) -> list[tuple[int, int | None]]:
    boss = aliased(Employee)
    query = select(Employee.id, boss.salary).outerjoin(boss, Employee.manager_id == boss.id)
    return [(a, b) for a, b in session.execute(query.order_by(Employee.id))]


def bosses_the_wrong_way(session: Session) -> list[tuple[int, int | None]]:
    boss = aliased(Employee)
    query = select(Employee.id, boss.salary).outerjoin(boss, boss.manager_id == Employee.id)
    return [(a, b) for a, b in session.execute(query.order_by(Employee.id))]


def stock_of(connection: Connection, tenant_id: int, code: str) -> list[int]:
    own = connection.scalars(
        select(Stock.amount).where(Stock.tenant_id == tenant_id, Stock.code == code)
    )
    return [*own, *connection.scalars(select(Tenant.id).order_by(Tenant.id))]


def stock_of_joined(connection: Connection, tenant_id: int, code: str) -> list[int]:
    first = select(Stock.amount, literal(0), literal(0)).where(
        Stock.tenant_id == tenant_id, Stock.code == code
    )
    rest = select(Tenant.id, literal(1), Tenant.id)
    query = union_all(first, rest)
    return [row[0] for row in connection.execute(query.order_by(text("2"), text("3")))]


def stock_of_any_tenant(connection: Connection, tenant_id: int, code: str) -> list[int]:
    own = connection.scalars(select(Stock.amount).where(Stock.code == code).order_by(Stock.id))
    return [*own, *connection.scalars(select(Tenant.id).order_by(Tenant.id))]


def stock_of_union(connection: Connection, tenant_id: int, code: str) -> list[int]:
    first = select(Stock.amount).where(Stock.tenant_id == tenant_id, Stock.code == code)
    rest = connection.scalars(union(first, select(Tenant.id)))
    return list(rest)


def items_twice(session: Session) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for order in session.scalars(select(Order).order_by(Order.id)):
        found.append((len(order.items), len(order.tags)))
    return found


def items_counted(session: Session) -> list[tuple[int, int]]:
    from rewrites.models import order_tags

    items = select(func.count(Item.id)).where(Item.order_id == Order.id).scalar_subquery()
    tags = select(func.count()).where(order_tags.c.order_id == Order.id).scalar_subquery()
    return [
        (a, b)
        for a, b in session.execute(select(items, tags).select_from(Order).order_by(Order.id))
    ]


def items_multiplied(session: Session) -> list[tuple[int, int]]:
    from rewrites.models import order_tags

    query = (
        select(func.count(Item.id), func.count(order_tags.c.tag_id))
        .select_from(Order)
        .outerjoin(Item, Item.order_id == Order.id)
        .outerjoin(order_tags, order_tags.c.order_id == Order.id)
        .group_by(Order.id)
        .order_by(Order.id)
    )
    return [(a, b) for a, b in session.execute(query)]


def rows(session: Session) -> list[Row[tuple[int, str]]]:
    return list(session.execute(select(Customer.id, Customer.name).order_by(Customer.id)))


def rows_as_tuples(session: Session) -> list[tuple[int, str]]:
    found = session.scalars(select(Customer).order_by(Customer.id))
    return [(customer.id, customer.name) for customer in found]


def rows_as_lists(session: Session) -> list[list[object]]:
    found = session.scalars(select(Customer).order_by(Customer.id))
    return [[customer.id, customer.name] for customer in found]


REWRITES = (
    Rewrite(
        names_and_orders,
        right=(names_and_orders_joined,),
        wrong={
            names_and_orders_by_name: "order",
            names_and_orders_outer: "added",
            names_and_orders_distinct: "missing",
        },
        models=(Customer, Order),
    ),
    Rewrite(
        customers_with_orders,
        right=(customers_with_orders_exists,),
        wrong={
            customers_with_orders_joined: "repeated",
            customers_with_orders_distinct_names: "missing",
        },
        models=(Customer, Order),
    ),
    Rewrite(
        customers_without,
        right=(customers_without_exists,),
        wrong={customers_without_not_in: "missing"},
        models=(Customer, Order),
    ),
    Rewrite(
        latest_orders,
        right=(latest_orders_by_window,),
        wrong={
            latest_orders_without_tie_break: "value",
            latest_orders_by_rank: "added",
            latest_orders_with_null: "added",
        },
        models=(Customer, Order),
    ),
    Rewrite(
        bosses,
        right=(bosses_joined,),
        wrong={bosses_the_wrong_way: ""},
        models=(Employee,),
    ),
    Rewrite(
        stock_of,
        right=(stock_of_joined,),
        wrong={stock_of_any_tenant: "added", stock_of_union: ""},
        models=(Stock, Tenant),
        options={"arguments": {"tenant_id": Tenant.id, "code": Stock.code}},
    ),
    Rewrite(
        items_twice,
        right=(items_counted,),
        wrong={items_multiplied: ""},
        models=(Order, Item, Tag),
    ),
    Rewrite(rows, right=(rows_as_tuples,), wrong={rows_as_lists: "type"}, models=(Customer,)),
)
