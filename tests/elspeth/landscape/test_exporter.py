"""Tests of both exporters: the same records, keys and order, and the number of queries."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

import pytest
from sample_run import (
    BOTH,
    DYNAMIC,
    EXPORTED_AT,
    Exporter,
    SampleRun,
    of_type,
    pairs,
    record_sample_run,
)
from sqlalchemy import select, update

from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.canonical import stable_hash
from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LandscapeRecorder,
    LegacyLandscapeExporter,
)
from elspeth.core.landscape.export.reference_paths import PARENTS, RUNS
from elspeth.core.landscape.schema import EXPORTED_TABLES, nodes_table, runs_table
from querygrowth.counting.log import count_queries

KEYS = {
    "run": "status started_at completed_at canonical_version config_hash reproducibility_grade",
    "node": "node_id plugin_name node_type plugin_version config_hash schema_hash "
    "sequence_in_pipeline",
    "edge": "edge_id from_node_id to_node_id label default_mode",
    "row": "row_id row_index source_node_id source_data_hash",
    "token": "token_id row_id step_in_pipeline branch_name fork_group_id join_group_id",
    "token_parent": "token_id parent_token_id ordinal",
    "node_state": "state_id token_id node_id step_index attempt status input_hash output_hash "
    "duration_ms started_at completed_at",
    "routing_event": "event_id state_id edge_id routing_group_id ordinal mode reason_hash",
    "call": "call_id state_id call_index call_type status request_hash response_hash latency_ms",
    "batch": "batch_id aggregation_node_id attempt status trigger_reason created_at completed_at",
    "batch_member": "batch_id token_id ordinal",
    "artifact": "artifact_id sink_node_id produced_by_state_id artifact_type path_or_uri "
    "content_hash size_bytes",
    "manifest": "record_count final_hash hash_algorithm signature_algorithm exported_at",
}


EMITTED = [
    ("run", 1),
    ("node", 6),
    ("edge", 3),
    *[("row", 1), ("token", 1)],
    *[("node_state", 2), ("call", 1), ("node_state", 1), ("call", 2)],
    *[("node_state", 1), ("routing_event", 3)],
    *[("token", 1), ("token_parent", 1), ("token", 1), ("token_parent", 1)],
    *[("token", 1), ("token_parent", 2), ("node_state", 2)],
    *[("row", 1), ("token", 1), ("node_state", 1)],
    *[("token", 1), ("token_parent", 1), ("token", 1), ("token_parent", 1)],
    *[("row", 2), ("token", 1)],
    *[("batch", 1), ("batch_member", 2), ("batch", 1), ("batch_member", 1)],
    *[("batch", 1), ("batch_member", 1)],
    ("artifact", 2),
    ("manifest", 1),
]


FINISHED = ("output_hash", "duration_ms", "completed_at")


class TestQueries:
    """The bound that the bug report asks for, on both backends."""

    def test_a_run_costs_one_query_for_each_table_in_one_transaction(
        self, db: LandscapeDB, candidate: LandscapeExporter, sample: SampleRun
    ) -> None:
        with count_queries(db.engine) as log:
            assert len(list(candidate.export_run(sample.run_id))) == sample.records
        assert log.by_table == {table.name: 1 for table in EXPORTED_TABLES}
        assert len(log.statements) == 12, "session statements must not show as queries"
        assert (log.transactions_begun, log.checkouts) == (1, 1)

    def test_an_empty_run_costs_the_same(
        self, db: LandscapeDB, candidate: LandscapeExporter, recorder: LandscapeRecorder
    ) -> None:
        recorder.begin_run({}, "v1", run_id="empty")
        with count_queries(db.engine) as log:
            assert len(list(candidate.export_run("empty"))) == 1
        assert (log.total, log.transactions_begun, log.checkouts) == (12, 1, 1)

    def test_rows_without_tokens_and_batches_without_members_cost_the_same(
        self, db: LandscapeDB, candidate: LandscapeExporter, recorder: LandscapeRecorder
    ) -> None:
        recorder.begin_run({}, "v1", run_id="r")
        recorder.register_node("r", "p", "source", "1", {}, node_id="n", schema_config=DYNAMIC)
        for index in range(3):
            recorder.create_row("r", "n", index, {})
            recorder.create_batch("r", "n")
        with count_queries(db.engine) as log:
            assert len(list(candidate.export_run("r"))) == 8
        assert log.total == 12

    def test_other_runs_of_the_database_and_signing_cost_nothing(
        self, db: LandscapeDB, candidate: LandscapeExporter, recorder: LandscapeRecorder
    ) -> None:
        for run_id in ("before", "run-1", "after"):
            record_sample_run(recorder, run_id)
        with count_queries(db.engine) as log:
            list(candidate.export_run("run-1", sign=True))
        assert log.total == 12
        assert log.rows_fetched == SampleRun("run-1").records

    @pytest.mark.parametrize("method", ["write_jsonl", "write_csv"])
    def test_a_file_costs_one_more_that_looks_for_orphans_and_damage(
        self,
        db: LandscapeDB,
        candidate: LandscapeExporter,
        sample: SampleRun,
        method: str,
        tmp_path: Path,
    ) -> None:
        with count_queries(db.engine) as log:
            getattr(candidate, method)(sample.run_id, tmp_path / "out", sign=True)
        # PostgreSQL's catalogue says that the foreign keys of this schema exclude orphans.
        searches = db.engine.dialect.name == "sqlite"
        assert (log.total, log.transactions_begun, log.checkouts) == (12 + searches, 1, 1)
        assert log.rows_fetched == sample.records
        if not searches:
            return
        (extra,) = (query.sql for query in log.queries if "NOT (EXISTS" in query.sql)
        assert extra.count("pragma_integrity_check(") == len(EXPORTED_TABLES)
        assert extra.count("NOT (EXISTS") == len(PARENTS) + len(RUNS)

    def test_the_control_asks_for_each_entity_in_a_transaction_of_its_own(
        self, db: LandscapeDB, control: LegacyLandscapeExporter, sample: SampleRun
    ) -> None:
        with count_queries(db.engine) as log:
            list(control.export_run(sample.run_id))
        assert log.total == sample.legacy_queries
        assert log.transactions_begun == log.checkouts == sample.legacy_queries

    def test_an_unknown_run_costs_one_query(self, db: LandscapeDB, exporter: Exporter) -> None:
        with count_queries(db.engine) as log, pytest.raises(RunNotFoundError):
            next(exporter.export_run("nobody"))
        assert log.total == 1


class TestRecords:
    @pytest.mark.parametrize("sign", [False, True])
    def test_both_exporters_agree_to_the_order_of_keys(
        self,
        candidate: LandscapeExporter,
        control: LegacyLandscapeExporter,
        sample: SampleRun,
        sign: bool,
    ) -> None:
        expected = pairs(list(control.export_run(sample.run_id, sign=sign)))
        assert pairs(list(candidate.export_run(sample.run_id, sign=sign))) == expected

    def test_records_come_parents_first(self, exporter: Exporter, sample: SampleRun) -> None:
        records = exporter.export_run(sample.run_id, sign=True)
        names = [record["record_type"] for record in records]
        assert [(name, len(list(group))) for name, group in groupby(names)] == EMITTED

    @pytest.mark.parametrize("sign", [False, True])
    def test_a_record_has_its_types_keys_in_their_order(
        self, exporter: Exporter, sample: SampleRun, sign: bool
    ) -> None:
        for record in exporter.export_run(sample.run_id, sign=sign):
            expected = ["record_type", "run_id", *KEYS[record["record_type"]].split()]
            assert list(record) == expected + ["signature"] * sign

    def test_what_a_state_holds_depends_on_its_status(
        self, exporter: Exporter, sample: SampleRun
    ) -> None:
        records = list(exporter.export_run(sample.run_id))
        states = [record for record in records if record["record_type"] == "node_state"]
        held = {
            (state["status"], *(state[key] is not None for key in FINISHED)) for state in states
        }
        assert held == {
            ("open", False, False, False),
            ("completed", True, True, True),
            ("failed", False, True, True),
            ("failed", True, True, True),
        }

    def test_values_are_those_recorded(self, exporter: Exporter, sample: SampleRun) -> None:
        records = list(exporter.export_run(sample.run_id))
        assert records[0]["config_hash"] == stable_hash({"batch": 2})
        assert (records[0]["status"], records[0]["reproducibility_grade"]) == (
            "completed",
            "full_reproducible",
        )
        assert of_type(records, "artifact", "path_or_uri") == ["out/a.jsonl", "out/é 𝄞.jsonl"]
        assert of_type(records, "call", "latency_ms") == [None, 5.0, 1e-06]
        assert of_type(records, "batch", "attempt") == [0, 0, 1]
        assert of_type(records, "batch", "trigger_reason") == ["count reached", None, None]
        assert of_type(records, "node", "sequence_in_pipeline") == [0, 1, None, None, None, None]
        assert all(record["run_id"] == sample.run_id for record in records)

    def test_grouped_records_are_those_of_the_stream_by_type(
        self, exporter: Exporter, sample: SampleRun
    ) -> None:
        records = list(exporter.export_run(sample.run_id, sign=True))
        grouped = exporter.export_run_grouped(sample.run_id, sign=True)
        assert list(grouped) == list(dict.fromkeys(record["record_type"] for record in records))
        for name, group in grouped.items():
            assert group == [record for record in records if record["record_type"] == name]

    def test_the_manifest_covers_every_record_before_it(
        self, exporter: Exporter, sample: SampleRun
    ) -> None:
        *records, manifest = exporter.export_run(sample.run_id, sign=True)
        assert len(records) == manifest["record_count"] == sample.records
        assert manifest["exported_at"] == EXPORTED_AT.isoformat()
        assert len({record["signature"] for record in records}) == sample.records

    def test_a_run_still_open_is_exported_as_it_stands(
        self, exporter: Exporter, recorder: LandscapeRecorder
    ) -> None:
        recorder.begin_run({}, "v1", run_id="r")
        (record,) = exporter.export_run("r")
        assert (record["status"], record["completed_at"]) == ("running", None)


class TestErrors:
    def test_an_unknown_run_is_named_at_the_first_record(self, exporter: Exporter) -> None:
        records = exporter.export_run("nobody")
        with pytest.raises(RunNotFoundError, match="Run not found: nobody"):
            next(records)

    @pytest.mark.parametrize("built", BOTH)
    def test_a_missing_key_comes_before_an_unknown_run(
        self, db: LandscapeDB, built: Callable[[LandscapeDB], Exporter], tmp_path: Path
    ) -> None:
        exporter = built(db)
        with pytest.raises(ValueError, match="no signing_key provided"):
            next(exporter.export_run("nobody", sign=True))
        for write in (exporter.write_jsonl, exporter.write_csv):
            with pytest.raises(ValueError, match="no signing_key provided"):
                write("nobody", tmp_path / "out", sign=True)
        assert list(tmp_path.glob("*out*")) == []

    @pytest.mark.parametrize("built", BOTH)
    def test_an_empty_key_is_a_key(
        self, db: LandscapeDB, built: Callable[..., Exporter], sample: SampleRun
    ) -> None:
        manifest = list(built(db, b"").export_run(sample.run_id, sign=True))[-1]
        assert manifest["record_count"] == sample.records

    @pytest.mark.parametrize("built", BOTH)
    def test_signing_a_record_needs_a_key(
        self, db: LandscapeDB, built: Callable[[LandscapeDB], Exporter]
    ) -> None:
        with pytest.raises(ValueError, match="Signing key not configured"):
            built(db)._sign_record({})

    def test_no_error_leaves_a_connection_open(self, db: LandscapeDB, exporter: Exporter) -> None:
        with pytest.raises(RunNotFoundError):
            next(exporter.export_run("nobody"))
        assert connections_in_use(db) == 0


class TestSnapshot:
    """What others commit while the batched exporter reads does not show."""

    @pytest.fixture
    def writer(self, landscape_url: str, db: LandscapeDB) -> Iterator[LandscapeDB]:
        with LandscapeDB(landscape_url) as other:
            yield other

    def test_an_export_is_of_the_moment_of_its_first_record(
        self, candidate: LandscapeExporter, sample: SampleRun, writer: LandscapeDB
    ) -> None:
        expected = list(candidate.export_run(sample.run_id))
        records = candidate.export_run(sample.run_id)
        seen = [next(records)]
        record_more(writer, sample.run_id)
        seen += records
        assert seen == expected
        assert len(list(candidate.export_run(sample.run_id))) == sample.records + 4

    def test_an_abandoned_export_gives_its_connection_back(
        self, db: LandscapeDB, exporter: Exporter, sample: SampleRun, writer: LandscapeDB
    ) -> None:
        for sign in (False, True):
            for record in exporter.export_run(sample.run_id, sign=sign):
                if record["record_type"] == "call":
                    break
            assert connections_in_use(db) == 0
        record_more(writer, sample.run_id)
        assert len(list(exporter.export_run(sample.run_id))) == sample.records + 4

    def test_a_closed_export_gives_its_connection_back(
        self, db: LandscapeDB, candidate: LandscapeExporter, sample: SampleRun
    ) -> None:
        records = candidate.export_run(sample.run_id, sign=True)
        with closing(records):
            next(records)
            assert connections_in_use(db) == 1
        assert connections_in_use(db) == 0

    def test_rows_that_outlive_their_database_end_in_silence(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            record_sample_run(LandscapeRecorder(db))
            with db.read_snapshot() as snapshot:
                rows = snapshot.rows(select(nodes_table))
                next(rows)
        assert isinstance(rows, Generator)
        rows.close()

    @pytest.mark.parametrize("method", ["write_jsonl", "write_csv"])
    def test_a_failed_file_gives_its_connection_back_while_the_error_is_still_held(
        self,
        db: LandscapeDB,
        candidate: LandscapeExporter,
        sample: SampleRun,
        method: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("elspeth.core.landscape.output.publish._CHUNK_RECORDS", 5)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left") as held:
            getattr(candidate, method)(sample.run_id, tmp_path / "out", sign=True, progress=full)
        assert connections_in_use(db) == 0, held


def record_more(db: LandscapeDB, run_id: str) -> None:
    """Add a row, a token, a node and a batch to a run, and change its status."""
    recorder = LandscapeRecorder(db)
    source = recorder.get_nodes(run_id)[0].node_id
    row = recorder.create_row(run_id, source, 99, {})
    recorder.create_token(row.row_id)
    recorder.register_node(run_id, "late", "sink", "1", {}, schema_config=DYNAMIC)
    recorder.create_batch(run_id, source)
    # The recorder ends a run once.
    with db.engine.begin() as connection:
        connection.execute(update(runs_table).values(status="failed"))


def connections_in_use(db: LandscapeDB) -> int:
    in_use: int = db.engine.pool.checkedout()  # type: ignore[attr-defined]
    return in_use
