"""The first difference between two exports: its class, its place, and the records around it.

`classify` decides the class. The likely causes come from `hints`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from itertools import islice

from harness.compare import hints
from harness.compare.records import (
    MANIFEST,
    Identity,
    Record,
    Records,
    RunLookup,
    identity_of,
    label,
    type_of,
)

CONTEXT_RECORDS = 3
"""The number of records that are shown before a difference, and from it on."""

_SHOWN_CHARACTERS = 120


class Kind(StrEnum):
    """The classes of difference."""

    ORDER = "order"
    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    CROSS_RUN = "extra, cross-run"
    FIELD = "field"
    KEY_ORDER = "key order"
    TYPE = "type"
    SIGNATURE = "signature"
    MANIFEST = "manifest"
    ERROR = "error"
    VACUOUS = "vacuous"
    BYTES = "bytes"
    MISSING_FILE = "missing file"
    EXTRA_FILE = "extra file"
    MODE = "file mode"


CORRUPT = "corrupt value"
"""The kind of a verdict on an export of a stored value that the control refuses."""

SNAPSHOT = "snapshot"
"""The kind of a verdict on an export that shows what was written during it."""


@dataclass(frozen=True)
class Difference:
    """The first difference between two exports.

    Attributes:
        kind: The class of the difference.
        expected: The control's value, as text.
        found: The candidate's value, as text.
        place: "records", or the name of the compared file.
        number: The record, or the line of the file, counted from 1.
        record_type: The type of the record that differs.
        record: That record, by its type and id.
        field: The field of the record that differs.
        byte_offset: Where the record starts in the control's JSON Lines file; for files, the first
            byte that differs.
        around: The records near the difference in both exports, as finished lines.
        hint: The likely cause.
        is_complete: Whether both exports have as many records of every type.
    """

    kind: Kind
    expected: str
    found: str
    place: str = "records"
    number: int | None = None
    record_type: str = ""
    record: str = ""
    field: str = ""
    byte_offset: int | None = None
    around: tuple[str, ...] = ()
    hint: str = ""
    is_complete: bool = True

    @property
    def verdict_kind(self) -> str:
        """The kind of a failed verdict: another order says little if records are lost as well."""
        is_hidden = self.kind is Kind.ORDER and not self.is_complete
        return Kind.BYTES.value if is_hidden else self.kind.value

    @property
    def about(self) -> str:
        """The type of record and the field that differ, such as "node_state.attempt"."""
        return ".".join(filter(None, (self.record_type, self.field)))

    @property
    def headline(self) -> str:
        """The class of the difference and its place, on one line."""
        parts = [self.kind.value, *((self.place,) if self.place != "records" else ())]
        if self.kind is Kind.ERROR:
            parts.append(f"expected {_first_word(self.expected)}, found {_first_word(self.found)}")
        elif self.record:
            parts.append(self.record)
        if self.field:
            parts.append(f"field {self.field}")
        if self.number is not None:
            parts.append(f"{'record' if self.place == 'records' else 'line'} {self.number}")
        return ", ".join(parts)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The expected and the found value and the records around them, as finished lines."""
        offset = () if self.byte_offset is None else (f"at byte    {self.byte_offset}",)
        return (
            f"expected   {_shortened(self.expected)}",
            f"found      {_shortened(self.found)}",
            *offset,
            *self.around,
        )


@dataclass(frozen=True)
class Mismatch:
    """The first pair of records that are not the same.

    `number` counts from 1. A record is None where its export has ended.
    """

    number: int
    expected: Record | None
    found: Record | None


def same_value(one: object, other: object) -> bool:
    """Whether two values are equal: a str enum equals its value, 1 equals neither 1.0 nor True."""
    one, other = _plain(one), _plain(other)
    # NaN is not equal to itself, but two exports that both hold it are the same.
    return type(one) is type(other) and (one == other or (one != one and other != other))


def same_record(one: Record, other: Record) -> bool:
    """Whether two records hold equal values under the same keys in the same order."""
    return list(one) == list(other) and all(map(same_value, one.values(), other.values()))


def classify(
    mismatch: Mismatch, control: Records, candidate: Records, run_of: RunLookup | None = None
) -> Difference:
    """Classify how two exports differ from a pair of records on.

    Args:
        mismatch: The first pair of records that differ.
        control: All of the control's records.
        candidate: All of the candidate's records.
        run_of: Finds the run of a record; without it, records of another run are called "extra".
    """
    # Both exports are read again several times: they may be larger than memory, and this happens
    # once for a comparison that has failed.
    difference = _classified(mismatch, control, candidate, run_of)
    uneven = _uneven_counts(control, candidate)
    return replace(
        difference,
        number=mismatch.number,
        around=(
            *_numbered("both", control, mismatch.number - CONTEXT_RECORDS, mismatch.number),
            *_numbered("control", control, mismatch.number, mismatch.number + CONTEXT_RECORDS),
            *_numbered("candidate", candidate, mismatch.number, mismatch.number + CONTEXT_RECORDS),
            *uneven,
        ),
        is_complete=not uneven,
    )


def _classified(
    mismatch: Mismatch, control: Records, candidate: Records, run_of: RunLookup | None
) -> Difference:
    # The order of these tests is the order of precedence: a record at another place is a wrong
    # order, and neither an extra record here nor a missing one there.
    expected, found = mismatch.expected, mismatch.found
    if found is None:
        return _lacking(expected or {}, found)
    place = _position(control, identity_of(found))
    if expected is None:
        return _surplus(expected, found, place, run_of)
    if identity_of(expected) == identity_of(found):
        return _within_record(expected, found)
    is_kept = _position(candidate, identity_of(expected)) is not None
    # A changed id makes one record missing and another extra: one changed field says more.
    if place is None and not is_kept and _is_renamed(expected, found, run_of):
        return _within_record(expected, found)
    if place is None or place < mismatch.number:
        return _surplus(expected, found, place, run_of)
    if not is_kept:
        return _lacking(expected, found)
    return _misplaced(expected, found, control, candidate)


