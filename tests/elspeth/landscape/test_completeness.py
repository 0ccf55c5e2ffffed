"""A database that holds more than an export reads is refused, unless it is left out by name."""

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sample_run import BOTH, KEY, Exporter, fixed_clock, record_sample_run
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from thread_workers import workers_in

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import LandscapeDB, LandscapeExporter, LandscapeRecorder
from elspeth.core.landscape.database import (
    LeaveOutError,
    NotALandscapeDatabaseError,
    SchemaMismatchError,
)
from elspeth.core.landscape.export.completeness import LEFT_OUT_BY_DESIGN
from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.schema import EXPORTED_TABLES, metadata
from elspeth.core.landscape.verification.verify import verify

COLOUR = "ALTER TABLE nodes ADD COLUMN colour TEXT"
OPERATIONS = "CREATE TABLE operations (id TEXT PRIMARY KEY, at_run TEXT REFERENCES runs(run_id))"
CALLS_OF_OPERATIONS = "ALTER TABLE calls ADD COLUMN operation_id TEXT REFERENCES operations(id)"


@pytest.fixture
def db() -> Iterator[LandscapeDB]:
    with LandscapeDB.in_memory() as db:
        yield db


def alter(db: LandscapeDB, *statements: str) -> None:
    with db.engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def unknown(db: LandscapeDB) -> set[str]:
    """The names that `check_schema` refuses, which are in the option that it prints as well."""
    with pytest.raises(SchemaMismatchError) as refused:
        db.check_schema()
    option = str(refused.value).partition("--leave-out ")[2]
    assert option.startswith(",".join(sorted(refused.value.unknown)))
    return set(refused.value.unknown)


def replaced(sql: str, old: str, new: str) -> list[str]:
    """Return the statements that change the declaration of a table in place."""
    return [
        "PRAGMA writable_schema=ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{sql}'",
        "PRAGMA writable_schema=RESET",
    ]


class TestWhatIsKnown:
    def test_every_stored_column_is_exported_or_left_out_for_a_reason(self) -> None:
        stored = {f"{column}" for table in EXPORTED_TABLES for column in table.columns}
        exported = {
            f"{each.table.name}.{name}"
            for each in RECORD_TYPES
            for name in (*each.fields, "run_id")
        }
        columns = {name for name in LEFT_OUT_BY_DESIGN if "." in name}
        assert stored - exported == columns
        assert not columns & exported
        tables = {table.name for table in set(metadata.tables.values()) - set(EXPORTED_TABLES)}
        assert {name for name in LEFT_OUT_BY_DESIGN if "." not in name} == tables

    def test_the_page_lists_them_with_their_reasons(self) -> None:
        page = Path(__file__).parents[3] / "docs" / "completeness.md"
        rows = {f"| `{name}` | {reason} |" for name, reason in LEFT_OUT_BY_DESIGN.items()}
        listed = {line for line in page.read_text().splitlines() if line.startswith("| `")}
        assert listed == rows

    def test_a_database_of_this_version_is_complete(self, db: LandscapeDB) -> None:
        db.check_schema()


