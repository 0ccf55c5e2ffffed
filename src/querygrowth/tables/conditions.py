"""CHECK constraints in Python: parse a condition, and evaluate it on a row.

A condition is parsed with sqlglot and compiled to a function. SQL's three values are Python's True,
False and None. A condition with a part that is not known here raises `UnknownConditionError`; the
database then judges the rows alone. SQLite is at hand, and evaluates what is not known of it here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

from querygrowth.counting.sql_tree import sqlglot_dialect, without_log
from querygrowth.tables.condition_terms import Evaluate, Row, UnknownConditionError, compiled
from querygrowth.tables.sqlite_checks import evaluated_by_sqlite


@dataclass(frozen=True)
class Condition:
    """One CHECK constraint, or the predicate of a partial index.

    Attributes:
        name: The constraint's name; empty if it has none.
        text: The condition as SQL.
        columns: The columns that it names, as the table spells them.
        tree: The parsed condition.
        evaluate: Returns True, False or None (unknown, which satisfies a CHECK) for a row.
    """

    name: str
    text: str
    columns: tuple[str, ...]
    tree: exp.Expression = field(compare=False, repr=False)
    evaluate: Evaluate = field(compare=False, repr=False)

    def allows(self, row: Row) -> bool:
        """Whether the row satisfies the CHECK, as far as this can be told here."""
        return self.value(row) is not False

    def value(self, row: Row) -> bool | None:
        """The condition's value; None where it is unknown, also because values do not compare."""
        try:
            value = self.evaluate(row)
        except (TypeError, ValueError, ArithmeticError, KeyError, re.error):
            return None
        return None if value is None else bool(value)


def parse_condition(name: str, text: str, columns: Iterable[str], dialect: str) -> Condition:
    """Compile a condition.

    Args:
        name: The constraint's name.
        text: The condition as SQL, without the word CHECK.
        columns: The names of the table's columns.
        dialect: SQLAlchemy's name of the dialect.

    Raises:
        UnknownConditionError: The text, or a part of it, is not known here.
    """
    with without_log():
        try:
            tree = sqlglot.parse_one(text, read=sqlglot_dialect(dialect))
        except Exception as error:  # exceptions of many classes, see `counting.sql_tree`
            raise UnknownConditionError(text) from error
    if not isinstance(tree, exp.Expression):
        raise UnknownConditionError(text)
    tree = tree.transform(_with_not)
    spelt = {each.casefold(): each for each in columns}
    named: dict[str, None] = {}
    for column in tree.find_all(exp.Column):
        known = spelt.get(column.name.casefold())
        if known is None and column.this.args.get("quoted") and dialect == "sqlite":
            # SQLite reads a quoted name that is not a column as a text.
            column.replace(exp.Literal.string(column.name))
        elif known is None:
            raise UnknownConditionError(text)
        else:
            column.this.set("this", known)
            named[known] = None
    try:
        evaluate = compiled(tree)
    except UnknownConditionError:
        if dialect != "sqlite" or not named:
            raise
        evaluate = evaluated_by_sqlite(text, tuple(named))
    return Condition(name, text, tuple(named), tree, evaluate)


def _with_not(node: exp.Expression) -> exp.Expression:
    """NOT as a node, and without regard to case where it excludes a pattern.

    Newer versions of sqlglot note it in the nodes of LIKE and IS. Some databases match LIKE without
    regard to case; to exclude more texts than the others do is right for all of them.
    """
    inner = node.this if isinstance(node, exp.Not) else node
    if inner is node and not node.args.get("negate"):
        return node
    inner.set("negate", None)
    if isinstance(inner, exp.Like):
        inner = exp.ILike(this=inner.this, expression=inner.expression)
    return exp.Not(this=inner)
