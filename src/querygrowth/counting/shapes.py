"""Find the shape of a statement, from its syntax tree or, where it has none, from its words.

Two executions have the same shape if they differ only in literals, parameters, comments, spelling
and the length of their IN lists.
"""

import re
from dataclasses import replace
from functools import lru_cache

from querygrowth.counting.statements import (
    EXPLAIN_ANALYZE,
    NO_TABLE,
    Shape,
    StatementKind,
    first_keyword,
    kind_of,
    skeleton,
)
from querygrowth.counting.table_names import bare_name, qualified_names

# A text is reduced in two passes. The first, `skeleton`, drops comments and replaces values with a
# regular expression. The second parses the skeleton with sqlglot and finds the tables. The second
# takes about 25 times as long (0.5 ms for a join), so its cache is keyed by the skeleton: a loop
# that puts its values into the SQL text sends many texts with one skeleton, which is parsed once.


_EXPLAIN = re.compile(
    r"EXPLAIN\s+(?:(?:QUERY\s+PLAN|ANALY[ZS]E|VERBOSE|EXTENDED|FORMAT\s*=\s*\w+)\s+|\([^()]*\)\s*)*"
    r"(?=\w)",
    re.IGNORECASE,
)
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


@lru_cache(maxsize=4096)
def shape_of(sql: str, dialect: str = "") -> Shape:
    """The shape of a single statement. If it cannot be parsed, the shape is its skeleton.

    Args:
        sql: The text as it was sent.
        dialect: SQLAlchemy's name of the dialect, such as "sqlite".
    """
    return _shape_of_skeleton(skeleton(sql, dialect), dialect)


@lru_cache(maxsize=4096)
def _shape_of_skeleton(reduced: str, dialect: str) -> Shape:
    if explained := _EXPLAIN.match(reduced):
        shape = _shape_of_skeleton(reduced[explained.end() :], dialect)
        executed = EXPLAIN_ANALYZE.match(reduced)
        return replace(
            shape,
            text=f"{explained.group()}{shape.text}",
            operation=shape.operation if executed else "EXPLAIN",
            tables_read=shape.tables_read
            if executed
            else (*shape.tables_written, *shape.tables_read),
            tables_written=shape.tables_written if executed else (),
        )
    if kind_of(reduced) is not StatementKind.QUERY:
        return Shape(reduced, first_keyword(reduced), NO_TABLE, (), ())
    # Imported at the first parse: a process that only records statements may have no sqlglot.
    from querygrowth.counting.sql_tree import shape_by_tree

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
