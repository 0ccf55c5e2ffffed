"""Query: a SELECT of an export, taken apart so that an operator can change one part of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias, cast

from sqlalchemy import (
    BinaryExpression,
    BindParameter,
    Column,
    ColumnElement,
    FromClause,
    Join,
    Select,
    Table,
    UnaryExpression,
    and_,
    func,
    join,
    select,
)
from sqlalchemy.sql.operators import nulls_last_op
from sqlalchemy.sql.visitors import iterate

from elspeth.core.landscape.export.record_types import RecordType
from harness.mutants.designs import Design
from harness.mutants.mutant import Mutant, rewrites_statement

Key: TypeAlias = ColumnElement[Any]
Condition: TypeAlias = ColumnElement[bool]


@dataclass(frozen=True)
class Query:
    """A SELECT, by its parts.

    Attributes:
        columns: The select list.
        source: The tables and their joins.
        conditions: The conditions, all of which must hold.
        keys: The keys of the order.
    """

    columns: Sequence[Key]
    source: FromClause
    conditions: Sequence[Condition]
    keys: Sequence[Key]

    @classmethod
    def of(cls, statement: Select[Any]) -> Self:
        """Take a statement apart."""
        # SQLAlchemy has public names for the columns and the tables only.
        return cls(
            tuple(statement.selected_columns),
            statement.get_final_froms()[0],
            cast("Sequence[Condition]", statement._where_criteria),
            statement._order_by_clauses,
        )

    def select(self) -> Select[Any]:
        """Put the statement together again."""
        statement = select(*self.columns).select_from(self.source)
        return statement.where(*self.conditions).order_by(*self.keys)

    def with_key(self, position: int, *keys: Key) -> Select[Any]:
        """Return the statement with other keys, or none, in place of one."""
        changed = replace_at(self.keys, position, *keys)
        return replace(self, keys=changed).select()

    def with_condition(self, position: int, *conditions: Condition) -> Select[Any]:
        """Return the statement with other conditions, or none, in place of one."""
        changed = replace_at(self.conditions, position, *conditions)
        return replace(self, conditions=changed).select()

    def with_column(self, position: int, column: Key) -> Select[Any]:
        """Return the statement with another expression in the select list."""
        # The label keeps an expression's name out of the order: `nodes.node_id` in ORDER BY stays
        # the stored value.
        changed = replace_at(self.columns, position, column.label(None))
        return replace(self, columns=changed).select()

    @property
    def joins(self) -> Sequence[Join]:
        """The joins, the outermost first."""
        found = []
        source = self.source
        while isinstance(source, Join):
            found.append(source)
            source = source.left
        return found

    def with_join(self, position: int, change: Callable[[Join], Join]) -> Select[Any]:
        """Return the statement with one of its joins changed."""
        return replace(self, source=_with_join(self.source, position, change)).select()

    def numbered(self, keep: Callable[[Any], Condition], *, repeat: bool = False) -> Select[Any]:
        """Return the statement with some of its rows, chosen by their numbers.

        Args:
            keep: Makes a condition on the number of a row, which starts at 1.
            repeat: Whether the chosen rows come in addition to all rows, instead of alone.
        """
        number = func.row_number().over(order_by=[*self.keys]).label("number")
        inner = replace(self, columns=(*self.columns, number), keys=()).select().subquery()
        if repeat:
            chosen = select(*inner.c).where(keep(inner.c.number))
            inner = select(*inner.c).union_all(chosen).subquery()
        *columns, numbers = inner.c
        statement = select(*columns).order_by(numbers)
        return statement if repeat else statement.where(keep(numbers))


def _with_join(source: FromClause, position: int, change: Callable[[Join], Join]) -> FromClause:
    if not isinstance(source, Join):
        raise TypeError("the statement has fewer joins")
    if position == 0:
        return change(source)
    left = _with_join(source.left, position - 1, change)
    return join(left, source.right, source.onclause, isouter=source.isouter)


def replace_at(values: Sequence[Any], position: int, *others: Any) -> tuple[Any, ...]:
    """Return the values with others, or none, in place of the one at a position."""
    return (*values[:position], *others, *values[position + 1 :])


def column_of(expression: Any) -> Column[Any]:
    """Return the first column in an expression, such as the column of an order's key."""
    return next(each for each in iterate(expression) if isinstance(each, Column))


def value_of(condition: Condition) -> BindParameter[Any]:
    """Return the bound value of a comparison."""
    return next(each for each in iterate(condition) if isinstance(each, BindParameter))


def sides(condition: Any) -> tuple[Column[Any], Column[Any]]:
    """Return the columns on both sides of a join's condition."""
    if not isinstance(condition, BinaryExpression):
        raise TypeError(f"{condition} is not a comparison")
    return column_of(condition.left), column_of(condition.right)


def is_nulls_last(key: Key) -> bool:
    """Whether an order's key sorts NULL last."""
    return isinstance(key, UnaryExpression) and key.modifier is nulls_last_op


def name_of(column: Column[Any], table: Table) -> str:
    """Return the name of a column, without its table if that is the given one."""
    return column.name if column.table is table else str(column)


def joined_condition(join_: Join, *others: Condition) -> Join:
    """Return a join with other conditions."""
    return join(join_.left, join_.right, and_(*others), isouter=join_.isouter)


def tables_of(source: FromClause) -> Iterator[Table]:
    """Yield the tables of a source."""
    return (each for each in iterate(source) if isinstance(each, Table))


@dataclass(frozen=True)
class StatementSubject:
    """One statement of one design, which operators change."""

    design: Design
    record_type: RecordType
    query: Query

    @property
    def table(self) -> Table:
        """The table whose columns the statement selects."""
        return self.record_type.table

    @property
    def is_below_run(self) -> bool:
        """Whether the table has a run id of its own."""
        return "run_id" in self.table.c

    def mutant(
        self, operator: str, place: str, does: str, change: Callable[[Query], Select[Any]]
    ) -> Mutant:
        """Return the mutant of one change.

        Args:
            operator: The name of the operator.
            place: What is changed in the statement; may be empty.
            does: What the changed statement does, as a verb phrase.
            change: Makes the changed statement.
        """
        return Mutant(
            operator,
            self.design.name,
            f"{self.table.name}/{place}" if place else self.table.name,
            f"the statement of {self.table.name} {does}",
            rewrites_statement(self.record_type, lambda sent: change(Query.of(sent))),
        )
