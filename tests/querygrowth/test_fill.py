"""`fill_tables`: what it adds, what it says where it cannot, and what it does to the caller."""

import dataclasses
import datetime as dt
import enum
import json
import random
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from querygrowth import FillError, fill_tables
from querygrowth.tables.condition_terms import UnknownConditionError
from querygrowth.tables.condition_values import as_like
from querygrowth.tables.conditions import parse_condition


class Base(DeclarativeBase):
    pass


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(80), unique=True)
    level: Mapped[Level]
    deleted_at: Mapped[dt.datetime | None]
    referrer_id: Mapped[int | None] = mapped_column(sa.ForeignKey("customers.id"))


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customers.id"))
    customer: Mapped[Customer] = relationship()
    starts: Mapped[dt.datetime]
    ends: Mapped[dt.datetime]
    total: Mapped[Any] = mapped_column(sa.Numeric(6, 2))
    state: Mapped[str] = mapped_column(default="open")
    __table_args__ = (
        sa.CheckConstraint("starts > ends", name="ck_backwards"),
        sa.CheckConstraint("total BETWEEN 10 AND 20"),
    )


class Tag(Base):
    __tablename__ = "tags"
    name: Mapped[str] = mapped_column(sa.String(2), primary_key=True)


order_tags = sa.Table(
    "order_tags",
    Base.metadata,
    sa.Column("order_id", sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("tag", sa.ForeignKey("tags.name"), primary_key=True),
)


@pytest.fixture
def new_database() -> Iterator[Callable[..., sa.Engine]]:
    """Makes databases that enforce foreign keys, with the tables of metadata or of SQL."""
    engines: list[sa.Engine] = []

    def make(tables: sa.MetaData | str = Base.metadata) -> sa.Engine:
        engine = sa.create_engine("sqlite://")
        engines.append(engine)

        @sa.event.listens_for(engine, "connect")
        def enforce(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA foreign_keys = ON")

        with engine.begin() as connection:
            if isinstance(tables, sa.MetaData):
                tables.create_all(connection)
            else:
                for statement in tables.split(";"):
                    connection.exec_driver_sql(statement)
        return engine

    yield make
    for each in engines:
        each.dispose()


def count(engine: sa.Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def rows(engine: sa.Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


def is_valid(engine: sa.Engine) -> bool:
    checks = rows(engine, "PRAGMA foreign_key_check") + rows(engine, "PRAGMA integrity_check")
    return checks == [("ok",)]


# --- what is added --------------------------------------------------------------------------------


def test_all_tables_of_models_are_filled_and_load(new_database: Any) -> None:
    engine = new_database()

    filled = fill_tables(engine, Base, rows=30)

    assert dict(filled.rows) == dict.fromkeys(("customers", "orders", "tags", "order_tags"), 30)
    assert (filled.limited, filled.empty, filled.refused) == ({}, (), ())
    assert is_valid(engine)
    with Session(engine) as session:
        orders = session.scalars(sa.select(Order)).all()
        assert {order.state for order in orders} == {"open"}
        assert all(order.customer.deleted_at is None for order in orders)
        assert len({order.customer_id for order in orders}) == 30


def test_without_models_all_tables_of_the_database_are_filled(new_database: Any) -> None:
    engine = new_database()

    filled = fill_tables(engine)

    assert set(filled.rows.values()) == {10}
    assert is_valid(engine)


def test_only_the_named_tables_and_the_parents_they_need_get_rows(new_database: Any) -> None:
    engine = new_database()

    filled = fill_tables(engine, [Order], rows={"orders": 7})

    assert filled.rows == {"customers": 2, "orders": 7}


def test_rows_per_table(new_database: Any) -> None:
    engine = new_database()

    filled = fill_tables(engine, Base, rows={"*": 3, "orders": 9})

    assert filled.rows == {"customers": 3, "orders": 9, "tags": 3, "order_tags": 3}


def test_an_association_has_no_more_rows_than_pairs(new_database: Any) -> None:
    engine = new_database()

    filled = fill_tables(
        engine, Base, rows={"customers": 1, "orders": 3, "tags": 2, "order_tags": 9}
    )

    assert filled.rows["order_tags"] == 6
    assert filled.limited == {
        "order_tags": "the primary key (order_id, tag) has no more combinations"
    }


def test_an_association_brings_the_parents_that_its_rows_need(new_database: Any) -> None:
    engine = new_database()

    filled = fill_tables(engine, rows={"order_tags": 12})

    assert filled.rows["order_tags"] == 12
    assert is_valid(engine)


def test_new_rows_continue_after_those_that_exist(new_database: Any) -> None:
    engine = new_database()
    fill_tables(engine, Base, rows=5)
    before = rows(engine, "SELECT id, email FROM customers ORDER BY id")

    fill_tables(engine, Base, rows=5, seed=1)

    assert rows(engine, "SELECT id, email FROM customers ORDER BY id")[:5] == before
    assert count(engine, "customers") == count(engine, "order_tags") == 10
    assert is_valid(engine)


def test_rows_of_one_table_form_a_tree(new_database: Any) -> None:
    engine = new_database()

    fill_tables(engine, [Customer], rows=7)

    referrers = rows(engine, "SELECT id, referrer_id FROM customers ORDER BY id")
    assert referrers[0][1] is None
    assert all(parent < child for child, parent in referrers[1:])


@pytest.mark.parametrize("unusual", [False, True])
def test_the_same_seed_makes_the_same_rows(new_database: Any, unusual: bool) -> None:
    def content(seed: int | random.Random) -> list[Any]:
        engine = new_database()
        fill_tables(engine, Base, rows=12, seed=seed, unusual=unusual)
        return [rows(engine, f"SELECT * FROM {name}") for name in ("customers", "orders", "tags")]

    assert content(3) == content(3)
    assert content(3) != content(4)
    assert content(random.Random(3)) == content(random.Random(3))


def test_unusual_values_have_nulls_and_ties(new_database: Any) -> None:
    engine = new_database("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT)")

    fill_tables(engine, rows=60, unusual=True)

    found = rows(engine, "SELECT a, b FROM t")
    for place in (0, 1):
        values = [row[place] for row in found]
        assert None in values
        assert len(set(values)) < len(values)
    assert {"", " "} & {row[1] for row in found}


# --- what schemas demand --------------------------------------------------------------------------

SCHEMAS = {
    "composite foreign key": """
        CREATE TABLE a (x INTEGER, y TEXT, PRIMARY KEY (x, y));
        CREATE TABLE b (id INTEGER PRIMARY KEY, x INTEGER NOT NULL, y TEXT NOT NULL,
            FOREIGN KEY (x, y) REFERENCES a)""",
    "foreign keys that share a column": """
        CREATE TABLE tenant (id INTEGER PRIMARY KEY);
        CREATE TABLE a (tenant INTEGER NOT NULL REFERENCES tenant, id INTEGER NOT NULL,
            PRIMARY KEY (tenant, id));
        CREATE TABLE b (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenant,
            one INTEGER NOT NULL, two INTEGER NOT NULL,
            FOREIGN KEY (tenant, one) REFERENCES a, FOREIGN KEY (tenant, two) REFERENCES a)""",
    "cycle of nullable keys": """
        CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b);
        CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a)""",
    "cycle of keys that may not be null": """
        CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER NOT NULL REFERENCES b);
        CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES a)""",
    "a key to the row itself": """
        CREATE TABLE a (id INTEGER PRIMARY KEY, top INTEGER NOT NULL REFERENCES a)""",
    "one to one": """
        CREATE TABLE a (id INTEGER PRIMARY KEY);
        CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER NOT NULL UNIQUE REFERENCES a)""",
    "a table without a primary key": "CREATE TABLE t (a INTEGER NOT NULL, b TEXT NOT NULL)",
    "a generated column": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL,
            b INTEGER GENERATED ALWAYS AS (a * 2) STORED, c INTEGER AS (a + 1))""",
    "a server default": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT 'new' CHECK (a = 'new'),
            at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    "a default in a unique key": "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT DEFAULT 1 UNIQUE)",
    "a unique index on a part of the rows": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, kind TEXT NOT NULL);
        CREATE UNIQUE INDEX u ON t (a) WHERE kind = 'x'""",
    "a unique index on an expression": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL);
        CREATE UNIQUE INDEX u ON t (lower(a))""",
    "a short text that is unique": "CREATE TABLE t (a VARCHAR(1) NOT NULL PRIMARY KEY)",
    "ranges": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL CHECK (a >= 0 AND a < 10),
            b REAL NOT NULL CHECK (b > 0.5 AND b <= 1), c INTEGER CHECK (c BETWEEN -5 AND -2))""",
    "texts": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL CHECK (length(a) = 2),
            b TEXT NOT NULL CHECK (b IN ('x', 'y')), c TEXT NOT NULL CHECK (c LIKE '%@%.%'),
            d TEXT NOT NULL CHECK (d = lower(d) AND length(trim(d)) > 3))""",
    "columns that are compared": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b INTEGER NOT NULL,
            c DATE NOT NULL, d DATE NOT NULL, e INTEGER, f TEXT,
            CHECK (a > b * 2), CHECK (d < c), CHECK ((e IS NULL) <> (f IS NULL)),
            CHECK (a + b = 100 OR a > 1000))""",
    "a default that a check compares with another column": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, at DATE, state TEXT NOT NULL DEFAULT 'open',
            CHECK ((state = 'paid') = (at IS NOT NULL)), CHECK (state IN ('open', 'paid')))""",
    "patterns that are excluded": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL CHECK (a NOT LIKE 'a%'),
            b TEXT NOT NULL CHECK (b NOT LIKE '% %' AND NOT b LIKE '%-%'))""",
    "functions that the database alone knows": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL CHECK (a GLOB '[A-Z][0-9]*'),
            b TEXT NOT NULL CHECK (b NOT GLOB '*[^a-z]*' AND b <> ''),
            c TEXT NOT NULL CHECK (instr(c, '@') > 1 AND substr(c, 2, 1) <> '@'),
            d BLOB NOT NULL CHECK (length(d) = 16), e DATE NOT NULL, f DATE NOT NULL,
            CHECK (julianday(f) - julianday(e) BETWEEN 1 AND 40))""",
    "a check that cannot be read here": """
        CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL CHECK (a & 1 = 1))""",
    "a row that only may exist once": "CREATE TABLE t (id INTEGER PRIMARY KEY CHECK (id = 1))",
    "names that need quotes": """
        CREATE TABLE "select" ("order by" INTEGER PRIMARY KEY, "a%b" TEXT NOT NULL, "c:d" TEXT);
        CREATE TABLE "a.b" (id INTEGER PRIMARY KEY,
            "group" INTEGER NOT NULL REFERENCES "select")""",
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_database_finds_nothing_wrong(new_database: Any, schema: str) -> None:
    engine = new_database(schema)

    filled = fill_tables(engine, rows=25)

    assert is_valid(engine)
    assert all(number == 25 or name in filled.limited for name, number in filled.rows.items())
    assert min(filled.rows.values()) >= 1


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_a_check_that_says_not_is_read_in_every_dialect(dialect: str) -> None:
    row = {"a": None, "b": "ab", "c": 5}
    for text in ("a IS {}NULL", "b {}LIKE 'a%'", "c {}IN (5)", "c {}BETWEEN 1 AND 9"):
        values = [
            parse_condition("", text.format(word), row, dialect).value(row) for word in ("", "NOT ")
        ]
        assert values == [True, False], text


@pytest.mark.parametrize(
    "text",
    [
        "b - a >= 7 AND NOT b - a >= 8",
        "b = a + interval '1 week'",
        "at > a + '23:00:00'::interval AND NOT at > a + interval '2 days 1 hour'",
        "span = '1 day 02:30:00'::interval",
        "round(n) = 3 AND round(n, 1) = 2.6",
        "substr(s, 2, 2) = 'bc' AND left(s, 1) = 'a' AND right(s, 2) = 'cd'",
        "position('c' in s) = 3 AND starts_with(s, 'ab')",
    ],
)
def test_functions_of_postgresql_are_evaluated(text: str) -> None:
    row = {
        "a": dt.date(2024, 1, 1),
        "b": dt.date(2024, 1, 8),
        "at": dt.datetime(2024, 1, 2),
        "span": dt.timedelta(days=1, hours=2, minutes=30),
        "n": Decimal("2.55"),
        "s": "abcd",
    }
    assert parse_condition("", text, row, "postgresql").value(row) is True
    with pytest.raises(UnknownConditionError):  # no number of days
        parse_condition("", f"{text} OR span > interval '3 months'", row, "postgresql")


def test_a_value_is_taken_for_a_column_of_its_class_alone() -> None:
    assert [*as_like(1, Decimal(0)), *as_like("2024-01-01", dt.date(2000, 1, 1))] == [
        Decimal(1),
        dt.date(2024, 1, 1),
    ]
    for value, like in ((0, dt.date(2000, 1, 1)), (0, uuid.uuid4()), ("x", 1), (b"", "x")):
        assert list(as_like(value, like)) == []


EITHER = """
CREATE TABLE a (id INTEGER PRIMARY KEY);
CREATE TABLE b (id INTEGER PRIMARY KEY);
CREATE TABLE c (
    id INTEGER PRIMARY KEY, a INTEGER REFERENCES a, b INTEGER REFERENCES b,
    CHECK ((a IS NULL) <> (b IS NULL)))
