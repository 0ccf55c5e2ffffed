"""A database of the user, behind an engine, for calls on trial."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

from sqlalchemy import Connection, Engine, Table, text
from sqlalchemy.exc import SQLAlchemyError

from querygrowth.counting.engine import AnyEngine
from querygrowth.counting.watch import ActionRunner
from querygrowth.rewrites.schema import Schema
from querygrowth.rewrites.small_rows import DrawnRow
from querygrowth.rewrites.trial_database import (
    Contents,
    contents_of,
    create_tables,
    insert_all,
    insert_one,
    statements_of,
)

Answer = TypeVar("Answer")


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
        self._tables = self._do(lambda connection: create_tables(connection, schema))
        self.loaded: Contents = {}
        for name, (_, rows) in self._contents().items():
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
        yield lambda row: self._do(lambda connection: insert_one(connection, row))

    def changed(self) -> Contents | None:
        """What all tables hold after a call; None if it is what they held before."""
        found = self._contents()
        return None if found == self.loaded else found

    def statements(self, rows: Sequence[DrawnRow]) -> list[str]:
        """The INSERT statements of these rows."""
        self.load(rows)
        return self._do(lambda connection: statements_of(connection, rows))

    def _contents(self) -> Contents:
        return self._do(lambda connection: contents_of(connection, self._tables))

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
        insert_all(connection, rows)
        self._set_sequences(connection)
        self.loaded = contents_of(connection, self._tables)

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
