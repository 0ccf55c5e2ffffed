"""Reads a JSON Lines export as bytes: one canonical record a line, or what is wrong with it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import IO, Any

import orjson
import rfc8785

from elspeth.contracts import errors
from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.verification.defects import (
    MAX_LINE_BYTES,
    Problem,
    Reading,
    Reason,
    shown,
)
from elspeth.core.landscape.verification.record_shapes import SIGNATURE, Shape

# A fast way to read lines of a form that was read exactly before: for speed alone.
#
# Whatever it is not sure of it leaves to the exact reading. A line that it accepts is byte for byte
# what orjson writes for the parsed values, and they are values for which orjson writes canonical
# JSON (RFC 8785): text, null, integers up to 2^53 - 1, and numbers with a fraction from 1e-5 up,
# under sorted ASCII keys. So the line is its own canonical form, whatever parsed it.


_SLOT = b',"signature":"'
_BEHIND_SIGNATURE = 64 + len(b'"')
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_STRICT_INTEGER
_SMALLEST_ALIKE = 1e-5


class FamiliarForms:
    """The forms of the lines so far: their keys in order, and the classes of their values.

    There are finitely many, since each has passed the exact check of a known record type.
    """

    def __init__(self) -> None:
        self._forms: dict[tuple[str | type, ...], _Form] = {}

    def read(self, number: int, line: bytes) -> Reading | None:
        """Read a line that is sound and canonical beyond doubt; None for any other."""
        if len(line) > MAX_LINE_BYTES:
            return None
        try:
            record = orjson.loads(line)
            form = self._form_of(record)
            if form is None or orjson.dumps(record, option=_OPTIONS) != line:
                return None
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return None
        # A quote inside a text is escaped, so the slot is found nowhere but where the key stands.
        # A signature of another length than 64 is wrong, whatever it is then compared with.
        head, _, rest = line.partition(_SLOT)
        message = head + rest[_BEHIND_SIGNATURE:-1]
        return Reading(number, (), form.kind, record, (message,), record[SIGNATURE])

    def _form_of(self, record: object) -> "_Form | None":
        """The known form of a record whose fractions are ones that are written alike."""
        if type(record) is not dict:
            return None
        form = self._forms.get((*record, *map(type, record.values())))
        if form is None or form.members_of(record) not in form.members:
            return None
        for name in form.fractions:
            number = record[name]
            if number.is_integer() or -_SMALLEST_ALIKE < number < _SMALLEST_ALIKE:
                return None
        return form

    def learn(self, shape: Shape, reading: Reading) -> None:
        """Remember the form of a signed line in which the exact reading found no problem."""
        if reading.signature is None:
            return
        record = {**reading.record, SIGNATURE: reading.signature}
        record = {key: record[key] for key in sorted(record)}
        classes = tuple(map(type, record.values()))
        form = self._forms.setdefault((*record, *classes), _new_form(shape, record))
        form.members.add(form.members_of(record))


@dataclass(slots=True)
class _Form:
    """Which enum members were seen in records of a form, and which of its fields are fractions."""

    kind: str
    members_of: Callable[[Record], tuple[str, ...]]
    fractions: tuple[str, ...]
    members: set[tuple[str, ...]] = field(default_factory=set)


def _new_form(shape: Shape, record: Record) -> _Form:
    names = [name for name, each in shape.fields.items() if each.members is not None]
    return _Form(
        shape.name,
        # The record type is one of the names; given twice it makes a tuple where it is the only.
        itemgetter(*names, names[0]),
        tuple(name for name, value in record.items() if type(value) is float),
    )


_TOO_LONG = (Problem(Reason.TOO_LONG, f"longer than {MAX_LINE_BYTES:,} bytes"),)
_TORN = (Problem(Reason.TORN_TAIL, "the last line has no newline: its end is missing"),)


def read_jsonl(file: IO[bytes], shapes: Mapping[str, Shape]) -> Iterator[Reading]:
    """Yield what each line says. Holds one line at a time; raises OSError."""
    familiar = FamiliarForms()
    next_line = partial(file.readline, MAX_LINE_BYTES + 1)
    for number, line in enumerate(iter(next_line, b""), start=1):
        reading = familiar.read(number, line)
        if reading is None:
            reading = _read_exactly(number, line, shapes)
            _skip_to_newline(line, next_line)
            if reading.kind is not None and not reading.problems:
                familiar.learn(shapes[reading.kind], reading)
        yield reading


def _skip_to_newline(line: bytes, next_part: Callable[[], bytes]) -> None:
    """Go past the rest of a line that is too long to be held."""
    while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
        line = next_part()


def _read_exactly(number: int, line: bytes, shapes: Mapping[str, Shape]) -> Reading:
    """Read a line by the definitions: json, rfc8785 and the fields of its type."""
    if len(line) > MAX_LINE_BYTES:
        return Reading(number, _TOO_LONG)
    if not line.endswith(b"\n"):
        return Reading(number, _TORN)
    try:
        record = _parse(line)
        canonical = rfc8785.dumps(record)
    except _UnreadableError as error:
        return Reading(number, (error.problem,))
    except rfc8785.CanonicalizationError as error:
        return Reading(number, (_without_canonical_form(str(error)),))
    except UnicodeEncodeError as error:
        # A key with half a surrogate pair, which rfc8785 itself refuses in values only.
        return Reading(number, (_without_canonical_form(error.reason),))
    problems = [] if canonical == line[:-1] else [_NOT_CANONICAL]
    unsound = _unsound(record, shapes)
    if unsound is not None:
        return Reading(number, (*problems, unsound))
    return _reading(number, problems, record)


def _without_canonical_form(reason: str) -> Problem:
    return Problem(Reason.NOT_CANONICAL, f"has no canonical form: {reason}")


_NOT_CANONICAL = Problem(
    Reason.NOT_CANONICAL, "differs from the canonical form of what it says (RFC 8785)"
)


def _reading(number: int, problems: list[Problem], record: Record) -> Reading:
    signature = record.pop(SIGNATURE, None)
    return Reading(
        number,
        problems,
        record["record_type"],
        record,
        (rfc8785.dumps(record),),
        signature if isinstance(signature, str) else None,
    )


class _UnreadableError(ValueError):
    """A line that is no JSON object of plain values."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(reason, message)


def _parse(line: bytes) -> Record:
    try:
        record = json.loads(
            line.decode(), parse_int=_number, parse_float=_number, parse_constant=_no_number
        )
    except RecursionError:
        raise _UnreadableError(Reason.CORRUPT_JSON, "nested too deep") from None
    except ValueError as error:
        raise _UnreadableError(Reason.CORRUPT_JSON, f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise _UnreadableError(Reason.CORRUPT_JSON, "not a JSON object")
    for name, value in record.items():
        if isinstance(value, dict | list):
            message = f"{shown(name)} holds an object or a list; every field is a plain value"
            raise _UnreadableError(Reason.VALUE, message)
    return record


def _number(digits: str) -> int | float:
    """Read a number as the double that it is (RFC 8785, section 3.2.2.3), however it is written.

    A duration of 1e16 is written 10000000000000000, which no canonical integer may be.
    """
    number = float(digits)
    is_integer = number.is_integer() and abs(number) <= errors.MAX_INTEGER
    return int(number) if is_integer else number


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _unsound(record: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Problem | None:
    """What is wrong with a record's type, fields or values."""
    kind = record.get("record_type")
    shape = shapes.get(kind) if isinstance(kind, str) else None
    if shape is None:
        return Problem(Reason.UNKNOWN_TYPE, f"no record type {shown(kind)}")
    return shape.problem(record)
