"""A small project whose suite is watched: an application, its faults, and their repaired twins."""

from pathlib import Path

import pytest

MODELS = """
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

class Base(DeclarativeBase):
    pass

class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]

class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"))
    state: Mapped[str] = mapped_column(default="new")
    note: Mapped[str] = mapped_column(default="", deferred=True)
    customer: Mapped[Customer] = relationship()
    items: Mapped[list["Item"]] = relationship()

class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    product: Mapped[str]
"""

FAULTS = """
from sqlalchemy import select
from models import Customer, Item, Order

def all_orders(session):
    return session.scalars(select(Order)).all()

def lazy_collection(session):
    return [len(order.items) for order in all_orders(session)]

def lazy_scalar(session):
    names = []
    for order in all_orders(session):
        names.append(order.customer.name)
    return names

def name_of(order):
    return order.customer.name

def lazy_through_map(session):
    return list(map(name_of, all_orders(session)))

def find(session, key):
    return session.scalar(select(Customer.name).where(Customer.id == key))

def lookups(session):
    return [find(session, key) for key in (1, 2, 3)]

def refreshed(session):
    orders = all_orders(session)
    session.commit()
    return [order.state for order in orders]

def deferred(session):
    return [order.note for order in all_orders(session)]

def latest(session):
    return [
        session.scalar(select(Item).where(Item.order_id == key).order_by(Item.id.desc()).limit(1))
        for key in (1, 2, 3)
    ]

def writes(session):
    for order in all_orders(session):
        session.add(Item(order_id=order.id, product="new"))
        session.flush()
"""

REPAIRED = """
from sqlalchemy import insert, select
from sqlalchemy.orm import joinedload, selectinload, undefer
from models import Customer, Item, Order

def lazy_collection(session):
    orders = session.scalars(select(Order).options(selectinload(Order.items)))
    return [len(order.items) for order in orders]

def lazy_scalar(session):
    orders = session.scalars(select(Order).options(joinedload(Order.customer)))
    return [order.customer.name for order in orders]

def lookups(session):
    return session.scalars(select(Customer.name).where(Customer.id.in_([1, 2, 3]))).all()

def refreshed(session):
    session.commit()
    return [order.state for order in session.scalars(select(Order))]

def deferred(session):
    return [order.note for order in session.scalars(select(Order).options(undefer(Order.note)))]

def writes(session):
    orders = session.scalars(select(Order.id)).all()
    session.execute(insert(Item), [{"order_id": key, "product": "new"} for key in orders])

def pages(session):
    found, last = [], 0
    while rows := session.scalars(select(Order.id).where(Order.id > last).limit(1)).all():
        found, last = [*found, *rows], rows[-1]
    return [session.scalars(select(Order.id).limit(1).offset(n)).all() for n in range(4)]

def chunks(session):
    keys = range(60)
    for n in range(0, 60, 15):
        session.scalars(select(Order).where(Order.id.in_(keys[n : n + 15]))).all()
        rows = [{"order_id": key, "product": "new"} for key in keys[n : n + 15]]
        session.execute(insert(Item), rows)
        session.execute(insert(Item).values(rows))

def waits(session):
    turns = 0
    while session.scalar(select(Order.state).where(Order.id == 1)) != "done" and turns < 4:
        turns += 1
    while turns < 9:
        order = session.get(Order, 1)
        session.refresh(order)
        turns += 1

def waits(session):
    turns = 0
    while session.scalar(select(Order.state).where(Order.id == 1)) != "done" and turns < 4:
        turns += 1
    while turns < 9:
        order = session.get(Order, 1)
        session.refresh(order)
        turns += 1

def detail(session, key):
    order = session.get(Order, key)
    return [item.product for item in order.items], order.customer.name

def create(session):
    order = Order(customer_id=1)
    session.add(order)
    session.commit()
    session.refresh(order)
    return order.state
"""

CONFTEST = """
import pytest
from models import Base, Customer, Item, Order
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

def fill(session):
    session.add_all(
        Customer(name=f"customer {n}") for n in range(3)
    )
    session.flush()
    session.add_all(
        Order(customer_id=n + 1, items=[Item(product="a"), Item(product="b")]) for n in range(3)
    )
    session.commit()

@pytest.fixture
def session():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        fill(session)
        session.expunge_all()
        yield session
    engine.dispose()
"""


def write_project(pytester: pytest.Pytester, **modules: str) -> None:
    """Write the application and its conftest.py, and further modules.

    The modules here are imported in the same process, and an inner one of their name would not be.
    """
    here = {each.stem for each in Path(__file__).parent.glob("*.py")}
    assert not here & modules.keys(), "an inner module has the name of one of these tests"
    pytester.makepyfile(models=MODELS, faults=FAULTS, repaired=REPAIRED, conftest=CONFTEST)
    pytester.makepyfile(**modules)
    pytester.syspathinsert()
