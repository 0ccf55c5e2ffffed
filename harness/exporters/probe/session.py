"""The state of database sessions that an export has to leave as it was, for the next user."""

from __future__ import annotations

import gc
from contextlib import closing
from typing import Any

State = dict[str, str]
"""The settings of one session by their names in messages."""

_PRAGMAS = (
    *("query_only", "foreign_keys", "defer_foreign_keys", "ignore_check_constraints"),
    *("read_uncommitted", "reverse_unordered_selects", "recursive_triggers", "trusted_schema"),
    *("writable_schema", "legacy_alter_table", "legacy_file_format", "automatic_index"),
    *("cell_size_check", "full_column_names", "short_column_names", "count_changes"),
    *("empty_result_callbacks", "checkpoint_fullfsync", "fullfsync", "synchronous"),
    *("locking_mode", "journal_mode", "journal_size_limit", "secure_delete", "temp_store"),
    *("temp_store_directory", "cache_size", "cache_spill", "mmap_size", "max_page_count"),
    *("busy_timeout", "wal_autocheckpoint", "threads", "analysis_limit"),
    *("soft_heap_limit", "hard_heap_limit", "encoding"),
)
_SQLITE_QUERIES = {
    # This one can be set, but not be read.
    "PRAGMA case_sensitive_like": "SELECT 'a' LIKE 'A'",
    # Without `temp`, which the query of temporary tables opens.
    "attached databases": "SELECT name, file FROM pragma_database_list WHERE name <> 'temp'",
    "temporary tables": "SELECT type, name, sql FROM temp.sqlite_master ORDER BY name",
    "functions": "SELECT DISTINCT name, narg FROM pragma_function_list ORDER BY name, narg",
    "collations": "SELECT name FROM pragma_collation_list ORDER BY name",
}
_POSTGRESQL_QUERIES = {
    "user": "SELECT current_user, session_user",
    "temporary tables": (
        "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() ORDER BY relname"
    ),
    "open cursors": "SELECT name FROM pg_cursors ORDER BY name",
    "channels": "SELECT * FROM pg_listening_channels()",
    "advisory locks": (
        "SELECT classid::text, objid::text FROM pg_locks "
        "WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1, 2"
    ),
}
_DRIVER_SETTINGS = (
    *("isolation_level", "autocommit", "row_factory", "text_factory", "cursor_factory"),
    *("read_only", "deferrable", "prepare_threshold", "in_transaction"),
)
# The numbers of SQLite's limits, from the length of a text to the number of threads.
_LIMITS = range(12)


def session_states(engine: Any) -> list[State]:
    """Describe the sessions that the pool of an engine would give out next.

    Those are the idle connections of the pool, or a new connection if there are none. Nothing is
    written: a transaction that writes is rolled back.
    """
    idle = getattr(engine.pool, "checkedin", lambda: 1)()
    # All are held at once, since the pool could give out the same one again.
    held = [engine.raw_connection() for _ in range(max(1, idle))]
    try:
        describe = _on_sqlite if engine.dialect.name == "sqlite" else _on_postgresql
        return [_described(each.driver_connection, describe) for each in held]
    finally:
        for each in held:
            each.close()


def _described(connection: Any, describe: Any) -> State:
    # Before any query: psycopg begins a transaction with the first one.
    state = {
        f"{name} of the connection": repr(getattr(connection, name))
        for name in _DRIVER_SETTINGS
        if hasattr(connection, name)
    }
    state["callbacks of the connection"] = repr(_callbacks(connection))
    state.update(describe(connection))
    connection.rollback()
    # Last: it names the harm that a setting does, and the setting is the better message.
    state["answer to a write"] = _write(connection)
    return state


def _callbacks(connection: Any) -> list[str]:
    """Name the progress handler, trace callback and authorizer of a connection of sqlite3."""
    # sqlite3 says nowhere which are set. The garbage collector knows what a connection refers to:
    # beside these, to its class, factories and a cache of statements.
    if not type(connection).__module__.startswith("sqlite3"):
        return []
    factories = (connection.row_factory, connection.text_factory)
    return sorted(
        getattr(each, "__qualname__", type(each).__qualname__)
        for each in gc.get_referents(connection)
        if callable(each)
        # A step of a script may count on this connection.
        and getattr(each, "__module__", "") != f"{__package__}.database_fault"
        and not isinstance(each, type)
        and type(each).__name__ not in ("_lru_cache_wrapper", "Cache")
        and not any(each is factory for factory in factories)
    )


def _on_sqlite(connection: Any) -> State:
    state = {f"PRAGMA {name}": _answer(connection, f"PRAGMA {name}") for name in _PRAGMAS}
    state.update((name, _answer(connection, query)) for name, query in _SQLITE_QUERIES.items())
    if hasattr(connection, "getlimit"):  # From Python 3.11 on.
        state["limits"] = repr([connection.getlimit(number) for number in _LIMITS])
    return state


def _on_postgresql(connection: Any) -> State:
    with closing(connection.cursor()) as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings ORDER BY name")
        settings = [tuple(row) for row in cursor.fetchall()]
    state = {f"setting {name}": repr(value) for name, value in settings}
    state.update((name, _answer(connection, query)) for name, query in _POSTGRESQL_QUERIES.items())
    return state


def _answer(connection: Any, query: str) -> str:
    # On the driver's cursor: listeners that count queries do not see it.
    with closing(connection.cursor()) as cursor:
        try:
            cursor.execute(query)
            return repr([tuple(row) for row in cursor.fetchall()])
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _write(connection: Any) -> str:
    with closing(connection.cursor()) as cursor:
        try:
            # sqlite3 itself begins no transaction before CREATE.
            if type(connection).__module__.startswith("sqlite3"):
                cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("CREATE TABLE written_by_the_harness (id INTEGER)")
            cursor.execute("INSERT INTO written_by_the_harness VALUES (1)")
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.rollback()
    return "none"


def changed_sessions(before: list[State], after: list[State]) -> list[str]:
    """Return what differs between the sessions of a pool before and after, in words."""
    usual = before[0]
    return [
        f"{name}{_change(usual.get(name, 'none'), state.get(name, 'none'))}"
        for state in after
        if state not in before
        for name in {**usual, **state}
        if usual.get(name) != state.get(name)
    ]


def _change(before: str, after: str) -> str:
    # Lists of functions are long, and differ at one place.
    pairs = enumerate(zip(before, after, strict=False))
    start = next((place for place, (one, other) in pairs if one != other), 0)
    start = start - 20 if start > 40 else 0
    return f" from {before[start:][:60]} to {after[start:][:60]}"