class TestRefused:
    @pytest.mark.parametrize("table", [table.name for table in EXPORTED_TABLES])
    def test_an_unknown_column_of_any_table(self, db: LandscapeDB, table: str) -> None:
        alter(db, f"ALTER TABLE {table} ADD COLUMN colour TEXT")
        assert unknown(db) == {f"{table}.colour"}

    @pytest.mark.parametrize("table", [table.name for table in metadata.tables.values()])
    def test_an_unknown_table_that_refers_to_any_table(self, db: LandscapeDB, table: str) -> None:
        key = next(iter(metadata.tables[table].columns)).name
        alter(db, f"CREATE TABLE notes (about TEXT REFERENCES {table}({key}))")
        assert unknown(db) == {"notes"}

    @pytest.mark.parametrize(
        ("statements", "names"),
        [
            pytest.param(
                [OPERATIONS, "CREATE TABLE steps (id TEXT REFERENCES operations(id))"],
                {"operations", "steps"},
                id="through a chain",
            ),
            pytest.param(
                ["CREATE TABLE operations (id TEXT PRIMARY KEY)", CALLS_OF_OPERATIONS],
                {"operations", "calls.operation_id"},
                id="a table that an exported one refers to",
            ),
            pytest.param(
                ["CREATE TABLE remarks (run_id TEXT, text TEXT)"],
                {"remarks"},
                id="by the name of a key",
            ),
            pytest.param(
                ["CREATE VIRTUAL TABLE words USING fts5(token_id, word)"], {"words"}, id="virtual"
            ),
            pytest.param(
                ["ALTER TABLE rows ADD COLUMN length INT GENERATED ALWAYS AS (row_index) VIRTUAL"],
                {"rows.length"},
                id="a generated column",
            ),
            pytest.param(["PRAGMA user_version = 2"], {"user_version=2"}, id="user_version"),
            pytest.param(["PRAGMA user_version = -1"], {"user_version=-1"}, id="negative"),
            pytest.param(
                [COLOUR, OPERATIONS, "PRAGMA user_version = 7"],
                {"operations", "nodes.colour", "user_version=7"},
                id="all at once",
            ),
            pytest.param(
                ['CREATE TABLE "a,b ""c""" ("run_id" TEXT)', 'ALTER TABLE runs ADD "x.y" TEXT'],
                {'"a,b ""c"""', 'runs."x.y"'},
                id="names that need quotes",
            ),
        ],
    )
    def test_more_than_an_export_reads(
        self, db: LandscapeDB, statements: list[str], names: set[str]
    ) -> None:
        alter(db, *statements)
        assert unknown(db) == names
        db.check_schema(names)

    def test_an_sqlite_that_lists_no_tables_is_asked_otherwise(
        self, db: LandscapeDB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before 3.37 an unknown pragma gave no rows, which would look like an empty database."""
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
        alter(db, COLOUR, OPERATIONS, "CREATE VIEW summary AS SELECT run_id FROM runs")
        assert unknown(db) == {"nodes.colour", "operations"}

    def test_a_renamed_column_is_missing(self, db: LandscapeDB) -> None:
        alter(db, "ALTER TABLE nodes RENAME COLUMN config_json TO config")
        with pytest.raises(NotALandscapeDatabaseError, match=r"no column nodes\.config_json$"):
            db.check_schema()

    @pytest.mark.parametrize(
        ("table", "old", "new", "said"),
        [
            ("rows", "row_index INTEGER", "row_index TEXT", "does not keep an integer"),
            ("nodes", "plugin_name VARCHAR(128)", "plugin_name INTEGER", "does not keep a text"),
            ("node_states", "duration_ms FLOAT", "duration_ms TEXT", "does not keep a number"),
            ("batches", "created_at DATETIME", "created_at INTEGER", "does not keep a timestamp"),
            ("tokens", "branch_name VARCHAR(64)", "branch_name NUMERIC", "does not keep a text"),
        ],
    )
    def test_a_type_that_changes_values(
        self, db: LandscapeDB, table: str, old: str, new: str, said: str
    ) -> None:
        alter(db, *replaced(table, old, new))
        with pytest.raises(SchemaMismatchError, match=said):
            db.check_schema()

    def test_a_view_in_place_of_a_table(self, db: LandscapeDB) -> None:
        alter(
            db,
            "PRAGMA foreign_keys=OFF",
            "ALTER TABLE artifacts RENAME TO kept",
            "CREATE VIEW artifacts AS SELECT * FROM kept LIMIT 1",
        )
        with pytest.raises(SchemaMismatchError, match="artifacts is a view"):
            db.check_schema(["kept"])


@pytest.mark.parametrize(
    "statements",
    [
        "CREATE VIEW summary AS SELECT run_id FROM runs",
        "CREATE TABLE shop (id TEXT PRIMARY KEY, price INTEGER)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "CREATE INDEX more ON nodes (plugin_name)",
        "CREATE TRIGGER watch AFTER INSERT ON rows BEGIN SELECT 1; END",
        "CREATE TEMP TABLE mine (run_id TEXT)",
        "ALTER TABLE checkpoints ADD COLUMN format_version INTEGER",
        "DROP TABLE batch_outputs",
        "ALTER TABLE runs RENAME TO r; ALTER TABLE r RENAME TO Runs",
        "ALTER TABLE runs RENAME COLUMN config_hash TO Config_Hash",
    ],
)
@pytest.mark.parametrize("exporter", BOTH)
def test_what_leaves_an_export_complete_is_accepted(
    db: LandscapeDB, exporter: type[Exporter], statements: str
) -> None:
    # A trigger holds the separator in itself.
    alter(db, *([statements] if "TRIGGER" in statements else statements.split("; ")))
    db.check_schema()
    run = record_sample_run(LandscapeRecorder(db))
    assert len(list(exporter(db).export_run(run.run_id))) == run.records


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuch", "no such table or column"),
        ("nodes.nosuch", "no such table or column"),
        ("nosuch.colour", "no such table or column"),
        ("nodes.Colour", "no such table or column"),
        ("nodes", "an export needs it"),
        ("nodes.node_id", "an export needs it"),
        ("runs.run_id", "an export needs it"),
        ("nodes.config_json", "no export holds it"),
        ("checkpoints", "no export holds it"),
        ("checkpoints.created_at", "no export holds it"),
        ("shop", "no part of the audit trail"),
        ("user_version=3", "has user_version=0"),
        ("", "the name is empty"),
        ("nodes.colour,operations", "no such table or column"),
    ],
)
def test_a_name_of_nothing_unknown_is_refused(db: LandscapeDB, name: str, said: str) -> None:
    alter(db, COLOUR, "CREATE TABLE shop (id TEXT)")
    with pytest.raises(LeaveOutError, match=said):
        db.check_schema(["nodes.colour", name])


class TestExports:
    @pytest.fixture
    def db(self, sqlite_url: str) -> Iterator[LandscapeDB]:
        with LandscapeDB(sqlite_url) as db:
            yield db

    @pytest.fixture(autouse=True)
    def recorded(self, db: LandscapeDB) -> None:
        record_sample_run(LandscapeRecorder(db))

    @pytest.mark.parametrize("exporter", BOTH)
    def test_every_way_to_export_refuses(
        self, db: LandscapeDB, tmp_path: Path, exporter: type[Exporter]
    ) -> None:
        # After the exporter was made: the schema counts that the export finds.
        made = exporter(db, KEY)
        alter(db, COLOUR)
        for export in (
            lambda: next(iter(made.export_run("run-1"))),
            lambda: made.export_run_grouped("run-1", sign=True),
            lambda: made.write_jsonl("run-1", tmp_path / "x.jsonl", sign=True),
            lambda: made.write_csv("run-1", tmp_path / "x"),
        ):
            with pytest.raises(SchemaMismatchError, match=r"--leave-out nodes\.colour "):
                export()
        with pytest.raises(LeaveOutError, match="no such table or column"):
            next(iter(exporter(db, leave_out=["nodes.colour", "nosuch"]).export_run("run-1")))
        assert list(tmp_path.glob("x*")) == []
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    def test_workers_refuse_and_leave_out(self, db: LandscapeDB) -> None:
        expected = b"".join(
            each.lines
            for each in LandscapeExporter(db, KEY, clock=fixed_clock).export_blocks("run-1")
        )
        alter(db, COLOUR)
        with ThreadPoolExecutor(2) as executor, workers_in(executor):
            with pytest.raises(SchemaMismatchError):
                list(LandscapeExporter(db).export_blocks("run-1", jobs=2))
            exporter = LandscapeExporter(db, KEY, clock=fixed_clock, leave_out=["nodes.colour"])
            blocks = exporter.export_blocks("run-1", jobs=2)
            assert b"".join(each.lines for each in blocks) == expected

    def test_both_state_what_they_leave_out_in_the_signed_manifest(
        self, db: LandscapeDB, tmp_path: Path
    ) -> None:
        before = tmp_path / "before.jsonl"
        LandscapeExporter(db, KEY, clock=fixed_clock).write_jsonl("run-1", before, sign=True)
        alter(db, COLOUR, OPERATIONS, "PRAGMA user_version = 2")
        # In any order, and twice.
        names = ["user_version=2", "operations", "nodes.colour", "operations"]
        files = set()
        for number, kind in enumerate(BOTH):
            path = tmp_path / f"{number}.jsonl"
            exporter = kind(db, KEY, clock=fixed_clock, leave_out=names)
            exporter.write_jsonl("run-1", path, sign=True)
            files.add(path.read_bytes())
            exporter.write_csv("run-1", tmp_path / str(number), sign=True)
            for each in (path, tmp_path / str(number)):
                found = verify(each, KEY)
                assert (found.ok, found.left_out) == (
                    True,
                    "nodes.colour,operations,user_version=2",
                )
        (content,) = files
        *records, manifest = content.splitlines()
        *expected, manifest_before = before.read_bytes().splitlines()
        assert records == expected
        assert "left_out" not in json.loads(manifest_before)
        changed = json.loads(manifest)
        assert changed.pop("left_out") == "nodes.colour,operations,user_version=2"
        assert changed.keys() == json.loads(manifest_before).keys()

    def test_a_changed_statement_of_what_is_left_out_is_found(
        self, db: LandscapeDB, tmp_path: Path
    ) -> None:
        alter(db, COLOUR)
        path = tmp_path / "x.jsonl"
        exporter = LandscapeExporter(db, KEY, leave_out=["nodes.colour"])
        exporter.write_jsonl("run-1", path, sign=True)
        path.write_bytes(path.read_bytes().replace(b'"left_out":"nodes.colour",', b""))
        assert [defect.reason for defect in verify(path, KEY).defects] == ["BAD_SIGNATURE"]

    def test_rows_of_a_left_out_table_go_with_it_and_no_others(
        self, db: LandscapeDB, tmp_path: Path
    ) -> None:
        """As in the newest original, where a call belongs to a state or to an operation."""
        path = Path(str(db.engine.url.database))
        alter(db, OPERATIONS, CALLS_OF_OPERATIONS)
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in replaced("calls", "state_id VARCHAR(64) NOT NULL", "state_id TEXT"):
                connection.execute(statement)
            connection.execute("INSERT INTO operations VALUES ('o', 'run-1')")
            connection.execute(
                "INSERT INTO calls (call_id, call_index, call_type, status, request_hash,"
                " created_at, operation_id) VALUES ('c', 0, 'http', 'success', 'h', '2026', 'o')"
            )
        # A connection that was open before still takes the column for NOT NULL.
        db.engine.dispose()
        exporter = LandscapeExporter(db, leave_out=["operations", "calls.operation_id"])
        assert exporter.write_jsonl("run-1", tmp_path / "x.jsonl").record_count == 50
        alter(db, "UPDATE calls SET operation_id = NULL WHERE call_id = 'c'")
        with pytest.raises(CorruptAuditDataError, match=r"calls \(call_id='c'\): state_id is NULL"):
            exporter.write_jsonl("run-1", tmp_path / "x.jsonl")


class TestPostgresql:
    @pytest.fixture
    def db(self, fresh_postgres_url: str) -> Iterator[LandscapeDB]:
        with LandscapeDB(fresh_postgres_url) as db:
            yield db

    def test_what_is_refused_and_what_is_not(self, db: LandscapeDB) -> None:
        alter(
            db,
            "CREATE SCHEMA other",
            "CREATE TABLE other.remarks (about TEXT REFERENCES runs(run_id))",
            "CREATE TABLE other.far (run_id TEXT)",
            'CREATE TABLE "Nodes" (id INTEGER)',
            "CREATE TABLE operations (run_id TEXT) PARTITION BY LIST (run_id)",
            "CREATE TABLE part PARTITION OF operations FOR VALUES IN ('a')",
            "CREATE MATERIALIZED VIEW seen AS SELECT run_id FROM runs",
            "ALTER TABLE nodes ADD COLUMN colour TEXT",
            "ALTER TABLE artifacts ALTER COLUMN size_bytes TYPE BIGINT",
            "ALTER TABLE calls ALTER COLUMN call_type TYPE TEXT",
        )
        names = {"other.remarks", "operations", "nodes.colour"}
        assert unknown(db) == names
        run = record_sample_run(LandscapeRecorder(db))
        exporter = LandscapeExporter(db, KEY, clock=fixed_clock, leave_out=names)
        *records, manifest = exporter.export_run(run.run_id, sign=True)
        assert len(records) == run.records
        assert manifest["left_out"] == "nodes.colour,operations,other.remarks"

    def test_a_type_that_changes_values(self, db: LandscapeDB) -> None:
        alter(db, "ALTER TABLE runs ALTER COLUMN started_at TYPE timestamp")
        with pytest.raises(SchemaMismatchError, match=r"runs\.started_at has the type timestamp,"):
            db.check_schema()

    def test_a_policy_that_hides_rows_is_an_error(
        self, db: LandscapeDB, fresh_postgres_url: str
    ) -> None:
        record_sample_run(LandscapeRecorder(db))
        alter(
            db,
            "DROP ROLE IF EXISTS auditor",
            "CREATE ROLE auditor",
            "GRANT USAGE ON SCHEMA public TO auditor",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor",
            "ALTER TABLE tokens ENABLE ROW LEVEL SECURITY",
        )
        with db.engine.connect() as connection:
            connection.execute(text("SET ROLE auditor"))
            connection.commit()
            connection.execute(text("SET row_security TO on"))
            assert connection.scalar(text("SELECT count(*) FROM tokens")) == 0
        for exporter in BOTH:
            with LandscapeDB.from_url(fresh_postgres_url, create_tables=False) as limited:
                with limited.engine.connect() as connection:
                    connection.execute(text("SET ROLE auditor"))
                    connection.commit()
                with pytest.raises(DBAPIError, match="row-level security policy"):
                    list(exporter(limited).export_run("run-1"))
        alter(db, "RESET ROLE", "DROP OWNED BY auditor", "DROP ROLE auditor")
