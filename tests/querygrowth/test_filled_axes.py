"""Growth tests with nothing but models: their tables are the axes, and fill themselves."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from querygrowth import VerdictError, assert_query_growth, filled_axes


class Base(DeclarativeBase):
    pass


product_labels = sa.Table(
    "product_labels",
    Base.metadata,
    sa.Column("product_id", sa.ForeignKey("products.id"), primary_key=True),
    sa.Column("label_id", sa.ForeignKey("labels.id"), primary_key=True),
)


class Shelf(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    products: Mapped[list["Product"]] = relationship()


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(sa.ForeignKey("shelves.id"))
    labels: Mapped[list["Label"]] = relationship(secondary=product_labels)


class Label(Base):
    __tablename__ = "labels"
    id: Mapped[int] = mapped_column(primary_key=True)


def products_lazily(engine: sa.Engine) -> list[int]:
    with Session(engine) as session:
        return [len(shelf.products) for shelf in session.scalars(sa.select(Shelf))]


def products_at_once(engine: sa.Engine) -> list[int]:
    with Session(engine) as session:
        statement = sa.select(Shelf).options(selectinload(Shelf.products))
        return [len(shelf.products) for shelf in session.scalars(statement)]


def test_a_lazy_load_grows_with_its_parents_alone() -> None:
    with pytest.raises(VerdictError, match="queries grew with shelves") as raised:
        assert_query_growth(products_lazily, models=[Shelf, Product], scales=(2, 5, 9))
    assert "queries grew with products" not in str(raised.value)


def test_an_eager_load_passes() -> None:
    report = assert_query_growth(products_at_once, models=[Shelf, Product], scales=(2, 5, 9))
    assert [axis.axis for axis in report.axes][:2] == ["shelves", "products"]


def test_an_association_grows_with_a_parent() -> None:
    filled = filled_axes(Base)
    sizes = {**filled.axes, "product_labels": 40}
    with filled.populate(**sizes) as engine, engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(product_labels)) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"give populate and axes=\[\.\.\.\], or models="),
        ({"models": [Shelf], "populate": dict}, "not both"),
        ({"models": ["shelves"]}, "needs models, a declarative base"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assert_query_growth(products_at_once, **arguments)


def test_tables_that_sqlite_cannot_have_ask_for_a_database() -> None:
    metadata = sa.MetaData()
    sa.Table("a", metadata, sa.Column("id", sa.Integer), sa.Column("b", TSVECTOR))

    database = filled_axes(metadata).populate(a=2)

    with pytest.raises(ValueError, match="give new_database"), database:
        pass
