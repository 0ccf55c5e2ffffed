"""Open the database of an export, watch it, and see whether a transaction is open in it."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from operator import attrgetter
from typing import Any
from urllib.parse import quote

from .exports import NotAnExporterError, takes

_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 20, 0.05

LANDSCAPE = "elspeth.core.landscape.database:LandscapeDB"
ANOTHER_OPENER = "name a function that opens it with --database module:callable"


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
    return attrgetter(attribute)(importlib.import_module(module))


def open_database(access: dict[str, Any]) -> Any:
    """Open a database with the named opener, the Landscape's class, or a plain one.

    Args:
        access: `url`, `opener` (module:attribute; may be empty), `read_only`, `on_connect`
            (statements for every connection) and `variables` (a limit for SQLite; may be None).

    Raises:
        NotAnExporterError: The opener cannot be loaded or called with a URL, or what it returns has
            no engine.
    """
    name = access["opener"] or LANDSCAPE
    opener = _opener(name, required=bool(access["opener"]))
    options = {
        option: value
        for option, value in (("create_tables", False), ("read_only", access["read_only"]))
        if takes(opener, option)
    }
    # One that cannot be told to write nothing must not be able to: it may create tables.
    guarded = access["read_only"] and "read_only" not in options
    url = _read_only_url(access["url"]) if guarded else access["url"]
    if url.startswith("postgresql:") and importlib.util.find_spec("psycopg2") is None:
        # The driver that SQLAlchemy takes by default.
        url = url.replace("postgresql:", "postgresql+psycopg:", 1)
    try:
        inspect.signature(opener).bind(url, **options)
    except TypeError as error:
        shown = f"{name}{inspect.signature(opener)}"
        raise NotAnExporterError(
            f"{shown} cannot be called with a URL: {error}; {ANOTHER_OPENER}"
        ) from None
    except ValueError:
        pass  # A callable that is written in C has no signature: the call shows it.
    db = opener(url, **options)
    if not hasattr(db, "engine"):
        raise NotAnExporterError(
            f"{name} opens a {type(db).__qualname__}, which has no attribute engine; "
            f"{ANOTHER_OPENER}"
        )
    _require_engine(name, db.engine)
    _set_up_connections(db.engine, access["on_connect"], access["variables"])
    return db


def _require_engine(name: str, engine: Any) -> None:
    """Refuse what is not an engine of SQLAlchemy, such as a URL or an engine of asyncio."""
    from sqlalchemy import Engine

    if not isinstance(engine, Engine):
        kind = f"{type(engine).__module__}.{type(engine).__qualname__}"
        if hasattr(engine, "sync_engine"):
            raise NotAnExporterError(
                f"the engine of what {name} opens is asynchronous ({kind}); "
                f"{ANOTHER_OPENER}, and have its result hold the sync_engine of it as engine"
            )
        raise NotAnExporterError(
            f"the engine of what {name} opens is a {kind}, not an SQLAlchemy Engine; "
            f"{ANOTHER_OPENER}"
        )


def close_database(db: Any) -> None:
    """Close what an opener returned; an engine has no `close`."""
    getattr(db, "close", db.engine.dispose)()


def _opener(name: str, *, required: bool) -> Callable[..., Any]:
    """Load an opener: of a class, the way to make an object that creates no tables."""
    try:
        opener = load(name)
    except (ImportError, AttributeError) as error:
        missing = getattr(error, "name", None)
        # An environment without the Landscape's class, and not one whose class cannot be imported.
        if not required and missing and f"{LANDSCAPE}.".startswith(f"{missing}."):
            return Database
        raise NotAnExporterError(
            f"{name} cannot be loaded: {type(error).__name__}: {error}; {ANOTHER_OPENER}"
        ) from error
    if not callable(opener):
        raise NotAnExporterError(f"{name} is not callable; {ANOTHER_OPENER}")
    other: Callable[..., Any] | None = getattr(opener, "from_url", None)
    if other is not None and not takes(opener, "create_tables") and takes(other, "create_tables"):
        return other
    found: Callable[..., Any] = opener
    return found


def _read_only_url(url: str) -> str:
    """Return a URL with which the database itself refuses every write."""
    from sqlalchemy import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # Further options of a session keep those that the URL has.
        given = parsed.query.get("options", "")
        setting = f"{given} -c default_transaction_read_only=on".strip()
        changed = parsed.update_query_dict({"options": setting})
    elif "mode" in parsed.query:
        changed = parsed
    elif "uri" in parsed.query:
        changed = parsed.update_query_dict({"mode": "ro"})
    else:
        path = quote(parsed.database or "")
        changed = parsed.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
    return changed.render_as_string(hide_password=False)


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


def listeners_of(target: Any) -> int:
    """Count the listeners of an engine or a pool, apart from those of its class."""
    events = getattr(target.dispatch, "_event_names", ())
    return sum(len(list(getattr(target.dispatch, name))) for name in events)


def pool_state(engine: Any) -> dict[str, Any]:
    """Count the connections in use and the listeners, and look for an open transaction."""
    count = getattr(engine.pool, "checkedout", lambda: None)
    if count():
        # A generator that was dropped in a cycle keeps its connection until a collection, which
        # takes 0.05 s in the harness: only where it can change the answer.
        gc.collect()
    return {
        "checked_out": count(),
        "locked": is_locked(engine),
        "listeners": listeners_of(engine) + listeners_of(engine.pool),
    }


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
