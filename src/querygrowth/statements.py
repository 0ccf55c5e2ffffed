"""Find the kind of a statement (query, session statement, other) and reduce it to its shape.

Two executions have the same shape if they differ only in literals, parameters, comments, spelling
and the length of their IN lists.
"""

import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

NO_TABLE = "(no table)"

_QUERY_KEYWORDS = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "TABLE", "MERGE", "REPLACE"}
)
_SESSION_KEYWORDS = frozenset(
    {
        "ABORT", "ATTACH", "BEGIN", "CLOSE", "COMMIT", "DETACH", "DISCARD", "END", "LISTEN", "LOCK",
        "PRAGMA", "RELEASE", "RESET", "ROLLBACK", "SAVEPOINT", "SET", "SHOW", "START", "UNLISTEN",
        "USE",
    }
)  # fmt: skip

_FIRST_KEYWORD = re.compile(r"(?:\s+|/\*.*?\*/|--[^\n]*(?:\n|$)|\()*([A-Za-z]+)", re.DOTALL)

# A text is reduced in two passes. The first, `skeleton`, drops comments and replaces values with a
# regular expression. The second parses the skeleton with sqlglot and finds the tables. The second
# takes about 25 times as long (0.5 ms for a join), so its cache is keyed by the skeleton: a loop
# that puts its values into the SQL text sends many texts with one skeleton, which is parsed once.

# Quoted identifiers are matched so that a quote or a digit inside them does not pass for a value.
_LEXEMES = re.compile(
    r"""
    (?P<comment>    /\*.*?\*/ | --[^\n]* )
  | (?P<identifier> "(?:[^"]|"")*" | `[^`]*` )
  | (?P<value>      [xXeEnNbB]?'(?:[^']|'')*'                     # text, blob
                  | %\(\w+\)s | %s | \?\d* | \$\d+ | (?<![:\w]):[A-Za-z_]\w*   # placeholder
                  | (?<![\w.$])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?!\w) )          # number
  | (?P<space>      \s+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_LIST = re.compile(r"\bIN ?\( ?(\?[^,()]*)(?:, ?\1)* ?\)", re.IGNORECASE)
_REPEATED_TUPLES = re.compile(r"(\([^()]*\))(?:, ?\1)+")
_NAMED_TABLE = re.compile(r'\b(?:FROM|JOIN|INTO|UPDATE)\s+("?[\w.]+"?)', re.IGNORECASE)

# "?" is an operator in some dialects, so ":p" is parsed in its place. sqlglot writes it back as the
# dialect's own placeholder, which becomes "?" again.
_PARSED_PLACEHOLDER = re.compile(r"%\(p\)s|[:@]p\b")

_SQLGLOT_DIALECTS = {"postgresql": "postgres", "mssql": "tsql"}


class StatementKind(str, Enum):
    """Whether a statement reads or changes rows (a query), steers its session, or neither."""

    QUERY = "query"
    SESSION = "session statement"
    OTHER = "other statement"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


@dataclass(frozen=True)
class Shape:
    """A normalised statement, and the tables that it reads and writes.

    Attributes:
        text: The statement with `?` for a value, and one `?` for a whole IN list.
        operation: SELECT, INSERT, UPDATE, DELETE or MERGE; the first keyword of other statements.
        table: The table that the statement is about. For a write it is the target, for a read the
            table that most of its columns come from.
        tables_read: The tables in the order of their first mention, without the target of a write.
        tables_written: The target of a write.
    """

    text: str
    operation: str
    table: str
    tables_read: tuple[str, ...]
    tables_written: tuple[str, ...]

    @property
    def tables(self) -> frozenset[str]:
        """All tables that the statement reads or writes; `NO_TABLE` if it has none."""
        return frozenset({self.table, *self.tables_read, *self.tables_written})

    def __str__(self) -> str:
        return self.text


def first_keyword(sql: str) -> str:
    """The first word of a statement in upper case, past comments and parentheses."""
    found = _FIRST_KEYWORD.match(sql)
    return found.group(1).upper() if found else ""


@lru_cache(maxsize=4096)
def kind_of(sql: str) -> StatementKind:
    """The kind of a statement, by its first keyword.

    Data definition and maintenance (CREATE, VACUUM, ANALYZE) are other statements.
    """
    keyword = first_keyword(sql)
    if keyword in _QUERY_KEYWORDS:
        return StatementKind.QUERY
    return StatementKind.SESSION if keyword in _SESSION_KEYWORDS else StatementKind.OTHER


@lru_cache(maxsize=4096)
def shape_of(sql: str, dialect: str = "") -> Shape:
    """The shape of a statement. If it cannot be parsed, the shape is its skeleton.

    Args:
        sql: The text as it was sent.
        dialect: SQLAlchemy's name of the dialect, such as "sqlite".
    """
    return _shape_of_skeleton(skeleton(sql), dialect)


def skeleton(sql: str) -> str:
    """The statement without comments and values, with one `?` for a whole IN list."""
    reduced = _LEXEMES.sub(_reduce, sql).strip().rstrip("; ")
    return _REPEATED_TUPLES.sub(r"\1", _IN_LIST.sub(r"IN (\1)", reduced))


def _reduce(lexeme: re.Match[str]) -> str:
    if lexeme.lastgroup == "value":
        return "?"
    return lexeme.group() if lexeme.lastgroup == "identifier" else " "


@lru_cache(maxsize=4096)
def _shape_of_skeleton(reduced: str, dialect: str) -> Shape:
    if kind_of(reduced) is not StatementKind.QUERY:
        return Shape(reduced, first_keyword(reduced), NO_TABLE, (), ())
    tree: object
    try:
        tree = sqlglot.parse_one(
            reduced.replace("?", ":p"), read=_SQLGLOT_DIALECTS.get(dialect, dialect)
        )
    # sqlglot raises ValueError for a dialect that it does not know.
    except (SqlglotError, ValueError):
        tree = None
    if isinstance(tree, exp.Expression):
        return _shape_of_tree(tree, dialect)
    return _shape_by_words(reduced)


def _shape_by_words(reduced: str) -> Shape:
    """The shape of a text that sqlglot cannot parse. Words after FROM and JOIN are its tables."""
    operation = first_keyword(reduced)
    tables = tuple(dict.fromkeys(name.strip('"') for name in _NAMED_TABLE.findall(reduced)))
    written = tables[:1] if operation not in {"SELECT", "WITH", "VALUES", "TABLE"} else ()
    return Shape(
        text=reduced,
        operation=operation,
        table=tables[0] if tables else NO_TABLE,
        tables_read=tables[len(written) :],
        tables_written=written,
    )


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
