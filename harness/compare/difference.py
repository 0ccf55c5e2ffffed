"""Difference: the first point at which two exports differ, classified and located."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from itertools import islice
from typing import Any

from harness.compare import hints
from harness.compare.record_types import MANIFEST, Identity, identity_of, label, type_of

Record = Mapping[str, Any]
Records = Iterable[Record]
"""Records of an export in emission order, to be iterated as often as needed."""

Owner = Callable[[Record], str | None]
"""Says which run of the database a record belongs to; None if to none."""

CONTEXT_RECORDS = 3
"""How many records are shown from before a difference, and how many from it on."""

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


@dataclass(frozen=True)
class Difference:
    """Where two exports part, and how.

    `place` is what was compared: "records", or a file's name. `number` counts records (or the
    lines of a file) from 1. `expected` and `found` are the control's and the candidate's values as
    text. `byte_offset` is where the record starts in the control's JSON Lines file, or where the
    files' bytes part. `around` shows the records near it in both exports.
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
        """What was expected and found, and what stands around it, one finished line each."""
        offset = () if self.byte_offset is None else (f"at byte    {self.byte_offset}",)
        return (
            f"expected   {_shortened(self.expected)}",
            f"found      {_shortened(self.found)}",
            *offset,
            *self.around,
        )


@dataclass(frozen=True)
class Parting:
    """The first pair of records that are not the same; None where an export has ended."""

    number: int
    expected: Record | None
    found: Record | None


def same_value(one: object, other: object) -> bool:
    """Whether two values are equal: a str enum equals its value, 1 equals neither 1.0 nor True."""
    one, other = _plain(one), _plain(other)
    return type(one) is type(other) and (one == other or (one != one and other != other))


def same_record(one: Record, other: Record) -> bool:
    """Whether two records hold equal values under the same keys in the same order."""
    return list(one) == list(other) and all(map(same_value, one.values(), other.values()))


def classify(
    parting: Parting, control: Records, candidate: Records, owner: Owner | None = None
) -> Difference:
    """Say how the two exports differ from this pair of records on.

    Reads both exports again, from the start and to the end, and holds neither.
    """
    difference = _classified(parting, control, candidate, owner)
    return replace(
        difference,
        number=parting.number,
        around=(
            *_numbered("both", control, parting.number - CONTEXT_RECORDS, parting.number),
            *_numbered("control", control, parting.number, parting.number + CONTEXT_RECORDS),
            *_numbered("candidate", candidate, parting.number, parting.number + CONTEXT_RECORDS),
            *_uneven_counts(control, candidate),
        ),
    )


def _classified(
    parting: Parting, control: Records, candidate: Records, owner: Owner | None
) -> Difference:
    expected, found = parting.expected, parting.found
    if found is None:
        return _lacking(expected or {}, found)
    place = _position(control, identity_of(found))
    if expected is None:
        return _surplus(expected, found, place, owner)
    if identity_of(expected) == identity_of(found):
        return _within_record(expected, found)
    is_kept = _position(candidate, identity_of(expected)) is not None
    if place is None and not is_kept and _is_renamed(expected, found, owner):
        return _within_record(expected, found)
    if place is None or place < parting.number:
        return _surplus(expected, found, place, owner)
    if not is_kept:
        return _lacking(expected, found)
    return _misplaced(expected, found, control, candidate)


def _within_record(expected: Record, found: Record) -> Difference:
    """Name the first field, in the control's order, in which two forms of a record differ."""
    names = dict.fromkeys((*expected, *found))
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
    expected: Record | None, found: Record, place: int | None, owner: Owner | None
) -> Difference:
    """Describe a record that the control has not at all, or had before (`place`)."""
    kind, hint = Kind.EXTRA, ""
    stranger = owner(found) if owner and place is None else None
    if place is not None:
        kind, hint = Kind.DUPLICATE, f"it was record {place} already: does a join multiply it?"
    elif stranger is not None and stranger != found.get("run_id"):
        kind, hint = Kind.CROSS_RUN, f"run {stranger} owns it: follow rows.run_id, not nodes"
    return Difference(
        kind=kind,
        expected=_named(expected),
        found=_named(found),
        record_type=type_of(found).name,
        record=label(found),
        hint=hint,
    )


def _lacking(expected: Record, found: Record | None) -> Difference:
    """Describe a record that the candidate never emits."""
    return Difference(
        kind=Kind.MISSING,
        expected=_named(expected),
        found=_named(found),
        record_type=type_of(expected).name,
        record=label(expected),
        hint=hints.of_lack(expected),
    )


def _misplaced(expected: Record, found: Record, control: Records, candidate: Records) -> Difference:
    """Describe a record that both exports hold at different places."""
    kind = type_of(expected)
    shared = kind.name == found["record_type"]
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


def _is_renamed(expected: Record, found: Record, owner: Owner | None) -> bool:
    """Whether two records of different identity are one whose id was changed."""
    return expected["record_type"] == found["record_type"] and not (owner and owner(found))


def _position(records: Records, identity: Identity) -> int | None:
    """Where the record of this identity stands first, counted from 1."""
    numbered = enumerate(records, start=1)
    return next((number for number, each in numbered if identity_of(each) == identity), None)


def _same_field(one: Record, other: Record, name: str) -> bool:
    if name not in one or name not in other:
        return name not in one and name not in other
    return same_value(one[name], other[name])


def _numbered(side: str, records: Records, first: int, end: int) -> Iterator[str]:
    """Show the records from a number up to another, a line each."""
    first = max(first, 1)
    for number, record in enumerate(islice(records, first - 1, end - 1), start=first):
        yield f"{side:<9}  {number:>6}  {_placed(record)}"


def _placed(record: Record) -> str:
    """Show a record with what it is sorted by."""
    key, order = type_of(record).key, type_of(record).order
    values = ", ".join(
        f"{name}={record[name]}" for name in order if name in record.keys() - set(key)
    )
    return f"{label(record)} ({values})" if values else label(record)


def _uneven_counts(control: Records, candidate: Records) -> tuple[str, ...]:
    """Tell the record types that the two hold in different numbers."""
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
    """Take a str enum for its value."""
    if isinstance(value, str):
        return str(value.value) if isinstance(value, Enum) else str(value)
    return value


def _first_word(error: str) -> str:
    """Take an error's class of its whole text, or `no error`."""
    return error.partition(":")[0]


def _shortened(text: str) -> str:
    excess = len(text) - _SHOWN_CHARACTERS
    return text if excess <= 0 else f"{text[:_SHOWN_CHARACTERS]}... and {excess} characters"
