"""Open the database of an export, watch it, and see whether a transaction is open in it."""

from __future__ import annotations

import importlib
import inspect
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 20, 0.05

LANDSCAPE = "elspeth.core.landscape.database:LandscapeDB"


class Database:
    """Passed to an exporter whose environment has no database class: an engine and connections."""

    def __init__(self, url: str) -> None:
        """Open the database of a URL."""
        from sqlalchemy import create_engine

        self.connection_string = url
        self.engine = create_engine(url)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Run one transaction."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def load(reference: str) -> Any:
    """Import what `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def open_database(access: dict[str, Any]) -> Any:
    """Open a database with the named class, the Landscape's class, or a plain one.

    Args:
        access: `url`, `database_class` (module:attribute; may be empty), `read_only`, `on_connect`
            (statements for every connection) and `variables` (a limit for SQLite; may be None).
    """
    url = access["url"]
    if access["database_class"]:
        db = load(access["database_class"])(url)
    else:
        try:
            landscape = load(LANDSCAPE)
        except ImportError:
            db = Database(url)
        else:
            options = {"create_tables": False}
            if "read_only" in inspect.signature(landscape).parameters:
                options["read_only"] = access["read_only"]
            db = landscape(url, **options)
    _set_up_connections(db.engine, access["on_connect"], access["variables"])
    return db


def _set_up_connections(engine: Any, statements: list[str], variables: int | None) -> None:
    from sqlalchemy import event

    if not statements and variables is None:
        return

    def connect(driver_connection: Any, _: object) -> None:
        for statement in statements:
            driver_connection.execute(statement)
        if variables is not None:
            # SQLITE_LIMIT_VARIABLE_NUMBER, by its number: sqlite3 has no names before Python 3.11.
            driver_connection.setlimit(9, variables)

    event.listen(engine, "connect", connect)


class DatabaseWatch:
    """Notes whether the exporter closes the database that it was given."""

    def __init__(self, db: Any) -> None:
        """Listen to the engine of `db`."""
        from sqlalchemy import event

        self.db = db
        self._disposed = False
        event.listen(db.engine, "engine_disposed", self._note)

    def _note(self, _engine: object) -> None:
        self._disposed = True

    def changes(self) -> list[str]:
        """What the exporter did to the database object, in words."""
        try:
            _ = self.db.engine
        except RuntimeError:
            return ["closed the database that it was given"]
        return ["disposed the engine that it was given"] if self._disposed else []


def is_locked(engine: Any) -> bool | None:
    """Whether another connection holds a transaction; None if that cannot be seen.

    On SQLite with a write-ahead log only a transaction that writes is seen: one that reads locks
    nobody out.
    """
    if engine.dialect.name == "sqlite":
        path = engine.url.database
        if path in (None, "", ":memory:"):
            return None
        return not _becomes_true(lambda: _can_be_locked(path))
    from sqlalchemy import create_engine, pool, text

    idle = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    )
    watcher = create_engine(engine.url, poolclass=pool.NullPool)
    with watcher.connect() as connection:
        return not _becomes_true(lambda: connection.execute(idle).scalar() == 0)


def _becomes_true(condition: Callable[[], bool]) -> bool:
    # A thread of the exporter may still be ending its transaction.
    for _ in range(_LOCK_TRIES):
        if condition():
            return True
        time.sleep(_LOCK_PAUSE_SECONDS)
    return False


def _can_be_locked(path: str) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True
