"""Any schema can be filled: Hypothesis draws schemas, and the database checks every constraint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, note, settings

from querygrowth import Filled, fill_tables

NAMES = ("alpha", "beta", "gamma", "delta")
KEYS = ("integer", "biginteger", "text", "uuid", "composite", "none")
TYPES: tuple[Any, ...] = (
    sa.Integer(),
    sa.SmallInteger(),
    sa.String(3),
    sa.String(40),
    sa.Text(),
    sa.Boolean(),
    sa.Numeric(4, 2),
    sa.Numeric(2, 2),
    sa.Float(),
    sa.DateTime(),
    sa.Date(),
    sa.Time(),
    sa.Interval(),
    sa.JSON(),
    sa.LargeBinary(8),
    sa.Uuid(),
    sa.Enum("red", "green", "blue", name="colour", native_enum=False, create_constraint=True),
)
# What stands for {c} is the column, {d} another column of the same type.
CHECKS = {
    "Integer": (
        *("{c} > 5", "{c} BETWEEN -3 AND 3", "{c} IN (2, 4, 8)", "{c} < 0 OR {c} > 1000"),
        *("{c} <> {d}", "{c} < {d}", "{c} + {d} = 10", "NOT ({c} = 1)", "{c} % 2 = 0"),
        *("coalesce({c}, 0) >= 100", "abs({c}) > 7", "CASE WHEN {d} > 3 THEN {c} < 3 ELSE 1 END"),
    ),
    "String": (
        *("length({c}) >= 2", "{c} IN ('x', 'y')", "{c} <> ''", "{c} LIKE 'a%'"),
        *("lower({c}) = {c}", "length(trim({c})) > 0", "{c} <> {d}", "upper({c}) = {c}"),
    ),
    "DateTime": ("{c} > '2024-06-01'", "{c} <= {d}", "{c} < {d}"),
    "Date": ("{c} < '2000-01-01'", "{c} >= {d}"),
    "Numeric": ("{c} >= 0.5", "{c} BETWEEN 0 AND 0.9", "{c} < {d}"),
    "any": ("{c} IS NOT NULL", "({c} IS NULL) <> ({d} IS NULL)", "{c} IS NULL OR {d} IS NOT NULL"),
}


@st.composite
def schemas(draw: st.DrawFn) -> sa.MetaData:
    """Schemas of up to four tables, with any foreign keys among them."""
    metadata = sa.MetaData()
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    keys = {name: draw(st.sampled_from(KEYS)) for name in names}
    for name in names:
        table = sa.Table(name, metadata, *key_columns(keys[name]))
        for number in range(draw(st.integers(0, 3))):
            add_link(draw, table, number, keys)
        add_columns(draw, table)
        add_unique(draw, table)
    return metadata


def key_columns(key: str) -> list[sa.Column[Any]]:
    kinds: dict[str, list[Any]] = {
        "integer": [sa.Integer()],
        "biginteger": [sa.BigInteger()],
        "text": [sa.String(12)],
        "uuid": [sa.Uuid()],
        "composite": [sa.Integer(), sa.String(8)],
    }
    if key == "none":
        return [sa.Column("id", sa.Integer, nullable=False, unique=True)]
    names = ("id", "part")
    return [
        sa.Column(n, kind, primary_key=True) for n, kind in zip(names, kinds[key], strict=False)
    ]


def add_link(draw: st.DrawFn, table: sa.Table, number: int, keys: dict[str, str]) -> None:
    """Add a foreign key to any table, also to itself and to one that points back."""
    target = draw(st.sampled_from(sorted(keys)))
    columns = key_columns(keys[target])
    nullable = draw(st.booleans())
    unique = draw(st.integers(0, 3)) == 0
    local = [f"link{number}_{column.name}" for column in columns]
    for name, column in zip(local, columns, strict=True):
        table.append_column(sa.Column(name, column.type, nullable=nullable))
    table.append_constraint(
        sa.ForeignKeyConstraint(
            local,
            [f"{target}.{column.name}" for column in columns],
            name=f"fk_{table.name}_{number}",
            use_alter=True,
        )
    )
    if unique:
        table.append_constraint(sa.UniqueConstraint(*local))


def add_columns(draw: st.DrawFn, table: sa.Table) -> None:
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(TYPES))
        nullable = draw(st.booleans())
        pair = (f"c{number}", f"d{number}")
        for name in pair:
            table.append_column(sa.Column(name, kind, nullable=nullable))
        family = type(kind).__name__
        checks: list[str] = [*CHECKS.get(family, ())]
        if nullable:
            checks += CHECKS["any"]
        if draw(st.booleans()) and checks:
            text = draw(st.sampled_from(checks)).format(c=pair[0], d=pair[1])
            if not (family == "String" and kind.length == 3 and "1000" in text):
                table.append_constraint(sa.CheckConstraint(text, name=f"ck_{table.name}_{number}"))


def add_unique(draw: st.DrawFn, table: sa.Table) -> None:
    columns = [column for column in table.columns if not column.primary_key]
    if len(columns) > 1 and draw(st.booleans()):
        chosen = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=3, unique=True))
        where: dict[str, Any] = {}
        if draw(st.integers(0, 2)) == 0:
            where["sqlite_where"] = columns[0].is_not(None)
        sa.Index(f"ux_{table.name}", *chosen, unique=True, **where)


@contextmanager
def database(metadata: sa.MetaData) -> Iterator[sa.Engine]:
    engine = sa.create_engine("sqlite://")

    @sa.event.listens_for(engine, "connect")
    def enforce(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    metadata.create_all(engine)
    yield engine
    engine.dispose()


def violations(engine: sa.Engine) -> list[object]:
    """What the database itself finds wrong."""
    with engine.connect() as connection:
        foreign = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        others = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    return [*foreign, *(each for each in others if each != "ok")]


def content(engine: sa.Engine, metadata: sa.MetaData) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        return {
            name: sorted(map(repr, connection.execute(table.select())))
            for name, table in metadata.tables.items()
        }


def check(metadata: sa.MetaData, rows: int, seed: int, unusual: bool) -> Filled:
    for table in metadata.tables.values():
        note(str(sa.schema.CreateTable(table)))
    with database(metadata) as engine:
        first = fill_tables(engine, metadata, rows=rows, seed=seed, unusual=unusual, partial=True)
        note(str(first))
        assert violations(engine) == []
        assert first.refused == ()
        for name, number in first.rows.items():
            assert number >= rows or name in first.limited
        with database(metadata) as other:
            fill_tables(other, metadata, rows=rows, seed=seed, unusual=unusual, partial=True)
            assert content(other, metadata) == content(engine, metadata)
        fill_tables(engine, metadata, rows=2, seed=seed + 1, unusual=unusual, partial=True)
        assert violations(engine) == []
    return first


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), st.integers(1, 12), st.integers(0, 3), st.booleans())
def test_every_constraint_of_a_drawn_schema_holds(
    metadata: sa.MetaData, rows: int, seed: int, unusual: bool
) -> None:
    check(metadata, rows, seed, unusual)


@pytest.mark.nightly
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), st.integers(1, 40), st.integers(0, 1000), st.booleans())
def test_every_constraint_of_many_drawn_schemas_holds(
    metadata: sa.MetaData, rows: int, seed: int, unusual: bool
) -> None:
    check(metadata, rows, seed, unusual)
