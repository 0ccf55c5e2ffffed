"""Statements: their kinds (query, session statement, other), their skeletons, and their shapes.

`querygrowth.counting.shapes` finds the shape of a statement.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

NO_TABLE = "(no table)"

_QUERY_KEYWORDS = frozenset(
    {
        "COPY", "DELETE", "INSERT", "LOAD", "MERGE", "REPLACE", "SELECT", "TABLE", "TRUNCATE",
        "UPDATE", "UPSERT", "VALUES", "WITH",
    }
)  # fmt: skip
_SESSION_KEYWORDS = frozenset(
    {
        "ABORT", "ATTACH", "BEGIN", "CLOSE", "COMMIT", "DEALLOCATE", "DETACH", "DISCARD", "END",
        "LISTEN", "LOCK", "PRAGMA", "PREPARE", "RELEASE", "RESET", "ROLLBACK", "SAVE", "SAVEPOINT",
        "SET", "SHOW", "START", "UNLISTEN", "UNLOCK", "USE", "XA",
    }
)  # fmt: skip
_OTHER_KEYWORDS = frozenset(
    {
        "ALTER", "ANALYSE", "ANALYZE", "CHECKPOINT", "CLUSTER", "COMMENT", "CREATE", "DECLARE",
        "DESC", "DESCRIBE", "DO", "DROP", "EXPLAIN", "GRANT", "NOTIFY", "OPTIMIZE", "REFRESH",
        "REINDEX", "RENAME", "REVOKE", "VACUUM",
    }
)  # fmt: skip

# The operations of statements that change no rows: queries that read, and those of maintenance.
READING_OPERATIONS = frozenset(
    {
        "ANALYSE", "ANALYZE", "CHECKPOINT", "CLUSTER", "DECLARE", "DESC", "DESCRIBE", "EXPLAIN",
        "FETCH", "MOVE", "OPTIMIZE", "REINDEX", "SELECT", "VACUUM",
    }
)  # fmt: skip

# One alternative is one step, so that a text without a keyword is not tried in many ways.
_BEFORE_KEYWORD = re.compile(r"[\s(;]|/\*.*?\*/|--[^\n]*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
# In a procedural dialect, BEGIN opens a block of statements unless one of these follows.
_BLOCK = re.compile(
    r"BEGIN\s+(?!(?:TRAN|TRANSACTION|WORK|DEFERRED|IMMEDIATE|EXCLUSIVE|CONCURRENT|ISOLATION|READ|"
    r"NOT|DISTRIBUTED)\b)\w",
    re.IGNORECASE,
)
EXPLAIN_ANALYZE = re.compile(
    r"EXPLAIN\s+(?:ANALY[ZS]E\s+(?:VERBOSE\s+)?|\([^)]*\bANALY[ZS]E\b(?!\s+(?:OFF|FALSE|0))[^)]*\)\s*)",
    re.IGNORECASE,
)
"""EXPLAIN shows a plan. With ANALYZE it executes the statement as well."""
_ROUTINE = re.compile(
    r"CREATE\b(?:\s+\w+)*?\s+(?:TRIGGER|FUNCTION|PROCEDURE|EVENT|PACKAGE)\b", re.IGNORECASE
)
# END IF and the like end what neither BEGIN nor CASE began.
_NESTING = re.compile(r"\b(?:BEGIN|CASE|END(?:\s+(?:IF|LOOP|WHILE|REPEAT))?)\b", re.IGNORECASE)


def _lexemes(text: str, comment: str, identifier: str) -> re.Pattern[str]:
    # Quoted identifiers are matched so that a quote or a digit inside them does not pass for a
    # value.
    return re.compile(
        rf"""
        (?P<comment>    /\*.*?\*/ | {comment} )
      | (?P<identifier> {identifier} | `[^`]*` )
      | (?P<value>      {text}
                      | \$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$                  # PostgreSQL
                      | %\(\w+\)s | %s | \?\d* | \$\d+ | (?<![:\w]):[A-Za-z_]\w*   # placeholder
                      | (?<![\w.$])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?!\w) )          # number
      | (?P<space>      \s+ )
      | (?P<end>        ; )
        """,
        re.VERBOSE | re.DOTALL,
    )


_STANDARD = _lexemes(
    # A backslash escapes inside E'...' of PostgreSQL only.
    text=r"[eE]'(?:[^'\\]|\\.|'')*' | [xXbBnN]?'(?:[^']|'')*'",
    comment=r"--[^\n]*",
    identifier=r'"(?:[^"]|"")*"',
)
# MySQL escapes with a backslash everywhere, and "#" begins a comment. `/*! ... */` is executed.
_MYSQL = _lexemes(
    text=r"[xXbBnN]?'(?:[^'\\]|\\.|'')*'",
    comment=r"--[^\n]* | \#[^\n]*",
    identifier=r'"(?:[^"\\]|\\.|"")*"',
)
_MYSQL_DIALECTS = frozenset({"mysql", "mariadb"})

_IN_LIST = re.compile(r"\bIN ?\( ?(\?[^,()]*)(?:, ?\1)* ?\)", re.IGNORECASE)
_REPEATED_TUPLES = re.compile(r"(\([^()]*\))(?:, ?\1)+")


class StatementKind(str, Enum):
    """Whether a statement reads or changes rows (a query), steers its session, or neither."""

    QUERY = "query"
    SESSION = "session statement"
    OTHER = "other statement"

    __str__ = str.__str__  # enum.StrEnum needs Python 3.11


class DriverReport(NamedTuple):
    """What a driver reported about a statement after executing it.

    Attributes:
        returns_rows: Whether it has a result with columns.
        rowcount: The rows that it changed or returned; -1 or 0 if the driver does not say.
        status: PostgreSQL's command tag, such as "INSERT 0 1"; None for other drivers.
    """

    returns_rows: bool
    rowcount: int
    status: str | None = None


@dataclass(frozen=True)
class Shape:
    """A normalised statement, and the tables that it reads and writes.

    Attributes:
        text: The statement with `?` for a value, and one `?` for a whole IN list.
        operation: SELECT, INSERT, UPDATE, DELETE or MERGE; the first keyword of other statements.
            A SELECT with a writing common table expression has the operation of that expression,
            and REPLACE is an INSERT.
        table: The table that the statement is about. For a write it is the target, for a read the
            table that most of its columns come from.
        tables_read: The tables in the order of their first mention, without the target of a write.
        tables_written: The targets of a write.
        qualified: The tables that the statement names with a schema, as "schema.table".
    """

    text: str
    operation: str
    table: str
    tables_read: tuple[str, ...]
    tables_written: tuple[str, ...]
    qualified: tuple[str, ...] = ()

    @property
    def tables(self) -> frozenset[str]:
        """All tables that the statement reads or writes; `NO_TABLE` if it has none."""
        return frozenset({self.table, *self.tables_read, *self.tables_written})

    def __str__(self) -> str:
        return self.text


def first_keyword(sql: str) -> str:
    """The first word of a statement in upper case, past comments and parentheses."""
    found = _WORD.match(sql, _start(sql))
    return found.group().upper() if found else ""


def _start(sql: str) -> int:
    """Where the first word of a statement begins."""
    at = 0
    while passed := _BEFORE_KEYWORD.match(sql, at):
        at = passed.end()
    return at


def kind_of(sql: str, report: DriverReport | None = None) -> StatementKind:
    """The kind of a single statement.

    The first keyword decides where it can. EXECUTE, CALL, FETCH and unknown keywords may do
    anything. They are queries if the driver reports that they returned or changed rows.
    Data definition and maintenance (CREATE, VACUUM, ANALYZE) are other statements.

    Args:
        sql: The text as it was sent.
        report: What the driver reported; None if it did not, or if the statement failed.
    """
    kind = _kind_by_text(sql)
    if kind is not None:
        return kind
    if report is not None and _has_touched_rows(report):
        return StatementKind.QUERY
    return StatementKind.OTHER


def needs_report(sql: str) -> bool:
    """Whether the driver has to say what kind of statement a text is."""
    return _kind_by_text(sql) is None


@lru_cache(maxsize=4096)
def _kind_by_text(sql: str) -> StatementKind | None:
    keyword = first_keyword(sql)
    if keyword == "BEGIN" and _BLOCK.match(sql, _start(sql)):
        return None
    if keyword == "EXPLAIN" and (executed := EXPLAIN_ANALYZE.match(sql, _start(sql))):
        return _kind_by_text(sql[executed.end() :])
    if keyword in _QUERY_KEYWORDS:
        return StatementKind.QUERY
    if keyword in _SESSION_KEYWORDS:
        return StatementKind.SESSION
    return StatementKind.OTHER if keyword in _OTHER_KEYWORDS or not keyword else None


def _has_touched_rows(report: DriverReport) -> bool:
    # EXECUTE has the command tag of the statement that was prepared, even if it found no row.
    tag = (report.status or "").partition(" ")[0]
    return report.returns_rows or report.rowcount > 0 or tag in _QUERY_KEYWORDS


@lru_cache(maxsize=4096)
def statements_in(sql: str, dialect: str = "") -> tuple[str, ...]:
    """The statements of a text that was sent as one, which semicolons separate.

    The body of a trigger or routine is a part of its statement.

    Args:
        sql: The text as it was sent.
        dialect: SQLAlchemy's name of the dialect.

    Returns:
        At least one text; the whole text if it is a single statement.
    """
    if ";" not in sql.rstrip("; \t\r\n"):
        return (sql,)
    parts: list[str] = []
    begin = 0
    for lexeme in _patterns(dialect).finditer(sql):
        if lexeme.lastgroup == "end" and not _within_routine(sql[begin : lexeme.start()], dialect):
            parts.append(sql[begin : lexeme.start()])
            begin = lexeme.end()
    parts.append(sql[begin:])
    return tuple(part.strip() for part in parts if first_keyword(part)) or (sql,)


def _within_routine(sql: str, dialect: str) -> bool:
    """Whether a text that begins to define a routine has not ended its BEGIN block."""
    start = _start(sql)
    block = dialect in {"mssql", "oracle"} and _BLOCK.match(sql, start)
    if not block and not _ROUTINE.match(sql, start):
        return False
    unquoted = _patterns(dialect).sub(" ", sql)
    words = [word.upper() for word in _NESTING.findall(unquoted)]
    return words.count("BEGIN") + words.count("CASE") > words.count("END")


def _patterns(dialect: str) -> re.Pattern[str]:
    return _MYSQL if dialect in _MYSQL_DIALECTS else _STANDARD


def skeleton(sql: str, dialect: str = "") -> str:
    """The statement without comments and values, with one `?` for a whole IN list."""
    reduced = _patterns(dialect).sub(_reduce, sql).strip().rstrip("; ")
    return _REPEATED_TUPLES.sub(r"\1", _IN_LIST.sub(r"IN (\1)", reduced))


def _reduce(lexeme: re.Match[str]) -> str:
    if lexeme.lastgroup == "value":
        return "?"
    return lexeme.group() if lexeme.lastgroup in {"identifier", "end"} else " "
