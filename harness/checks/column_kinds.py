"""Measure which kinds of value the default cases hold in each column, and write the table of them.

A fault that changes one kind of value, such as a stripped blank or a zero taken for NULL, shows
only if a case holds that kind. `python -m harness.checks.column_kinds` writes the table into
docs/generated-runs.md.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import combinations, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from sqlalchemy import Column, DateTime, Float, Integer, Text

from elspeth.contracts import enums
from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness.checks.cases import plan_cases, record_cases, tie_cases
from harness.checks.database_changes import REBUILT
from harness.generate.features.contents import LONGEST_CUT
from harness.temporary_folder import temporary_folder

_BEGIN, _END = "<!-- column kinds -->\n", "<!-- end of column kinds -->\n"

_Test: TypeAlias = Callable[[Column[Any], Sequence[Any]], bool]
"""Returns whether the values of a column, in their order on disk, hold a kind."""


def _any(test: Callable[[Any], bool]) -> _Test:
    return lambda _, values: any(test(value) for value in values)


def _has_case_twins(_: Column[Any], values: Sequence[Any]) -> bool:
    distinct = set(values)
    return len({value.lower() for value in distinct}) < len(distinct)


def _is_tied(_: Column[Any], values: Sequence[Any]) -> bool:
    return len(set(values)) < len(values)


def _is_unordered(_: Column[Any], values: Sequence[Any]) -> bool:
    return any(before > after for before, after in pairwise(values))


def _is_long(column: Column[Any], values: Sequence[Any]) -> bool:
    length = getattr(column.type, "length", None) or 300
    return any(len(value) == length for value in values)


def _is_too_long(_: Column[Any], values: Sequence[Any]) -> bool:
    return any(len(value) > LONGEST_CUT for value in values)


def _is_number(value: str) -> bool:
    return re.fullmatch(r"-?[0-9.]+(e[0-9]+)?", value) is not None


_KINDS: Mapping[str, Mapping[str, _Test]] = MappingProxyType(
    {
        "text": {
            "empty": _any(lambda value: value == ""),
            "blank": _any(lambda value: value != "" and not value.strip()),
            "blank at an end": _any(lambda value: value != value.strip() != ""),
            "long": _is_long,
            "too long": _is_too_long,
            "NUL": _any(lambda value: "\0" in value),
            "non-BMP": _any(lambda value: any(each > "\uffff" for each in value)),
            "not normalised": _any(lambda value: unicodedata.normalize("NFC", value) != value),
            "case twins": _has_case_twins,
            "numeric": _any(_is_number),
            "wildcard": _any(lambda value: "%" in value or "*" in value),
            "quote": _any(lambda value: "'" in value),
            "tied": _is_tied,
        },
        "JSON": {
            "empty": _any(lambda value: value == ""),
            "blank inside": _any(lambda value: value.startswith(" ")),
            "not JSON": _any(lambda value: value == "not JSON"),
            "tied": _is_tied,
        },
        "integer": {
            "zero": _any(lambda value: value == 0),
            "negative": _any(lambda value: value < 0),
            "gapped": lambda _, values: max(values) - min(values) >= len(set(values)),
            "tied": _is_tied,
            "out of order": _is_unordered,
            "least": _any(lambda value: value == -MAX_INTEGER),
            "greatest": _any(lambda value: value == MAX_INTEGER),
        },
        "float": {
            "zero": _any(lambda value: value == 0),
            "negative": _any(lambda value: value < 0),
            "whole": _any(lambda value: 0 < value < 1000 and value == int(value)),
            "17 digits": _any(lambda value: len(repr(value)) >= 17),
            "least positive": _any(lambda value: value == 5e-324),
            "greatest": _any(lambda value: value > 1.7e308),
            "tied": _is_tied,
            "out of order": _is_unordered,
        },
        "time": {
            "whole second": _any(lambda value: not value.microsecond),
            "microsecond": _any(lambda value: bool(value.microsecond % 1000)),
            "year 1": _any(lambda value: value.year == 1),
            "year 9999": _any(lambda value: value.year == 9999),
            "before 1970": _any(lambda value: 1 < value.year < 1970),
            "tied": _is_tied,
            "out of order": _is_unordered,
        },
        "enum": {"every member": lambda _, __: False, "tied": _is_tied},
    }
)
"""By type of a column: the kinds of value, each with its test. NULL is a kind of every type."""

ENUMS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "runs.status": enums.RunStatus,
        "nodes.node_type": enums.NodeType,
        "nodes.determinism": enums.Determinism,
        "edges.default_mode": enums.RoutingMode,
        "node_states.status": enums.NodeStateStatus,
        "routing_events.mode": enums.RoutingMode,
        "calls.call_type": enums.CallType,
        "calls.status": enums.CallStatus,
        "batches.status": enums.BatchStatus,
    }
)
"""The enums of columns, by the names of table and column."""

REASONS: Sequence[tuple[str, str, str]] = (
    ("runs.export_*", "*", "the state of an export, which no export contains"),
    ("runs.exported_at", "*", "the state of an export, which no export contains"),
    ("*.run_id", "empty", "the recorder makes an id where it is given the empty text"),
    ("*.run_id", "too long", "a spec refuses a run id that is longer than its column"),
    ("*.run_id", "long", "a generated run id leaves room for the suffix of its neighbours"),
    ("nodes.schema_fields_json", "empty", "the control refuses fields that are not a JSON list"),
    ("nodes.schema_fields_json", "not JSON", "the control refuses fields that are not a JSON list"),
    ("batches.trigger_type", "*", "neither the recorder nor any export names the column"),
    ("artifacts.idempotency_key", "*", "neither the recorder nor any export names the column"),
)
"""Holes that are left on purpose: a pattern of the column, one of the kind, and the reason."""


@dataclass(frozen=True)
class ColumnKinds:
    """What a set of databases holds in one column.

    Attributes:
        column: The column, as table.column.
        type: Its type, a key of the kinds.
        held: By kind that applies to the column: whether a stored row holds it.
    """

    column: str
    type: str
    held: Mapping[str, bool]

    @property
    def holes(self) -> Iterator[str]:
        """The kinds that no row holds, without those that have a reason."""
        return (
            kind
            for kind, is_held in self.held.items()
            if not is_held and reason_for(self.column, kind) is None
        )


def reason_for(column: str, kind: str) -> str | None:
    """Return the reason why no case holds a kind of value in a column; None if there is none."""
    for columns, kinds, reason in REASONS:
        if fnmatchcase(column, columns) and fnmatchcase(kind, kinds):
            return reason
    return None


class StoredValues:
    """The exported tables of the default cases: every row, in the order on disk."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Mapping[str, Any]]] = {t.name: [] for t in EXPORTED_TABLES}

    @classmethod
    def of_default_cases(cls) -> "StoredValues":
        """Generate the databases of all cases that no corruption changes, and read them."""
        found = cls()
        cases = (*record_cases("sqlite"), *plan_cases("sqlite"), *tie_cases())
        # Rebuilt tables hold what the others hold, and have no rowids to read it in order.
        stored = {
            case.stored: case
            for case in cases
            if not case.corruption and case.plan_change is not REBUILT
        }
        with temporary_folder() as directory:
            for number, case in enumerate(stored.values()):
                with LandscapeDB(f"sqlite:///{directory / str(number)}.db") as db:
                    case.store(db)
                    found.add(db)
        return found

    def add(self, db: LandscapeDB) -> None:
        """Read the tables of an SQLite database."""
        with db.connection() as connection:
            for table, rows in self._rows.items():
                # As stored text: SQLAlchemy's types would hide a form of a timestamp.
                stored = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608
                rows.extend(dict(row._mapping) for row in stored)

    def kinds(self) -> list[ColumnKinds]:
        """Measure every column of the exported tables."""
        return [self._kinds(column) for table in EXPORTED_TABLES for column in table.columns]

    def _kinds(self, column: Column[Any]) -> ColumnKinds:
        name = f"{column.table.name}.{column.name}"
        type_ = _type_of(column, name)
        values = [row[column.name] for row in self._rows[column.table.name]]
        held = {"NULL": None in values} if column.nullable else {}
        present = [value for value in values if value is not None]
        if type_ == "time":
            present = [datetime.fromisoformat(value) for value in present]
        for kind, test in _KINDS[type_].items():
            # A primary key of one column has no two rows with the same value.
            if kind == "tied" and [column] == list(column.table.primary_key):
                continue
            if kind == "every member":
                held[kind] = set(present) == {member.value for member in ENUMS[name]}
            else:
                held[kind] = bool(present) and test(column, present)
        return ColumnKinds(name, type_, held)

    def equal_pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the pairs of columns of one table and type that differ in no row.

        An exporter that reads one of the two in place of the other is not caught.
        """
        for table in EXPORTED_TABLES:
            for one, other in combinations(table.columns, 2):
                names = [f"{table.name}.{each.name}" for each in (one, other)]
                if _type_of(one, names[0]) != _type_of(other, names[1]):
                    continue
                if any(reason_for(name, "*") for name in names):
                    continue
                if not any(
                    None not in (row[one.name], row[other.name])
                    and row[one.name] != row[other.name]
                    for row in self._rows[table.name]
                ):
                    yield names[0], names[1]


def _type_of(column: Column[Any], name: str) -> str:
    if name in ENUMS:
        return "enum"
    match column.type:
        case Integer():
            return "integer"
        case Float():
            return "float"
        case DateTime():
            return "time"
        case Text() if column.name.endswith("_json"):
            return "JSON"
        case _:
            return "text"


def table_of_kinds(measured: Iterable[ColumnKinds]) -> str:
    """Return the tables of columns against kinds as Markdown, one for each type of column."""
    all_kinds = list(measured)
    reasons = list(dict.fromkeys(reason for _, _, reason in REASONS))
    lines: list[str] = []
    for type_, tests in _KINDS.items():
        kinds = ("NULL", *tests)
        lines += [
            f"| Column of type {type_} | {' | '.join(kinds)} |",
            f"|---|{'---|' * len(kinds)}",
        ]
        lines += (
            f"| `{each.column}` | {' | '.join(_cell(each, kind, reasons) for kind in kinds)} |"
            for each in all_kinds
            if each.type == type_
        )
        lines.append("")
    lines += (f"{number}. {reason}" for number, reason in enumerate(reasons, start=1))
    return "\n".join(lines) + "\n"


def _cell(measured: ColumnKinds, kind: str, reasons: Sequence[str]) -> str:
    if kind not in measured.held:
        return "-"
    if measured.held[kind]:
        return "yes"
    reason = reason_for(measured.column, kind)
    return "no" if reason is None else f"no ({reasons.index(reason) + 1})"


def with_table(page: str, table: str) -> str:
    """Return a page with the table between its two marks.

    Raises:
        ValueError: The page lacks the marks.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the page lacks the marks of the table")
    return f"{before}{begin}\n{table}\n{end}{after}"


if __name__ == "__main__":
    _PAGE = Path(__file__).parents[2] / "docs" / "generated-runs.md"
    _TABLE = table_of_kinds(StoredValues.of_default_cases().kinds())
    _PAGE.write_text(with_table(_PAGE.read_text(encoding="utf-8"), _TABLE), encoding="utf-8")