"""


def test_of_two_foreign_keys_that_exclude_each_other_each_is_used(new_database: Any) -> None:
    engine = new_database(EITHER)
    fill_tables(engine)
    assert count(engine, "c WHERE a IS NULL") == count(engine, "c WHERE b IS NULL") == 5


CONDITIONAL = """
CREATE TABLE a (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('x', 'y')), p TEXT, q TEXT, r TEXT,
    s TEXT, CHECK (kind = 'x' OR (p IS NULL AND q IS NULL)),
    CHECK (kind = 'x' OR (r IS NULL AND s IS NULL)))
"""


def test_checks_that_need_changes_of_four_columns_are_satisfied(new_database: Any) -> None:
    engine = new_database(CONDITIONAL)
    fill_tables(engine, overrides={"a.kind": ["x", "y"]})
    assert count(engine, "a WHERE kind = 'y'") == 5


def test_names_that_stand_for_one_text_differ_in_unique_keys(new_database: Any) -> None:
    engine = new_database(
        "CREATE TABLE a (currency TEXT NOT NULL UNIQUE, time_zone TEXT NOT NULL UNIQUE,"
        " config TEXT PRIMARY KEY, is_default BOOLEAN NOT NULL, UNIQUE (is_default, currency))"
    )
    assert fill_tables(engine).rows == {"a": 10}


def test_keys_that_are_foreign_keys_take_the_numbers_of_their_parents(new_database: Any) -> None:
    engine = new_database(
        "CREATE TABLE a (id INTEGER PRIMARY KEY);"
        "CREATE TABLE b (id INTEGER PRIMARY KEY REFERENCES a, kind TEXT NOT NULL);"
        "INSERT INTO a VALUES (7), (90)"
    )
    fill_tables(engine, ["b"], rows=12)
    assert (count(engine, "a"), count(engine, "b")) == (12, 12)


CHECKS = """
CREATE TABLE a (
    id INTEGER PRIMARY KEY, -- CHECK (id > 100)
    "check" TEXT NOT NULL CONSTRAINT "a )" CHECK ("check" IN (')', 'b''')), /* CHECK (0) */
    x INT CHECK(x > (1 + 2)*3) NOT NULL, CONSTRAINT far CHECK (x <> 10
    AND x < 20))
