"""Copy rows inside the body of a test: at the first SELECT of each call of the application."""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from querygrowth.counting.every_engine import EveryEngine
from querygrowth.counting.statements import first_keyword
from querygrowth.places.orm_loads import Reason, raw_load
from querygrowth.suite.grow.calls import CallFinder
from querygrowth.suite.grow.copied_schema import Schema, read_schema, short_locks
from querygrowth.suite.grow.row_copies import LOCKED, RowCopier, identifying
from querygrowth.suite.grow.row_sets import EVERYTHING
from querygrowth.suite.grow.separate import is_gone, is_shared, run_beside
from querygrowth.suite.grow.stored_state import StoredStates
from querygrowth.tables.stored_rows import StoredRows
from querygrowth.tables.table_order import table_order

_READING = frozenset({"SELECT", "WITH"})
_CHANGING = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE"})
_INSERT_INTO = re.compile(r"INSERT\s+(?:OR\s+\w+\s+)?INTO\s+([^\s(]+)", re.I)


@dataclass
class Grown:
    """What one run of a test's body had copied.

    Attributes:
        calls: The calls of the application that read.
        added: The copies made.
        stopped: Why no more rows were copied; empty if nothing stopped it.
    """

    calls: int = 0
    added: int = 0
    stopped: str = ""


@dataclass
class _Database:
    engine: Engine
    schema: Schema
    copier: RowCopier = field(default_factory=RowCopier)


