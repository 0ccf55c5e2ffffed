"""A database that is emptied and filled again before every call on trial.

By default it is SQLite in files of a temporary directory: one new file for a call, so that a
connection that an earlier call left open disturbs nothing. It can be told to read in the opposite
order. `given_database` is the same for an engine of the user.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeAlias

from sqlalchemy import Connection, Engine, Table, event, select, text
from sqlalchemy.exc import CompileError, SQLAlchemyError
from sqlalchemy.sql.ddl import CreateTable

from querygrowth.counting.engine import AnyEngine
from querygrowth.rewrites.reading_order import with_ties_reversed
from querygrowth.rewrites.schema import Schema
from querygrowth.rewrites.small_rows import DrawnRow
from querygrowth.tables.new_sqlite import async_sqlite_engine, preparation, sqlite_engine

Contents: TypeAlias = Mapping[str, tuple[tuple[str, ...], tuple[tuple[object, ...], ...]]]
"""The columns and the rows of every table; the rows are sorted."""


class TrialDatabase(Protocol):
    """A database on which two functions are compared."""

    engine: AnyEngine
    dialect: str

    @property
    def loaded(self) -> Contents:
        """What the tables held before the last call."""

    def load(self, rows: Sequence[DrawnRow], *, reverse: bool = False) -> None:
        """Empty the database and put rows in; with `reverse`, it reads in the opposite order."""

    def inserting(self) -> "Any":
        """A context manager: an empty database, and a function that puts a row in."""

    def changed(self) -> Contents | None:
        """What all tables hold after a call; None if it is what they held before."""

    def statements(self, rows: Sequence[DrawnRow]) -> list[str]:
        """The INSERT statements that put these rows in, as texts that can be executed."""


def insert_one(connection: Connection, row: DrawnRow) -> str | None:
    """Insert a row; the reason if the database refuses it."""
    try:
        # SQLite undoes the one statement that fails, other databases the whole transaction.
        with nullcontext() if connection.dialect.name == "sqlite" else connection.begin_nested():
            connection.execute(row.table.insert(), row.values)
    except SQLAlchemyError as refused:
        return str(getattr(refused, "orig", None) or refused).partition("\n")[0]
    return None


def insert_all(connection: Connection, rows: Sequence[DrawnRow]) -> None:
    """Insert rows that the database takes, then set the foreign keys in cycles."""
    for (table, _), group in groupby(rows, key=lambda row: (row.table, tuple(row.values))):
        connection.execute(table.insert(), [row.values for row in group])
    for row in rows:
        if row.later:
            connection.execute(_where_key(row.table.update().values(row.later), row))


def _where_key(statement: Any, row: DrawnRow) -> Any:
    for name, value in row.key.items():
        statement = statement.where(row.table.columns[name] == value)
    return statement


def contents_of(connection: Connection, tables: Sequence[Table]) -> Contents:
    """What these tables hold, as the driver's own values."""
    found = {}
    for table in tables:
        # The driver's own values, which no type of the models turns into others. Read with the
        # driver's cursor, because a result of SQLAlchemy takes longer to make than to read.
        name = connection.dialect.identifier_preparer.format_table(table)
        cursor = connection.connection.cursor()
        cursor.execute(f"SELECT * FROM {name}")  # noqa: S608
        names = tuple(str(column[0]) for column in cursor.description)
        found[table.fullname] = (names, tuple(sorted(map(tuple, cursor.fetchall()), key=repr)))
        cursor.close()
    return found


_QUOTES = {
    "sqlite": "quote({})",
    "postgresql": "quote_nullable(CAST({} AS text))",
    "mysql": "QUOTE({})",
    "mariadb": "QUOTE({})",
}


def statements_of(connection: Connection, rows: Sequence[DrawnRow]) -> list[str]:
    """The statements that put stored rows in again, as texts that can be executed."""
    # The database writes the values, so that every type can be printed.
    preparer = connection.dialect.identifier_preparer
    pattern = _QUOTES.get(connection.dialect.name, "{}")
    found: list[str] = []
    changes: list[str] = []
    for row in rows:
        table = preparer.format_table(row.table)
        names = [preparer.quote(name) for name in row.complete]
        fields = ", ".join(pattern.format(name) for name in names)
        query = _where_key(select(text(fields)).select_from(row.table), row)
        literals = connection.execute(query).first()
        if literals is None:
            continue
        given = dict(zip(row.complete, literals, strict=True))
        shown = [str(given[n]) if n not in row.later else "NULL" for n in row.complete]
        found.append(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(shown)});"  # noqa: S608
        )
        if row.later:
            new = ", ".join(f"{preparer.quote(name)} = {given[name]}" for name in row.later)
            at = " AND ".join(f"{preparer.quote(name)} = {given[name]}" for name in row.key)
            changes.append(f"UPDATE {table} SET {new} WHERE {at};")  # noqa: S608
    return found + changes


