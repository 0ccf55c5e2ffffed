"""Compare the names of tables as people write them with those in statements and databases."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

_PART = re.compile(r'"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[^\s.]+')


def name_parts(name: str) -> tuple[str, ...]:
    """The parts of a dotted name without quotes: `'"public".items'` has "public" and "items"."""
    return tuple(_unquoted(part) for part in _PART.findall(name)) or (name,)


def bare_name(name: str) -> str:
    """The last part of a dotted name, without quotes."""
    return name_parts(name)[-1]


def qualified_names(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the names that have a schema, as "schema.table", each once."""
    parts = (name_parts(name) for name in names)
    return tuple(dict.fromkeys(".".join(each[-2:]) for each in parts if len(each) > 1))


class TableNames:
    """The tables that are known, to find out which one a written name means.

    Upper and lower case are the same, unless two known tables differ in nothing else. A name with
    a schema means the table of that schema; a known table without a schema may be in any.

    Args:
        known: Names of tables, with their schema or without it.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._known: dict[str, set[tuple[str, ...]]] = {}
        for name in known:
            parts = name_parts(name)[-2:]
            self._known.setdefault(parts[-1].casefold(), set()).add(parts)

    def knows(self, name: str) -> bool:
        """Whether a table of that name is known."""
        return any(self._meant(name))

    def ambiguous(self, name: str) -> tuple[str, ...]:
        """The known tables that a name without a schema may mean, where there are several."""
        if len(name_parts(name)) > 1:
            return ()
        schemas = {".".join(parts) for parts in self._meant(name) if len(parts) > 1}
        return tuple(sorted(schemas)) if len(schemas) > 1 else ()

    def nearest(self, name: str) -> str:
        """The known table whose name resembles a name most; empty if none is known."""
        bare = sorted({parts[-1] for group in self._known.values() for parts in group})
        folded = {each.casefold(): each for each in bare}
        table = bare_name(name).casefold()
        if table in folded:  # the table exists in another schema
            return ".".join(sorted(self._known[table])[0])
        found = get_close_matches(table, folded, n=1, cutoff=0)
        return folded[found[0]] if found else ""

    def _meant(self, name: str) -> Iterator[tuple[str, ...]]:
        parts = name_parts(name)[-2:]
        same = self._known.get(parts[-1].casefold(), set())
        exact = {each for each in same if each[-1] == parts[-1]}
        schema = parts[0].casefold() if len(parts) > 1 else None
        # Some known names come with their schema, and the same tables also without it.
        with_schema = {each for each in exact or same if len(each) > 1}
        for each in with_schema if schema and with_schema else exact or same:
            if schema is None or len(each) == 1 or each[0].casefold() == schema:
                yield each


def _unquoted(part: str) -> str:
    quote, inner = part[0], part[1:-1]
    if len(part) > 2 and quote in '"`[' and part[-1] == {"[": "]"}.get(quote, quote):
        return inner.replace('""', '"') if quote == '"' else inner
    return part
