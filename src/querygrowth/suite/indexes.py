"""Find filters that no index of the models serves (the rule `unindexed-filter`).

Nothing is asked of the database: the models say which indexes there are. A table that is not mapped
is not judged.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint

from querygrowth.counting.statements import Shape


def tables_of_models(loads: Iterable[Any]) -> dict[str, Table]:
    """The tables of the models that statements are about, and of all that share their metadata.

    Args:
        loads: The unread loads of the statements, as `orm_loads.raw_load` collected them.

    Returns:
        Tables by name. A name that stands for several tables is left out.
    """
    metadata: dict[int, MetaData] = {}
    for load in loads:
        mapper = getattr(load[1], "mapper", None) if isinstance(load, tuple) else None
        table = getattr(mapper, "local_table", None)
        if isinstance(table, Table):
            metadata[id(table.metadata)] = table.metadata
    found: dict[str, Table | None] = {}
    for each in metadata.values():
        for table in each.tables.values():
            found[table.name] = None if table.name in found else table
    return {name: table for name, table in found.items() if table is not None}


def unindexed_filters(
    shape: Shape, dialect: str, tables: dict[str, Table]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the tables whose rows a statement selects without an index, and by which columns.

    Args:
        shape: The statement.
        dialect: SQLAlchemy's name of the dialect.
        tables: The known tables by name.
    """
    for name, columns in _filtered(shape.text, dialect):
        table = tables.get(name)
        if table is not None and columns.isdisjoint(_leading_columns(table)):
            yield name, tuple(sorted(columns))


@lru_cache(maxsize=4096)
def _filtered(text: str, dialect: str) -> tuple[tuple[str, frozenset[str]], ...]:
    from querygrowth.counting.sql_tree import filtered_columns

    return tuple(filtered_columns(text, dialect).items())


def _leading_columns(table: Table) -> set[str]:
    """The first columns of all indexes, and of the constraints that a database indexes itself."""
    served: list[Index | PrimaryKeyConstraint | UniqueConstraint] = [*table.indexes]
    served += [
        each
        for each in table.constraints
        if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)
    ]
    leading = {next(iter(each.columns)).name for each in served if len(each.columns)}
    return leading | {column.name for column in table.columns if column.unique or column.index}
