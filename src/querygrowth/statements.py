"""Find the kind of a statement (query, session statement, other) and reduce it to its shape.

Two executions have the same shape if they differ only in literals, parameters, comments, spelling
and the length of their IN lists.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

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
    # Imported at the first parse: a process that only records statements may have no sqlglot.
    from querygrowth.sql_tree import shape_by_tree

    return shape_by_tree(reduced, dialect) or _shape_by_words(reduced)


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
