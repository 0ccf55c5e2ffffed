"""Compare the names of tables as people write them with those in statements and databases.

Upper and lower case are the same here. Two tables whose names differ in nothing else are rare, and
a limit for one of them then limits both.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_PART = re.compile(r'"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[^.]+')


def name_parts(name: str) -> tuple[str, ...]:
    """The parts of a dotted name without quotes: `'"public".items'` has "public" and "items"."""
    return tuple(_unquoted(part.strip()) for part in _PART.findall(name)) or (name,)


def bare_name(name: str) -> str:
    """The last part of a dotted name, without quotes."""
    return name_parts(name)[-1]


def qualified_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that have a schema, as "schema.table", each once."""
    parts = (name_parts(name) for name in names)
    return tuple(dict.fromkeys(".".join(each[-2:]) for each in parts if len(each) > 1))


def is_named(name: str, table: str, qualified: Sequence[str]) -> bool:
    """Whether a written name means a table of a statement.

    Args:
        name: The name, with a schema or without it.
        table: The table without its schema.
        qualified: The tables that the statement names with a schema, as "schema.table". A table
            without one may be of any schema.
    """
    *schema, bare = _folded(name)
    if bare != table.casefold():
        return False
    schemas = {
        each.casefold().removesuffix(f".{bare}")
        for each in qualified
        if each.casefold().endswith(f".{bare}")
    }
    return not schema or not schemas or schema[0] in schemas


def are_same(one: str, other: str) -> bool:
    """Whether two written names are the same but for quotes and case."""
    return _folded(one) == _folded(other)


class TableNames:
    """The tables that are known, to find out whether a written name means one of them.

    Args:
        known: Names of tables, with their schema or without it. A table may be listed twice, with
            its schema and without.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._schemas: dict[str, dict[str, str]] = {}
        self.bare: set[str] = set()
        for name in known:
            *schema, table = name_parts(name)[-2:]
            self.bare.add(table)
            schemas = self._schemas.setdefault(table.casefold(), {})
            if schema:
                schemas[schema[0].casefold()] = f"{schema[0]}.{table}"

    def __bool__(self) -> bool:
        return bool(self.bare)

    def knows(self, name: str) -> bool:
        """Whether a table of that name is known; without known schemas it may be in any."""
        *schema, table = _folded(name)
        schemas = self._schemas.get(table)
        return schemas is not None and (not schema or not schemas or schema[0] in schemas)

    def nearest(self, name: str) -> str:
        """The known table whose name resembles a name most."""
        table = bare_name(name).casefold()
        if table in self._schemas:  # it is in another schema
            return min(self._schemas[table].values())
        folded = {each.casefold(): each for each in sorted(self.bare)}
        return folded[get_close_matches(table, folded, n=1, cutoff=0)[0]]


def _folded(name: str) -> tuple[str, ...]:
    return tuple(part.casefold() for part in name_parts(name)[-2:])


def _unquoted(part: str) -> str:
    quote, inner = part[:1], part[1:-1]
    if len(part) > 2 and quote in '"`[' and part[-1] == {"[": "]"}.get(quote, quote):
        return inner.replace('""', '"') if quote == '"' else inner
    return part