"""


def test_checks_are_read_from_the_statement_that_made_the_table(new_database: Any) -> None:
    engine = new_database(CHECKS)
    fill_tables(engine)
    assert rows(engine, 'SELECT DISTINCT "check" FROM a ORDER BY 1') == [(")",), ("b'",)]
    assert {x for (x,) in rows(engine, "SELECT x FROM a")} <= {11, 12, 13, 14, 15, 16, 17, 18, 19}


def test_a_unique_index_on_a_part_of_the_rows_leaves_the_others_alone(new_database: Any) -> None:
    engine = new_database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a BOOLEAN NOT NULL, kind TEXT NOT NULL "
        "CHECK (kind IN ('x', 'y'))); CREATE UNIQUE INDEX u ON t (a) WHERE kind = 'x'"
    )

    filled = fill_tables(engine, rows=20)

    assert filled.rows == {"t": 20}
    assert is_valid(engine)


# --- types ----------------------------------------------------------------------------------------


class Strict(sa.TypeDecorator[Any]):
    """A type that stores JSON and takes lists alone."""

    impl = sa.String(40)
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: sa.Dialect) -> str | None:
        if value is not None and not isinstance(value, list):
            raise TypeError("a list is needed")
        return json.dumps(value)

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> Any:
        return json.loads(value)


class Key(sa.TypeDecorator[uuid.UUID]):
    impl = sa.CHAR(32)
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: sa.Dialect) -> str | None:
        return None if value is None else uuid.UUID(str(value)).hex

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> Any:
        return None if value is None else uuid.UUID(value)


class Side(sa.TypeDecorator[str]):
    """A type whose code alone says what it takes."""

    impl = sa.String(5)
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: sa.Dialect) -> Any:
        if value not in ("north", "south"):
            raise ValueError(f"{value!r} is no side")
        return value


class Nothing(sa.TypeDecorator[Any]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, _value: Any, _dialect: sa.Dialect) -> str:
        raise ValueError("not today")


@dataclasses.dataclass
class Point:
    x: int
    name: Literal["here"]
    levels: list[Level]
    label: str | None = None


class Stored(sa.TypeDecorator[Point]):
    """A type that takes objects of one class."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, point: "Point | None", dialect: "Unknown") -> Any:  # noqa: F821
        if point is None:
            return None
        levels = [each.value for each in point.levels]
        if not levels:
            raise ValueError("a level is needed")
        return {"x": point.x, "name": point.name, "levels": levels}

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> Point:
        return Point(value["x"], value["name"], [Level(each) for each in value["levels"]])


