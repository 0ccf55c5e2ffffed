"""Record operators: rows of one table are lost, repeated or swapped where they leave the database.

The fault lies between the database and the record. Signatures, counts and hashes are computed over
the wrong records and agree with them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, TypeAlias

from sqlalchemy import Select

from elspeth.core.landscape.export.record_types import RECORD_TYPES, RUN, FetchedRow, RecordType
from elspeth.core.landscape.export.snapshot import ROWS_PER_FETCH, Chunk, ReadSnapshot
from harness.mutants.designs import Design
from harness.mutants.mutant import ExporterClass, Mutant, selected_type

BOUNDARIES = ((500, 512), (1_000, 1_024), (5_000,), (10_000, 0, 20_000, 0))
"""Sizes at which exporters end a block, a chunk of ids or a buffer.

One table has one of the sizes of a group, and the next table the next one: neighbours show in the
same runs. From 10,000 on a mutant takes a minute, and every second table has none.
"""


@dataclass(frozen=True)
class TableRead:
    """One SELECT of an export.

    Attributes:
        snapshot: The snapshot that it is sent in.
        record_type: The record type whose table it reads.
        statement: The SELECT.
        send: Sends it and returns its rows. A second call sends it again.
    """

    snapshot: ReadSnapshot
    record_type: RecordType
    statement: Select[Any]
    send: Callable[[], Iterator[FetchedRow]]


RowFault: TypeAlias = Callable[[TableRead], Iterator[FetchedRow]]
"""Reads a table, with a fault."""
Rows: TypeAlias = Iterator[FetchedRow]


def with_row_fault(
    base: ExporterClass, fault: RowFault, record_type: RecordType | None = None
) -> ExporterClass:
    """Return a subclass whose reads of a table go through `fault`.

    Args:
        base: A correct exporter that reads from `open_snapshot`.
        fault: Reads the table.
        record_type: The record type of the table; None for every table.
    """

    class Faulty(base):  # type: ignore[valid-type, misc]
        def open_snapshot(self) -> AbstractContextManager[ReadSnapshot]:
            return self._open_faulty()

        @contextmanager
        def _open_faulty(self) -> Iterator[ReadSnapshot]:
            with super().open_snapshot() as snapshot:
                yield _FaultySnapshot(
                    snapshot.connection, snapshot._results, snapshot._prefetcher, fault, record_type
                )

    return Faulty


@dataclass(frozen=True)
class _FaultySnapshot(ReadSnapshot):
    """A snapshot in which the reads of a table go through a fault."""

    fault: RowFault | None = None
    record_type: RecordType | None = None

    def rows(self, statement: Select[Any]) -> Iterator[Sequence[Any]]:
        kind = selected_type(statement)
        if kind is None or self.fault is None or self.record_type not in (None, kind):
            return super().rows(statement)
        # Not super(): that has no meaning in a lambda that outlives this call.
        send = partial(ReadSnapshot.rows, self, statement)
        return self.fault(TableRead(self, kind, statement, send))

    def chunks(self, statement: Select[Any]) -> Iterator[Chunk]:
        return _in_chunks(self.rows(statement))


def _in_chunks(rows: Rows) -> Iterator[Chunk]:
    while chunk := list(islice(rows, ROWS_PER_FETCH)):
        yield chunk


def record_mutants(design: Design) -> Iterator[Mutant]:
    """Yield the mutants of all record operators over one design."""
    for number, kind in enumerate(RECORD_TYPES):
        # A run has one record of this type, and an export without it ends in an error.
        if kind is not RUN:
            for operator, place, description, change in _changes(number):
                fault = partial(_changed, change)
                apply = partial(with_row_fault, fault=fault, record_type=kind)
                part = f"{kind.table.name}/{place}"
                yield Mutant(operator, design.name, part, description, apply)


def _changes(number: int) -> Iterator[tuple[str, str, str, Callable[[Rows], Rows]]]:
    """Yield operator, place, description and the change of the rows of the table with a number."""
    boundaries = [sizes[number % len(sizes)] for sizes in BOUNDARIES]
    yield "drop-row", "first", "the first row is lost", lambda rows: islice(rows, 1, None)
    yield "drop-row", "last", "the last row is lost", _without_last
    yield "swap-rows", "last", "the last two rows change places", _last_swapped
    for place in (1, boundaries[1]):
        description = f"rows {place:,} and {place + 1:,} change places"
        yield "swap-rows", str(place), description, partial(_swapped, place)
    for place in (7, *filter(None, boundaries)):
        yield "drop-row", str(place), f"row {place:,} is lost", partial(_dropped, place)
        yield "repeat-row", str(place), f"row {place:,} comes twice", partial(_repeated, place)
    for size in filter(None, (boundaries[1], boundaries[-1])):
        yield "cut-rows", str(size), f"all rows after {size:,} are lost", partial(_cut, size)


def _changed(change: Callable[[Rows], Rows], read: TableRead) -> Rows:
    return change(read.send())


def _cut(size: int, rows: Rows) -> Rows:
    return islice(rows, size)


def _without_last(rows: Rows) -> Rows:
    held = next(rows, None)
    for row in rows:
        yield held  # type: ignore[misc]
        held = row


def _last_swapped(rows: Rows) -> Rows:
    held = list(islice(rows, 2))
    for row in rows:
        yield held.pop(0)
        held.append(row)
    yield from reversed(held)


def _swapped(place: int, rows: Rows) -> Rows:
    yield from islice(rows, place - 1)
    pair = list(islice(rows, 2))
    yield from chain(reversed(pair), rows)


def _dropped(place: int, rows: Rows) -> Rows:
    yield from islice(rows, place - 1)
    next(rows, None)
    yield from rows


def _repeated(place: int, rows: Rows) -> Rows:
    for number, row in enumerate(rows, start=1):
        yield row
        if number == place:
            yield row
