"""Find the shape of a statement from its syntax tree, as sqlglot parses it."""

import logging
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import sqlglot
from sqlglot import exp

from querygrowth.counting.statements import NO_TABLE, Shape
from querygrowth.counting.table_names import qualified_names

# "?" is an operator in some dialects, so ":p" is parsed in its place. sqlglot writes it back as the
# dialect's own placeholder, which becomes "?" again.
_PARSED_PLACEHOLDER = re.compile(r"%\(p\)s|[:@]p\b")
# sqlglot does not know REPLACE as a statement. INSERT has the same parts.
_REPLACE = re.compile(r"REPLACE\s+(?:INTO\s+)?", re.IGNORECASE)

# SQLAlchemy's names of dialects that have another name in sqlglot.
_SQLGLOT_DIALECTS = {
    "awsathena": "athena",
    "cockroachdb": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
    "postgresql": "postgres",
}
# They read an unquoted name as lower case.
_FOLDING = frozenset({"cockroachdb", "postgresql", "redshift"})
# There the name of a common table expression means a table inside its definition, unless the word
# RECURSIVE precedes it.
_EXPLICITLY_RECURSIVE = _FOLDING | {"mariadb", "mysql"}
_COMPARISONS = (exp.EQ, exp.In, exp.GT, exp.GTE, exp.LT, exp.LTE)
_CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge)


def shape_by_tree(skeleton: str, dialect: str) -> Shape | None:
    """Return the shape of a query without values; None if sqlglot cannot parse it.

    Args:
        skeleton: The query as `querygrowth.counting.statements.skeleton` returns it.
        dialect: SQLAlchemy's name of the dialect.
    """
    replaces = _REPLACE.match(skeleton)
    parsed = f"INSERT INTO {skeleton[replaces.end() :]}" if replaces else skeleton
    # sqlglot raises ValueError for a dialect that it does not know, and exceptions of many classes
    # for texts that its authors did not think of. No text of a user may raise here.
    with without_log():
        try:
            tree: object = sqlglot.parse_one(
                parsed.replace("?", ":p"), read=sqlglot_dialect(dialect)
            )
            shape = _shape_of_tree(tree, dialect) if isinstance(tree, exp.Expression) else None
        except Exception:
            return None
    if shape is None or not replaces:
        return shape
    return replace(shape, text=f"REPLACE INTO{shape.text.removeprefix('INSERT INTO')}")


def filtered_columns(text: str, dialect: str) -> Mapping[str, frozenset[str]]:
    """The columns by which a statement selects rows, by table: all that it compares with values.

    Args:
        text: The statement as `Shape.text` has it.
        dialect: SQLAlchemy's name of the dialect.

    Returns:
        Columns that AND connects in the WHERE clause of the outermost statement; nothing where
        sqlglot cannot parse it, or where an OR makes a condition optional.
    """
    with without_log():
        try:
            tree: object = sqlglot.parse_one(text.replace("?", ":p"), read=sqlglot_dialect(dialect))
        except Exception:
            return {}
    where = tree.args.get("where") if isinstance(tree, exp.Expression) else None
    if not isinstance(tree, exp.Expression) or where is None:
        return {}
    tables = {table.alias_or_name: _name(table, dialect) for table in tree.find_all(exp.Table)}
    only = next(iter(tables)) if len(tables) == 1 else ""
    found: dict[str, set[str]] = {}
    conditions = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    for condition in conditions:
        for column in _compared(condition):
            table = column.table or only
            if table in tables:
                found.setdefault(tables[table], set()).add(column.name)
    return {table: frozenset(columns) for table, columns in found.items()}


def _compared(condition: object) -> Iterator[exp.Column]:
    """Yield the column that a condition compares with a value."""
    if isinstance(condition, exp.Paren):
        yield from _compared(condition.this)
    elif isinstance(condition, _COMPARISONS):
        sides = [condition.this, *condition.args.get("expressions", ()), condition.expression]
        columns = [side for side in sides if isinstance(side, exp.Column)]
        values = [side for side in sides if isinstance(side, exp.Placeholder | exp.Parameter)]
        if len(columns) == 1 and values:
            yield columns[0]


def sqlglot_dialect(dialect: str) -> str:
    """sqlglot's name of a dialect of SQLAlchemy; empty for one that it does not know."""
    name = _SQLGLOT_DIALECTS.get(dialect, dialect)
    return name if sqlglot.Dialect.get(name) else ""


@contextmanager
def without_log() -> Iterator[None]:
    """Keep what sqlglot logs in this thread out of the user's log."""
    # sqlglot warns about a text that it knows in part. Nothing is missing then: the words of the
    # text give its tables.
    thread = threading.get_ident()

    def elsewhere(_record: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    logger = logging.getLogger("sqlglot")
    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)