class Grower:
    """Copies rows at the first SELECT of each call, on the connection that reads.

    Args:
        finder: Tells the calls from each other. Without one, all statements are of one call.
        every: Records statements. It is paused while rows are copied.
    """

    def __init__(self, finder: CallFinder | None = None, every: EveryEngine | None = None) -> None:
        self._finder = finder
        self._every = every or EveryEngine()
        self._schemas: dict[object, Schema] = {}
        self._states = StoredStates()
        self._busy = True
        self.begin(EVERYTHING, 0)
        self._busy = True

    def begin_test(self) -> None:
        """Begin another test."""
        self._states.forget()

    def put_back(self) -> None:
        """Put back what the databases held before this test, between two runs of it."""
        with self._unseen():
            self._states.put_back()

    def begin(self, name: str, number: int) -> None:
        """Begin a run of a test, before its fixtures are set up.

        Args:
            name: The name of the set of rows to copy.
            number: The number of copies of each row; 0 for a run that only behaves the same.
        """
        self._name = name
        self._number = number
        self._in_body = False
        self._keeps_state = False
        self._busy = False
        self._fresh: set[int] = set()
        self._changed: set[int] = set()  # connections with changes that are not committed
        self._inserted: dict[str, None] = {}
        self._engines: set[Engine] = set()
        self._databases: dict[object, _Database] = {}
        self._calls: set[tuple[object, int]] = set()
        self.grown = Grown()

    def grow_now(self, connection: Connection, number: int) -> None:
        """Copy rows until each has so many copies, outside of any call.

        Args:
            connection: In a transaction, or about to begin one.
            number: The number of copies of each row.
        """
        self._number = number
        self._grow(connection)

    def keep_state(self) -> None:
        """What is changed from here on is put back before the next run of the test."""
        self._keeps_state = True

    def begin_body(self) -> None:
        """Rows are copied from here on, and sessions forget what the fixtures have loaded."""
        self._in_body = self._keeps_state = True
        for engine in self._engines:
            if not engine.dialect.is_async:
                _expire(engine)

    def end_body(self) -> None:
        """Copy no more rows, and delete those that were committed."""
        self._in_body = False
        self._delete(only_own=True)

    def end(self) -> None:
        """End a run, once its fixtures are torn down, and delete the copies that are left."""
        self._busy = True
        self._delete(only_own=False)
        self._databases = {}
        self._engines = set()
        self._fresh = set()

    @property
    def names(self) -> dict[str, frozenset[str]]:
        """The sets of rows that are worth a run, over all databases, with what they copy."""
        return {
            name: copied
            for each in self._databases.values()
            for name, copied in each.copier.names.items()
        }

    @property
    def refused(self) -> dict[str, str]:
        """Why rows of tables could not be copied, by table."""
        return {
            table: reason
            for each in self._databases.values()
            for table, reason in each.copier.refused.items()
        }

    def listeners(self) -> dict[str, Callable[..., object]]:
        """The listeners to attach to the class of all engines, by the name of their event."""
        return {
            "before_cursor_execute": self._before,
            "begin": self._begun,
            "commit": self._committed,
            "rollback": self._ended,
        }

    def _begun(self, connection: Connection) -> None:
        if self._in_body and not self._busy:
            self._fresh.add(id(connection))

    def _committed(self, connection: Connection) -> None:
        if id(connection) in self._changed and not self._busy:
            key = database_key(connection)
            known = self._databases.get(key)
            copies = known.copier.copies.items() if known else ()
            made = {table: each.made for table, each in copies}
            with self._unseen(), warnings_off():
                self._states.before_commit(key, connection, self._schemas.get(key[:2]), made)
        self._ended(connection)

    def _ended(self, connection: Connection) -> None:
        self._fresh.discard(id(connection))
        self._changed.discard(id(connection))

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Neither record nor act on what is sent in the block."""
        busy, self._busy = self._busy, True
        paused, self._every.paused = self._every.paused, True
        try:
            yield
        finally:
            self._busy, self._every.paused = busy, paused

    def _before(
        self,
        connection: Connection,
        cursor: object,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> tuple[str, Any]:
        if self._busy:
            return statement, parameters
        keyword = first_keyword(statement)
        if keyword not in _READING:
            self._note_change(keyword, statement, connection)
        elif self._in_body and not self.grown.stopped:
            number: int | None = 0
            if self._finder is not None:
                callers = self._finder.callers_of_statement()
                call = self._finder.call_of(callers)
                number = None if call is None else call.number
            load = raw_load(context)
            flushes = load is not None and load[0] is Reason.FLUSH
            if number is not None and not flushes:
                key = (database_key(connection), number)
                if key not in self._calls:
                    self._calls.add(key)
                    self._grow(connection)
                    if self._finder is not None:
                        self._finder.note_source(connection)
        self._fresh.discard(id(connection))
        return statement, parameters

    def _note_change(self, keyword: str, statement: str, connection: Connection) -> None:
        if self._keeps_state and keyword in _CHANGING:
            self._changed.add(id(connection))
            with self._unseen():
                self._states.before_change(
                    key := database_key(connection), connection, self._schemas.get(key[:2])
                )
        found = _INSERT_INTO.match(statement.lstrip())
        if found:
            self._engines.add(connection.engine)
            self._inserted[found[1].rpartition(".")[2].strip('"`[]').casefold()] = None

    def _grow(self, connection: Connection) -> None:
        """Copy rows, so that the statement that is about to be sent sees them."""
        self.grown.calls += 1
        try:
            with self._unseen():
                commits = self._prepare(connection)
                with warnings_off(), connection.begin_nested():
                    database = self._database(connection)
                    with short_locks(connection):
                        self.grown.added += database.copier.grow(
                            connection,
                            database.schema,
                            self._name,
                            self._number,
                            list(self._inserted),
                        )
                if commits:
                    _driver(connection).commit()
                _expire(connection)
        except Exception as error:  # of the database, or of the user's types and listeners
            reason = str(error).strip().partition("\n")[0]
            if not isinstance(error, DBAPIError) or LOCKED.search(reason):
                self.grown.stopped = reason or type(error).__name__

    def _prepare(self, connection: Connection) -> bool:
        """Whether the copies may be committed: the transaction has done nothing before them."""
        fresh = id(connection) in self._fresh and not is_shared(connection.engine)
        if connection.dialect.name != "sqlite":
            return fresh and not connection.in_nested_transaction()
        driver = _driver(connection)
        driver = getattr(driver, "driver_connection", driver)
        if driver.in_transaction:
            return fresh
        # Python's driver begins at an INSERT. Its SAVEPOINT alone would commit when it is released.
        connection.exec_driver_sql("BEGIN")
        return True

    def _database(self, connection: Connection) -> _Database:
        key = database_key(connection)
        known = self._databases.get(key)
        schema = read_schema(connection, known.schema if known else self._schemas.get(key[:2]))
        self._schemas[key[:2]] = schema
        if known is None:
            known = self._databases[key] = _Database(connection.engine, schema)
        known.schema = schema
        return known

    # --- deleting ---------------------------------------------------------------------------------

    def _delete(self, *, only_own: bool) -> None:
        with self._unseen():
            for each in self._databases.values():
                private = not is_shared(each.engine)
                if any(copies.made for copies in each.copier.copies.values()) and (
                    private or not only_own
                ):
                    # The database may be gone, or locked until the fixtures are torn down.
                    with suppress(Exception):
                        if not is_gone(each.engine):
                            run_beside(each.engine, partial(_delete_through, database=each))


@contextmanager
def warnings_off() -> Iterator[None]:
    """Let a suite that turns warnings into errors see none of what the copying does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _delete_through(connection: Connection, database: _Database) -> None:
    rules = database.schema.rules
    stored = StoredRows(connection, rules.__getitem__)
    with short_locks(connection):
        for key in reversed(table_order(rules).tables):
            copies = database.copier.copies.get(key)
            if copies is not None and copies.made:
                stored.delete(key, identifying(rules[key]), list(copies.made))


def database_key(connection: Connection) -> tuple[object, ...]:
    """The same for all engines on one database."""
    url = connection.engine.url
    place = (url.get_backend_name(), url.host, url.port, url.database)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        return ("sqlite", "memory", id(connection.engine.pool))
    return ("", place)


def _driver(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _expire(source: Connection | Engine) -> None:
    """Let sessions forget what they have loaded, as in a request with a new session."""
    from sqlalchemy.orm import Session
    from sqlalchemy.orm.session import _sessions

    sessions: Iterable[Session] = list(_sessions.values())
    for session in sessions:
        if session._flushing:
            continue
        for state in session.identity_map.all_states():
            instance = state.obj()
            if instance is None or state.modified or state.deleted or not state.persistent:
                continue
            if not source.dialect.is_async:
                session.expire(instance)
                continue
            # To load an expired attribute would need an await. Collections are loaded again now.
            loaded = [
                each.key
                for each in state.mapper.relationships
                if each.uselist and each.key in state.dict
            ]
            if loaded:
                with suppress(Exception), session.no_autoflush:
                    session.refresh(instance, loaded)
