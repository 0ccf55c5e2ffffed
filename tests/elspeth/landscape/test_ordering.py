"""Tests of text order: byte by byte on both backends."""

import pytest
from sqlalchemy import Dialect, select, text
from sqlalchemy.dialects import postgresql, sqlite

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.queries import bytewise
from elspeth.core.landscape.schema import runs_table

RUN_ID = runs_table.c.run_id


@pytest.mark.parametrize(
    ("dialect", "ordering"),
    [
        (sqlite.dialect(), "ORDER BY runs.run_id DESC"),
        (postgresql.dialect(), 'ORDER BY runs.run_id COLLATE "C" DESC'),
    ],
    ids=["sqlite", "postgresql"],
)
def test_a_collation_is_asked_for_on_postgresql_alone(dialect: Dialect, ordering: str) -> None:
    statement = select(RUN_ID).order_by(bytewise(RUN_ID).desc())
    assert str(statement.compile(dialect=dialect)).endswith(ordering)


def test_two_columns_are_two_orders_when_statements_are_cached(db: LandscapeDB) -> None:
    insert = text(
        "INSERT INTO runs (run_id, config_hash, started_at, settings_json, canonical_version,"
        " status) VALUES (:run, :hash, '2026-01-01', '{}', 'v1', 'running')"
    )
    with db.connection() as connection:
        connection.execute(insert, [{"run": "Z", "hash": "é"}, {"run": "a", "hash": "z"}])
        orders = [
            list(connection.scalars(select(RUN_ID).order_by(bytewise(column))))
            for column in (RUN_ID, runs_table.c.config_hash)
        ]
    assert orders == [["Z", "a"], ["a", "Z"]]