def _shape_of_tree(tree: exp.Expression, dialect: str) -> Shape | None:
    if isinstance(tree, exp.Command):
        return None  # sqlglot keeps such a text as it is
    named = [table for table in tree.find_all(exp.Table, bfs=True) if table.name]
    written = _written_tables(tree, named, dialect)
    read = _tables_read(tree, named, written, dialect)
    names_read = tuple(dict.fromkeys(_name(table, dialect) for table in read))
    names_written = tuple(dict.fromkeys(_name(table, dialect) for table in written))
    return Shape(
        text=_PARSED_PLACEHOLDER.sub("?", tree.sql(sqlglot_dialect(dialect))),
        operation=_operation(tree),
        table=names_written[0] if names_written else _main_table(tree, read, dialect),
        tables_read=names_read,
        tables_written=names_written,
        qualified=qualified_names(
            f'"{table.db}"."{_name(table, dialect)}"' for table in (*written, *read) if table.db
        ),
    )


def _name(table: exp.Table, dialect: str) -> str:
    """The name of a table, as its database would show it."""
    quoted = isinstance(table.this, exp.Identifier) and table.this.quoted
    return table.name if quoted or dialect not in _FOLDING else table.name.lower()


def _operation(tree: exp.Expression) -> str:
    if isinstance(tree, _CHANGES):
        return tree.key.upper()
    if isinstance(tree, exp.TruncateTable | exp.Copy):
        return "TRUNCATE" if isinstance(tree, exp.TruncateTable) else "COPY"
    # PostgreSQL executes a common table expression that writes, even if nothing reads it.
    change = _changes(tree)
    return change[0].key.upper() if change else "SELECT"


def _changes(tree: exp.Expression) -> list[exp.Expression]:
    """The parts of a statement that change a table, the outermost first."""
    # The actions of a MERGE are such parts without a target.
    return [node for node in tree.find_all(*_CHANGES, bfs=True) if not node.find_ancestor(exp.When)]


def _written_tables(tree: exp.Expression, named: list[exp.Table], dialect: str) -> list[exp.Table]:
    if isinstance(tree, exp.TruncateTable):
        return named
    if isinstance(tree, exp.Copy):
        # COPY ... FROM writes, COPY ... TO reads.
        return named if tree.args.get("kind") else []
    targets: list[exp.Table] = []
    for change in _changes(tree):
        targets += _targets(change)
    if dialect not in {"mysql", "mariadb"}:  # there, INTO names a variable or a file
        targets += [
            table for into in tree.find_all(exp.Into) if isinstance(table := into.this, exp.Table)
        ]
    return [_behind_alias(target, named) for target in targets if target.name]


def _targets(change: exp.Expression) -> list[exp.Table]:
    tables = change.args.get("tables")  # DELETE a, b FROM a JOIN b
    if tables:
        return list(tables)
    target = change.this
    if (
        isinstance(change, exp.Update)
        and isinstance(target, exp.Table)
        and target.args.get("joins")
    ):
        # UPDATE a JOIN b SET b.x = 1 changes the tables whose columns it sets.
        among = {table.alias_or_name: table for table in target.find_all(exp.Table)}
        columns = [each.this for each in change.expressions if isinstance(each, exp.EQ)]
        changed = [among[column.table] for column in columns if column.table in among]
        return list(dict.fromkeys(changed)) or [target]
    table = target if isinstance(target, exp.Table) else target.find(exp.Table)
    return [table] if table is not None else []


def _behind_alias(target: exp.Table, named: list[exp.Table]) -> exp.Table:
    """The table that a target means: in `DELETE x FROM items AS x` it is `items`."""
    if target.alias or target.db:
        return target
    return next((each for each in named if each.alias == target.name), target)


def _tables_read(
    tree: exp.Expression, named: list[exp.Table], written: list[exp.Table], dialect: str
) -> list[exp.Table]:
    not_read = {id(table) for table in written}
    for change in _changes(tree):
        not_read |= {id(target) for target in _targets(change)}
        if change.args.get("tables") and change.this.name in {table.name for table in written}:
            not_read.add(id(change.this))  # DELETE a FROM a JOIN b names its target twice
    common = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    return [
        table
        for table in named
        if id(table) not in not_read
        and not (table.name.casefold() in common and _is_common(table, dialect))
    ]


def _is_common(table: exp.Table, dialect: str) -> bool:
    """Whether a name that a common table expression has means that expression."""
    if table.db:
        return False
    if dialect not in _EXPLICITLY_RECURSIVE:
        return True
    cte = table.find_ancestor(exp.CTE)
    if cte is None or cte.alias.casefold() != table.name.casefold():
        return True
    return isinstance(cte.parent, exp.With) and bool(cte.parent.args.get("recursive"))


def _main_table(tree: exp.Expression, read: list[exp.Table], dialect: str) -> str:
    if not read:
        return NO_TABLE
    names = {table.alias_or_name: _name(table, dialect) for table in read}
    selected = tree.selects if isinstance(tree, exp.Query) else []
    columns = Counter(
        names[column.table]
        for projection in selected
        for column in projection.find_all(exp.Column)
        if column.table in names
    )
    # A join over ancestors filters by them and selects from the table that it is about, so the
    # columns decide. Of tables with equally many, most_common returns the one seen first.
    if columns:
        return columns.most_common(1)[0][0]
    source = tree.find(exp.From)
    table = source.find(exp.Table) if source else None
    return _name(next((each for each in read if each is table), read[0]), dialect)
