"""Filters in Python replaced by WHERE, where NULL, case and types differ."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import case, func, or_, select, text
from sqlalchemy.orm import Session

from rewrites.models import Customer, Item, Order, Size
from rewrites.rewrite import Rewrite


def not_paid(session: Session) -> Sequence[int]:
    found = session.scalars(select(Order).order_by(Order.id))
    return [order.id for order in found if order.status != "paid"]


def not_paid_or_null(session: Session) -> Sequence[int]:
    query = select(Order.id).where(or_(Order.status != "paid", Order.status.is_(None)))
    return session.scalars(query.order_by(Order.id)).all()


def not_paid_and_not_null(session: Session) -> Sequence[int]:
    return session.scalars(select(Order.id).where(Order.status != "paid").order_by(Order.id)).all()


def not_paid_by_not_in(session: Session) -> Sequence[int]:
    query = select(Order.id).where(Order.status.not_in(["paid", "PAID"]))
    return session.scalars(query.order_by(Order.id)).all()


def named(session: Session) -> Sequence[int]:
    found = session.scalars(select(Customer).order_by(Customer.id))
    return [customer.id for customer in found if customer.name.startswith("Ann")]


def named_exactly(session: Session) -> Sequence[int]:
    query = select(Customer.id).where(func.substr(Customer.name, 1, 3) == "Ann")
    return session.scalars(query.order_by(Customer.id)).all()


def named_like(session: Session) -> Sequence[int]:
    query = select(Customer.id).where(Customer.name.like("Ann%"))
    return session.scalars(query.order_by(Customer.id)).all()


def from_somewhere(session: Session, city: str) -> Sequence[int]:
    found = session.scalars(select(Customer).order_by(Customer.id))
    return [customer.id for customer in found if city in (customer.city or "")]


def from_somewhere_instr(session: Session, city: str) -> Sequence[int]:
    found = func.instr(func.coalesce(Customer.city, ""), city) > 0
    return session.scalars(select(Customer.id).where(found).order_by(Customer.id)).all()


def from_somewhere_like(session: Session, city: str) -> Sequence[int]:
    query = select(Customer.id).where(Customer.city.like(f"%{city}%")).order_by(Customer.id)
    return session.scalars(query).all()


def recent(session: Session) -> Sequence[int]:
    found = session.scalars(select(Order).order_by(Order.id))
    return [order.id for order in found if date(2024, 1, 1) <= order.placed < date(2024, 1, 31)]


def recent_half_open(session: Session) -> Sequence[int]:
    query = select(Order.id).where(
        Order.placed >= date(2024, 1, 1), Order.placed < date(2024, 1, 31)
    )
    return session.scalars(query.order_by(Order.id)).all()


def recent_between(session: Session) -> Sequence[int]:
    query = select(Order.id).where(Order.placed.between(date(2024, 1, 1), date(2024, 1, 31)))
    return session.scalars(query.order_by(Order.id)).all()


def large(session: Session) -> Sequence[int]:
    found = session.scalars(select(Order).order_by(Order.id))
    return [o.id for o in found if o.size is Size.LARGE and (o.total or 0) > 10]


def large_in_sql(session: Session) -> Sequence[int]:
    query = select(Order.id).where(Order.size == Size.LARGE, Order.total > 10)
    return session.scalars(query.order_by(Order.id)).all()


def large_or_equal(session: Session) -> Sequence[int]:
    query = select(Order.id).where(Order.size == Size.LARGE, Order.total >= 10)
    return session.scalars(query.order_by(Order.id)).all()


def without_price(session: Session) -> Sequence[tuple[int, str]]:
    found = session.scalars(select(Item).order_by(Item.id))
    return [(item.id, "gift" if not item.price else "sold") for item in found]


def without_price_by_case(session: Session) -> Sequence[tuple[int, str]]:
    label = case((func.coalesce(Item.price, 0) == 0, "gift"), else_="sold")
    return [(a, b) for a, b in session.execute(select(Item.id, label).order_by(Item.id))]


def without_price_null_only(session: Session) -> Sequence[tuple[int, str]]:
    label = case((Item.price.is_(None), "gift"), else_="sold")
    return [(a, b) for a, b in session.execute(select(Item.id, label).order_by(Item.id))]


def by_ids(session: Session, numbers: list[int]) -> Sequence[str]:
    found = (session.get(Customer, number) for number in numbers)
    return [customer.name for customer in found if customer]


def by_ids_in_memory(session: Session, numbers: list[int]) -> Sequence[str]:
    query = select(Customer).where(Customer.id.in_(numbers))
    found = {customer.id: customer.name for customer in session.scalars(query)}
    return [found[number] for number in numbers if number in found]


def by_ids_in_sql(session: Session, numbers: list[int]) -> Sequence[str]:
    query = select(Customer.name).where(Customer.id.in_(numbers)).order_by(Customer.id)
    return session.scalars(query).all()


def one(session: Session, number: int) -> str:
    return session.get_one(Customer, number).name


def one_by_query(session: Session, number: int) -> Any:
    return session.scalars(select(Customer).where(Customer.id == number)).one().name


def one_or_none(session: Session, number: int) -> Any:
    customer = session.get(Customer, number)
    return customer.name if customer else None


def in_text(session: Session) -> Sequence[int]:
    query = text("SELECT id FROM orders WHERE status = 'open' OR total > 99 ORDER BY id")
    return session.scalars(query).all()


def in_expressions(session: Session) -> Sequence[int]:
    query = select(Order.id).where(or_(Order.status == "open", Order.total > 99))
    return session.scalars(query.order_by(Order.id)).all()


def in_expressions_and(session: Session) -> Sequence[int]:
    query = select(Order.id).where(Order.status == "open", Order.total > 99)
    return session.scalars(query.order_by(Order.id)).all()


REWRITES = (
    Rewrite(
        not_paid,
        right=(not_paid_or_null,),
        wrong={not_paid_and_not_null: "missing", not_paid_by_not_in: "missing"},
        models=(Order,),
    ),
    Rewrite(
        named,
        right=(named_exactly,),
        wrong={named_like: "added"},
        models=(Customer,),
    ),
    Rewrite(
        from_somewhere,
        right=(from_somewhere_instr,),
        wrong={from_somewhere_like: ""},
        models=(Customer,),
        options={
            "arguments": {"city": ["", "a", "o", "%"]},
            "values": {"customers.city": ["Oslo", "oa", "a%o", None]},
        },
    ),
    Rewrite(
        recent,
        right=(recent_half_open,),
        wrong={recent_between: "added"},
        models=(Order,),
    ),
    Rewrite(
        large,
        right=(large_in_sql,),
        wrong={large_or_equal: "added"},
        models=(Order,),
    ),
    Rewrite(
        without_price,
        right=(without_price_by_case,),
        wrong={without_price_null_only: "value"},
        models=(Item,),
    ),
    Rewrite(
        by_ids,
        right=(by_ids_in_memory,),
        wrong={by_ids_in_sql: ""},
        models=(Customer,),
        options={"arguments": {"numbers": st.lists(st.integers(1, 8), min_size=5, max_size=9)}},
    ),
    Rewrite(
        one,
        right=(one_by_query,),
        wrong={one_or_none: "raised"},
        models=(Customer,),
        options={"arguments": {"number": Customer.id}},
    ),
    Rewrite(
        in_text,
        right=(in_expressions,),
        wrong={in_expressions_and: "missing"},
        models=(Order,),
    ),
)
