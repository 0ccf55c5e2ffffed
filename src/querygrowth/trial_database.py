"""A database that is emptied and filled again before every call on trial.

By default it is SQLite in files of a temporary directory: one new file for a call, so that a
connection that an earlier call left open disturbs nothing. It can be told to read in the opposite
order. An engine of the user is emptied and filled again, with rows inserted in the opposite order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from shutil import copyfile
from sqlite3 import Connection as SQLiteConnection
from sqlite3 import connect
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeAlias, TypeVar

import sqlglot
from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event, select, text
from sqlalchemy.exc import CompileError, SQLAlchemyError
from sqlalchemy.sql.ddl import CreateTable
from sqlglot import exp
from sqlglot.errors import SqlglotError

from querygrowth.engine import AnyEngine
from querygrowth.small_rows import DrawnRow, Schema
from querygrowth.watch import ActionRunner

Contents: TypeAlias = Mapping[str, tuple[tuple[str, ...], tuple[tuple[object, ...], ...]]]
"""The columns and the rows of every table; the rows are sorted."""
Answer = TypeVar("Answer")


# The numbers of the files that others are copied from.
_EMPTY, _LOADED = 0, 1


class TrialDatabase(Protocol):
    """A database on which two functions are compared."""

    engine: AnyEngine
    dialect: str
    loaded: Contents
    """What the tables held before the last call."""

    def load(self, rows: Sequence[DrawnRow], *, reverse: bool = False) -> None:
        """Empty the database and put rows in; with `reverse`, it reads in the opposite order."""

    def inserting(self) -> "Any":
        """A context manager: an empty database, and a function that puts a row in."""

    def contents(self) -> Contents:
        """What all tables hold."""

    def statements(self, rows: Sequence[DrawnRow]) -> list[str]:
        """The INSERT statements that put these rows in, as texts that can be executed."""


def _insert(connection: Connection, row: DrawnRow) -> str | None:
    """Insert a row; the reason if the database refuses it."""
    try:
        # SQLite undoes the one statement that fails, other databases the whole transaction.
        with nullcontext() if connection.dialect.name == "sqlite" else connection.begin_nested():
            connection.execute(row.table.insert(), row.values)
    except SQLAlchemyError as refused:
        return str(getattr(refused, "orig", None) or refused).partition("\n")[0]
    return None


def _insert_all(connection: Connection, rows: Sequence[DrawnRow]) -> None:
    for (table, _), group in groupby(rows, key=lambda row: (row.table, tuple(row.values))):
        connection.execute(table.insert(), [row.values for row in group])
    for row in rows:
        if row.later:
            connection.execute(_where_key(row.table.update().values(row.later), row))


def _where_key(statement: Any, row: DrawnRow) -> Any:
    for name, value in row.key.items():
        statement = statement.where(row.table.columns[name] == value)
    return statement


def _contents(connection: Connection, tables: Sequence[Table]) -> Contents:
    found = {}
    for table in tables:
        # The driver's own values, which no type of the models turns into others.
        name = connection.dialect.identifier_preparer.format_table(table)
        result = connection.exec_driver_sql(f"SELECT * FROM {name}")  # noqa: S608
        rows = sorted((tuple(row) for row in result), key=repr)
        found[table.fullname] = (tuple(result.keys()), tuple(rows))
    return found


_QUOTES = {
    "sqlite": "quote({})",
    "postgresql": "quote_nullable(CAST({} AS text))",
    "mysql": "QUOTE({})",
    "mariadb": "QUOTE({})",
}


def _statements(connection: Connection, rows: Sequence[DrawnRow]) -> list[str]:
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
        self._number = _EMPTY
        self._reverse = False
        self._filling = False
        self._rows: Sequence[DrawnRow] | None = None
        self.loaded: Contents = {}
        self._schemas = sorted({t.schema for t in schema.metadata.tables.values() if t.schema})
        self._sync = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        self.engine: AnyEngine = self._async_engine() if is_async else self._sync
        sync = self.engine if isinstance(self.engine, Engine) else self.engine.sync_engine
        event.listen(sync, "before_cursor_execute", self._reversed, retval=True)
        self._files = ("main", *self._schemas)
        with self._sync.begin() as connection:
            self._tables = _create(connection, schema)
        self._number = _LOADED
        self._names = frozenset(table.name for table in self._tables)

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def load(self, rows: Sequence[DrawnRow], *, reverse: bool = False) -> None:
        """Make a new file with these rows."""
        if rows is not self._rows:
            self._rows = None
            self._renew(_EMPTY)
            with self._filled() as connection:
                _insert_all(connection, rows)
                self.loaded = _contents(connection, self._tables)
            for schema in self._files:
                copyfile(self._path(schema, self._number), self._path(schema, _LOADED))
            self._rows = rows
        self._renew(_LOADED)
        self._reverse = reverse

    @contextmanager
    def inserting(self) -> Iterator[Callable[[DrawnRow], str | None]]:
        """Yield a function that inserts one row into a new file."""
        self._renew(_EMPTY)
        with self._filled() as connection:
            yield lambda row: _insert(connection, row)

    def contents(self) -> Contents:
        """What all tables hold."""
        files = [
            [self._path(schema, number).read_bytes() for schema in self._files]
            for number in (_LOADED, self._number)
        ]
        if files[0] == files[1]:
            return self.loaded
        with self._filled() as connection:
            return _contents(connection, self._tables)

    def statements(self, rows: Sequence[DrawnRow]) -> list[str]:
        """The INSERT statements of these rows."""
        self.load(rows)
        with self._filled() as connection:
            return _statements(connection, rows)

    def _renew(self, template: int) -> None:
        """Go on with a copy of a file: an empty database, or the loaded one."""
        before = self._number
        self._number += 1
        self._reverse = False
        for schema in self._files:
            copyfile(self._path(schema, template), self._path(schema, self._number))
            if before > _LOADED:
                with suppress(OSError):  # an open connection may hold it
                    self._path(schema, before).unlink()

    @contextmanager
    def _filled(self) -> Iterator[Connection]:
        self._filling = True
        try:
            with self._sync.begin() as connection:
                yield connection
        finally:
            self._filling = False

    def _path(self, schema: str, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.{schema}.db"

    def _connect(self) -> SQLiteConnection:
        connection = connect(self._path("main", self._number), check_same_thread=False)
        for statement in self._preparation():
            connection.execute(statement)
        return connection

    def _preparation(self) -> Iterator[str]:
        # Nothing has to survive a crash. Foreign keys hold, as in other databases.
        yield "PRAGMA synchronous = OFF"
        yield "PRAGMA foreign_keys = ON"
        if self._reverse and not self._filling:
            yield "PRAGMA reverse_unordered_selects = ON"
        for schema in self._schemas:
            yield f"ATTACH '{self._path(schema, self._number)}' AS \"{schema}\""

    def _async_engine(self) -> AnyEngine:
        try:
            import aiosqlite
        except ImportError:
            raise ValueError(
                "an asynchronous function needs aiosqlite for its database: pip install aiosqlite, "
                "or pass engine= with an AsyncEngine on an empty database"
            ) from None
        from sqlalchemy.ext.asyncio import create_async_engine

        async def made() -> Any:
            connection = await aiosqlite.connect(self._path("main", self._number))
            for statement in self._preparation():
                await connection.execute(statement)
            return connection

        return create_async_engine("sqlite+aiosqlite://", async_creator=made, poolclass=NullPool)

    def _reversed(
        self, _c: object, _k: object, sql: str, parameters: Any, _x: object, many: bool
    ) -> tuple[str, Any]:
        if not self._reverse or self._filling or many:
            return sql, parameters
        return _with_ties_reversed(sql, self._names), parameters


class GivenDatabase:
    """A database of the user, behind an engine. Its tables must be empty.

    Args:
        engine: The engine, plain or async.
        schema: The tables that get rows; they are created where they do not exist.
        runner: Waits for an async engine.

    Raises:
        ValueError: A table holds rows.
    """

    def __init__(self, engine: AnyEngine, schema: Schema, runner: ActionRunner) -> None:
        self.engine = engine
        self._runner = runner
        self._reverse = False
        sync = engine if isinstance(engine, Engine) else engine.sync_engine
        self.dialect = sync.dialect.name
        self._tables = self._do(lambda connection: _create(connection, schema))
        self.loaded: Contents = {}
        for name, (_, rows) in self.contents().items():
            if rows:
                held = "1 row, and it" if len(rows) == 1 else f"{len(rows)} rows, and they"
                raise ValueError(
                    f"table {name} holds {held} would be deleted: pass an engine on an empty "
                    "database"
                )

    def close(self) -> None:
        """Leave the tables empty."""
        self._do(self._empty)

    def load(self, rows: Sequence[DrawnRow], *, reverse: bool = False) -> None:
        """Delete all rows and insert these."""
        rows = _backwards(rows) if reverse else rows
        self._do(lambda connection: self._refill(connection, rows))

    @contextmanager
    def inserting(self) -> Iterator[Callable[[DrawnRow], str | None]]:
        """Yield a function that inserts one row, after all rows are deleted."""
        self._do(self._empty)
        yield lambda row: self._do(lambda connection: _insert(connection, row))

    def contents(self) -> Contents:
        """What all tables hold."""
        return self._do(lambda connection: _contents(connection, self._tables))

    def statements(self, rows: Sequence[DrawnRow]) -> list[str]:
        """The INSERT statements of these rows."""
        self.load(rows)
        return self._do(lambda connection: _statements(connection, rows))

    def _do(self, question: Callable[[Connection], Answer]) -> Answer:
        if isinstance(self.engine, Engine):
            with self.engine.begin() as connection:
                return question(connection)
        engine = self.engine

        async def asked() -> Answer:
            async with engine.begin() as connection:  # type: ignore[attr-defined]
                answer: Answer = await connection.run_sync(question)
                return answer

        return self._runner.wait_for(asked())

    def _refill(self, connection: Connection, rows: Sequence[DrawnRow]) -> None:
        self._empty(connection)
        _insert_all(connection, rows)
        self._set_sequences(connection)
        self.loaded = _contents(connection, self._tables)

    def _empty(self, connection: Connection) -> None:
        for table in reversed(self._tables):
            nulls = {
                column.name: None
                for key in table.foreign_key_constraints
                for column in key.columns
                if column.nullable and not column.primary_key
            }
            if nulls:  # rows of a cycle refer to each other
                with suppress(SQLAlchemyError), connection.begin_nested():
                    connection.execute(table.update().values(nulls))
        for table in reversed(self._tables):
            connection.execute(table.delete())

    def _set_sequences(self, connection: Connection) -> None:
        """Let generated keys go on after the highest key; other databases do so by themselves."""
        if self.dialect != "postgresql":
            return
        preparer = connection.dialect.identifier_preparer
        for table in self._tables:
            column = table.autoincrement_column
            if column is None:
                continue
            name = preparer.format_table(table)
            connection.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence(:t, :c), (SELECT coalesce(max("  # noqa: S608
                    f"{preparer.quote(column.name)}), 0) + 1 FROM {name}), false) "
                    "WHERE pg_get_serial_sequence(:t, :c) IS NOT NULL"
                ),
                {"t": name, "c": column.name},
            )


def _create(connection: Connection, schema: Schema) -> list[Table]:
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


def _backwards(rows: Sequence[DrawnRow]) -> list[DrawnRow]:
    """The rows of every table in the opposite order, as far as foreign keys allow."""
    found: list[DrawnRow] = []
    for table, group in _by_table(rows).items():
        itself = any(key.referred_table is table for key in table.foreign_key_constraints)
        found += group if itself else group[::-1]
    return found


def _by_table(rows: Sequence[DrawnRow]) -> dict[Table, list[DrawnRow]]:
    """The rows by table, tables and rows in their order."""
    found: dict[Table, list[DrawnRow]] = {}
    for row in rows:
        found.setdefault(row.table, []).append(row)
    return found


@lru_cache(maxsize=2000)
def _with_ties_reversed(sql: str, tables: frozenset[str]) -> str:
    """A SELECT of SQLite, changed so that rows that tie come in the opposite order."""
    if ";" in sql or sql.split(None, 1)[0].upper() not in {"SELECT", "WITH"}:
        return sql
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except (SqlglotError, RecursionError):
        return sql
    if not isinstance(tree, exp.Query):
        return sql
    # Below a LIMIT and in windows, further keys can only be added inside.
    changed = [_with_row_keys(select, tables) for select in tree.find_all(exp.Select)]
    if any(changed):
        sql = tree.sql(dialect="sqlite")
    if any(tree.args.get(part) for part in ("limit", "offset")):
        return sql
    has_order = bool(tree.args.get("order"))
    sorts = isinstance(tree, exp.SetOperation) or tree.args.get("group")
    if not (has_order or sorts or tree.args.get("distinct")):
        return sql  # the pragma reads it backwards
    columns = tree.selects
    if any(column.is_star for column in columns):
        columns = columns[:1]
    places = ", ".join(f"{place} DESC" for place in range(1, len(columns) + 1))
    return f"{sql}, {places}" if has_order else f"{sql} ORDER BY {places}"


def _with_row_keys(select: exp.Select, tables: frozenset[str]) -> bool:
    """Add the row numbers of its tables, falling, to orders inside of a SELECT; whether it did."""
    if any(select.args.get(part) for part in ("group", "distinct")):
        return False
    sources = [each.this for each in (select.args.get("joins") or ())]
    main = select.args.get("from_") or select.args.get("from")
    sources = [main.this, *sources] if main is not None else []
    names = [each.alias_or_name for each in sources if isinstance(each, exp.Table)]
    if not names or len(names) != len(sources) or not tables.issuperset(s.name for s in sources):
        return False
    orders = [
        window.args["order"]
        for column in select.selects
        for window in column.find_all(exp.Window)
        if window.args.get("order") and window.find_ancestor(exp.Select) is select
    ]
    if select.args.get("order") and select.args.get("limit"):
        orders.append(select.args["order"])
    for order in orders:
        for name in names:
            key = exp.column("rowid", table=name, quoted=True)
            order.append("expressions", exp.Ordered(this=key, desc=True))
    return bool(orders)
