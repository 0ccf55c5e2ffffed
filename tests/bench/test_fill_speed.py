"""How fast tables fill themselves: 1,000 rows in each of 100 tables, in rows/s."""

from typing import Any

import pytest
import sqlalchemy as sa
from pytest_benchmark.fixture import BenchmarkFixture

from querygrowth import fill_tables

TABLES = 100
ROWS, ROWS_IF_NOT_TIMED = 1_000, 3


def schema() -> sa.MetaData:
    """Tables in chains of five, with what most tables have: names, moments, numbers, a state."""
    metadata = sa.MetaData()
    for number in range(TABLES):
        parent: list[sa.Column[Any]] = (
            [sa.Column("parent_id", sa.ForeignKey(f"t{number - 1:02}.id"), nullable=False)]
            if number % 5
            else []
        )
        sa.Table(
            f"t{number:02}",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            *parent,
            sa.Column("email", sa.String(80), nullable=False, unique=True),
            sa.Column("name", sa.String(40)),
            sa.Column("created_at", sa.DateTime, nullable=False),
            sa.Column("amount", sa.Numeric(8, 2), nullable=False),
            sa.Column("state", sa.String(9), nullable=False),
            sa.CheckConstraint("state IN ('open', 'paid')"),
            sa.CheckConstraint("amount > 0"),
        )
    return metadata


@pytest.mark.benchmark(group="filled tables")
def test_a_thousand_rows_in_each_of_a_hundred_tables(benchmark: BenchmarkFixture) -> None:
    metadata = schema()
    rows = ROWS if benchmark.enabled else ROWS_IF_NOT_TIMED

    def new_database() -> tuple[tuple[sa.Engine], dict[str, object]]:
        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
        metadata.create_all(engine)
        return (engine,), {}

    def fill(engine: sa.Engine) -> int:
        filled = fill_tables(engine, metadata, rows=rows)
        engine.dispose()
        return sum(filled.rows.values())

    added = benchmark.pedantic(fill, setup=new_database, rounds=3)
    assert added == TABLES * rows
    if benchmark.stats is not None:
        benchmark.extra_info["rows_per_second"] = round(added / benchmark.stats.stats.min)
