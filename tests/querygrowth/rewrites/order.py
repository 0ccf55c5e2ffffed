"""Order, pages and limits."""

from collections.abc import Iterator, Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, joinedload, selectinload

from rewrites.models import Customer, Order
from rewrites.rewrite import Rewrite


def sorted_in_python(session: Session) -> list[int]:
    found = sorted(session.scalars(select(Order)), key=lambda order: (order.placed, order.id))
    return [order.id for order in found]


def sorted_in_sql(session: Session) -> list[int]:
    return list(session.scalars(select(Order.id).order_by(Order.placed, Order.id)))


def sorted_without_id(session: Session) -> list[int]:
    return list(session.scalars(select(Order.id).order_by(Order.placed)))


def sorted_descending(session: Session) -> list[int]:
    return list(session.scalars(select(Order.id).order_by(Order.placed, Order.id.desc())))


def by_day(session: Session) -> Sequence[int]:
    return session.scalars(select(Order.id).order_by(Order.placed)).all()


def by_day_and_id(session: Session) -> Sequence[int]:
    return session.scalars(select(Order.id).order_by(Order.placed, Order.id.desc())).all()


def by_nothing(session: Session) -> Sequence[int]:
    return session.scalars(select(Order.id)).all()


def by_day_backwards(session: Session) -> Sequence[int]:
    return session.scalars(select(Order.id).order_by(Order.placed.desc())).all()


def anyhow(session: Session) -> list[str]:
    return [customer.name for customer in session.scalars(select(Customer))]


def anyhow_sorted(session: Session) -> list[str]:
    return list(session.scalars(select(Customer.name).order_by(Customer.name, Customer.id)))


def anyhow_without_repeats(session: Session) -> list[str]:
    return list(session.scalars(select(Customer.name).distinct()))


def page(session: Session, number: int) -> list[int]:
    found = list(session.scalars(select(Order).order_by(Order.placed, Order.id)))
    return [order.id for order in found[2 * number : 2 * number + 2]]


def page_by_offset(session: Session, number: int) -> list[int]:
    query = select(Order.id).order_by(Order.placed, Order.id)
    return list(session.scalars(query.offset(2 * number).limit(2)))


def page_from_one(session: Session, number: int) -> list[int]:
    query = select(Order.id).order_by(Order.placed, Order.id)
    return list(session.scalars(query.offset(2 * max(number - 1, 0)).limit(2)))


def page_without_tie_break(session: Session, number: int) -> list[int]:
    query = select(Order.id).order_by(Order.placed)
    return list(session.scalars(query.offset(2 * number).limit(2)))


def after(session: Session, number: int) -> list[int]:
    last = session.get(Order, number)
    found = session.scalars(select(Order).order_by(Order.placed, Order.id))
    if last is None:
        return [order.id for order in found]
    return [o.id for o in found if (o.placed, o.id) > (last.placed, last.id)]


def after_keyset(session: Session, number: int) -> list[int]:
    last = session.get(Order, number)
    query = select(Order.id).order_by(Order.placed, Order.id)
    if last is not None:
        query = query.where(tuple_(Order.placed, Order.id) > tuple_(last.placed, last.id))
    return list(session.scalars(query))


def after_day_only(session: Session, number: int) -> list[int]:
    last = session.get(Order, number)
    query = select(Order.id).order_by(Order.placed, Order.id)
    if last is not None:
        query = query.where(Order.placed > last.placed)
    return list(session.scalars(query))


def first_with_orders(session: Session) -> list[tuple[str, int]]:
    found = session.scalars(select(Customer).order_by(Customer.id).limit(3))
    return [(customer.name, len(customer.orders)) for customer in found]


def first_with_orders_selectin(session: Session) -> list[tuple[str, int]]:
    query = select(Customer).order_by(Customer.id).limit(3)
    found = session.scalars(query.options(selectinload(Customer.orders)))
    return [(customer.name, len(customer.orders)) for customer in found]


def first_with_orders_joined(session: Session) -> list[tuple[str, int]]:
    query = select(Customer).order_by(Customer.id).limit(3)
    found = session.scalars(query.options(joinedload(Customer.orders))).unique()
    return [(customer.name, len(customer.orders)) for customer in found]


def first_of_a_join(session: Session) -> list[tuple[str, int]]:
    query = select(Customer).outerjoin(Customer.orders).order_by(Customer.id).limit(3)
    found = session.scalars(query.options(selectinload(Customer.orders))).unique()
    return [(customer.name, len(customer.orders)) for customer in found]


def stream(session: Session) -> Iterator[int]:
    for customer in session.scalars(select(Customer).order_by(Customer.id)):
        yield customer.id


def stream_of_numbers(session: Session) -> Iterator[int]:
    yield from session.scalars(select(Customer.id).order_by(Customer.id))


def stream_in_a_list(session: Session) -> list[int]:
    return list(session.scalars(select(Customer.id).order_by(Customer.id)))


def by_city(session: Session) -> list[int]:
    found = session.scalars(select(Customer).order_by(Customer.id)).all()
    return [c.id for c in sorted(found, key=lambda c: (c.city is None, c.city or ""))]


def by_city_nulls_last(session: Session) -> list[int]:
    query = select(Customer.id).order_by(Customer.city.nulls_last(), Customer.id)
    return list(session.scalars(query))


def by_city_nulls_first(session: Session) -> list[int]:
    return list(session.scalars(select(Customer.id).order_by(Customer.city, Customer.id)))


REWRITES = (
    Rewrite(
        sorted_in_python,
        right=(sorted_in_sql,),
        wrong={sorted_without_id: "order", sorted_descending: "order"},
        models=(Order,),
    ),
    Rewrite(
        by_day,
        right=(by_day_and_id, sorted_without_id),
        wrong={by_nothing: "order", by_day_backwards: "order"},
        models=(Order,),
    ),
    Rewrite(
        anyhow,
        right=(anyhow_sorted,),
        wrong={anyhow_without_repeats: "missing"},
        models=(Customer,),
    ),
    Rewrite(
        page,
        right=(page_by_offset,),
        wrong={page_from_one: "", page_without_tie_break: ""},
        models=(Order,),
        options={"arguments": {"number": [0, 1, 2]}, "values": {}},
    ),
    Rewrite(
        after,
        right=(after_keyset,),
        wrong={after_day_only: "missing"},
        models=(Order,),
        options={"arguments": {"number": Order.id}},
    ),
    Rewrite(
        first_with_orders,
        right=(first_with_orders_selectin, first_with_orders_joined),
        wrong={first_of_a_join: ""},
        models=(Customer, Order),
    ),
    Rewrite(
        stream,
        right=(stream_of_numbers,),
        wrong={stream_in_a_list: "type"},
        models=(Customer,),
    ),
    Rewrite(
        by_city,
        right=(by_city_nulls_last,),
        wrong={by_city_nulls_first: "order"},
        models=(Customer,),
    ),
)
