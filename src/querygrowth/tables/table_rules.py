"""What a database demands of the rows of its tables, as values: columns, keys, CHECKs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from querygrowth.tables.conditions import Condition

Key = tuple[str | None, str]  # the schema as the user's tables have it, and the table


@dataclass(frozen=True)
class ColumnRule:
    """One column.

    Attributes:
        name: Its name.
        type: The user's type, or the one that the inspector shows.
        nullable: Whether it takes NULL.
        automatic: Whether the database makes its value: generated, identity, server default.
        constant: Whether that value may be the same in all rows.
        numbered: Whether the database counts it up, by a sequence or an identity.
        always: Whether the database refuses a given value.
        default: Makes a value as the user's Column does; None without such a default.
        expression: The user's default as SQL, which the INSERT has to contain.
        listed: The values that the user's model takes; empty where it takes any.
    """

    name: str
    type: TypeEngine[Any]
    nullable: bool
    automatic: bool = False
    constant: bool = False
    numbered: bool = False
    always: bool = False
    default: Callable[[], object] | None = None
    expression: ColumnElement[Any] | None = None
    listed: tuple[object, ...] = ()


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: columns here that name a row of a target table.

    Attributes:
        name: The constraint's name, or its columns.
        columns: The columns here.
        target: The table it points to.
        target_columns: The columns there, in the same order.
        nullable: Whether it may be NULL: at least one column is, and no primary key has it.
        deferrable: Whether the database can check it at the end of a transaction.
    """

    name: str
    columns: tuple[str, ...]
    target: Key
    target_columns: tuple[str, ...]
    nullable: bool
    deferrable: bool


@dataclass(frozen=True)
class UniqueKey:
    """A primary key, UNIQUE constraint or unique index.

    Attributes:
        name: Its name, or its columns.
        columns: Its columns, without those that the database makes.
        where: The predicate of a partial index; None for all rows.
        nulls_equal: Whether two NULLs count as the same.
    """

    name: str
    columns: tuple[str, ...]
    where: Condition | None = None
    nulls_equal: bool = False

    def __str__(self) -> str:
        listed = f"({', '.join(self.columns)})"
        return self.name if self.name.endswith(listed) else f"{self.name} {listed}"


@dataclass(frozen=True)
class TableRules:
    """All rules of one table.

    Attributes:
        key: Its schema and name.
        columns: By name, in the table's order.
        primary_key: The names of its columns; empty without one.
        foreign_keys: The foreign keys.
        unique: The primary key and all other unique keys.
        conditions: The CHECKs that can be evaluated here.
        unread: The CHECKs that cannot, as "name: text".
        lengths: The largest length by column, where a unique key or a type limits it.
    """

    key: Key
    columns: Mapping[str, ColumnRule]
    primary_key: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...]
    unique: tuple[UniqueKey, ...]
    conditions: tuple[Condition, ...]
    unread: tuple[str, ...]
    lengths: Mapping[str, int]

    @property
    def name(self) -> str:
        """The table's name, with its schema if it has one."""
        return full_name(self.key)


def full_name(key: Key) -> str:
    """The name of a table with its schema, if it has one."""
    schema, name = key
    return f"{schema}.{name}" if schema else name
