"""Read, insert and change the rows of tables, through the types that the user's columns have."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from sqlalchemy import (
    Connection,
    TableClause,
    delete,
    exists,
    func,
    insert,
    select,
    types,
    update,
)
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.sql.dml import Insert
from sqlalchemy.types import TypeDecorator, TypeEngine

from querygrowth.tables.checks import comparable
from querygrowth.tables.table_rules import ForeignKey, Key, TableRules, UniqueKey

_MOST_ROWS = 100_000  # that are read of a table


class StoredRows:
    """The rows of a database's tables.

    Args:
        connection: Leads to the database.
        rules_of: Gives the rules of a table.
    """

    def __init__(self, connection: Connection, rules_of: Callable[[Key], TableRules]) -> None:
        self._connection = connection
        self._rules_of = rules_of

    def clause(self, key: Key) -> TableClause:
        """The table with its columns and their types, without defaults and constraints."""
        rules = self._rules_of(key)
        columns = (sql_column(n, _with_null(each.type)) for n, each in rules.columns.items())
        return sql_table(key[1], *columns, schema=self._schema(key))

    def _schema(self, key: Key) -> str | None:
        """The schema in the database. SQLAlchemy translates it for Table objects alone."""
        options = self._connection.get_execution_options()
        schema: str | None = (options.get("schema_translate_map") or {}).get(key[0], key[0])
        return schema

    def count(self, key: Key) -> int:
        """The number of a table's rows."""
        table = sql_table(key[1], schema=self._schema(key))
        return self._connection.scalar(select(func.count()).select_from(table)) or 0

    def values(
        self, key: Key, columns: Sequence[str], most: int = _MOST_ROWS
    ) -> list[tuple[Any, ...]]:
        """The values of columns in the rows of a table, in the order of its primary key.

        Args:
            key: The table.
            columns: The names of the columns.
            most: How many rows are read at most.
        """
        table = self.clause(key)
        statement = select(*(table.c[each] for each in columns)).limit(most)
        order = [table.c[each] for each in self._rules_of(key).primary_key]
        return [tuple(row) for row in self._connection.execute(statement.order_by(*order))]

    def orphans(self, key: Key, link: ForeignKey) -> tuple[Any, ...] | None:
        """The values of a foreign key in a row that refers to no row; None without such a row."""
        child = self.clause(key)
        parent = self.clause(link.target).alias()
        own = [child.c[each] for each in link.columns]
        same = [
            mine == parent.c[theirs] for mine, theirs in zip(own, link.target_columns, strict=True)
        ]
        statement = select(*own).where(
            *(each.is_not(None) for each in own), ~exists().select_from(parent).where(*same)
        )
        found = self._connection.execute(statement.limit(1)).first()
        return None if found is None else tuple(found)

    def largest(self, key: Key, column: str) -> int:
        """The largest number in a column; 0 without rows."""
        found = self._connection.scalar(select(func.max(self.clause(key).c[column])))
        return int(found or 0)

    def taken(self, key: Key) -> dict[UniqueKey, set[tuple[object, ...]]]:
        """By unique key of a table, the values that its rows have."""
        found: dict[UniqueKey, set[tuple[object, ...]]] = {}
        for unique in self._rules_of(key).unique:
            values = (comparable(unique, row) for row in self.values(key, unique.columns))
            found[unique] = {value for value in values if value is not None}
        return found

    def delete(self, key: Key, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Delete the rows that have these values in these columns."""
        table = self.clause(key)
        for row in rows:
            same = (table.c[each] == value for each, value in zip(columns, row, strict=True))
            self._connection.execute(delete(table).where(*same))

    def update(
        self, key: Key, columns: Sequence[str], row: Sequence[Any], values: dict[str, object]
    ) -> None:
        """Change the values of the row that has these values in these columns."""
        table = self.clause(key)
        same = (table.c[each] == value for each, value in zip(columns, row, strict=True))
        self._connection.execute(update(table).where(*same).values(values))

    def insert(self, key: Key, rows: Sequence[dict[str, object]]) -> None:
        """Insert rows that all have values for the same columns, with one statement.

        Raises:
            Exception: The database, or the user's types and listeners, refuse a row.
        """
        expressions = {
            name: rule.expression
            for name, rule in self._rules_of(key).columns.items()
            if rule.expression is not None and name not in rows[0]
        }
        statement: Insert = insert(self.clause(key))
        if expressions:
            self._connection.execute(statement.values(expressions), list(rows))
        elif rows[0]:
            self._connection.execute(statement, list(rows))
        else:
            for _ in rows:  # the database makes all values
                self._connection.execute(statement.values({}))

    def advance_sequence(self, key: Key, column: str) -> None:
        """Let PostgreSQL's sequence of a column continue after the numbers that were given."""
        if self._connection.dialect.name != "postgresql":
            return
        table = self.clause(key)
        quoted = self._connection.dialect.identifier_preparer.format_table(table)
        sequence = self._connection.scalar(select(func.pg_get_serial_sequence(quoted, column)))
        if sequence:
            last = select(func.max(table.c[column])).scalar_subquery()
            self._connection.scalar(select(func.setval(sequence, last)))


def _with_null(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type, where JSON stores None as NULL and not as the text "null"."""
    if isinstance(kind, types.JSON) and not kind.none_as_null:
        changed = copy(kind)
        changed.none_as_null = True
        return changed
    if isinstance(kind, TypeDecorator) and isinstance(kind.impl_instance, types.JSON):
        decorated = copy(kind)
        decorated.impl = decorated.impl_instance = _with_null(kind.impl_instance)
        return decorated
    return kind
