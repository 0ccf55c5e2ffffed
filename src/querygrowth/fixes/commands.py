"""Word the repair by the text of a statement: of FETCH, CALL, SAVEPOINT, CREATE and their like.

`querygrowth.fixes.queries` words the repair of statements that read or write the rows of tables.
"""

import re

from querygrowth.counting.statements import first_keyword

_ROUTINE = "call it once for all items, or do its work in one statement about all rows"
_ONCE_AFTER = "send it once, after the loop"
_ONCE_BEFORE = "send it once, before the loop"
_TABLE = "create one table before the loop, with a column that tells the items apart"
_SETTING = 'set it once for each connection (event.listen(engine, "connect", ...))'
_SAVEPOINT = (
    "open one savepoint around the loop, or none; to pass over rows that exist, let the INSERT do "
    "it (on_conflict_do_nothing())"
)

# By the first keyword of a statement.
_REPAIRS = {
    "ALTER": "change the table once, with all columns in one statement",
    "ANALYSE": _ONCE_AFTER,
    "ANALYZE": _ONCE_AFTER,
    "ATTACH": "attach the database once, before the loop",
    "BEGIN": "open one transaction around the loop",
    "CALL": _ROUTINE,
    "CLOSE": "read all items through one cursor",
    "CLUSTER": _ONCE_AFTER,
    "COMMIT": "commit once, after the loop",
    "COPY": "copy the rows of all items with one COPY",
    "CREATE": _ONCE_BEFORE,
    "DEALLOCATE": "prepare the statement once, before the loop",
    "DECLARE": "read all items through one cursor",
    "DETACH": "attach the database once, before the loop",
    "DO": _ROUTINE,
    "DROP": _ONCE_AFTER,
    "EXEC": _ROUTINE,
    "EXECUTE": "execute it once for all items (a join, or an IN list)",
    "EXPLAIN": "explain the statement once, outside of the loop",
    "FETCH": (
        "fetch many rows at a time (FETCH 1000 FROM ...), or stream the rows of one SELECT with "
        ".execution_options(yield_per=1000)"
    ),
    "LOAD": "load the rows of all items from one file",
    "LOCK": _ONCE_BEFORE,
    "MOVE": "move by many rows at a time (MOVE 1000 FROM ...)",
    "NOTIFY": "notify once, after the loop, with all items in the payload",
    "OPTIMIZE": _ONCE_AFTER,
    "PRAGMA": _SETTING,
    "PREPARE": "prepare the statement once, before the loop",
    "REFRESH": _ONCE_AFTER,
    "REINDEX": _ONCE_AFTER,
    "RELEASE": _SAVEPOINT,
    "SAVEPOINT": _SAVEPOINT,
    "SET": _SETTING,
    "SHOW": _ONCE_BEFORE,
    "TRUNCATE": "truncate once; some databases take several tables in one TRUNCATE",
    "VACUUM": _ONCE_AFTER,
}
# An INSERT that SQLAlchemy has no function for.
_OTHER_INSERT = re.compile(r"REPLACE\b|INSERT\s+(?!INTO\b)", re.IGNORECASE)
_INSERT_CLAUSES = [
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), code)
    for pattern, code in (
        (r"\bON CONFLICT\b.*\bDO NOTHING\b", ".on_conflict_do_nothing(...)"),
        (r"\bON CONFLICT\b.*\bDO UPDATE\b", ".on_conflict_do_update(...)"),
        (r"\bON DUPLICATE KEY UPDATE\b", ".on_duplicate_key_update(...)"),
    )
]
_OF_A_TABLE = re.compile(r"\s*(?:CREATE|DROP)\s+(?:\w+\s+){0,2}TABLE\b", re.IGNORECASE)
_FUNCTION = re.compile(r"\s*SELECT\s+([\w.]+)\(", re.IGNORECASE)


def command_fix(text: str, *, item: str = "") -> str:
    """Word the repair of a command that is sent in a loop; empty if nothing is known about it.

    Args:
        text: The statement.
        item: What it is sent for in words, such as "item of orders"; empty if it is not known.
    """
    keyword = first_keyword(text)
    repair = _TABLE if _OF_A_TABLE.match(text) else _REPAIRS.get(keyword)
    each = f" once per {item}" if item else ""
    return f"a loop that sends {keyword}{each}: {repair}" if repair else ""


def function_fix(text: str, *, item: str) -> str:
    """Word the repair of a SELECT that calls a function and reads no table; empty for another one.

    Args:
        text: The normalised statement.
        item: What it is sent for in words.
    """
    called = _FUNCTION.match(text)
    if called is None:
        return ""
    name = called.group(1).lower()
    return (
        f"a loop that calls {name}() once per {item}: call it for all rows in one query, "
        f"select(func.{name}(...)) with the columns of their table"
    )


def insert_code(text: str, target: str) -> str:
    """The code of an INSERT that takes a list of rows, with the clauses of the one that was sent.

    Args:
        text: The normalised statement.
        target: The class or the table.
    """
    if _OTHER_INSERT.match(text):
        return "statement"
    clauses = "".join(code for pattern, code in _INSERT_CLAUSES if pattern.search(text))
    return f"insert({target}){clauses}"
