"""Faults 1, 2, 10, 20, 21 and 22 on PostgreSQL: writers, locks, settings, data and logins."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from audit_trail import Trail, record
from fault_injection import (
    CORRUPT_DATA,
    PREVIOUS,
    SUCCEEDED,
    UNCONFIRMED,
    Injection,
    Outcome,
    inject_fault,
)
from fault_table import Tally
from formats import in_turn
from landscape_command import ended
from paused_process import WHILE_FETCHING, paused, resume
from postgres_processes import Server
from postgres_server import execute, url_text
from sqlalchemy import make_url

PASSWORD = "a password that must not be printed"


@contextmanager
def session(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url_text(make_url(url).set(drivername="postgresql"))) as connection:
        yield connection
        connection.rollback()


WHILE_READING = {
    "a table that was read": (
        "UPDATE nodes SET plugin_name = plugin_name || '!'",
        "UPDATE nodes SET plugin_name = rtrim(plugin_name, '!')",
    ),
    "rows": (
        "UPDATE rows SET row_index = row_index + 1000000 WHERE row_id = 'row 3100'",
        "UPDATE rows SET row_index = row_index - 1000000 WHERE row_id = 'row 3100'",
    ),
    "children": (
        "UPDATE calls SET latency_ms = latency_ms * 2",
        "UPDATE calls SET latency_ms = latency_ms / 2",
    ),
}


@pytest.mark.fault(1)
@in_turn(("change", "undo"), WHILE_READING.values(), ids=WHILE_READING)
def test_a_commit_between_two_reads_does_not_show(
    trail_of_many_rows: Trail, change: str, undo: str
) -> None:
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        before = injection.evidence
        with paused(trail, **WHILE_FETCHING) as process:
            trail.execute(change)
            injection.accept_change()
            assert injection.evidence != before
            resume(process)
            done = ended(process)
        injection.assert_intact(done, SUCCEEDED)
        trail.execute(undo)
        injection.evidence = before
        injection.assert_exportable_again()


@pytest.mark.fault(1)
def test_a_table_cannot_be_truncated_between_two_reads(trail_of_many_rows: Trail) -> None:
    trail = trail_of_many_rows
    with inject_fault(trail) as injection:
        with paused(trail, **WHILE_FETCHING) as process:
            with session(trail.url) as other:
                other.execute("SET lock_timeout = '100ms'")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute("TRUNCATE artifacts")
            resume(process)
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_short_lock_on_the_run_delays_the_status_update(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process:
            with session(trail.url) as other:
                other.execute("SELECT 1 FROM runs FOR UPDATE")
                resume(process)
                trail.wait_until_published()
                assert trail.recorded().status == "pending"
            done = ended(process)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(2)
@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_lasting_lock_on_the_run_leaves_the_export_pending(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as process, session(trail.url) as other:
            other.execute("SELECT 1 FROM runs FOR UPDATE")
            resume(process)
            done = ended(process)
        injection.assert_intact(done, UNCONFIRMED)
        assert "landscape reconcile" in done.err
        assert "lock timeout" in done.err
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        injection.assert_exportable_again()


SETTINGS = {
    "timezone": "Australia/Sydney",
    "datestyle": "German, DMY",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "default_transaction_isolation": "serializable",
}


@pytest.mark.fault(10)
@in_turn(("name", "value"), SETTINGS.items(), ids=SETTINGS)
def test_the_session_settings_of_a_role_change_no_byte(
    fresh_postgres_url: str,
    tmp_path: Path,
    export_format: str,
    tally: Tally,
    name: str,
    value: str,
) -> None:
    record(fresh_postgres_url)
    trail = Trail.create(tmp_path / "trail", fresh_postgres_url, export_format, tally)
    trail.put_old_export()
    database = make_url(trail.url)
    role = f"ALTER ROLE {database.username} IN DATABASE {database.database}"
    with inject_fault(trail) as injection:
        execute(database, f"{role} SET {name} = '{value}'")
        with session(trail.url) as other:
            assert other.execute(f"SHOW {name}").fetchone() == (value,)
        done = trail.export()
        execute(database, f"{role} RESET ALL")
        injection.assert_survived(done, SUCCEEDED)


CORRUPTIONS = {
    "an unknown enum": ("UPDATE calls SET call_type = 'fax'", "call_type holds 'fax'"),
    "NULL where it is required": (
        "ALTER TABLE calls ALTER status DROP NOT NULL; UPDATE calls SET status = NULL",
        "status",
    ),
    "NaN": ("UPDATE calls SET latency_ms = 'NaN'", "latency_ms"),
    "infinity": ("UPDATE calls SET latency_ms = '-Infinity'", "latency_ms"),
    "an integer of more than 53 bits": (
        (
            "ALTER TABLE artifacts ALTER size_bytes TYPE bigint;"
            "UPDATE artifacts SET size_bytes = 9007199254740993"
        ),
        "size_bytes",
    ),
    "a moment without end": (
        "UPDATE node_states SET started_at = 'infinity'",
        "started_at holds 'infinity', which is not in the years 1 to 9999",
    ),
    "a moment before our time": (
        "UPDATE node_states SET started_at = '0044-03-15 BC'",
        "started_at holds '0044-03-15",
    ),
}


@pytest.fixture
def fresh_trail(fresh_postgres_url: str, tmp_path: Path, export_format: str, tally: Tally) -> Trail:
    """An audit trail in a new database, which a test may damage."""
    record(fresh_postgres_url)
    trail = Trail.create(tmp_path / "trail", fresh_postgres_url, export_format, tally)
    trail.put_old_export()
    return trail


@contextmanager
def undone_damage(trail: Trail) -> Iterator[Injection]:
    """Inject a fault by a damage to the database, and export again after it is undone."""
    url = make_url(trail.url)
    server = url.set(database="postgres")
    with inject_fault(trail) as injection:
        whole = injection.evidence
        execute(server, f"CREATE DATABASE {url.database}_spare TEMPLATE {url.database}")
        yield injection
        execute(server, f"DROP DATABASE {url.database} WITH (FORCE)")
        execute(server, f"ALTER DATABASE {url.database}_spare RENAME TO {url.database}")
        injection.evidence = whole
        injection.assert_exportable_again()


@pytest.mark.fault(20, short=7)
@in_turn(("statement", "message"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupt_value_is_refused_and_named(
    fresh_trail: Trail,
    statement: str,
    message: str,
) -> None:
    trail = fresh_trail
    with undone_damage(trail) as injection:
        trail.execute(*statement.split(";"))
        injection.accept_change()
        failed = trail.export()
        injection.assert_intact(failed, CORRUPT_DATA)
        assert message in failed.err


OTHER_TYPES = {
    "text in an integer column": (
        "ALTER TABLE artifacts ALTER size_bytes TYPE text USING 'many'",
        "artifacts.size_bytes has the type text, which does not keep an integer",
    ),
    "a fraction in an integer column": (
        "ALTER TABLE artifacts ALTER size_bytes TYPE numeric USING 1.5",
        "artifacts.size_bytes has the type numeric, which does not keep an integer",
    ),
    "text in a moment": (
        "ALTER TABLE node_states ALTER started_at TYPE text USING 'yesterday'",
        "node_states.started_at has the type text, which does not keep a timestamp",
    ),
}


@pytest.mark.fault(20, short=3)
@in_turn(("statement", "message"), OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_a_column_of_another_type_is_refused_before_anything_is_recorded(
    fresh_trail: Trail,
    statement: str,
    message: str,
) -> None:
    trail = fresh_trail
    with undone_damage(trail) as injection:
        trail.execute(statement)
        injection.accept_change()
        injection.assert_intact(trail.export(), Outcome(3, PREVIOUS, None, message))


@pytest.mark.fault(21)
@in_turn(
    ("table", "column", "parent"),
    [
        ("routing_events", "state_id", "node_states"),
        ("tokens", "row_id", "rows"),
        ("batch_members", "batch_id", "batches"),
    ],
)
def test_a_child_without_a_parent_is_refused_and_named(
    fresh_trail: Trail,
    table: str,
    column: str,
    parent: str,
) -> None:
    trail = fresh_trail
    with undone_damage(trail) as injection:
        # Without a validated foreign key the search is made. A session in the role of a replica
        # does not run the triggers of the other ones.
        trail.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey",
            "SET LOCAL session_replication_role = replica",
            f"DELETE FROM {parent}",
        )
        injection.accept_change()
        failed = trail.export()
        injection.assert_intact(failed, CORRUPT_DATA)
        assert f"{table} (" in failed.err
        assert f"not among the {parent}" in failed.err


@pytest.fixture
def guarded(server: Server) -> Iterator[str]:
    """The URL of a role that needs a password, with the right password."""
    database = server.database
    with session(url_text(database)) as asking:
        row = asking.execute("SHOW hba_file").fetchone()
    assert row is not None
    rules = Path(str(row[0]))
    before = rules.read_text()
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    execute(database, f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    execute(database, "SELECT pg_reload_conf()")
    yield url_text(database.set(username="guarded", password=PASSWORD))
    rules.write_text(before)
    execute(database, "SELECT pg_reload_conf()")
    execute(database, "DROP ROLE guarded")


@pytest.mark.fault(22)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize("by", ["settings", "path"])
@pytest.mark.parametrize("problem", ["wrong password", "server down", "no such database"])
def test_a_failed_connection_fails_the_export_and_shows_no_password(
    server: Server, guarded: str, fragile: Trail, by: str, problem: str
) -> None:
    right = make_url(guarded)
    wrong = {
        "wrong password": right.set(password=f"{PASSWORD}!"),
        "server down": right.set(query={}, host="127.0.0.1", port=1),
        "no such database": right.set(database="nowhere"),
    }[problem]
    trail = replace(fragile, secrets=(PASSWORD,))
    message = {"wrong password": "authentication", "server down": "refused"}.get(problem, "nowhere")

    def command(url: str) -> tuple[str, ...]:
        if by == "settings":
            return trail.by_settings_at(url)
        return replace(trail, url=url).to_path

    with inject_fault(trail) as injection:
        failed = trail.landscape(*command(url_text(wrong)))
        injection.assert_intact(failed, Outcome(3, PREVIOUS, None, message))
        # With the right URL it works, so the failure came from the fault.
        assert trail.landscape(*command(guarded)).code == 0
        injection.assert_exportable_again()
