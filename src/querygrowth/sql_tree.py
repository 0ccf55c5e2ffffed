"""Find the shape of a statement from its syntax tree, as sqlglot parses it."""

import re
from collections import Counter

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from querygrowth.statements import NO_TABLE, Shape

# "?" is an operator in some dialects, so ":p" is parsed in its place. sqlglot writes it back as the
# dialect's own placeholder, which becomes "?" again.
_PARSED_PLACEHOLDER = re.compile(r"%\(p\)s|[:@]p\b")

_SQLGLOT_DIALECTS = {"postgresql": "postgres", "mssql": "tsql"}


def shape_by_tree(skeleton: str, dialect: str) -> Shape | None:
    """Return the shape of a query without values; None if sqlglot cannot parse it.

    Args:
        skeleton: The query as `querygrowth.statements.skeleton` returns it.
        dialect: SQLAlchemy's name of the dialect.
    """
    try:
        tree: object = sqlglot.parse_one(
            skeleton.replace("?", ":p"), read=_SQLGLOT_DIALECTS.get(dialect, dialect)
        )
    # sqlglot raises ValueError for a dialect that it does not know.
    except (SqlglotError, ValueError):
        return None
    return _shape_of_tree(tree, dialect) if isinstance(tree, exp.Expression) else None


def _shape_of_tree(tree: exp.Expression, dialect: str) -> Shape:
    written = _written_table(tree)
    read = _tables_read(tree, except_for=written)
    names_read = tuple(dict.fromkeys(table.name for table in read))
    return Shape(
        text=_PARSED_PLACEHOLDER.sub("?", tree.sql(_SQLGLOT_DIALECTS.get(dialect, dialect))),
        operation=_operation(tree),
        table=written.name if written else _main_table(tree, read),
        tables_read=names_read,
        tables_written=(written.name,) if written else (),
    )


def _operation(tree: exp.Expression) -> str:
    if isinstance(tree, exp.Insert | exp.Update | exp.Delete | exp.Merge):
        return tree.key.upper()
    return "SELECT"


def _written_table(tree: exp.Expression) -> exp.Table | None:
    if not isinstance(tree, exp.Insert | exp.Update | exp.Delete | exp.Merge):
        return None
    target = tree.this
    return target if isinstance(target, exp.Table) else target.find(exp.Table)


def _tables_read(tree: exp.Expression, *, except_for: exp.Table | None) -> list[exp.Table]:
    # A common table expression is referenced like a table, and is not one.
    named_within = {cte.alias for cte in tree.find_all(exp.CTE)}
    return [
        table
        for table in tree.find_all(exp.Table, bfs=True)
        if table is not except_for and table.name and table.name not in named_within
    ]


def _main_table(tree: exp.Expression, read: list[exp.Table]) -> str:
    if not read:
        return NO_TABLE
    names = {table.alias_or_name: table.name for table in read}
    selected = tree.selects if isinstance(tree, exp.Query) else []
    columns = Counter(
        names[column.table]
        for projection in selected
        for column in projection.find_all(exp.Column)
        if column.table in names
    )
    # A join over ancestors filters by them and selects from the table that it is about, so the
    # columns decide. Of tables with equally many, most_common returns the one seen first.
    return columns.most_common(1)[0][0] if columns else _first_from(tree, read)


def _first_from(tree: exp.Expression, read: list[exp.Table]) -> str:
    source = tree.find(exp.From)
    table = source.find(exp.Table) if source else None
    return table.name if table in read and table is not None else read[0].name
