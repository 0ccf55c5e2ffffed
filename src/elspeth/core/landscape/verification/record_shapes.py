"""The fields that each record type has in an export, and the values that each may hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from sqlalchemy import Float, Integer

from elspeth.contracts import errors
from elspeth.core.landscape.export.record_types import RECORD_TYPES, RecordType
from elspeth.core.landscape.export.signed_lines import MANIFEST
from elspeth.core.landscape.verification.defects import Problem, Reason, shown

SIGNATURE = "signature"
NUMBER = frozenset({int, float})
"""Canonical JSON writes 5.0 as 5: what is no integer by its column may look like one."""
INTEGER = frozenset({int})
TEXT = frozenset({str})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record type."""

    name: str
    classes: frozenset[type] = TEXT
    nullable: bool = False
    members: frozenset[str] | None = None
    """The texts it may hold, if they are numbered."""

    def problem(self, value: Any) -> str | None:
        """Say what is wrong with a value, or None."""
        if value is None:
            return None if self.nullable else errors.IS_NULL
        if type(value) not in self.classes:
            return f"holds {shown(value)}, {_NOT_OF[self.classes]}"
        if self.members is not None and value not in self.members:
            return f"holds {shown(value)}, which is no known one"
        if type(value) is int and self.classes is INTEGER and abs(value) > errors.MAX_INTEGER:
            return errors.TOO_LARGE
        return errors.NOT_FINITE if type(value) is float and not isfinite(value) else None


_NOT_OF: Mapping[frozenset[type], str] = {
    NUMBER: "which is no number",
    INTEGER: "which is no integer",
    TEXT: "which is no text",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of one record type."""

    name: str
    fields: Mapping[str, Field]
    null_when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    required_when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def columns(self, *, signed: bool) -> tuple[str, ...]:
        """The keys of a record in sorted order, as canonical JSON and CSV files have them."""
        return tuple(sorted((*self.fields, SIGNATURE) if signed else self.fields))

    def problem(self, record: Mapping[str, Any]) -> Problem | None:
        """Find the first thing wrong with a record's fields and values; its signature aside."""
        if record.keys() - {SIGNATURE} != self.fields.keys():
            return Problem(Reason.FIELDS, self._fields_astray(record))
        for name, each in self.fields.items():
            wrong = each.problem(record[name])
            if wrong is not None:
                return Problem(Reason.VALUE, f"{name} {wrong}")
        return self._status_problem(record)

    def _fields_astray(self, record: Mapping[str, Any]) -> str:
        missing = sorted(self.fields.keys() - record.keys())
        unknown = sorted(record.keys() - self.fields.keys() - {SIGNATURE})
        parts = (("lacks", missing), ("has the unknown", unknown))
        said = (f"{verb} {', '.join(map(shown, names[:5]))}" for verb, names in parts if names)
        return f"a {self.name} record that {' and '.join(said)}"

    def _status_problem(self, record: Mapping[str, Any]) -> Problem | None:
        status = record.get("status", "")
        for name in self.null_when.get(status, ()):
            if record[name] is not None:
                return Problem(Reason.VALUE, f"{name} holds a value in a state that is {status}")
        for name in self.required_when.get(status, ()):
            if record[name] is None:
                return Problem(Reason.VALUE, f"{name} {errors.null_in_state(status)}")
        return None


def known_shapes() -> Mapping[str, Shape]:
    """Return the shape of every record type by name, the manifest's included."""
    shapes = (*map(_shape_of, RECORD_TYPES), _manifest())
    return {shape.name: shape for shape in shapes}


def _shape_of(record_type: RecordType) -> Shape:
    fields = (_field_of(record_type, name) for name in record_type.fields)
    return Shape(
        record_type.name,
        _by_name(*_opening(record_type.name), *fields),
        record_type.ignored_when,
        record_type.required_when,
    )


def _field_of(record_type: RecordType, name: str) -> Field:
    column = record_type.table.c[name]
    members = frozenset(member.value for member in record_type.enums.get(name, ()))
    nullable = bool(column.nullable)
    match column.type:
        case Integer():
            return Field(name, INTEGER, nullable)
        case Float():
            return Field(name, NUMBER, nullable)
        case _:
            return Field(name, TEXT, nullable, members or None)


def _manifest() -> Shape:
    texts = map(Field, ("final_hash", "hash_algorithm", "signature_algorithm", "exported_at"))
    count = Field("record_count", INTEGER)
    return Shape(MANIFEST, _by_name(*_opening(MANIFEST), count, *texts))


def _opening(name: str) -> tuple[Field, Field]:
    return Field("record_type", members=frozenset({name})), Field("run_id")


def _by_name(*fields: Field) -> Mapping[str, Field]:
    return {each.name: each for each in fields}
