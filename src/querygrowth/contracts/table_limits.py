"""Limits by table: find the tables that a contract names, and count the queries for each limit."""

import gc
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from typing import Protocol, TypeGuard

from sqlalchemy import MetaData, Table

from querygrowth.counting.activity import ShapeActivity
from querygrowth.counting.statements import NO_TABLE
from querygrowth.counting.table_names import TableNames, bare_name, is_named, name_parts
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict

_SHOWN_TABLES = 10
# The similarity (`difflib`, 0 to 1) from which a name counts as a misspelling of a table although
# the database could not list its tables: "user" and "users" have 0.89, "posts" and "users" 0.4.
_RESEMBLES = 0.75
_EVERY_OTHER = "*"


class NamesTables(Protocol):
    """The part of a contract that is used here."""

    @property
    def named_tables(self) -> Mapping[str, str]:
        """The tables that the contract names, and the argument that names them."""


def counts_by_limit(
    limits: Mapping[str, int], counts: Sequence[tuple[ShapeActivity, int]]
) -> Mapping[str, int]:
    """The queries that count for every limit of a contract's `per_table`.

    A query counts for the table that it is about. If that table has no limit, it counts for the
    limited tables that it joins: always if no other query is about such a table, and otherwise if
    its shape was sent more than once. So a loop over a join is found, and the eager load of a
    many-to-many relationship, which joins its parents once, is not.

    Args:
        limits: The limits by table; `"*"` limits every other table.
        counts: The shapes, and how many queries of each are to be counted.

    Returns:
        The queries by table: as `limits` names it, or as the statements do for `"*"`.
    """
    by_table: Counter[str] = Counter()
    joining: list[tuple[ShapeActivity, int]] = []
    for sent, count in counts:
        shape = sent.shape
        about = limited_as(limits, shape.table, shape.qualified)
        if about is not None:
            by_table[about] += count
        elif _EVERY_OTHER in limits:
            by_table[shape.table] += count
        else:
            joining.append((sent, count))
    direct = set(by_table)
    for sent, count in joining:
        for name in joined_limits(limits, sent):
            if count > 1 or name not in direct:
                by_table[name] += count
    return by_table


def limited_as(limits: Mapping[str, int], table: str, qualified: Sequence[str]) -> str | None:
    """The name under which a table has a limit; None if only `"*"` or nothing limits it."""
    names = [name for name in limits if is_named(name, table, qualified)]
    # A name with a schema says more than one without it.
    return max(names, key=lambda name: len(name_parts(name)), default=None)


def joined_limits(limits: Mapping[str, int], sent: ShapeActivity) -> list[str]:
    """The limited tables that a statement joins and is not about."""
    others = sent.shape.tables - {sent.shape.table}
    return [
        name
        for name in limits
        if any(is_named(name, table, sent.shape.qualified) for table in others)
    ]


def misspelt_table(
    contract: NamesTables,
    touched: Set[str],
    existing: Set[str],
    *,
    subject: str,
    site: CallSite | None = None,
) -> Verdict | None:
    """A failed verdict if the contract names tables that do not exist, else None.

    A table exists if the action touched it, the database lists it, or it is in the metadata that
    declares a touched table.

    Args:
        contract: The contract that may name tables.
        touched: The tables that the action read or wrote.
        existing: The tables of the database; empty if they could not be listed.
        subject: The name of the action or test.
        site: The line to show.
    """
    named = contract.named_tables
    touched = touched - {NO_TABLE}
    known = TableNames({*touched, *existing})
    unknown = [table for table in named if not known.knows(table)]
    if not unknown:
        return None
    # The search looks at all objects, 10 ms for 100,000, so it is made only now.
    declared = declared_tables(touched)
    known = TableNames({*touched, *existing, *declared})
    unknown = [table for table in unknown if not known.knows(table)]
    bare = {bare_name(table) for table in existing}
    if not (bare & touched or declared) and touched:
        # The list is missing, or it is of a database that the action did not see. Only a name that
        # resembles a touched table is then certain to be misspelt.
        others = touched - named.keys()
        unknown = [name for name in unknown if get_close_matches(name, others, cutoff=_RESEMBLES)]
    if not unknown or not known:
        return None
    # Models of the same process may be of another database, so its own tables come first.
    near = TableNames({*touched, *existing}) if existing else known
    names = sorted(known.bare)
    more = len(names) - _SHOWN_TABLES
    return Verdict(
        subject=subject,
        outcome=Outcome.FAILED,
        expected="a contract that names existing tables",
        seen="; ".join(
            f"there is no table {table}, the nearest is {near.nearest(table)}" for table in unknown
        ),
        evidence=(
            *(f"{table} is named in {named[table]}" for table in unknown),
            f"known tables: {', '.join(names[:_SHOWN_TABLES])}"
            + (f" and {more} more" if more > 0 else ""),
        ),
        next_step="the spelling of the table in the contract",
        site=site,
    )


def doubtful_tables(
    contract: NamesTables,
    touched: Set[str],
    existing: Set[str],
    *,
    subject: str,
    site: CallSite | None = None,
) -> Verdict | None:
    """An inconclusive verdict if nothing tells whether a named table exists, else None.

    Args:
        contract: The contract that may name tables.
        touched: The tables that the action read or wrote.
        existing: The tables of those databases that could be asked.
        subject: The name of the action or test.
        site: The line to show.
    """
    touched = touched - {NO_TABLE}
    known = TableNames({*touched, *existing})
    if all(map(known.knows, contract.named_tables)):
        return None
    known = TableNames({*touched, *existing, *declared_tables(touched)})
    unknown = [name for name in contract.named_tables if not known.knows(name)]
    if not unknown or not touched:
        return None
    return Verdict(
        subject=subject,
        outcome=Outcome.INCONCLUSIVE,
        expected="a contract that names existing tables",
        seen=f"it is not known whether there is a table {', '.join(unknown)}",
        evidence=(
            "the database could not be asked for its tables, and no metadata declares them",
            f"touched tables: {', '.join(sorted(touched))}",
        ),
        next_step="the spelling of the table in the contract",
        site=site,
    )


def declared_tables(touched: Set[str]) -> frozenset[str]:
    """The tables of every `MetaData` of the process that declares one of the touched tables."""
    folded = {table.casefold() for table in touched}
    found: set[str] = set()
    for metadata in _all_metadata():
        tables = list(metadata.tables.values())
        if any(table.name.casefold() in folded for table in tables):
            found.update(_dotted(table.schema, table.name) for table in tables)
    return frozenset(found)


def _all_metadata() -> Iterator[MetaData]:
    # `_is_metadata` would be called for millions of objects, which takes minutes where mutmut wraps
    # every call.
    yield from (each for each in gc.get_objects() if issubclass(type(each), MetaData))
    # The collector does not list objects that were frozen, as servers do with what they imported.
    # Mostly a module holds them: by themselves, or as an attribute of a model, base or table.
    if gc.get_freeze_count():
        for module in list(sys.modules.values()):
            for value in list(getattr(module, "__dict__", {}).values()):
                held = vars(value) if issubclass(type(value), type | Table) else {}
                table = getattr(held.get("__table__"), "__dict__", {})
                yield from filter(
                    _is_metadata, (value, held.get("metadata"), table.get("metadata"))
                )


def _is_metadata(value: object) -> TypeGuard[MetaData]:
    # By the real class: to ask some objects for theirs runs code of the user.
    return issubclass(type(value), MetaData)


def _dotted(schema: str | None, table: str) -> str:
    return f'"{schema}"."{table}"' if schema else f'"{table}"' if re.search(r"\W", table) else table
