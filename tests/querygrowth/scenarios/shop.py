"""A shop on SQLite: customers with orders, orders with items and notes."""

import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy import Engine, ForeignKey, create_engine, insert
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    remark: Mapped[str] = mapped_column(default="none", deferred=True)
    customer: Mapped[Customer] = relationship()
    items: Mapped[list["Item"]] = relationship(order_by="Item.id")
    notes: Mapped[list["Note"]] = relationship(order_by="Note.id")


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    # The same number as order_id, without an index.
    unindexed_order: Mapped[int]
    product: Mapped[str]


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), index=True)
    text: Mapped[str]


@contextmanager
def shop(
    orders: int = 2, items: int = 2, notes: int = 1, customers: int | None = None
) -> Iterator[Engine]:
    """A shop with `orders` orders of `items` items and `notes` notes each.

    Orders are spread over the customers in turn. By default there is one customer per order.
    """
    with _file() as path:
        _fill(path, orders, items, notes, customers)
        engine = create_engine(f"sqlite:///{path}")
        yield engine
        engine.dispose()


@asynccontextmanager
async def async_shop(orders: int = 2, items: int = 2, notes: int = 1):
    """The same shop with an async engine."""
    with _file() as path:
        _fill(path, orders, items, notes, None)
        engine: AsyncEngine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        yield engine
        await engine.dispose()


@contextmanager
def _file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        yield Path(folder) / "shop.db"


def _fill(path: Path, orders: int, items: int, notes: int, customers: int | None) -> None:
    engine = create_engine(f"sqlite:///{path}")
    number_of_customers = customers or orders
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        Base.metadata.create_all(connection)
        many = {
            Customer: [{"id": n, "name": f"customer {n}"} for n in range(number_of_customers)],
            Order: [{"id": n, "customer_id": n % number_of_customers} for n in range(orders)],
            Item: [
                {"order_id": order, "unindexed_order": order, "product": f"product {n}"}
                for order in range(orders)
                for n in range(items)
            ],
            Note: [
                {"order_id": order, "text": f"note {n}"}
                for order in range(orders)
                for n in range(notes)
            ],
        }
        for model, rows in many.items():
            if rows:
                connection.execute(insert(model), rows)
    engine.dispose()