class OwnDatabase:
    """SQLite in files of a temporary directory.

    Args:
        schema: The tables that get rows. All tables of its metadata are created if SQLite can.
        is_async: Whether `engine` is an AsyncEngine, which needs aiosqlite.
    """

    dialect = "sqlite"

    def __init__(self, schema: Schema, *, is_async: bool = False) -> None:
        self._folder = TemporaryDirectory(prefix="querygrowth-")
        self._root = Path(self._folder.name)
        self._number = 0
        self._reverse = False
        self._filling = False
        self._rows: Sequence[DrawnRow] | None = None
        self._contents: Contents | None = None
        self._schemas = sorted({t.schema for t in schema.metadata.tables.values() if t.schema})
        self._sync = sqlite_engine(self._main, self._preparation)
        self.engine: AnyEngine = self._sync
        if is_async:
            self.engine = async_sqlite_engine(self._main, self._preparation)
        sync = self.engine if isinstance(self.engine, Engine) else self.engine.sync_engine
        event.listen(sync, "before_cursor_execute", self._reversed, retval=True)
        self._files = ("main", *self._schemas)
        with self._sync.begin() as connection:
            self._tables = create_tables(connection, schema)
        # Files are copied in memory: opening a file takes longer than writing one of a few pages.
        self._empty = self._loaded = self._read()
        self._names = frozenset(table.name for table in self._tables)

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def load(self, rows: Sequence[DrawnRow], *, reverse: bool = False) -> None:
        """Make a new file with these rows."""
        if rows is not self._rows:
            self._rows = self._contents = None
            self._renew(self._empty)
            with self._filled() as connection:
                insert_all(connection, rows)
            self._loaded = self._read()
            self._rows = rows
        self._renew(self._loaded)
        self._reverse = reverse

    @contextmanager
    def inserting(self) -> Iterator[Callable[[DrawnRow], str | None]]:
        """Yield a function that inserts one row into a new file."""
        self._renew(self._empty)
        with self._filled() as connection:
            yield lambda row: insert_one(connection, row)

    @property
    def loaded(self) -> Contents:
        """What the tables held before the last call; read when it is first asked for."""
        # Most functions change nothing, and reading all tables takes as long as half of a call.
        if self._contents is None:
            self._renew(self._loaded)
            self._contents = self._present()
        return self._contents

    def changed(self) -> Contents | None:
        """What all tables hold after a call; None if it is what they held before."""
        if self._read() == self._loaded:
            return None
        found = self._present()
        return None if found == self.loaded else found

    def _present(self) -> Contents:
        with self._filled() as connection:
            return contents_of(connection, self._tables)

    def statements(self, rows: Sequence[DrawnRow]) -> list[str]:
        """The INSERT statements of these rows."""
        self.load(rows)
        with self._filled() as connection:
            return statements_of(connection, rows)

    def _renew(self, files: Sequence[bytes]) -> None:
        """Go on with new files of these bytes: the empty database, or the loaded one."""
        for path in self._paths():
            with suppress(OSError):  # an open connection may hold it
                path.unlink()
        self._number += 1
        self._reverse = False
        for path, content in zip(self._paths(), files, strict=True):
            path.write_bytes(content)

    def _read(self) -> list[bytes]:
        """The bytes of the present files."""
        return [path.read_bytes() for path in self._paths()]

    @contextmanager
    def _filled(self) -> Iterator[Connection]:
        self._filling = True
        try:
            with self._sync.begin() as connection:
                yield connection
        finally:
            self._filling = False

    def _main(self) -> Path:
        return self._path("main")

    def _paths(self) -> Iterator[Path]:
        return map(self._path, self._files)

    def _path(self, schema: str) -> Path:
        return self._root / f"{self._number}.{schema}.db"

    def _preparation(self) -> Iterator[str]:
        yield from preparation(self._schemas, self._path)
        if self._reverse and not self._filling:
            yield "PRAGMA reverse_unordered_selects = ON"

    def _reversed(
        self, _c: object, _k: object, sql: str, parameters: Any, _x: object, many: bool
    ) -> tuple[str, Any]:
        if not self._reverse or self._filling or many:
            return sql, parameters
        return with_ties_reversed(sql, self._names), parameters


def create_tables(connection: Connection, schema: Schema) -> list[Table]:
    """Create the tables of the metadata that the database can hold, at least the needed ones."""
    dialect = connection.dialect
    possible: list[Table] = []
    for table in schema.metadata.tables.values():
        try:
            str(CreateTable(table).compile(dialect=dialect))
        except (CompileError, NotImplementedError, AttributeError) as refused:
            if table in schema.order:
                raise ValueError(
                    f"{dialect.name} has no table like {table.fullname}: {refused}; pass engine= "
                    "with an engine on an empty database of the right kind"
                ) from None
        else:
            possible.append(table)
    schema.metadata.create_all(connection, tables=possible)
    rest = [table for table in possible if table not in schema.order]
    return [*schema.order, *rest]
