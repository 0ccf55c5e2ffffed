"""Faults 33 and 37: rows that PostgreSQL hides without an error, and limits of time of a role."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from audit_trail import Trail, record
from fault_injection import IO_FAILURE, SUCCEEDED, inject_fault
from fault_table import Tally
from landscape_command import ended
from paused_process import WHILE_FETCHING, paused, resume
from postgres_server import execute, url_text
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.counts import count_tables_in_snapshot
from elspeth.core.landscape.doctor import examine
from elspeth.core.landscape.export.completeness import SchemaMismatchError
from elspeth.core.landscape.schema import EXPORTED_TABLES

TABLES = [table.name for table in EXPORTED_TABLES]


@pytest.fixture
def export_format() -> str:
    return "json"


@pytest.fixture
def owned(fresh_postgres_url: str, tmp_path: Path, tally: Tally) -> Iterator[Trail]:
    """A trail whose database belongs to a role that policies apply to, with no superuser's right.

    The role is `owner`; the role `reader` may read all tables and write export_status.
    """
    record(fresh_postgres_url)
    url = make_url(fresh_postgres_url)
    statements = [
        "DROP ROLE IF EXISTS reader",
        "DROP ROLE IF EXISTS owner",
        "CREATE ROLE owner LOGIN",
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO reader",
        *(f"ALTER TABLE {name} OWNER TO owner" for name in TABLES),
    ]
    for statement in statements:
        execute(url, statement)
    trail = Trail.create(tmp_path / "trail", fresh_postgres_url, "json", tally)
    trail.put_old_export()
    yield trail
    for statement in ("DROP OWNED BY owner, reader CASCADE", "DROP ROLE owner, reader"):
        execute(url, statement)


def url_of(trail: Trail, role: str) -> str:
    return url_text(make_url(trail.url).set(username=role))


@pytest.mark.fault(33, short=3)
@pytest.mark.parametrize("role", ["owner", "reader"])
@pytest.mark.parametrize("table", TABLES)
def test_a_policy_on_a_table_fails_the_export_and_names_the_table(
    owned: Trail, table: str, role: str
) -> None:
    owned.execute(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        # The status can be written and the run be found: rows alone are hidden.
        f"CREATE POLICY half ON {table} USING (false)",
    )
    with psycopg.connect(url_of(replace(owned), role).replace("+psycopg", "")) as hidden:
        assert hidden.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    with inject_fault(owned) as injection:
        at = replace(owned, url=url_of(owned, role))
        failed = at.landscape(*at.to_path)
        message = f'policy for table "{table}"'
        injection.assert_intact(failed, replace(IO_FAILURE, status=None, message=message))
        injection.assert_exportable_again()


def test_every_reader_refuses_hidden_rows(owned: Trail) -> None:
    owned.execute("ALTER TABLE runs ENABLE ROW LEVEL SECURITY")
    for read_only in (False, True):
        url = url_of(owned, "reader")
        with LandscapeDB(url, create_tables=False, read_only=read_only) as db:
            assert examine(db) == []
            for read in (
                lambda db: count_tables_in_snapshot(db, "run-1"),
                lambda db: LandscapeRecorder(db).list_runs(),
                lambda db: LandscapeRecorder(db).get_run("run-1"),
            ):
                with pytest.raises(DBAPIError, match='policy for table "runs"'):
                    read(db)


FOREIGN_TABLE = (
    "CREATE FOREIGN TABLE token_parents (token_id text, parent_token_id text, ordinal integer)"
    " SERVER elsewhere"
)
HIDING = {
    "a twin in an earlier schema": (
        ("CREATE SCHEMA landscape", "CREATE TABLE landscape.rows (LIKE public.rows INCLUDING ALL)"),
        "ALTER ROLE {role} IN DATABASE {database} SET search_path = landscape, public",
        "the table rows is in the schemas landscape, public",
    ),
    "damaged pages read as empty": (
        (),
        "ALTER ROLE {role} IN DATABASE {database} SET zero_damaged_pages = on",
        "zero_damaged_pages is on",
    ),
    "damaged pages read in spite of their checksums": (
        (),
        "ALTER ROLE {role} IN DATABASE {database} SET ignore_checksum_failure = on",
        "ignore_checksum_failure is on",
    ),
    "a view": (
        (
            "ALTER TABLE artifacts RENAME TO all_artifacts",
            "CREATE VIEW artifacts AS SELECT * FROM all_artifacts WHERE false",
        ),
        None,
        "artifacts is a view",
    ),
    "a partition that was detached": (
        (
            "ALTER TABLE artifacts RENAME TO old_artifacts",
            "CREATE TABLE artifacts (LIKE old_artifacts) PARTITION BY LIST (run_id)",
            "ALTER TABLE artifacts ATTACH PARTITION old_artifacts DEFAULT",
            "ALTER TABLE artifacts DETACH PARTITION old_artifacts",
        ),
        None,
        "does not know old_artifacts",
    ),
    "a child table that is no child any more": (
        ("CREATE TABLE more () INHERITS (calls)", "ALTER TABLE more NO INHERIT calls"),
        None,
        "does not know more",
    ),
    "a foreign table": (
        (
            # Without a handler: extensions such as file_fdw are not installed everywhere.
            "CREATE FOREIGN DATA WRAPPER unread",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER unread",
            "ALTER TABLE token_parents RENAME TO old_parents",
            FOREIGN_TABLE,
        ),
        None,
        "token_parents is a foreign table",
    ),
}


@pytest.mark.fault(33, short=7)
@pytest.mark.parametrize(("statements", "setting", "message"), HIDING.values(), ids=HIDING)
def test_what_hides_rows_without_an_error_is_refused(
    fresh_postgres_url: str,
    tmp_path: Path,
    tally: Tally,
    statements: tuple[str, ...],
    setting: str | None,
    message: str,
) -> None:
    record(fresh_postgres_url)
    trail = Trail.create(tmp_path / "trail", fresh_postgres_url, "json", tally)
    trail.put_old_export()
    url = make_url(fresh_postgres_url)
    with inject_fault(trail) as injection:
        before = trail.content()
        trail.execute(*statements)
        if setting is not None:
            execute(url, setting.format(role=url.username, database=url.database))
        failed = trail.export()
        assert (failed.code, failed.err.count("\n")) == (3, 1), failed
        assert message in failed.err
        assert trail.content() == before
        with (
            LandscapeDB(trail.url, read_only=True, create_tables=False) as db,
            pytest.raises(SchemaMismatchError, match=message),
        ):
            db.check_schema()
        injection.is_judged = True


def test_a_temporary_table_of_another_client_is_not_read(fresh_postgres_url: str) -> None:
    """Behind a pooler the session may hold one, which PostgreSQL prefers to any other table."""
    record(fresh_postgres_url)
    with LandscapeDB(fresh_postgres_url, create_tables=False) as db:
        with db.connection() as connection:
            connection.exec_driver_sql("CREATE TEMPORARY TABLE rows (LIKE public.rows)")
        with pytest.raises(ValueError, match="no table rows"):
            db.check_schema()


@contextmanager
def limit(trail: Trail, name: str) -> Iterator[None]:
    url = make_url(trail.url)
    role = f"ALTER ROLE {url.username} IN DATABASE {url.database}"
    execute(url, f"{role} SET {name} = '100ms'")
    try:
        yield
    finally:
        execute(url, f"{role} RESET ALL")


@pytest.mark.fault(37)
@pytest.mark.parametrize("name", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_a_limit_of_a_role_does_not_end_a_transaction(trail_of_many_rows: Trail, name: str) -> None:
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        with limit(trail, name), paused(trail, **WHILE_FETCHING) as process:
            # Longer than the limit: without the mend the server has ended the session.
            time.sleep(0.3)
            resume(process)
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(37)
@pytest.mark.parametrize("name", ["statement_timeout", "lock_timeout"])
def test_a_limit_of_a_role_does_not_end_a_statement(trail_of_many_rows: Trail, name: str) -> None:
    trail = trail_of_many_rows
    url = url_text(make_url(trail.url).set(drivername="postgresql"))
    with (
        inject_fault(trail) as injection,
        psycopg.connect(url) as blocking,
        psycopg.connect(url, autocommit=True) as watching,
    ):
        blocking.execute("LOCK TABLE artifacts IN ACCESS EXCLUSIVE MODE")
        with limit(trail, name), trail.started(*trail.by_settings) as process:
            waiting = (
                "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'artifacts'::regclass"
            )
            while not watching.execute(waiting).fetchone():
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(0.3)
            blocking.rollback()
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)