def test_a_type_gets_objects_of_the_class_that_its_annotations_name(new_database: Any) -> None:
    metadata = sa.MetaData()
    table = sa.Table(
        "t",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("point", Stored, nullable=False),
    )
    engine = new_database(metadata)
    fill_tables(engine, metadata, rows=3)
    with engine.connect() as connection:
        points = connection.scalars(sa.select(table.c.point)).all()
    assert len({point.x for point in points}) == 3
    assert all(point.name == "here" and len(point.levels) == 1 for point in points)


def test_a_json_column_holds_what_its_model_takes(new_database: Any) -> None:
    class Base(DeclarativeBase):
        type_annotation_map: ClassVar = {list[str]: sa.JSON, dict[str, int]: sa.JSON}

    class Document(Base):
        __tablename__ = "documents"
        id: Mapped[int] = mapped_column(primary_key=True)
        words: Mapped[list[str]]
        counts: Mapped[dict[str, int] | None]
        settings: Mapped[Any] = mapped_column(MutableDict.as_mutable(sa.JSON()))
        anything: Mapped[Any] = mapped_column(sa.JSON)

    engine = new_database(Base.metadata)
    fill_tables(engine, Base, rows=40, unusual=True)
    with Session(engine) as session:
        documents = session.scalars(sa.select(Document)).all()
    words = [word for each in documents for word in each.words]
    assert words
    assert all(isinstance(word, str) for word in words)
    counts = [each.counts for each in documents if each.counts]
    assert all(isinstance(number, int) for each in counts for number in each.values())
    assert counts
    assert all(isinstance(each.settings, dict) for each in documents)
    assert len({type(each.anything) for each in documents}) > 2


