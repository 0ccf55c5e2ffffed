"""Sums, counts and groups in Python replaced by aggregates."""

from collections import Counter
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rewrites.models import Customer, Item, Order
from rewrites.rewrite import Rewrite


def revenue(session: Session) -> Decimal:
    return sum((order.total for order in session.scalars(select(Order)) if order.total), Decimal(0))


def revenue_by_sum(session: Session) -> Any:
    return session.scalar(select(func.coalesce(func.sum(Order.total), Decimal(0))))


def revenue_or_null(session: Session) -> Any:
    return session.scalar(select(func.sum(Order.total)))


def revenue_as_float(session: Session) -> Any:
    return float(session.scalar(select(func.coalesce(func.sum(Order.total), Decimal(0)))) or 0)


def priced(session: Session) -> int:
    return sum(item.price is not None for item in session.scalars(select(Item)))


def priced_by_count(session: Session) -> Any:
    return session.scalar(select(func.count(Item.price)))


def priced_by_count_of_rows(session: Session) -> Any:
    return session.scalar(select(func.count()).select_from(Item))


def priced_distinct(session: Session) -> Any:
    return session.scalar(select(func.count(Item.price.distinct())))


def per_status(session: Session) -> dict[str | None, int]:
    return dict(Counter(session.scalars(select(Order.status))))


def per_status_grouped(session: Session) -> dict[str | None, int]:
    query = select(Order.status, func.count()).group_by(Order.status)
    return {status: count for status, count in session.execute(query)}  # noqa: C416


def per_status_without_null(session: Session) -> dict[str | None, int]:
    query = select(Order.status, func.count(Order.status)).group_by(Order.status)
    return {status: count for status, count in session.execute(query)}  # noqa: C416


def per_status_folded(session: Session) -> dict[str | None, int]:
    query = select(func.lower(Order.status), func.count()).group_by(func.lower(Order.status))
    return {status: count for status, count in session.execute(query)}  # noqa: C416


def per_customer(session: Session) -> list[tuple[int, int]]:
    found = session.scalars(select(Customer).order_by(Customer.id))
    return [(customer.id, len(customer.orders)) for customer in found]


def per_customer_outer(session: Session) -> list[tuple[int, int]]:
    query = select(Customer.id, func.count(Order.id)).outerjoin(Customer.orders)
    query = query.group_by(Customer.id).order_by(Customer.id)
    return [(a, b) for a, b in session.execute(query)]


def per_customer_star(session: Session) -> list[tuple[int, int]]:
    query = select(Customer.id, func.count()).outerjoin(Customer.orders)
    query = query.group_by(Customer.id).order_by(Customer.id)
    return [(a, b) for a, b in session.execute(query)]


def per_customer_inner(session: Session) -> list[tuple[int, int]]:
    query = select(Customer.id, func.count()).join(Customer.orders)
    query = query.group_by(Customer.id).order_by(Customer.id)
    return [(a, b) for a, b in session.execute(query)]


def mean(session: Session) -> float | None:
    prices = [price for price in session.scalars(select(Item.price)) if price is not None]
    return sum(prices) / len(prices) if prices else None


def mean_by_avg(session: Session) -> Any:
    return session.scalar(select(func.avg(Item.price)))


def mean_of_all(session: Session) -> Any:
    return session.scalar(select(func.avg(func.coalesce(Item.price, 0))))


def highest(session: Session) -> list[int]:
    prices = list(session.scalars(select(Item.price)))
    top = max((price for price in prices if price is not None), default=0)
    return sorted(i.id for i in session.scalars(select(Item)) if i.price == top)


def highest_in_sql(session: Session) -> list[int]:
    top = select(func.max(Item.price)).scalar_subquery()
    return list(session.scalars(select(Item.id).where(Item.price == top).order_by(Item.id)))


def highest_first(session: Session) -> list[int]:
    query = select(Item.id).where(Item.price.is_not(None)).order_by(Item.price.desc())
    return list(session.scalars(query.limit(1)))


def cities(session: Session) -> set[str | None]:
    return {customer.city for customer in session.scalars(select(Customer))}


def cities_distinct(session: Session) -> set[str | None]:
    return set(session.scalars(select(Customer.city).distinct()))


def cities_as_list(session: Session) -> list[str | None]:
    return list(session.scalars(select(Customer.city).distinct()))


REWRITES = (
    Rewrite(
        revenue,
        right=(revenue_by_sum,),
        wrong={revenue_or_null: "value", revenue_as_float: "type"},
        models=(Order,),
    ),
    Rewrite(
        priced,
        right=(priced_by_count,),
        wrong={priced_by_count_of_rows: "value", priced_distinct: "value"},
        models=(Item,),
    ),
    Rewrite(
        per_status,
        right=(per_status_grouped,),
        wrong={per_status_without_null: "value", per_status_folded: ""},
        models=(Order,),
    ),
    Rewrite(
        per_customer,
        right=(per_customer_outer,),
        wrong={per_customer_star: "value", per_customer_inner: "missing"},
        models=(Customer, Order),
    ),
    Rewrite(mean, right=(mean_by_avg,), wrong={mean_of_all: "value"}, models=(Item,)),
    Rewrite(
        highest,
        right=(highest_in_sql,),
        wrong={highest_first: "missing"},
        models=(Item,),
        options={"values": {"items.price": [1, 1, 2, None]}},
    ),
    Rewrite(
        cities,
        right=(cities_distinct,),
        wrong={cities_as_list: "type"},
        models=(Customer,),
    ),
)
