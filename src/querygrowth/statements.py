"""Find the kind of a statement (query, session statement, other) and reduce it to its shape.

Two executions have the same shape if they differ only in literals, parameters, comments, spelling
and the length of their IN lists.
"""

import re
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from querygrowth.table_names import bare_name, qualified_names

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
# EXPLAIN shows a plan. With ANALYZE it executes the statement as well.
_EXPLAIN_ANALYZE = re.compile(
    r"EXPLAIN\s+(?:ANALY[ZS]E\s+(?:VERBOSE\s+)?|\([^)]*\bANALY[ZS]E\b(?!\s+(?:OFF|FALSE|0))[^)]*\)\s*)",
    re.IGNORECASE,
)
_EXPLAIN = re.compile(
    r"EXPLAIN\s+(?:(?:QUERY\s+PLAN|ANALY[ZS]E|VERBOSE|EXTENDED|FORMAT\s*=\s*\w+)\s+|\([^()]*\)\s*)*"
    r"(?=\w)",
    re.IGNORECASE,
)
_ROUTINE = re.compile(
    r"CREATE\b(?:\s+\w+)*?\s+(?:TRIGGER|FUNCTION|PROCEDURE|EVENT|PACKAGE)\b", re.IGNORECASE
)
# END IF and the like end what neither BEGIN nor CASE began.
_NESTING = re.compile(r"\b(?:BEGIN|CASE|END(?:\s+(?:IF|LOOP|WHILE|REPEAT))?)\b", re.IGNORECASE)

# A text is reduced in two passes. The first, `skeleton`, drops comments and replaces values with a
# regular expression. The second parses the skeleton with sqlglot and finds the tables. The second
# takes about 25 times as long (0.5 ms for a join), so its cache is keyed by the skeleton: a loop
# that puts its values into the SQL text sends many texts with one skeleton, which is parsed once.


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

_NAME = r'(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|\w+)'
_TABLE = rf"(?:ONLY\s+)?({_NAME}(?:\s*\.\s*{_NAME})*)"
_READ_TABLE = re.compile(
    rf"\b(?:FROM|JOIN|USING)\s+(?!LATERAL\b|SELECT\b|VALUES\b){_TABLE}", re.IGNORECASE
)
_WRITTEN_TABLE = re.compile(
    rf"""
    \bINTO\s+(?:TABLE\s+)?{_TABLE}
  | \bDELETE\s+FROM\s+{_TABLE}
  | (?:^|[(;])\s*UPDATE\s+{_TABLE}
  | ^\s*TRUNCATE\s+(?:TABLE\s+)?{_TABLE}
  | ^\s*COPY\s+{_TABLE}
  | ^\s*REPLACE\s+(?!INTO\b){_TABLE}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_COMMON_TABLE = re.compile(
    r"(\w+)\s*(?:\([^()]*\)\s*)?AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?\(", re.IGNORECASE
)
# Keywords for which another operation stands.
_OPERATIONS = {
    "REPLACE": "INSERT",
    "UPSERT": "INSERT",
    "TABLE": "SELECT",
    "VALUES": "SELECT",
    "WITH": "SELECT",
}
_CHANGE = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)


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
    if keyword == "EXPLAIN" and (executed := _EXPLAIN_ANALYZE.match(sql, _start(sql))):
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


@lru_cache(maxsize=4096)
def shape_of(sql: str, dialect: str = "") -> Shape:
    """The shape of a single statement. If it cannot be parsed, the shape is its skeleton.

    Args:
        sql: The text as it was sent.
        dialect: SQLAlchemy's name of the dialect, such as "sqlite".
    """
    return _shape_of_skeleton(skeleton(sql, dialect), dialect)


def skeleton(sql: str, dialect: str = "") -> str:
    """The statement without comments and values, with one `?` for a whole IN list."""
    reduced = _patterns(dialect).sub(_reduce, sql).strip().rstrip("; ")
    return _REPEATED_TUPLES.sub(r"\1", _IN_LIST.sub(r"IN (\1)", reduced))


def _reduce(lexeme: re.Match[str]) -> str:
    if lexeme.lastgroup == "value":
        return "?"
    return lexeme.group() if lexeme.lastgroup in {"identifier", "end"} else " "


@lru_cache(maxsize=4096)
def _shape_of_skeleton(reduced: str, dialect: str) -> Shape:
    if explained := _EXPLAIN.match(reduced):
        shape = _shape_of_skeleton(reduced[explained.end() :], dialect)
        executed = _EXPLAIN_ANALYZE.match(reduced)
        return replace(
            shape,
            text=f"{explained.group()}{shape.text}",
            operation=shape.operation if executed else "EXPLAIN",
            tables_read=shape.tables_read
            if executed
            else (*shape.tables_written, *shape.tables_read),
            tables_written=shape.tables_written if executed else (),
        )
    if _kind_by_text(reduced) is not StatementKind.QUERY:
        return Shape(reduced, first_keyword(reduced), NO_TABLE, (), ())
    # Imported at the first parse: a process that only records statements may have no sqlglot.
    from querygrowth.sql_tree import shape_by_tree

    return shape_by_tree(reduced, dialect) or _shape_by_words(reduced)


def _shape_by_words(reduced: str) -> Shape:
    """The shape of a text that sqlglot cannot parse. Words after FROM and JOIN are its tables."""
    common = {name.lower() for name in _COMMON_TABLE.findall(reduced)}
    operation = first_keyword(reduced)
    written_names = ["".join(found) for found in _WRITTEN_TABLE.findall(reduced)]
    read_names = [
        name
        for name in _READ_TABLE.findall(reduced)
        if name.lower() not in common and name not in written_names
    ]
    if operation == "DELETE" and not written_names:
        written_names, read_names = read_names[:1], read_names[1:]
    changes = _CHANGE.search(reduced) if operation == "WITH" and written_names else None
    written = tuple(dict.fromkeys(map(bare_name, written_names)))
    read = tuple(dict.fromkeys(map(bare_name, read_names)))
    return Shape(
        text=reduced,
        operation=changes.group().upper() if changes else _OPERATIONS.get(operation, operation),
        table=(*written, *read, NO_TABLE)[0],
        tables_read=read,
        tables_written=written,
        qualified=qualified_names([*written_names, *read_names]),
    )