def test_a_nullable_foreign_key_is_null_where_a_unique_key_has_no_more_parents(
    new_database: Any,
) -> None:
    metadata = sa.MetaData()
    sa.Table("parents", metadata, sa.Column("id", sa.Integer, primary_key=True))
    table = sa.Table(
        "children",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("parent_id", sa.ForeignKey("parents.id"), unique=True),
    )
    engine = new_database(metadata)
    filled = fill_tables(engine, metadata, rows={"parents": 3, "children": 7})
    assert filled.rows["children"] == 7
    with engine.connect() as connection:
        parents = connection.scalars(sa.select(table.c.parent_id)).all()
    assert sorted(parents, key=str) == [1, 2, 3, *[None] * 4]


def test_types_get_values_that_they_take_and_give_back(new_database: Any) -> None:
    metadata = sa.MetaData()
    table = sa.Table(
        "t",
        metadata,
        sa.Column("id", Key, primary_key=True),
        sa.Column("strict", Strict, nullable=False),
        sa.Column("side", Side, nullable=False),
        sa.Column("level", sa.Enum(Level), nullable=False),
        sa.Column("values", sa.JSON, nullable=False),
        sa.Column("file", sa.LargeBinary(3), nullable=False),
        sa.Column("span", sa.Interval, nullable=False),
        sa.Column("share", sa.Numeric(3, 3), nullable=False, unique=True),
        sa.Column("code", sa.String(3), nullable=False, unique=True),
        sa.Column("pickled", sa.PickleType, nullable=False),
    )
    engine = new_database(metadata)

    assert fill_tables(engine, metadata, rows=300).rows == {"t": 300}

    with engine.connect() as connection:
        found = connection.execute(table.select()).all()
    assert {type(row.id) for row in found} == {uuid.UUID}
    assert {type(row.strict) for row in found} == {list}
    assert {row.level for row in found} == {*Level}
    assert {row.side for row in found} == {"north", "south"}
    assert all(len(row.file) <= 3 and 0 <= row.share < 1 for row in found)