def _within_record(expected: Record, found: Record) -> Difference:
    """Name the first field, in the control's order, in which two forms of a record differ."""
    # A signature follows from the other fields, also from those that the control does not have.
    names = sorted(dict.fromkeys((*expected, *found)), key=lambda name: name == "signature")
    field = next((name for name in names if not _same_field(expected, found, name)), "")
    return Difference(
        kind=_kind_within(expected, found, field),
        expected=_shown(expected, field) if field else ", ".join(expected),
        found=_shown(found, field) if field else ", ".join(found),
        record_type=type_of(expected).name,
        record=label(expected),
        field=field,
        hint=hints.of_field(expected, found, field) if field else "",
    )


def _kind_within(expected: Record, found: Record, field: str) -> Kind:
    if not field:
        return Kind.KEY_ORDER
    if expected["record_type"] == MANIFEST:
        return Kind.MANIFEST
    if field == "signature":
        return Kind.SIGNATURE
    values = [_plain(each[field]) for each in (expected, found) if each.get(field) is not None]
    return Kind.TYPE if len({type(value) for value in values}) > 1 else Kind.FIELD


def _surplus(
    expected: Record | None, found: Record, place: int | None, run_of: RunLookup | None
) -> Difference:
    """Describe a record that the control lacks, or had before, as record `place`."""
    kind, hint = Kind.EXTRA, ""
    run_id = run_of(found) if run_of and place is None else None
    if place is not None:
        kind, hint = Kind.DUPLICATE, f"it was record {place} already: does a join multiply it?"
    elif run_id is not None and run_id != found.get("run_id"):
        kind, hint = Kind.CROSS_RUN, f"it belongs to run {run_id}: follow rows.run_id, not nodes"
    return Difference(
        kind=kind,
        expected=_named(expected),
        found=_named(found),
        record_type=type_of(found).name,
        record=label(found),
        hint=hint,
    )


def _lacking(expected: Record, found: Record | None) -> Difference:
    """Describe a record that the candidate does not have."""
    return Difference(
        kind=Kind.MISSING,
        expected=_named(expected),
        found=_named(found),
        record_type=type_of(expected).name,
        record=label(expected),
        hint=hints.of_lack(expected),
    )


def _misplaced(expected: Record, found: Record, control: Records, candidate: Records) -> Difference:
    """Describe a record that both exports have, at different places."""
    kind = type_of(expected)
    shared = kind.name == found.get("record_type")
    decisive = (name for name in kind.order if shared and not _same_field(expected, found, name))
    return Difference(
        kind=Kind.ORDER,
        expected=_named(expected),
        found=_named(found),
        record_type=kind.name,
        record=label(expected),
        field=next(decisive, ""),
        hint=hints.of_order(expected, found, control, candidate),
    )


def _is_renamed(expected: Record, found: Record, run_of: RunLookup | None) -> bool:
    """Whether two records with different ids are one record whose id was changed."""
    # An id that the database has is the id of another record.
    return expected["record_type"] == found.get("record_type") and not (run_of and run_of(found))


def _position(records: Records, identity: Identity) -> int | None:
    """Return the number of the first record with this identity, from 1; None if there is none."""
    numbered = enumerate(records, start=1)
    return next((number for number, each in numbered if identity_of(each) == identity), None)


def _same_field(one: Record, other: Record, name: str) -> bool:
    if name not in one or name not in other:
        return name not in one and name not in other
    return same_value(one[name], other[name])


def _numbered(side: str, records: Records, first: int, end: int) -> Iterator[str]:
    """Yield a line for every record from number `first` to the one before `end`."""
    first = max(first, 1)
    for number, record in enumerate(islice(records, first - 1, end - 1), start=first):
        yield f"{side:<9}  {number:>6}  {_placed(record)}"


def _placed(record: Record) -> str:
    """Show a record with the fields that sort it."""
    key, order = type_of(record).key, type_of(record).order
    values = ", ".join(
        f"{name}={record[name]}" for name in order if name in record.keys() - set(key)
    )
    return f"{label(record)} ({values})" if values else label(record)


def _uneven_counts(control: Records, candidate: Records) -> tuple[str, ...]:
    """List the record types whose numbers differ."""
    expected, found = (
        Counter(type_of(each).name for each in records) for records in (control, candidate)
    )
    return tuple(
        f"{name} records: {expected[name]} expected, {found[name]} found"
        for name in dict.fromkeys((*expected, *found))
        if expected[name] != found[name]
    )


def _named(record: Record | None) -> str:
    return "the end" if record is None else _placed(record)


def _shown(record: Record, field: str) -> str:
    if field not in record:
        return "no such key"
    value = _plain(record[field])
    return f"{value!r} ({type(value).__name__})" if value is not None else "null"


def _plain(value: object) -> object:
    """Return the value of a str enum, and other values as they are."""
    if isinstance(value, str):
        return str(value.value) if isinstance(value, Enum) else str(value)
    return value


def _first_word(error: str) -> str:
    """Return the class of an error from its text; `no error` stays."""
    return error.partition(":")[0]


def _shortened(text: str) -> str:
    excess = len(text) - _SHOWN_CHARACTERS
    return text if excess <= 0 else f"{text[:_SHOWN_CHARACTERS]}... and {excess} characters"
