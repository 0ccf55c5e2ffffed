"""Reads a JSON Lines export as bytes: one canonical record a line, or what is wrong with it."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import IO, Any

import rfc8785

from elspeth.contracts import errors
from elspeth.core.landscape.records import Record
from elspeth.core.landscape.verifying.familiar import FamiliarForms
from elspeth.core.landscape.verifying.fields import SIGNATURE, Shape
from elspeth.core.landscape.verifying.findings import Problem, Reason, shown
from elspeth.core.landscape.verifying.reading import MAX_LINE_BYTES, Reading

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
