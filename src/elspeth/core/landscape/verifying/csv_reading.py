"""Reads a directory of CSV files as the records they were, in the order of emission."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from elspeth.core.landscape.records import RUN, RecordType
from elspeth.core.landscape.signing import MANIFEST
from elspeth.core.landscape.verifying.csv_tables import CsvTable
from elspeth.core.landscape.verifying.fields import Shape
from elspeth.core.landscape.verifying.grammar import PLACES, Place, places_inside
from elspeth.core.landscape.verifying.reading import Reading

SPREADSHEET_MARKER = "THIS-COPY-DOES-NOT-VERIFY.txt"
"""The file that tells a copy made for spreadsheets from an export."""


def csv_file_names(shapes: Mapping[str, Shape]) -> frozenset[str]:
    """Return the names of all files that an export may consist of."""
    return frozenset(f"{name}.csv" for name in shapes)


def read_csv(directory: Path, shapes: Mapping[str, Shape]) -> Iterator[Reading]:
    """Yield what each line of the files says, merged on the ids of parents.

    A record whose parent is not found comes before the manifest, out of place. Holds one line of
    each file at a time. Raises OSError.
    """
    with ExitStack() as files:
        tables = {}
        for name, shape in shapes.items():
            path = directory / f"{name}.csv"
            if path.exists():
                tables[name] = CsvTable(path.name, files.enter_context(path.open("rb")), shape)
        merge = _Merge(tables)
        yield from merge.inside(None, None)
        yield from merge.left_over()
        if MANIFEST in tables:
            yield from merge.all_of(MANIFEST)


class _Merge:
    """The tables of an export, each in order of emission, read in step."""

    def __init__(self, tables: Mapping[str, CsvTable]) -> None:
        self._tables = tables

    def inside(self, parent: RecordType | None, parent_id: str | None) -> Iterator[Reading]:
        """Yield the records that stand inside a parent: next in their tables, and naming it."""
        for place in places_inside(parent):
            if place.record_type.name in self._tables:
                yield from self._children(place, parent_id)

    def left_over(self) -> Iterator[Reading]:
        """Yield the records that were found under no parent, each with those inside it."""
        for place in PLACES:
            table = self._tables.get(place.record_type.name)
            while table is not None and table.head is not None:
                yield from self._children(place, table.head.texts.get(place.parent_field))

    def all_of(self, kind: str) -> Iterator[Reading]:
        """Yield what is left in one table, as it comes."""
        table = self._tables[kind]
        while (line := table.head) is not None:
            table.advance()
            yield line.reading

    def _children(self, place: Place, parent_id: str | None) -> Iterator[Reading]:
        table = self._tables[place.record_type.name]
        is_of_run = place.parent in (None, RUN)
        while (line := table.head) is not None:
            texts = line.texts
            if texts and not is_of_run and texts[place.parent_field] != parent_id:
                return
            table.advance()
            yield line.reading
            if texts:
                yield from self.inside(place.record_type, texts[place.key_field])
