"""Read what a database demands of the rows of its tables: columns, keys, foreign keys, CHECKs.

The database is asked. Where the user's tables are known too, they add what a database does not
show: the types of Python, the defaults, and CHECKs that the inspector cannot read.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Table,
    inspect,
)
from sqlalchemy import text as sql_text
from sqlalchemy.engine import Inspector
from sqlalchemy.exc import SAWarning

from querygrowth.tables.conditions import Condition
from querygrowth.tables.json_values import json_values
from querygrowth.tables.own_rules import (
    conditions_of,
    differs_by_row,
    distinct_keys,
    names_in,
    own_checks,
    own_unique,
    predicate,
    python_default,
)
from querygrowth.tables.sqlite_checks import checks_in
from querygrowth.tables.table_rules import ColumnRule, ForeignKey, Key, TableRules, UniqueKey


class RuleReader:
    """Reads the rules of tables through one connection.

    Args:
        connection: Its `schema_translate_map` is followed.
        tables: The user's tables, by schema and name; the others are reflected.
    """

    def __init__(self, connection: Connection, tables: Mapping[Key, Table]) -> None:
        self._connection = connection
        self._inspector: Inspector = inspect(connection)
        self._dialect = connection.dialect
        self._translated: Mapping[Any, Any] = (
            connection.get_execution_options().get("schema_translate_map") or {}
        )
        self._tables = tables
        self._default_schema = self._inspector.default_schema_name

    def exists(self, key: Key) -> bool:
        """Whether the database has the table."""
        schema, name = key
        return bool(self._inspector.has_table(name, schema=self._actual(schema)))

    def _actual(self, schema: str | None) -> str | None:
        actual: str | None = self._translated.get(schema, schema)
        return actual

    def _as_user(self, schema: str | None) -> str | None:
        """The schema of the user's tables that stands for one of the database."""
        for user, actual in self._translated.items():
            if actual == schema or (schema is None and actual == self._default_schema):
                return user if user is None else str(user)
        return schema

    def rules(self, key: Key) -> TableRules:
        """Read the rules of one table.

        Args:
            key: The table.
        """
        schema, name = key
        actual = self._actual(schema)
        ask = self._inspector
        with warnings.catch_warnings():
            # A type or index that SQLAlchemy does not know is a warning there. Here it is met by
            # what the user's table says, or named as what cannot be filled.
            warnings.simplefilter("ignore", SAWarning)
            shown = {each["name"]: each for each in ask.get_columns(name, schema=actual)}
            key_columns = tuple(
                ask.get_pk_constraint(name, schema=actual).get("constrained_columns") or ()
            )
            foreign = ask.get_foreign_keys(name, schema=actual)
            unique = ask.get_unique_constraints(name, schema=actual)
            indexes = ask.get_indexes(name, schema=actual)
            checks = self._checks(name, actual)
        table = self._tables.get(key)
        columns = {
            each: self._column(dict(fact), table, key_columns) for each, fact in shown.items()
        }
        for each in {column for link in foreign for column in link["constrained_columns"]}:
            if columns[each].numbered and not columns[each].always:  # its parents give its numbers
                columns[each] = replace(columns[each], automatic=False, numbered=False)
        conditions, unread = self._conditions(checks, table, shown)
        for each in {column for condition in conditions for column in condition.columns}:
            rule = columns[each]
            if rule.numbered and not rule.always:  # its numbers may leave what the CHECK allows
                columns[each] = replace(rule, automatic=False)
        return TableRules(
            key=key,
            columns=columns,
            primary_key=key_columns,
            foreign_keys=tuple(self._foreign_keys(foreign, key, columns, key_columns)),
            unique=tuple(self._unique(key_columns, unique, indexes, table, columns)),
            conditions=conditions,
            unread=unread,
            lengths=_prefix_lengths(indexes, self._dialect.name),
        )

    def _checks(self, table: str, schema: str | None) -> list[Any]:
        if self._dialect.name == "sqlite":
            master = f"{self._dialect.identifier_preparer.quote(schema)}." if schema else ""
            statement = self._connection.scalar(
                sql_text(f"SELECT sql FROM {master}sqlite_master WHERE name = :table"),  # noqa: S608
                {"table": table},
            )
            return [{"name": name, "sqltext": text} for name, text in checks_in(statement or "")]
        try:
            found: list[Any] = list(self._inspector.get_check_constraints(table, schema=schema))
        except NotImplementedError:
            found = []
        if getattr(self._dialect, "is_mariadb", False):
            found += self._checks_of_columns(table, schema)
        return found

    def _checks_of_columns(self, table: str, schema: str | None) -> list[Any]:
        """MariaDB's CHECKs of single columns, such as that of JSON. The inspector omits them."""
        found = self._connection.execute(
            sql_text(
                "SELECT constraint_name AS name, check_clause AS sqltext "
                "FROM information_schema.check_constraints "
                "WHERE constraint_schema = :schema AND table_name = :table AND level = 'Column'"
            ),
            {"schema": schema or self._default_schema, "table": table},
        )
        return [dict(each) for each in found.mappings()]

    def _column(
        self, fact: dict[str, Any], table: Table | None, primary_key: tuple[str, ...]
    ) -> ColumnRule:
        name = fact["name"]
        column: Column[Any] | None = None
        if table is not None:
            column = next((each for each in table.columns if each.name == name), None)
        computed = bool(fact.get("computed")) or (column is not None and bool(column.computed))
        identity = fact.get("identity")
        # What PostgreSQL says of a server default may be the text "NULL", which is none.
        server = str(fact.get("default") or "")
        numbered = identity is not None or self._counts_itself(fact, primary_key)
        has_default = bool(server) and server.upper() != "NULL"
        default, expression = (
            (None, None) if column is None else python_default(column, self._dialect)
        )
        return ColumnRule(
            name=name,
            type=fact["type"] if column is None else column.type,
            nullable=bool(fact["nullable"]) and name not in primary_key,
            automatic=computed or numbered or has_default,
            constant=has_default and not numbered and not differs_by_row(server),
            numbered=numbered or "nextval" in server.lower(),
            always=computed or bool((identity or {}).get("always")),
            default=default,
            expression=expression,
            listed=() if column is None else json_values(column),
        )

    def _counts_itself(self, fact: dict[str, Any], primary_key: tuple[str, ...]) -> bool:
        if self._dialect.name == "sqlite":
            # Only a column declared as exactly INTEGER takes SQLite's row number.
            return primary_key == (fact["name"],) and str(fact["type"]) == "INTEGER"
        return fact.get("autoincrement") is True

    def _foreign_keys(
        self,
        found: Iterable[Any],
        key: Key,
        columns: Mapping[str, ColumnRule],
        primary_key: tuple[str, ...],
    ) -> Iterator[ForeignKey]:
        actual = self._actual(key[0])
        for each in found:
            local = tuple(each["constrained_columns"])
            schema = each.get("referred_schema")
            # Without a schema, the target is in the default schema, or on SQLite in its own.
            schema = key[0] if schema in {None, actual} else self._as_user(schema)
            target_columns = tuple(each.get("referred_columns") or ())
            options = each.get("options") or {}
            yield ForeignKey(
                name=each.get("name") or f"FOREIGN KEY ({', '.join(local)})",
                columns=local,
                target=(schema, each["referred_table"]),
                target_columns=target_columns
                or self._primary_key((schema, each["referred_table"])),
                nullable=any(columns[one].nullable for one in local if one in columns),
                deferrable=bool(options.get("deferrable")) or self._dialect.name == "sqlite",
            )

    def _primary_key(self, key: Key) -> tuple[str, ...]:
        schema, name = key
        found = self._inspector.get_pk_constraint(name, schema=self._actual(schema))
        return tuple(found.get("constrained_columns") or ())

    def _unique(
        self,
        primary_key: tuple[str, ...],
        unique: Iterable[Any],
        indexes: Iterable[Any],
        table: Table | None,
        columns: Mapping[str, ColumnRule],
    ) -> Iterator[UniqueKey]:
        own = () if table is None else own_unique(table, columns, self._dialect)
        shown = self._shown_unique(primary_key, unique, indexes, columns)
        return distinct_keys((*shown, *own), columns)

    def _shown_unique(
        self,
        primary_key: tuple[str, ...],
        unique: Iterable[Any],
        indexes: Iterable[Any],
        columns: Mapping[str, ColumnRule],
    ) -> Iterator[UniqueKey]:
        if primary_key:
            yield UniqueKey("the primary key", primary_key)
        for each in (*unique, *(index for index in indexes if index["unique"])):
            named = tuple(each["column_names"])
            parts = [one for one in named if one is not None]
            # An expression is met by columns that differ without regard to case.
            for expression in each.get("expressions") or ():
                parts += names_in(str(expression), columns)
            options = {**(each.get("dialect_options") or {})}
            where = options.get(f"{self._dialect.name}_where")
            yield UniqueKey(
                name=each["name"] or f"UNIQUE ({', '.join(parts)})",
                columns=tuple(one for one in dict.fromkeys(parts) if one in columns),
                where=None if where is None else predicate(str(where), columns, self._dialect),
                nulls_equal=bool(options.get("postgresql_nulls_not_distinct")),
            )

    def _conditions(
        self, checks: Sequence[Any], table: Table | None, columns: Mapping[str, Any]
    ) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
        texts = [(str(each.get("name") or ""), str(each["sqltext"])) for each in checks]
        for name, fact in columns.items():  # a domain's CHECK speaks of VALUE
            check = getattr(fact["type"], "check", None)
            if check is not None:
                own = re.sub(r"\bVALUE\b", f'"{name}"', str(check))
                texts.append((str(fact["type"].name), own))
        if table is not None:
            texts += own_checks(table, self._dialect)
        return conditions_of(texts, columns, self._dialect)


