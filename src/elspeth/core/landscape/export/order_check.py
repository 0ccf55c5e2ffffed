"""Checks that exported records ascend as the verifier expects, however SQLite sorts their rows.

SQLite sorts stored bytes. Times that are stored in several forms (`T` in one row, a blank in
another, an offset in a third), text in a database of UTF-16, and a column with a collation sort in
another way than the exported values. Such an export would be published and then not verify.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any

from sqlalchemy import DateTime

from elspeth.contracts.errors import CorruptAuditDataError, not_ascending
from elspeth.core.landscape.export.columns import isoformat
from elspeth.core.landscape.export.record_types import FetchedRow, RecordType


class OrderCheck:
    """Compares every fetched row with the one before it, chunk by chunk."""

    # Only the types with `sorted_by` are compared. The other exported sort keys are integers, which
    # sort alike everywhere.

    def __init__(self, record_type: RecordType, parent_field: str | None) -> None:
        """Start before the first row.

        Args:
            record_type: The type of the rows, with `sorted_by`.
            parent_field: The field that names the parent; None where the run is the parent. Rows
                of different parents are not compared.
        """
        self._record_type = record_type
        self._parent = itemgetter(record_type.position(parent_field)) if parent_field else _of_run
        self._times = frozenset(record_type.names_of(DateTime))
        self._positions = tuple(map(record_type.position, record_type.sorted_by))
        self._last: FetchedRow | None = None

    def check(self, rows: Sequence[FetchedRow]) -> None:
        """Check the next rows, whose values were checked already.

        Raises:
            CorruptAuditDataError: A row does not come after the one before it, as exported.
        """
        compared = rows if self._last is None else (self._last, *rows)
        for (before, previous), (row, current) in pairwise(
            zip(compared, map(self._key, compared), strict=True)
        ):
            if previous >= current and self._parent(before) == self._parent(row):
                self._refuse(previous, row, current)
        self._last = rows[-1]

    def _key(self, row: FetchedRow) -> tuple[Any, ...]:
        return tuple(
            isoformat(row[at]) if name in self._times else row[at]
            for name, at in zip(self._record_type.sorted_by, self._positions, strict=True)
        )

    def _refuse(self, previous: tuple[Any, ...], row: FetchedRow, current: tuple[Any, ...]) -> None:
        record_type = self._record_type
        names = record_type.sorted_by
        differing = (at for at in range(len(names)) if previous[at] != current[at])
        at = next(differing, len(names) - 1)
        key = {part: row[record_type.position(part)] for part in record_type.primary_key}
        raise CorruptAuditDataError(
            record_type.table.name, key, names[at], not_ascending(previous[at], current[at])
        )


def _of_run(_: FetchedRow) -> None:
    """Return the one parent of all rows that stand directly below the run."""
