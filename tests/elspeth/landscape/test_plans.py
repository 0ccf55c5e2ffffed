"""Tests of SQLite's query plans: searches by index, and no sort beyond a parent's children."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.doctor import ROW_SIDE, Plan, sqlite_plans
from elspeth.core.landscape.export.queries import WHOLE, Partition
from elspeth.core.landscape.export.record_types import BATCH, CALL, RECORD_TYPES, ROW, TOKEN
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

RUN = RunSpec.typical(60)
EVERYWHERE = [WHOLE, Partition(None, 20), Partition(20, 40), Partition(40, None)]


@pytest.fixture(scope="module", params=["empty", "filled", "filled and analyzed"])
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    path = tmp_path_factory.mktemp("plans") / "audit.db"
    with LandscapeDB(f"sqlite:///{path}") as db:
        if request.param != "empty":
            generate_run(db, RUN)
        with db.connection() as connection:
            if request.param == "filled and analyzed":
                connection.exec_driver_sql("ANALYZE")
            yield connection


@pytest.mark.parametrize("partition", EVERYWHERE, ids=str)
def test_no_plan_scans_a_table_or_sorts_a_whole_run(
    connection: Connection, partition: Partition
) -> None:
    plans = sqlite_plans(connection, RUN.run_id, partition)
    assert [plan.record_type for plan in plans] == list(RECORD_TYPES)
    for plan in plans:
        assert not plan.grows_with_the_run, (plan.record_type.name, plan.lines)


def test_rows_need_no_sort(connection: Connection) -> None:
    plans = {plan.record_type: plan.lines for plan in sqlite_plans(connection, RUN.run_id)}
    assert not any("TEMP B-TREE" in line for line in plans[ROW])


@pytest.mark.parametrize("partition", EVERYWHERE[1:], ids=str)
def test_a_partition_is_found_by_its_row_indices(
    connection: Connection, partition: Partition
) -> None:
    for plan in sqlite_plans(connection, RUN.run_id, partition):
        if plan.record_type in ROW_SIDE:
            assert any("run_id=? AND row_index" in line for line in plan.lines), plan.lines


SEARCH = "SEARCH calls USING INDEX i (state_id=?)"


@pytest.mark.parametrize(
    "lines",
    [
        ["SCAN calls", "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"],
        ["SEARCH calls USING AUTOMATIC COVERING INDEX (state_id=?)"],
        [SEARCH, "USE TEMP B-TREE FOR ORDER BY"],
    ],
)
def test_a_scan_or_a_sort_of_the_whole_run_is_seen(lines: list[str]) -> None:
    assert Plan(CALL, lines).grows_with_the_run
    assert not Plan(BATCH, lines).grows_with_the_run


def test_a_sort_within_a_parent_is_not_a_sort_of_the_run() -> None:
    assert not Plan(CALL, [SEARCH, "USE TEMP B-TREE FOR LAST 3 TERMS OF ORDER BY"]).scanned
    assert not Plan(CALL, [SEARCH, "USE TEMP B-TREE FOR LAST 3 TERMS OF ORDER BY"]).sorts_everything


def test_a_missing_index_shows_in_the_plans(sqlite_url: str) -> None:
    with LandscapeDB(sqlite_url) as db, db.connection() as connection:
        connection.exec_driver_sql("DROP INDEX ix_tokens_row_id")
        plans = {plan.record_type: plan for plan in sqlite_plans(connection, "r")}
    assert plans[TOKEN].grows_with_the_run
    assert not plans[ROW].grows_with_the_run