def test_rows_of_classes_are_in_the_tables_of_their_class(new_database: Any) -> None:
    class Tree(DeclarativeBase):
        pass

    class Person(Tree):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True}  # noqa: RUF012

    class Guest(Person):
        __mapper_args__ = {"polymorphic_identity": "guest"}  # noqa: RUF012

    class Worker(Person):
        __tablename__ = "worker"
        id: Mapped[int] = mapped_column(sa.ForeignKey(Person.id), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "worker"}  # noqa: RUF012

    class Boss(Worker):
        __tablename__ = "boss"
        id: Mapped[int] = mapped_column(sa.ForeignKey(Worker.id), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "boss"}  # noqa: RUF012

    engine = new_database(Tree.metadata)

    filled = fill_tables(engine, Tree, rows=4)

    # A boss has a row in all three tables.
    assert filled.rows == {"person": 12, "worker": 8, "boss": 4}
    with Session(engine) as session:
        people = session.scalars(sa.select(Person)).all()
        kinds = [type(each).__name__ for each in people]
        assert sorted(kinds) == ["Boss"] * 4 + ["Guest"] * 4 + ["Worker"] * 4
        assert len(session.scalars(sa.select(Boss)).all()) == 4


def test_tables_of_another_schema_follow_the_translation(new_database: Any) -> None:
    metadata = sa.MetaData()
    sa.Table("a", metadata, sa.Column("id", sa.Integer, primary_key=True), schema="tenant")
    sa.Table(
        "b",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.ForeignKey("tenant.a.id"), nullable=False),
        schema="tenant",
    )
    engine = new_database("ATTACH ':memory:' AS one").execution_options(
        schema_translate_map={"tenant": "one"}
    )
    metadata.create_all(engine)

    assert fill_tables(engine, metadata, rows=4).rows == {"tenant.a": 4, "tenant.b": 4}
    assert count(engine, "one.b") == 4


