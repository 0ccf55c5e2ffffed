"""Growth tests that have only models: their tables are the axes, and fill themselves."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from querygrowth import FillError, StepError, VerdictError, assert_query_growth, filled_axes


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
    products: Mapped[list[Product]] = relationship(secondary=product_labels, viewonly=True)


class Flag(Base):
    __tablename__ = "flags"
    id: Mapped[int] = mapped_column(primary_key=True)
    on: Mapped[bool] = mapped_column(unique=True)


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
        ({"models": [Shelf], "tables": "all"}, "not both"),
        ({"overrides": {"shelves.name": "x"}}, "give models="),
        ({"tables": []}, "a list of names, got"),
        ({"tables": 3}, "a list of names, got"),
        ({"models": [Shelf], "overrides": {"shelvs.name": 1}}, "did you mean shelves"),
        ({"models": [Shelf], "overrides": {"shelves.nam": 1}}, "did you mean name"),
        ({}, r"give populate and axes=\[\.\.\.\], or models="),
        ({"models": [Shelf], "populate": dict}, "not both"),
        ({"models": ["shelves"]}, "needs models, a declarative base"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assert_query_growth(products_at_once, **arguments)


def labels_lazily(session: Session) -> list[int]:
    return [len(product.labels) for product in session.scalars(sa.select(Product))]


def labels_in_a_loop(session: Session) -> list[int]:
    def of_product(product: int) -> list[int]:
        join = product_labels.c.label_id == Label.id
        labels = sa.select(Label.id).join(product_labels, join)
        return [*session.scalars(labels.where(product_labels.c.product_id == product))]

    return [len(of_product(number)) for number in session.scalars(sa.select(Product.id))]


def labels_and_products_lazily(session: Session) -> list[int]:
    found = [len(product.labels) for product in session.scalars(sa.select(Product))]
    return [*found, *(len(label.products) for label in session.scalars(sa.select(Label)))]


@pytest.mark.parametrize(
    ("action", "grew", "advised"),
    [
        (labels_lazily, ["products"], "selectinload(Product.labels)"),
        (labels_in_a_loop, ["products"], "a loop that queries labels"),
        (labels_and_products_lazily, ["labels", "products"], "selectinload(Label.products)"),
    ],
)
def test_a_cause_that_an_association_shows_too_is_one_failure(
    action: Any, grew: list[str], advised: str
) -> None:
    with pytest.raises(VerdictError) as failed:
        assert_query_growth(action, models=Base, scales=(2, 6, 10))
    words = str(failed.value)
    assert sorted(re.findall("(?<!same )queries grew with (.*)", words)) == grew
    assert advised in words
    assert "the same queries grew with product_labels (2, 6, 10" in words
    assert "allow(" not in words


def shelf_names(session: Session) -> list[str]:
    shelves = {each.shelf_id for each in session.scalars(sa.select(Product))}
    names = [session.get(Shelf, each) for each in sorted(shelves)]
    return [each.name for each in names if each is not None]


def test_tables_that_are_used_but_not_named_grow_too() -> None:
    # With two shelves at every size, nothing would show that each shelf is a query.
    with pytest.raises(VerdictError, match="queries grew with products and shelves together"):
        assert_query_growth(shelf_names, models=[Product], scales=(2, 5, 9))


def shelves_of_session(session: Session) -> object:
    return session.scalars(sa.select(Shelf)).all()


def shelves_of_connection(connection: sa.Connection) -> object:
    return connection.execute(sa.select(Shelf)).all()


async def shelves_of_async_session(session: Any) -> object:
    return (await session.scalars(sa.select(Shelf))).all()


async def shelves_of_async_engine(engine: Any) -> object:
    async with engine.connect() as connection:
        return (await connection.execute(sa.select(Shelf))).all()


@pytest.mark.parametrize(
    "action",
    [
        shelves_of_session,
        shelves_of_connection,
        shelves_of_async_session,
        shelves_of_async_engine,
    ],
)
def test_an_action_gets_what_its_first_parameter_names(action: Any) -> None:
    report = assert_query_growth(action, models=Base, scales=(2, 5, 9))
    assert [axis.axis for axis in report.axes] == ["shelves"]  # the only table that it uses


@pytest.mark.parametrize("asynchronous", [False, True])
def test_another_database_is_filled_too(tmp_path: Path, asynchronous: bool) -> None:
    numbers = iter(range(100))

    def new_database() -> Any:
        path = tmp_path / f"{next(numbers)}.db"
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        Base.metadata.create_all(engine)
        url = f"sqlite+aiosqlite:///{path}"
        return create_async_engine(url, poolclass=sa.NullPool) if asynchronous else engine

    action: Any = shelves_of_async_session if asynchronous else shelves_of_session
    report = assert_query_growth(
        action, models=Shelf, new_database=new_database, scales=(2, 5, 9), overrides={}
    )
    assert [activity.rows_fetched for activity in report.axes[0].activities] == [2, 5, 9]


def test_an_engine_of_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="must give an AsyncEngine, because the function is async"):
        assert_query_growth(
            shelves_of_async_session,
            models=Shelf,
            new_database=lambda: sa.create_engine("sqlite://"),
        )


def flags(session: Session) -> object:
    return [*session.scalars(sa.select(Flag)), *session.scalars(sa.select(Label))]


def only_flags(session: Session) -> object:
    return session.scalars(sa.select(Flag)).all()


def test_a_table_is_an_axis_up_to_the_rows_that_it_can_have() -> None:
    metadata = sa.MetaData()
    levels = sa.Table("a", metadata, sa.Column("level", sa.Integer, primary_key=True))
    levels.append_constraint(sa.CheckConstraint("level BETWEEN 1 AND 20"))

    def read(connection: sa.Connection) -> object:
        return connection.execute(sa.select(levels)).all()

    report = assert_query_growth(read, models=metadata, scales=(2, 9, 20))
    assert [activity.rows_fetched for activity in report.axes[0].activities] == [2, 9, 20]


def test_a_table_that_cannot_grow_is_no_axis_unless_it_is_named() -> None:
    report = assert_query_growth(flags, models=Base, scales=(2, 5, 9))
    assert [axis.axis for axis in report.axes] == ["labels"]
    with pytest.raises(StepError, match=r"flags takes only 2 of 5 rows"):
        assert_query_growth(only_flags, models=Base, scales=(2, 5, 9))
    with pytest.raises(StepError, match=r"flags takes only 2 of 5 rows: UNIQUE \(on\) has no more"):
        assert_query_growth(flags, models=[Flag], scales=(2, 5, 9))


def test_a_table_between_others_grows_with_the_largest_of_them() -> None:
    filled = filled_axes([Product, Label])
    assert [*filled.axes] == ["products", "labels"]
    with filled.populate(products=7, labels=2) as engine, engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(product_labels)) == 7


def test_a_table_between_others_grows_where_its_keys_may_be_null() -> None:
    metadata = sa.MetaData()
    for name in ("a", "b"):
        sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
    between = sa.Table(
        "a_to_b",
        metadata,
        sa.Column("a_id", sa.ForeignKey("a.id")),
        sa.Column("b_id", sa.ForeignKey("b.id")),
        sa.UniqueConstraint("a_id", "b_id"),
    )
    once = sa.Table(
        "once",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a_id", sa.ForeignKey("a.id"), unique=True),
    )
    filled = filled_axes(metadata).populate(a=2, b=2, a_to_b=9, once=9)
    with filled as engine, engine.connect() as connection:
        assert len(connection.execute(sa.select(between)).all()) == 9
        assert len(connection.execute(sa.select(once)).all()) == 9


def test_a_table_that_cannot_be_filled_matters_only_if_it_is_used() -> None:
    metadata = sa.MetaData()
    good = sa.Table("good", metadata, sa.Column("id", sa.Integer, primary_key=True))
    bad = sa.Table("bad", metadata, sa.Column("x", sa.Integer, sa.CheckConstraint("x <> x")))
    bad.c.x.nullable = False

    def first(connection: sa.Connection) -> object:
        return connection.execute(sa.select(good)).all()

    def both(connection: sa.Connection) -> object:
        return [*connection.execute(sa.select(good)), *connection.execute(sa.select(bad))]

    report = assert_query_growth(first, models=metadata, scales=(2, 5, 9))
    assert [axis.axis for axis in report.axes] == ["good"]
    with pytest.raises(FillError, match=r"bad: CHECK \(x <> x\); give its values"):
        assert_query_growth(both, models=metadata, scales=(2, 5, 9))
    with pytest.raises(FillError, match=r"bad: CHECK \(x <> x\); give its values"):
        assert_query_growth(first, models=[bad], scales=(2, 5, 9))


def test_tables_of_another_schema_grow() -> None:
    metadata = sa.MetaData(schema="shop")
    table = sa.Table("a", metadata, sa.Column("id", sa.Integer, primary_key=True))
    report = assert_query_growth(
        lambda connection: connection.execute(sa.select(table)).all(),
        models=metadata,
        scales=(2, 5, 9),
    )
    assert [axis.axis for axis in report.axes] == ["shop.a"]


def test_all_imported_models_of_one_base_are_meant_by_all() -> None:
    # In another process, because the modules of other tests import models of their own.
    code = """
import sqlalchemy as sa
from test_filled_axes import Label, shelves_of_session
from querygrowth import assert_query_growth
print([axis.axis for axis in assert_query_growth(shelves_of_session, tables="all").axes])
try:
    assert_query_growth(shelves_of_session, tables=["shelf"])
except ValueError as error:
    print(error)
class Other(sa.orm.DeclarativeBase): pass
class Thing(Other):
    __tablename__ = "things"
    id = sa.orm.mapped_column(sa.Integer, primary_key=True)
try:
    assert_query_growth(shelves_of_session, tables="all")
except ValueError as error:
    print(error)
"""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.stdout.startswith(
        "['shelves']\nthere is no table shelf; did you mean shelves?\n"
        "the models that are imported belong to several"
    )
    assert result.stdout.endswith("give models=Base\n"), result.stderr


def test_tables_that_sqlite_cannot_have_ask_for_a_database() -> None:
    metadata = sa.MetaData()
    sa.Table("a", metadata, sa.Column("id", sa.Integer), sa.Column("b", TSVECTOR))

    database = filled_axes(metadata).populate(a=2)

    with pytest.raises(ValueError, match="give new_database"), database:
        pass
