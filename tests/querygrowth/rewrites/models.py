"""A shop of several tenants, with what makes rewrites go wrong: NULLs, ties, inheritance."""

from datetime import date
from decimal import Decimal
from enum import Enum

from sqlalchemy import Column, ForeignKey, LargeBinary, Numeric, String, Table, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Tenant(Base):
    __tablename__ = "tenants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str]
    city: Mapped[str | None]
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", order_by="Order.id")


order_tags = Table(
    "order_tags",
    Base.metadata,
    Column("order_id", ForeignKey("orders.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Tag(Base):
    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey("customers.id"))
    status: Mapped[str | None]
    placed: Mapped[date]
    size: Mapped[Size]
    total: Mapped[Decimal | None] = mapped_column(Numeric(8, 2))
    customer: Mapped[Customer | None] = relationship(back_populates="orders")
    items: Mapped[list["Item"]] = relationship(back_populates="order", order_by="Item.id")
    tags: Mapped[list[Tag]] = relationship(secondary=order_tags)


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    quantity: Mapped[int]
    price: Mapped[int | None]
    photo: Mapped[bytes | None] = mapped_column(LargeBinary)
    order: Mapped[Order] = relationship(back_populates="items")


class Employee(Base):
    __tablename__ = "employees"
    id: Mapped[int] = mapped_column(primary_key=True)
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("employees.id"))
    name: Mapped[str]
    salary: Mapped[int]
    manager: Mapped["Employee | None"] = relationship(remote_side="Employee.id")


class Animal(Base):
    __tablename__ = "animals"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]


class Dog(Animal):
    __tablename__ = "dogs"
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)
    breed: Mapped[str | None]


class Stock(Base):
    __tablename__ = "stock"
    __table_args__ = (UniqueConstraint("tenant_id", "code"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"))
    code: Mapped[str] = mapped_column(String(10))
    amount: Mapped[int]
