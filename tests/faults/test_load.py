"""Fault 1: exporters and a writer at once, for a second. `tox -e load` does so for minutes."""

import json
from pathlib import Path

import pytest
from audit_trail import Content, Trail
from concurrent_exports import LoadResult, RunExports, run_load
from fault_table import LostError, Tally
from writer_process import (
    Written,
    append_transaction,
    begin_growing_run,
    count_transactions,
    running_writer,
)

from elspeth.core.landscape import LandscapeDB


@pytest.mark.fault(1)
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_every_export_beside_a_writer_is_a_state_that_was_committed(
    request: pytest.FixtureRequest, tmp_path: Path, tally: Tally, backend: str
) -> None:
    fixture = "sqlite_url" if backend == "sqlite" else "fresh_postgres_url"
    url = str(request.getfixturevalue(fixture))
    with tally.injection():
        done = run_load(url, tmp_path / "load", seconds=0, finished=2, growing=1, rows=20)
        if done.torn:
            raise LostError(done.torn)
        assert done.problems == []
        assert done.written.transactions > 0
        assert done.exports == 6
    assert f"verified        {done.exports}/{done.exports}" in "\n".join(done.lines())


@pytest.fixture
def growing(sqlite_url: str, tmp_path: Path) -> Trail:
    """A run that three transactions have appended to."""
    with LandscapeDB(sqlite_url) as db:
        begin_growing_run(db, "g")
        for number in (1, 2, 3):
            with db.connection() as connection:
                append_transaction(connection, "g", number)
    return Trail.create(tmp_path / "trail", sqlite_url, "json", Tally(), run_id="g")


def records_of(content: Content) -> list[dict[str, object]]:
    return [json.loads(line) for line in content[""].splitlines()]


def test_whole_transactions_are_counted(growing: Trail) -> None:
    assert count_transactions(records_of(growing.undisturbed)) == 3


@pytest.mark.parametrize("torn", ["run", "row", "token", "node_state", "artifact"])
def test_a_record_of_another_state_than_the_rest_is_detected(growing: Trail, torn: str) -> None:
    earlier = records_of(growing.undisturbed)
    with LandscapeDB(growing.url) as db, db.connection() as connection:
        append_transaction(connection, "g", 4)
    later = Trail.create(growing.folder / "later", growing.url, "json", Tally(), run_id="g")
    mixed = [record for record in earlier if record["record_type"] != torn]
    mixed += [r for r in records_of(later.undisturbed) if r["record_type"] == torn]
    with pytest.raises(ValueError, match="transactions by the run"):
        count_transactions(mixed)


def test_the_problems_of_a_load_are_listed() -> None:
    def problems(deadlocks: int = 0, **changes: object) -> list[str]:
        right = {"exports": 1, "verified": 1, "status": "completed"}
        return list(
            LoadResult(
                "x", 1.0, [RunExports("r", **(right | changes))], Written(1, 0), deadlocks
            ).problems
        )

    assert problems() == []
    assert problems(exports=0, verified=0) == ["r: never exported"]
    assert problems(verified=0) == ["not every export verifies"]
    assert problems(torn=["half"]) == ["r: half"]
    assert problems(errors=["exit 3"]) == ["r: exit 3"]
    assert problems(status="pending") == ["r: export_status pending"]
    assert problems(deadlocks=2) == ["2 deadlocks"]


def test_a_writer_that_fails_raises(sqlite_url: str) -> None:
    LandscapeDB(sqlite_url).close()
    with pytest.raises(RuntimeError, match="FOREIGN KEY"), running_writer(sqlite_url, ["gone"]):
        pass
