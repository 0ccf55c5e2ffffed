"""`examine`: the advice for a complete database and for one without an index."""

from sqlalchemy import inspect

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.doctor import examine
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.log import count_queries


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