def _prefix_lengths(indexes: Iterable[Any], dialect: str) -> dict[str, int]:
    """The lengths of what a unique index of MySQL compares, where that is only a prefix."""
    found: dict[str, int] = {}
    for index in indexes:
        lengths = (index.get("dialect_options") or {}).get(f"{dialect}_length") or {}
        if index["unique"] and isinstance(lengths, Mapping):
            found.update({str(column): int(length) for column, length in lengths.items()})
    return found


def tables_in(connection: Connection) -> tuple[Key, ...]:
    """The tables of a database that hold the user's rows, in all of the user's schemas."""
    inspector = inspect(connection)
    skipped = {*_BOOKKEEPING, *_partitions(connection)}
    default = inspector.default_schema_name
    return tuple(
        (None if schema == default else schema, name)
        for schema in inspector.get_schema_names()
        if schema not in _SYSTEM_SCHEMAS
        for name in inspector.get_table_names(schema)
        if name not in skipped
    )


# They hold the server's tables. Rows in those of _BOOKKEEPING say which migrations have run.
_SYSTEM_SCHEMAS = frozenset({"information_schema", "mysql", "performance_schema", "sys"})
_BOOKKEEPING = frozenset({"alembic_version", "spatial_ref_sys"})


def _partitions(connection: Connection) -> set[str]:
    """Tables that hold a part of a partitioned table, which takes the rows for them."""
    if connection.dialect.name != "postgresql":
        return set()
    found = connection.execute(sql_text("SELECT relname FROM pg_class WHERE relispartition"))
    return set(found.scalars())