# --- overrides ------------------------------------------------------------------------------------


def test_overrides_are_values_lists_and_functions(new_database: Any) -> None:
    engine = new_database()

    fill_tables(
        engine,
        [Order],
        rows={"orders": 3, "customers": 3},
        overrides={
            "customers.email": lambda n: f"{n}@example.org",
            Customer.level: [Level.HIGH],
            "orders.state": "paid",
            "orders.total": lambda: 15,
        },
    )

    assert rows(engine, "SELECT email, level FROM customers") == [
        (f"{n}@example.org", "HIGH") for n in range(3)
    ]
    assert rows(engine, "SELECT DISTINCT state, total FROM orders") == [("paid", 15)]


# --- what cannot be filled ------------------------------------------------------------------------


def test_what_cannot_be_filled_is_named_with_its_constraint_and_a_hint(new_database: Any) -> None:
    engine = new_database(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, x INT NOT NULL, CONSTRAINT never CHECK (x <> x));"
        "CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES a);"
        "CREATE TABLE c (id INTEGER PRIMARY KEY)"
    )

    with pytest.raises(FillError) as raised:
        fill_tables(engine)

    assert str(raised.value) == (
        "2 of 3 tables cannot be filled: a: CHECK never (x <> x); "
        "give its values: overrides={'a.x': ...}\n"
        "  b: FOREIGN KEY (a) needs rows of a; it could not be filled itself"
    )
    assert count(engine, "c") == 0
    assert fill_tables(engine, partial=True).rows == {"a": 0, "b": 0, "c": 10}
    assert count(engine, "c") == 10


def test_a_trigger_that_refuses_is_named(new_database: Any) -> None:
    engine = new_database("CREATE TABLE a (id INTEGER PRIMARY KEY, x TEXT NOT NULL)")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER guard BEFORE INSERT ON a BEGIN SELECT RAISE(ABORT, 'x is closed'); END"
        )

    with pytest.raises(FillError, match=r"a: the database refuses its rows: x is closed; give"):
        fill_tables(engine)


def test_a_type_that_takes_nothing_is_named_or_left_empty(new_database: Any) -> None:
    metadata = sa.MetaData()
    for name, nullable in (("a", False), ("b", True)):
        key = sa.Column("id", sa.Integer, primary_key=True)
        sa.Table(name, metadata, key, sa.Column("x", Nothing, nullable=nullable))
    engine = new_database(metadata)

    filled = fill_tables(engine, metadata, partial=True)

    assert filled.empty == ("b.x",)
    assert [each.reason for each in filled.refused] == [
        "x: the type Nothing refuses every value that was tried: not today"
    ]


def raising(n: int) -> object:
    raise KeyError(n)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {Customer.email: None},
            "NOT NULL constraint failed: customers.email; check the over",
        ),
        ({Order.total: object()}, "check the overrides of orders.total"),
        ({Order.total: 5}, "CHECK (total BETWEEN 10 AND 20); check the overrides of orders.total"),
        (
            {Order.customer_id: 999},
            "FOREIGN KEY constraint failed; check the overrides of orders",
        ),
    ],
)
def test_overrides_that_break_a_constraint_are_named(
    new_database: Any, overrides: dict[Any, object], message: str
) -> None:
    engine = new_database()
    with pytest.raises(FillError) as raised:
        fill_tables(engine, [Order], overrides=overrides)
    assert message in str(raised.value)
    assert count(engine, "customers") == count(engine, "orders") == 0


