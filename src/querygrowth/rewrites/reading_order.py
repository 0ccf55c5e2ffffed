"""Change a SELECT of SQLite so that rows that tie come in the opposite order."""

from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError


@lru_cache(maxsize=2000)
def with_ties_reversed(sql: str, tables: frozenset[str]) -> str:
    """A SELECT of SQLite, changed so that rows that tie come in the opposite order."""
    if ";" in sql or sql.split(None, 1)[0].upper() not in {"SELECT", "WITH"}:
        return sql
    try:
        tree = sqlglot.parse_one(sql, read="sqlite")
    except (SqlglotError, RecursionError):
        return sql
    if not isinstance(tree, exp.Query):
        return sql
    # Below a LIMIT and in windows, further keys can only be added inside.
    changed = [_with_row_keys(select, tables) for select in tree.find_all(exp.Select)]
    if any(changed):
        sql = tree.sql(dialect="sqlite")
    if any(tree.args.get(part) for part in ("limit", "offset")):
        return sql
    has_order = bool(tree.args.get("order"))
    sorts = isinstance(tree, exp.SetOperation) or tree.args.get("group")
    if not (has_order or sorts or tree.args.get("distinct")):
        return sql  # the pragma reads it backwards
    columns = tree.selects
    if any(column.is_star for column in columns):
        columns = columns[:1]
    places = ", ".join(f"{place} DESC" for place in range(1, len(columns) + 1))
    return f"{sql}, {places}" if has_order else f"{sql} ORDER BY {places}"


def _with_row_keys(select: exp.Select, tables: frozenset[str]) -> bool:
    """Add the row numbers of its tables, falling, to orders inside of a SELECT; whether it did."""
    if any(select.args.get(part) for part in ("group", "distinct")):
        return False
    sources = [each.this for each in (select.args.get("joins") or ())]
    main = select.args.get("from_") or select.args.get("from")
    sources = [main.this, *sources] if main is not None else []
    names = [each.alias_or_name for each in sources if isinstance(each, exp.Table)]
    if not names or len(names) != len(sources) or not tables.issuperset(s.name for s in sources):
        return False
    orders = [
        window.args["order"]
        for column in select.selects
        for window in column.find_all(exp.Window)
        if window.args.get("order") and window.find_ancestor(exp.Select) is select
    ]
    if select.args.get("order") and select.args.get("limit"):
        orders.append(select.args["order"])
    for order in orders:
        for name in names:
            key = exp.column("rowid", table=name, quoted=True)
            order.append("expressions", exp.Ordered(this=key, desc=True))
    return bool(orders)
