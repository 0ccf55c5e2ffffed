"""Tests of LandscapeDB: opening, schema check, transactions and snapshots."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError

from elspeth.core.landscape.database import (
    DatabaseNotFoundError,
    LandscapeDB,
    NotALandscapeDatabaseError,
    masked_url,
)
from elspeth.core.landscape.export.queries import bytewise
from elspeth.core.landscape.export.snapshot import ROWS_PER_FETCH
from elspeth.core.landscape.recorder import LandscapeRecorder
from elspeth.core.landscape.schema import create_tables_in, metadata, nodes_table, runs_table

RUN_IDS = select(runs_table.c.run_id).order_by(bytewise(runs_table.c.run_id))
SECRET = "hunter2"


@pytest.fixture
def writer(landscape_url: str, db: LandscapeDB) -> Iterator[LandscapeRecorder]:
    """A recorder on the same database, with other connections."""
    with LandscapeDB(landscape_url) as other:
        yield LandscapeRecorder(other)


def _begin(recorder: LandscapeRecorder, run_id: str) -> None:
    recorder.begin_run({}, "v1", run_id=run_id)


def _run_ids(db: LandscapeDB) -> list[str]:
    with db.connection() as connection:
        return list(connection.scalars(RUN_IDS))


def schema_of(engine: Engine) -> list[tuple[Any, ...]]:
    stored = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(stored)]


class TestOpening:
    def test_a_file_is_created_with_write_ahead_log_and_foreign_keys(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db, db.connection() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            db.check_schema()

    def test_an_existing_database_keeps_its_rows(self, landscape_url: str) -> None:
        with LandscapeDB(landscape_url) as first:
            _begin(LandscapeRecorder(first), "r")
        with LandscapeDB.from_url(landscape_url) as second:
            assert _run_ids(second) == ["r"]

    @pytest.mark.parametrize("options", [{"create_tables": False}, {"read_only": True}], ids=str)
    def test_a_mistyped_path_is_named_and_nothing_is_created(
        self, tmp_path: Path, options: dict[str, bool]
    ) -> None:
        with pytest.raises(DatabaseNotFoundError, match=r"No database file at .*typo\.db"):
            LandscapeDB.from_url(f"sqlite:///{tmp_path}/typo.db", **options)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_removed_after_opening_is_not_created_anew(
        self, tmp_path: Path, sqlite_url: str
    ) -> None:
        LandscapeDB(sqlite_url).close()
        with LandscapeDB.from_url(sqlite_url, create_tables=False) as db:
            (tmp_path / "audit.db").unlink()
            with pytest.raises(OperationalError, match="unable to open"):
                db.check_schema()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("create_tables", [False, True])
    def test_the_database_of_another_program_is_refused_and_stays_as_it_is(
        self, tmp_path: Path, sqlite_url: str, create_tables: bool
    ) -> None:
        file = tmp_path / "audit.db"
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("CREATE TABLE runs (run_id TEXT, name TEXT)")
        before = file.read_bytes()
        with pytest.raises(NotALandscapeDatabaseError, match=r"no column runs\.started_at"):
            LandscapeDB.from_url(sqlite_url, create_tables=create_tables)
        assert file.read_bytes() == before
        assert list(tmp_path.iterdir()) == [file]

    def test_a_database_without_tables_is_refused_unless_they_are_created(
        self, tmp_path: Path, sqlite_url: str
    ) -> None:
        (tmp_path / "audit.db").touch()
        with pytest.raises(NotALandscapeDatabaseError, match="no table runs"):
            LandscapeDB.from_url(sqlite_url, create_tables=False)
        LandscapeDB.from_url(sqlite_url).close()
        LandscapeDB.from_url(sqlite_url, create_tables=False).close()

    def test_postgresql_does_not_create_tables_beside_another_programs(
        self, fresh_postgres_url: str
    ) -> None:
        with LandscapeDB(fresh_postgres_url) as db, db.connection() as connection:
            connection.execute(text("ALTER TABLE calls DROP COLUMN latency_ms"))
            connection.execute(text("DROP TABLE checkpoints"))
        with pytest.raises(NotALandscapeDatabaseError, match=r"no column calls\.latency_ms$"):
            LandscapeDB(fresh_postgres_url)

    def test_a_path_may_hold_what_means_something_in_a_uri(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/100%25 of #1.db"
        with LandscapeDB(url) as db:
            _begin(LandscapeRecorder(db), "r")
        with LandscapeDB.from_url(url, read_only=True) as again:
            assert _run_ids(again) == ["r"]

    def test_reading_only_refuses_to_write_even_after_a_snapshot(
        self, db: LandscapeDB, landscape_url: str
    ) -> None:
        with LandscapeDB.from_url(landscape_url, read_only=True) as reading:
            with reading.read_snapshot() as snapshot:
                assert list(snapshot.rows(RUN_IDS)) == []
            with pytest.raises(DBAPIError, match=r"read-?only"):
                _begin(LandscapeRecorder(reading), "r")
        assert _run_ids(db) == []

    def test_reading_only_leaves_the_journal_mode_as_it_is(
        self, tmp_path: Path, sqlite_url: str
    ) -> None:
        LandscapeDB(sqlite_url).close()
        with closing(sqlite3.connect(tmp_path / "audit.db")) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        with LandscapeDB.from_url(sqlite_url, read_only=True) as db, db.connection() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"

    def test_an_in_memory_database_cannot_be_opened_read_only(self) -> None:
        with pytest.raises(ValueError, match="starts empty"):
            LandscapeDB.from_url("sqlite://", read_only=True)

    @pytest.mark.parametrize("name", ["audit.db", ":memory:"])
    def test_a_new_database_has_the_schema_that_sqlalchemy_would_create(
        self, name: str, tmp_path: Path
    ) -> None:
        place = name if name == ":memory:" else tmp_path / name
        plain = create_engine("sqlite://")
        metadata.create_all(plain)
        with LandscapeDB(f"sqlite:///{place}") as db:
            # Another process may have created the tables of a new file in the meantime.
            create_tables_in(db.engine, is_new=True)
            expected, created = (schema_of(each) for each in (plain, db.engine))
        plain.dispose()
        assert len(created) > len(metadata.tables)
        assert created == expected

    def test_a_table_that_an_older_database_lacks_is_created(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            whole = schema_of(db.engine)
            with db.connection() as connection:
                connection.exec_driver_sql("DROP TABLE batch_outputs")
        with LandscapeDB(sqlite_url) as db:
            assert schema_of(db.engine) == whole

    def test_an_in_memory_database_has_tables(self) -> None:
        with LandscapeDB.in_memory() as db:
            db.check_schema()

    def test_another_kind_of_database_is_refused(self) -> None:
        with pytest.raises(ValueError, match="SQLite or PostgreSQL, not mysql"):
            LandscapeDB("mysql://host/audit")

    def test_text_that_is_not_a_url_is_refused_without_repeating_it(self) -> None:
        with pytest.raises(ValueError, match="Not a database URL") as refused:
            LandscapeDB(f"postgresql//user:{SECRET}@host/audit")
        assert SECRET not in str(refused.value)

    def test_a_postgresql_url_without_driver_takes_psycopg(self, postgres_url: str) -> None:
        with LandscapeDB(postgres_url.replace("+psycopg", "")) as db:
            assert db.engine.driver == "psycopg"
            db.check_schema()


class TestClosing:
    def test_a_closed_database_says_so(self, sqlite_url: str) -> None:
        db = LandscapeDB(sqlite_url)
        db.close()
        db.close()
        with pytest.raises(RuntimeError, match="Database not initialized"):
            _ = db.engine


class TestTransactions:
    def test_a_block_that_raises_leaves_nothing(self, db: LandscapeDB) -> None:
        def rename_and_fail() -> None:
            with db.connection() as connection:
                connection.execute(update(runs_table).values(run_id="s"))
                raise InterruptedError

        _begin(LandscapeRecorder(db), "r")
        with pytest.raises(InterruptedError):
            rename_and_fail()
        assert _run_ids(db) == ["r"]

    def test_a_block_that_succeeds_is_committed(self, db: LandscapeDB) -> None:
        _begin(LandscapeRecorder(db), "r")
        with db.connection() as connection:
            connection.execute(update(runs_table).values(run_id="s"))
        assert _run_ids(db) == ["s"]


class TestSchemaCheck:
    def test_a_foreign_database_is_refused_with_the_tables_it_lacks(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
            connection.execute("CREATE TABLE runs (run_id TEXT)")
        url = f"sqlite:///{tmp_path}/shop.db"
        with (
            LandscapeDB.from_url(url, read_only=True) as db,
            pytest.raises(NotALandscapeDatabaseError) as refused,
        ):
            db.check_schema()
        assert "shop.db is not a Landscape database: no table nodes," in str(refused.value)
        assert "no column runs.status" in str(refused.value)

    def test_tables_that_are_not_exported_may_be_missing(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            with db.connection() as connection:
                connection.execute(text("DROP TABLE checkpoints"))
            db.check_schema()

    def test_a_missing_column_is_named_on_postgresql(self, fresh_postgres_url: str) -> None:
        with LandscapeDB.from_url(fresh_postgres_url, create_tables=False) as db:
            with db.connection() as connection:
                connection.execute(text("ALTER TABLE calls DROP COLUMN latency_ms"))
            with pytest.raises(NotALandscapeDatabaseError, match=r"no column calls\.latency_ms$"):
                db.check_schema()


class TestPrintingUrls:
    @pytest.mark.parametrize(
        ("url", "printed"),
        [
            ("sqlite:///runs/audit.db", "sqlite:///runs/audit.db"),
            (f"postgresql://me:{SECRET}@host/audit", "postgresql://me:***@host/audit"),
            (f"postgresql://me@host/audit?password={SECRET}", "postgresql://me@host/audit"),
            (f"postgresql//me:{SECRET}@host", "(not a database URL)"),
            (f"postgresql://me:{SECRET}@host:port/audit", "(not a database URL)"),
        ],
    )
    def test_a_password_is_never_printed(self, url: str, printed: str) -> None:
        assert masked_url(url) == printed

    def test_a_database_shows_the_url_it_was_opened_with(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db:
            assert db.masked_url == db.connection_string == sqlite_url


class TestSnapshot:
    def test_what_another_connection_commits_between_two_reads_is_not_seen(
        self, db: LandscapeDB, writer: LandscapeRecorder
    ) -> None:
        _begin(writer, "before")
        with db.read_snapshot() as snapshot:
            assert [run_id for (run_id,) in snapshot.rows(RUN_IDS)] == ["before"]
            _begin(writer, "during")
            assert _run_ids(db) == ["before", "during"]
            assert [run_id for (run_id,) in snapshot.rows(RUN_IDS)] == ["before"]
        with db.read_snapshot() as snapshot:
            assert [run_id for (run_id,) in snapshot.rows(RUN_IDS)] == ["before", "during"]

    def test_on_sqlite_the_state_on_entry_is_held(self, sqlite_url: str) -> None:
        with LandscapeDB(sqlite_url) as db, db.read_snapshot() as snapshot:
            _begin(LandscapeRecorder(db), "during")
            assert list(snapshot.rows(RUN_IDS)) == []

    def test_on_postgresql_no_table_can_be_emptied_meanwhile(self, postgres_url: str) -> None:
        with (
            LandscapeDB(postgres_url) as db,
            db.read_snapshot(),
            psycopg.connect(postgres_url.replace("+psycopg", "")) as other,
        ):
            other.execute("SET lock_timeout = 20")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("TRUNCATE artifacts")

    def test_on_postgresql_nothing_can_be_written(self, postgres_url: str) -> None:
        with (
            LandscapeDB(postgres_url) as db,
            db.read_snapshot() as snapshot,
            pytest.raises(DBAPIError, match="read-only transaction"),
        ):
            snapshot.connection.execute(text("DELETE FROM runs"))

    def test_a_listener_sees_one_transaction_and_the_queries_alone(self, db: LandscapeDB) -> None:
        seen: list[str] = []
        for name in ("begin", "commit", "rollback"):
            event.listen(db.engine, name, lambda _, name=name: seen.append(name))
        event.listen(
            db.engine,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, *_: seen.append(statement.split()[0]),
        )
        with db.read_snapshot() as snapshot:
            list(snapshot.rows(RUN_IDS))
            list(snapshot.rows(select(nodes_table.c.node_id)))
        assert seen == ["begin", "SELECT", "SELECT", "rollback"]

    def test_several_queries_stream_side_by_side(
        self, db: LandscapeDB, recorder: LandscapeRecorder
    ) -> None:
        for run_id in ("a", "b", "c"):
            _begin(recorder, run_id)
        descending = select(runs_table.c.run_id).order_by(bytewise(runs_table.c.run_id).desc())
        with db.read_snapshot() as snapshot:
            pairs = zip(snapshot.rows(RUN_IDS), snapshot.rows(descending), strict=True)
            assert [(up[0], down[0]) for up, down in pairs] == [("a", "c"), ("b", "b"), ("c", "a")]

    def test_more_rows_than_one_fetch_brings_come_in_order(self, db: LandscapeDB) -> None:
        numbers = text(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
            f" WHERE i < {2 * ROWS_PER_FETCH}) SELECT i FROM n ORDER BY i"
        ).columns()
        with db.read_snapshot() as snapshot:
            rows = snapshot.rows(select(text("i")).select_from(numbers.subquery()))
            assert [i for (i,) in rows] == list(range(2 * ROWS_PER_FETCH + 1))

    def test_on_postgresql_rows_stay_on_the_server_until_fetched(self, postgres_url: str) -> None:
        with LandscapeDB(postgres_url) as db, db.read_snapshot() as snapshot:
            snapshot.rows(RUN_IDS)
            cursors = snapshot.connection.execute(text("SELECT count(*) FROM pg_cursors"))
            assert cursors.scalar() == 1

    def test_sqlite_gives_timestamps_as_stored_and_postgresql_aware(
        self, db: LandscapeDB, recorder: LandscapeRecorder
    ) -> None:
        run = recorder.begin_run({}, "v1")
        with db.read_snapshot() as snapshot:
            ((started_at,),) = snapshot.rows(select(runs_table.c.started_at))
        on_sqlite = db.engine.dialect.name == "sqlite"
        assert started_at == ("2026-01-01 00:00:00.000000" if on_sqlite else run.started_at)

    def test_a_connection_comes_back_clean_from_an_abandoned_snapshot(
        self, db: LandscapeDB, recorder: LandscapeRecorder
    ) -> None:
        for run_id in ("a", "b"):
            _begin(recorder, run_id)

        def first_runs() -> Iterator[str]:
            with db.read_snapshot() as snapshot:
                for (run_id,) in snapshot.rows(RUN_IDS):
                    yield run_id

        runs = first_runs()
        assert next(runs) == "a"
        assert db.engine.pool.checkedout() == 1
        del runs
        assert db.engine.pool.checkedout() == 0
        _begin(recorder, "c")
        assert _run_ids(db) == ["a", "b", "c"]
        with db.connection() as connection:
            assert connection.get_isolation_level() == connection.default_isolation_level

    def test_a_missing_table_is_an_error_of_the_database(self, fresh_postgres_url: str) -> None:
        with LandscapeDB.from_url(fresh_postgres_url, create_tables=False) as db:
            with db.connection() as connection:
                connection.execute(text("DROP TABLE calls"))
            with pytest.raises(DBAPIError, match="calls"), db.read_snapshot():
                pass
            assert db.engine.pool.checkedout() == 0

    def test_a_value_the_driver_cannot_decode_is_an_error_of_the_database(
        self, sqlite_url: str
    ) -> None:
        with LandscapeDB(sqlite_url) as db:
            _begin(LandscapeRecorder(db), "r")
            with db.connection() as connection:
                connection.execute(text("UPDATE runs SET config_hash = CAST(x'ff' AS TEXT)"))
            with db.read_snapshot() as snapshot, pytest.raises(DBAPIError, match="UTF-8"):
                list(snapshot.rows(select(runs_table.c.config_hash)))


class TestSnapshotInMemory:
    @pytest.fixture
    def db(self) -> Iterator[LandscapeDB]:
        with LandscapeDB.in_memory() as landscape:
            yield landscape

    def test_a_second_transaction_is_refused_until_the_snapshot_ends(self, db: LandscapeDB) -> None:
        recorder = LandscapeRecorder(db)
        _begin(recorder, "before")
        with db.read_snapshot() as snapshot:
            with pytest.raises(RuntimeError, match="still reading"):
                _begin(recorder, "during")
            with pytest.raises(RuntimeError, match="still reading"), db.read_snapshot():
                pass
            assert list(snapshot.rows(RUN_IDS)) == [("before",)]
        _begin(recorder, "after")
        assert _run_ids(db) == ["after", "before"]

    def test_a_snapshot_is_refused_while_something_is_being_written(self, db: LandscapeDB) -> None:
        _begin(LandscapeRecorder(db), "r")
        with db.connection() as connection:
            connection.execute(text("UPDATE runs SET export_sink = 'kept'"))
            with (
                pytest.raises(RuntimeError, match="a transaction is open on it"),
                db.read_snapshot(),
            ):
                pass
        with db.connection() as connection:
            assert connection.scalar(select(runs_table.c.export_sink)) == "kept"


Then: TypeAlias = Callable[[Connection], object]


def _transaction_cut(db: LandscapeDB, then: Then) -> None:
    with db.connection() as connection:
        connection.execute(RUN_IDS)
        db.cut()
        then(connection)


def _snapshot_cut(db: LandscapeDB, then: Then) -> None:
    with db.read_snapshot() as snapshot:
        next(iter(snapshot.rows(RUN_IDS)), None)
        db.cut()
        then(snapshot.connection)


class TestCutting:
    """What is left of a connection that was cut while it was in use."""

    @pytest.fixture
    def server(self, postgres_url: str) -> Iterator[LandscapeDB]:
        with LandscapeDB(postgres_url) as landscape:
            yield landscape

    def test_the_next_question_is_an_error_and_the_next_connection_is_new(
        self, server: LandscapeDB
    ) -> None:
        with pytest.raises(OperationalError):
            _transaction_cut(server, lambda connection: connection.execute(RUN_IDS))
        assert _run_ids(server) == []

    @pytest.mark.parametrize("reason", [KeyError("why"), KeyboardInterrupt("why")])
    @pytest.mark.parametrize("cut_in", [_transaction_cut, _snapshot_cut])
    def test_it_does_not_hide_why_the_block_has_ended(
        self,
        server: LandscapeDB,
        cut_in: Callable[[LandscapeDB, Then], None],
        reason: BaseException,
    ) -> None:
        def give_up(_: Connection) -> None:
            raise reason

        with pytest.raises(type(reason), match="why"):
            cut_in(server, give_up)
        assert _run_ids(server) == []

    @pytest.mark.parametrize("read_only", [False, True])
    def test_what_a_role_has_set_does_not_change_what_is_read(
        self, fresh_postgres_url: str, read_only: bool
    ) -> None:
        with LandscapeDB(fresh_postgres_url) as db, db.connection() as connection:
            name = connection.scalar(text("SELECT current_database()"))
            for setting in ("extra_float_digits = -15", "DateStyle = 'SQL'"):
                connection.exec_driver_sql(f"ALTER DATABASE {name} SET {setting}")
        with (
            LandscapeDB(fresh_postgres_url, create_tables=False, read_only=read_only) as db,
            db.connection() as connection,
        ):
            moment = connection.scalar(text("SELECT '2026-01-02 03:04:05Z'::timestamptz"))
            assert moment.astimezone(UTC) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
            assert connection.scalar(text("SELECT 0.1::float8 + 0.2::float8")) == 0.1 + 0.2