def test_foreign_keys_that_sqlite_does_not_check_are_checked(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=sa.NullPool)
    Base.metadata.create_all(engine)
    with pytest.raises(FillError, match="customers has no row 999; check the overrides of orders"):
        fill_tables(engine, [Order], overrides={Order.customer_id: 999})
    assert count(engine, "orders") == 0
    fill_tables(engine, [Order], overrides={Order.customer_id: 1})
    assert count(engine, "orders") == 10


def test_a_database_that_may_not_be_written_to_is_named(new_database: Any, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    Base.metadata.create_all(engine)
    reader = sa.create_engine(f"sqlite:///file:{path}?mode=ro&uri=true", poolclass=sa.NullPool)
    with pytest.raises(FillError, match="readonly database; use a connection that may write"):
        fill_tables(reader, [Tag])


def test_a_failed_fill_leaves_what_a_session_has_added(new_database: Any) -> None:
    engine = new_database()
    with Session(engine) as session:
        session.add(Tag(name="x"))
        with pytest.raises(FillError):
            fill_tables(session, [Order], overrides={Order.total: 5})
        session.commit()
    assert (count(engine, "tags"), count(engine, "customers")) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tables": "ordres"}, "there is no table ordres; did you mean orders?"),
        ({"tables": []}, "no table is named"),
        ({"tables": 3}, "no table in 3"),
        ({"tables": Base, "rows": {"ordres": 3}}, "there is no table ordres; did you mean orders?"),
        ({"rows": -1}, "rows must be a whole number, 0 or more, got -1"),
        ({"rows": {"orders": 1.5}}, "rows of orders must be a whole number"),
        ({"rows": True}, "rows must be a whole number"),
        ({"overrides": {"orders.stat": 1}}, "orders has no column stat; did you mean state?"),
        ({"overrides": {"state": 1}}, "name a column as 'table.column', got 'state'"),
        ({"overrides": {"orders.state": []}}, "the list for orders.state is empty"),
        ({"overrides": ["orders.state"]}, "overrides must be a mapping such as"),
        ({"overrides": {"orders.state": raising}}, "the function for orders.state raised KeyError"),
    ],
)
def test_wrong_arguments_are_one_clear_line(
    new_database: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace(".", r"\.")):
        fill_tables(new_database(), **arguments)


def test_a_database_without_tables_is_refused(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'empty.db'}", poolclass=sa.NullPool)
    with pytest.raises(ValueError, match="the database has no tables: create them first"):
        fill_tables(engine)


def test_a_table_that_was_never_created_is_named(new_database: Any) -> None:
    with pytest.raises(ValueError, match="the database has no table customers: create it first"):
        fill_tables(new_database("SELECT 1"), [Customer])


# --- the caller's transaction ---------------------------------------------------------------------


def test_a_connection_is_left_in_its_transaction(new_database: Any) -> None:
    engine = new_database()
    with engine.connect() as connection:
        fill_tables(connection, [Customer])
        assert connection.in_transaction()
        connection.rollback()
    assert count(engine, "customers") == 0


def test_a_session_sees_the_rows_before_it_commits(new_database: Any) -> None:
    engine = new_database()
    with Session(engine) as session:
        fill_tables(session, [Customer], rows=3)
        assert len(session.scalars(sa.select(Customer)).all()) == 3


def test_an_async_engine_is_filled_through_its_connection() -> None:
    pytest.importorskip("aiosqlite")
    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ValueError, match=r"connection\.run_sync\(fill_tables, Base\)"):
        fill_tables(engine, Base)
