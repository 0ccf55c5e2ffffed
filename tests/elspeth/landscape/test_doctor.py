"""`examine`: the advice for a complete database and for one without an index."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Column, ForeignKeyConstraint, Index, MetaData, Table, inspect

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.doctor import _expected_indexes, examine
from elspeth.core.landscape.schema import EXPORTED_TABLES, metadata
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.counting.log import count_queries


def test_a_database_of_this_schema_gets_no_advice(db: LandscapeDB) -> None:
    generate_run(db, RunSpec.typical(10))
    assert examine(db) == []


def test_a_missing_index_is_named_with_the_sql_that_creates_it(sqlite_url: str) -> None:
    with LandscapeDB(sqlite_url) as db:
        with db.connection() as connection:
            connection.exec_driver_sql("DROP INDEX ix_tokens_row_id")
        lost, *consequences = examine(db)
        assert lost.problem == "tokens has no index that begins with row_id"
        assert lost.statement == "CREATE INDEX ix_tokens_row_id ON tokens (row_id)"
        assert "the export of tokens" in consequences[0].problem
        with db.connection() as connection:
            connection.exec_driver_sql(lost.statement)
        assert examine(db) == []


def test_an_index_that_another_one_replaces_is_not_missing(sqlite_url: str) -> None:
    with LandscapeDB(sqlite_url) as db:
        with db.connection() as connection:
            connection.exec_driver_sql(
                "DROP INDEX ix_calls_state"
            )  # (state_id, call_index) is left
        assert examine(db) == []


def test_a_missing_index_is_named_on_postgresql(fresh_postgres_url: str) -> None:
    with LandscapeDB(fresh_postgres_url) as db:
        with db.connection() as connection:
            connection.exec_driver_sql("DROP INDEX ix_tokens_row_id")
        (advice,) = examine(db)
        assert advice.statement == "CREATE INDEX ix_tokens_row_id ON tokens (row_id)"
        with db.connection() as connection:
            connection.exec_driver_sql(advice.statement)
        assert examine(db) == []


def schema_without(table: Table, columns: Sequence[str]) -> MetaData:
    """Return the schema without the indexes and constraints that begin with these columns."""
    schema = MetaData()
    for each in metadata.sorted_tables:
        copy = Table(each.name, schema, *(Column(c.name, c.type) for c in each.columns))
        for found in (*each.indexes, *each.constraints):
            names = [column.name for column in getattr(found, "columns", ())]
            if isinstance(found, ForeignKeyConstraint) or not names:
                continue
            if each is table and names[: len(columns)] == columns:
                continue
            Index(f"ix_{len(copy.indexes)}_{each.name}", *(copy.c[name] for name in names))
    return schema


EXPECTED = [
    pytest.param(table, columns, id=f"{table.name} {' '.join(columns)}")
    for table in EXPORTED_TABLES
    for columns, _ in _expected_indexes(table)
]


@pytest.mark.parametrize(("table", "columns"), EXPECTED)
def test_every_index_and_key_of_the_schema_is_missed(table: Table, columns: Sequence[str]) -> None:
    with LandscapeDB.in_memory() as db:
        metadata.drop_all(db.engine)
        schema_without(table, columns).create_all(db.engine)
        problems = [advice.problem for advice in examine(db)]
    assert f"{table.name} has no index that begins with {', '.join(columns)}" in problems


UNUSABLE = {
    "WHERE": "CREATE INDEX ix_tokens_row_id ON tokens (row_id) WHERE branch_name IS NULL",
    "collation": "CREATE INDEX ix_tokens_row_id ON tokens (row_id COLLATE NOCASE)",
}


@pytest.mark.parametrize("word", UNUSABLE)
def test_an_index_that_finds_some_rows_only_is_not_enough(sqlite_url: str, word: str) -> None:
    with LandscapeDB(sqlite_url) as db:
        execute(db, "DROP INDEX ix_tokens_row_id", UNUSABLE[word])
        first, *_ = examine(db)
        assert "no usable index that begins with row_id: ix_tokens_row_id" in first.problem
        assert word in first.problem
        execute(db, *str(first.statement).split("; "))
        assert examine(db) == []


@pytest.mark.parametrize("kind", ["invalid", "WHERE"])
def test_an_unusable_index_is_named_on_postgresql(fresh_postgres_url: str, kind: str) -> None:
    with LandscapeDB(fresh_postgres_url) as db:
        execute(db, "DROP INDEX ix_tokens_row_id")
        where = " WHERE branch_name IS NULL" if kind == "WHERE" else ""
        execute(db, f"CREATE INDEX ix_tokens_row_id ON tokens (row_id){where}")
        if kind == "invalid":
            # As CREATE INDEX CONCURRENTLY leaves it when it is cut off.
            execute(
                db,
                "UPDATE pg_index SET indisvalid = false "
                "WHERE indexrelid = 'ix_tokens_row_id'::regclass",
            )
        (advice,) = examine(db)
        assert kind in advice.problem
        execute(db, *str(advice.statement).split("; "))
        assert examine(db) == []


def execute(db: LandscapeDB, *statements: str) -> None:
    with db.connection() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_nothing_is_created(db: LandscapeDB) -> None:
    def indexes() -> list[str]:
        with db.connection() as connection:
            found = inspect(connection).get_multi_indexes().values()
        return sorted(str(index["name"]) for each in found for index in each)

    before = indexes()
    examine(db)
    assert indexes() == before


def test_the_examination_of_a_large_run_costs_as_much_as_of_a_small_one(sqlite_url: str) -> None:
    asked = []
    with LandscapeDB(sqlite_url) as db:
        for rows in (10, 40):
            generate_run(db, RunSpec.typical(rows, run_id=f"r{rows}"))
            with count_queries(db.engine, call_sites=False) as log:
                examine(db)
            asked.append(log.rows_fetched)
    assert asked[0] == asked[1]
