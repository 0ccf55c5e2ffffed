"""Partitions: contiguous ranges of a run's rows, each of which can be exported on its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from elspeth.core.landscape.schema import rows_table


@dataclass(frozen=True, slots=True)
class Partition:
    """The rows of a run from one `row_index` up to another, with everything below them.

    Partitions in order, joined, are the whole export: one without a first row opens it, with the
    run, its nodes and edges; one without an end closes it, with batches and artifacts.
    """

    first: int | None = None
    end: int | None = None
    """The `row_index` that it no longer holds."""

    @property
    def opens(self) -> bool:
        """Whether the export begins here."""
        return self.first is None

    @property
    def closes(self) -> bool:
        """Whether the export ends here."""
        return self.end is None

    def condition(self) -> Sequence[ColumnElement[bool]]:
        """Which rows are in it, as conditions of a query."""
        conditions = []
        if self.first is not None:
            conditions.append(rows_table.c.row_index >= self.first)
        if self.end is not None:
            conditions.append(rows_table.c.row_index < self.end)
        return conditions

    def __str__(self) -> str:
        first = "the first row" if self.first is None else f"row {self.first:,}"
        return f"{first} to {'the last' if self.end is None else f'before row {self.end:,}'}"


WHOLE = Partition()


def split_rows(connection: Connection, run_id: str, parts: int) -> Sequence[Partition]:
    """Split a run into so many partitions of nearly as many rows each; fewer if it has fewer rows.

    Sends one query, of the index over `row_index` alone. A run whose indices are not all integers
    stays whole: whoever exports it then finds the row that may not be exported.
    """
    share = func.ntile(parts).over(order_by=rows_table.c.row_index).label("share")
    index = rows_table.c.row_index.label("row_index")
    shared = select(index, share).where(rows_table.c.run_id == run_id).subquery()
    found = connection.execute(
        select(
            func.min(shared.c.row_index),
            func.count(),
            func.count(shared.c.row_index),
        )
        .group_by(shared.c.share)
        .order_by(shared.c.share)
    ).all()
    if any(type(first) is not int or rows != known for first, rows, known in found):
        return (WHOLE,)
    borders: list[Any] = [None, *(first for first, _, _ in found[1:]), None]
    return tuple(Partition(first, end) for first, end in pairwise(borders))
