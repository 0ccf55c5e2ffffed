"""What the user's Table objects demand of rows, read without a database."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import CheckConstraint, Column, Dialect, Index, Table, UniqueConstraint
from sqlalchemy import Sequence as SqlSequence
from sqlalchemy.exc import CompileError
from sqlalchemy.sql.elements import ColumnElement

from querygrowth.tables.condition_terms import UnknownConditionError
from querygrowth.tables.conditions import Condition, parse_condition
from querygrowth.tables.json_values import json_values
from querygrowth.tables.table_rules import ColumnRule, ForeignKey, TableRules, UniqueKey


def own_rules(table: Table, dialect: Dialect) -> TableRules:
    """The rules of a table, as far as the Table object has them.

    Args:
        table: The table.
        dialect: That of the database that holds it.
    """
    columns = {each.name: _column(each, table, dialect) for each in table.columns}
    primary_key = tuple(each.name for each in table.primary_key.columns)
    first = [UniqueKey("the primary key", primary_key)] if primary_key else []
    conditions, unread = conditions_of(own_checks(table, dialect), columns, dialect)
    return TableRules(
        key=(table.schema, table.name),
        columns=columns,
        primary_key=primary_key,
        foreign_keys=tuple(_foreign_keys(table, columns)),
        unique=tuple(distinct_keys((*first, *own_unique(table, columns, dialect)), {})),
        conditions=conditions,
        unread=unread,
        lengths={},
    )


def _column(column: Column[Any], table: Table, dialect: Dialect) -> ColumnRule:
    default, expression = python_default(column, dialect)
    identity: Any = column.identity
    numbered = column is table.autoincrement_column or identity is not None
    return ColumnRule(
        name=column.name,
        type=column.type,
        nullable=bool(column.nullable) and not column.primary_key,
        automatic=bool(column.computed) or numbered or column.server_default is not None,
        numbered=numbered,
        always=bool(column.computed) or bool(identity is not None and identity.always),
        default=default,
        expression=expression,
        listed=json_values(column),
    )


def _foreign_keys(table: Table, columns: Mapping[str, ColumnRule]) -> Iterator[ForeignKey]:
    for each in sorted(table.foreign_key_constraints, key=lambda one: [*map(str, one.column_keys)]):
        local = tuple(element.parent.name for element in each.elements)
        target = each.referred_table
        yield ForeignKey(
            name=str(each.name or f"FOREIGN KEY ({', '.join(local)})"),
            columns=local,
            target=(target.schema, target.name),
            target_columns=tuple(element.column.name for element in each.elements),
            nullable=any(columns[one].nullable for one in local),
            deferrable=bool(each.deferrable),
        )


def distinct_keys(
    keys: Iterable[UniqueKey], columns: Mapping[str, ColumnRule]
) -> Iterator[UniqueKey]:
    """Unique keys without repetition, and without those that the database makes differ."""
    found: dict[tuple[object, ...], UniqueKey] = {}
    for key in keys:
        made = [
            columns[each] for each in key.columns if each in columns and columns[each].automatic
        ]
        if any(not each.constant for each in made) or not key.columns:
            continue  # the database makes a part of it differ in every row
        found.setdefault((frozenset(key.columns), key.where.text if key.where else None), key)
    yield from found.values()


def own_unique(
    table: Table, columns: Mapping[str, ColumnRule], dialect: Dialect
) -> Iterator[UniqueKey]:
    """Unique keys that only the user's table shows, such as indexes on expressions."""
    for each in (*table.constraints, *table.indexes):
        if isinstance(each, UniqueConstraint):
            parts = [column.name for column in each.columns]
            where = None
        elif isinstance(each, Index) and each.unique:
            parts = []
            for expression in each.expressions:
                if isinstance(expression, Column):
                    parts.append(expression.name)
                else:
                    parts += names_in(str(expression), columns)
            where = each.dialect_kwargs.get(f"{dialect.name}_where")
        else:
            continue
        if parts and all(one in columns for one in parts):
            text = None if where is None else _compiled(where, dialect)
            yield UniqueKey(
                name=str(each.name or f"UNIQUE ({', '.join(parts)})"),
                columns=tuple(dict.fromkeys(parts)),
                where=None if text is None else predicate(text, columns, dialect),
            )


def own_checks(table: Table, dialect: Dialect) -> Iterator[tuple[str, str]]:
    """The names and texts of a table's CHECKs."""
    for each in table.constraints:
        if isinstance(each, CheckConstraint) and not getattr(each, "_type_bound", False):
            try:
                yield str(each.name or ""), _compiled(each.sqltext, dialect)
            except CompileError:
                continue  # the database's own text is read where there is one


def conditions_of(
    texts: Iterable[tuple[str, str]], columns: Iterable[str], dialect: Dialect
) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
    """The conditions that can be evaluated here, and the texts of the others.

    Args:
        texts: The names and texts of CHECKs.
        columns: The table's columns.
        dialect: The dialect of the texts.
    """
    found: dict[str, Condition] = {}
    unread: dict[str, None] = {}
    listed = [*columns]
    for name, text in texts:
        try:
            condition = parse_condition(name, text, listed, dialect.name)
            found.setdefault(condition.tree.sql(), condition)
        except UnknownConditionError:
            unread[f"{name}: {text}" if name else text] = None
    return tuple(found.values()), tuple(unread)


def predicate(text: str, columns: Iterable[str], dialect: Dialect) -> Condition | None:
    """The predicate of a partial index; None, which stands for all rows, if it is unknown."""
    try:
        return parse_condition("", text, columns, dialect.name)
    except UnknownConditionError:
        return None


def _compiled(clause: Any, dialect: Dialect) -> str:
    if isinstance(clause, str):
        return clause
    compiled = clause.compile(
        dialect=dialect, compile_kwargs={"literal_binds": True, "include_table": False}
    )
    return str(compiled)


def python_default(
    column: Column[Any] | None, dialect: Dialect
) -> tuple[Callable[[], object] | None, ColumnElement[Any] | None]:
    """A column's default of Python as a function, or as SQL; None for both without one."""
    default: Any = None if column is None else column.default
    if default is None:
        return None, None
    if isinstance(default, SqlSequence):
        return None, default.next_value() if dialect.supports_sequences else None
    if default.is_clause_element:
        return None, default.arg
    if default.is_scalar:
        value = default.arg
        return (lambda: value), None
    if default.is_callable:
        made = default.arg  # takes the context of an execution, which there is none of here
        return (lambda: made(None)), None
    return None, None


def differs_by_row(server_default: str) -> bool:
    """Whether a server default makes another value in every row, such as nextval()."""
    return bool(re.search(r"nextval|uuid|random", server_default, re.IGNORECASE))


def names_in(expression: str, columns: Iterable[str]) -> list[str]:
    """The columns that an expression names."""
    words = set(re.findall(r"\w+", expression.casefold()))
    return [each for each in columns if each.casefold() in words]
