"""Lazy loads replaced by eager ones."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    Session,
    contains_eager,
    defer,
    joinedload,
    load_only,
    raiseload,
    selectin_polymorphic,
    selectinload,
)

from rewrites.models import Animal, Customer, Dog, Employee, Item, Order, Tag
from rewrites.rewrite import Rewrite


def customers_lazily(session: Session) -> object:
    found = session.scalars(select(Customer).order_by(Customer.id)).all()
    for customer in found:
        assert customer.orders is not None
    return found


def customers_selectin(session: Session) -> object:
    query = select(Customer).order_by(Customer.id).options(selectinload(Customer.orders))
    return session.scalars(query).all()


def customers_joined(session: Session) -> object:
    query = select(Customer).order_by(Customer.id).options(joinedload(Customer.orders))
    return session.scalars(query).unique().all()


def customers_paid_orders(session: Session) -> object:
    query = (
        select(Customer)
        .outerjoin(Customer.orders.and_(Order.status == "paid"))
        .options(contains_eager(Customer.orders))
        .order_by(Customer.id)
    )
    return session.scalars(query).unique().all()


def customers_not_unique(session: Session) -> object:
    query = select(Customer).outerjoin(Customer.orders).order_by(Customer.id)
    return session.scalars(query.options(selectinload(Customer.orders))).all()


def customers_without_orders(session: Session) -> object:
    query = select(Customer).order_by(Customer.id).options(raiseload(Customer.orders))
    return session.scalars(query).all()


def customers_deferred(session: Session) -> object:
    query = select(Customer).order_by(Customer.id).options(selectinload(Customer.orders))
    return session.scalars(query.options(defer(Customer.city, raiseload=True))).all()


def customers_inner(session: Session) -> object:
    query = select(Customer).join(Customer.orders).order_by(Customer.id)
    return session.scalars(query.options(contains_eager(Customer.orders))).unique().all()


def names_of_tags(session: Session) -> list[tuple[int, list[str]]]:
    return [
        (order.id, sorted(tag.label for tag in order.tags))
        for order in session.scalars(select(Order).order_by(Order.id))
    ]


def names_of_tags_selectin(session: Session) -> list[tuple[int, list[str]]]:
    query = select(Order).order_by(Order.id).options(selectinload(Order.tags))
    return [(order.id, sorted(tag.label for tag in order.tags)) for order in session.scalars(query)]


def names_of_tags_as_set(session: Session) -> list[tuple[int, list[str]]]:
    query = select(Order).order_by(Order.id).options(selectinload(Order.tags))
    return [
        (order.id, sorted({tag.label for tag in order.tags})) for order in session.scalars(query)
    ]


def names_of_tags_in_memory(session: Session) -> list[tuple[int, list[str]]]:
    rows = session.execute(
        select(Order.id, Tag.label).join(Order.tags).order_by(Order.id, Tag.label)
    )
    found: dict[int, list[str]] = {}
    for number, label in rows:
        found.setdefault(number, []).append(label)
    return list(found.items())


def managers(session: Session) -> list[tuple[str, str]]:
    return [
        (each.name, each.manager.name if each.manager else "-")
        for each in session.scalars(select(Employee).order_by(Employee.id))
    ]


def managers_joined(session: Session) -> list[tuple[str, str]]:
    query = select(Employee).order_by(Employee.id).options(joinedload(Employee.manager))
    return [
        (each.name, each.manager.name if each.manager else "-") for each in session.scalars(query)
    ]


def managers_innerjoin(session: Session) -> list[tuple[str, str]]:
    loaded = joinedload(Employee.manager, innerjoin=True)
    query = select(Employee).order_by(Employee.id).options(loaded)
    return [(each.name, each.manager.name) for each in session.scalars(query)]  # type: ignore[union-attr]


def animals(session: Session) -> list[tuple[str, str | None]]:
    return [
        (each.name, each.breed if isinstance(each, Dog) else None)
        for each in session.scalars(select(Animal).order_by(Animal.id))
    ]


def animals_at_once(session: Session) -> list[tuple[str, str | None]]:
    query = select(Animal).order_by(Animal.id).options(selectin_polymorphic(Animal, [Dog]))
    return [
        (each.name, each.breed if isinstance(each, Dog) else None)
        for each in session.scalars(query)
    ]


def animals_dogs_only(session: Session) -> list[tuple[str, str | None]]:
    return [(each.name, each.breed) for each in session.scalars(select(Dog).order_by(Dog.id))]


async def photos(session: AsyncSession) -> list[bytes | None]:
    numbers = (await session.scalars(select(Item.id).order_by(Item.id))).all()
    return [(await session.get_one(Item, number)).photo for number in numbers]


async def photos_at_once(session: AsyncSession) -> list[bytes | None]:
    return list((await session.scalars(select(Item.photo).order_by(Item.id))).all())


async def photos_as_text(session: AsyncSession) -> list[Any]:
    found = await session.scalars(select(Item.photo).order_by(Item.id))
    return [photo if photo is None else photo.decode("latin-1") for photo in found]


async def photos_that_exist(session: AsyncSession) -> list[bytes | None]:
    query = select(Item).order_by(Item.id).options(load_only(Item.photo))
    return [item.photo or None for item in await session.scalars(query)]


REWRITES = (
    Rewrite(
        customers_lazily,
        right=(customers_selectin, customers_joined),
        wrong={
            customers_paid_orders: "missing",
            customers_not_unique: "repeated",
            customers_without_orders: "not loaded",
            customers_deferred: "not loaded",
            customers_inner: "missing",
        },
        models=(Customer, Order),
    ),
    Rewrite(
        names_of_tags,
        right=(names_of_tags_selectin,),
        wrong={names_of_tags_as_set: "missing", names_of_tags_in_memory: "missing"},
        models=(Order, Tag),
    ),
    Rewrite(
        managers,
        right=(managers_joined,),
        wrong={managers_innerjoin: "missing"},
        models=(Employee,),
    ),
    Rewrite(
        animals,
        right=(animals_at_once,),
        wrong={animals_dogs_only: "missing"},
        models=(Animal,),
    ),
    Rewrite(
        photos,
        right=(photos_at_once,),
        wrong={photos_as_text: "type", photos_that_exist: "value"},
        models=(Item,),
    ),
)
