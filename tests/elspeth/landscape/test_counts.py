"""Record counts, compared to the export."""

from collections import Counter

from sample_run import SampleRun, record_sample_run
from sqlalchemy import insert

from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.counts import count_records, count_records_of_all
from elspeth.core.landscape.schema import batch_members_table
from querygrowth.counting.log import count_queries


def test_counts_are_those_of_the_export(db: LandscapeDB, sample: SampleRun) -> None:
    exported = Counter(r["record_type"] for r in LandscapeExporter(db).export_run(sample.run_id))
    with db.connection() as connection:
        counted = count_records(connection, sample.run_id)
    assert counted == exported
    assert list(counted) == list(EMISSION_ORDER)


def test_counting_is_one_query_and_leaves_other_runs_out(
    db: LandscapeDB, recorder: LandscapeRecorder
) -> None:
    for run_id in ("run-1", "run-2"):
        record_sample_run(recorder, run_id)
    with count_queries(db.engine) as log, db.connection() as connection:
        counted = count_records(connection, "run-2")
    assert sum(counted.values()) == SampleRun("run-2").records
    assert log.total == 1


def test_all_runs_are_counted_in_one_query_as_each_of_them(
    db: LandscapeDB, recorder: LandscapeRecorder
) -> None:
    for run_id in ("run-1", "run-2"):
        record_sample_run(recorder, run_id)
    recorder.begin_run({}, "v", run_id="empty")
    # A batch that holds a token of another run belongs to its own run.
    token = recorder.get_tokens(recorder.get_rows("run-1")[0].row_id)[0]
    batch = recorder.get_batches("run-2")[0]
    member = {"batch_id": batch.batch_id, "token_id": token.token_id, "ordinal": 9}
    with db.connection() as connection:
        connection.execute(insert(batch_members_table), member)
    with count_queries(db.engine) as log, db.connection() as connection:
        counted = count_records_of_all(connection)
    assert log.total == 1
    with db.connection() as connection:
        assert counted == {
            run_id: count_records(connection, run_id) for run_id in ("run-1", "run-2", "empty")
        }
    assert {run_id: sum(each.values()) for run_id, each in counted.items()} == {
        "run-1": 50,
        "run-2": 51,
        "empty": 1,
    }


def test_an_unknown_run_has_zero_records_of_every_type(db: LandscapeDB) -> None:
    with db.connection() as connection:
        assert count_records(connection, "nobody") == dict.fromkeys(EMISSION_ORDER, 0)


EMISSION_ORDER = (
    "run",
    "node",
    "edge",
    "row",
    "token",
    "token_parent",
    "node_state",
    "routing_event",
    "call",
    "batch",
    "batch_member",
    "artifact",
)
