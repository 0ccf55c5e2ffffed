"""Reads canonical lines of known form with regular expressions, many at a time.

The patterns are derived from the record shapes: sorted keys, no blanks, and values whose spelling
shows that they are valid and canonical. A block in which any line has another form, such as an
escape in a text or a number with an exponent, is left to the reader of single lines.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import add
from typing import Any, TypeAlias

import orjson

from elspeth.core.landscape.verification.record_order import ORDER_RULES, OrderRule
from elspeth.core.landscape.verification.record_shapes import (
    INTEGER,
    NUMBER,
    SHAPES,
    SIGNATURE,
    TEXT,
    RecordShape,
)

Column: TypeAlias = Sequence[bytes]
"""One group of a pattern over many lines; empty where the group has matched nothing."""
_Lines: TypeAlias = Iterator[tuple[Any, ...]]
"""The values of one line after another, in the order of the fields of `Block`."""

_SIGNATURE_BYTES = 64
# 15 digits are below 2^53. More digits, exponents and fractions below 1e-5 are rare.
_INTEGER = "0|-?[1-9][0-9]{0,14}"
# The last digit is not 0: RFC 8785 writes 5.0 as 5. Whether the digits are the shortest for the
# number is checked apart.
_FRACTION = r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]*[1-9]"
# Quicker than a class that leaves out newlines too. That there are as many matches as newlines
# shows that none of them is inside a text. Possessive: what follows is never in the class.
_TEXT = '[^"]*+'
_SIGNATURE_TEXT = f'[^"]{{{_SIGNATURE_BYTES}}}'
# A text with a backslash has an escape, of which several spell one character; a control character
# has to be escaped. Newlines are counted.
_REFUSED = bytes(byte for byte in range(0x20) if byte != ord("\n")) + b"\\"
# The first keys of no two record types are alike up to here.
_START_LENGTH = len(b'{"art')
_FRACTION_GROUP = "fraction"
_MARKED = bytes(0 if byte in _REFUSED else byte or 1 for byte in range(256))


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines that are valid and canonical, all signed or all unsigned."""

    record_types: Sequence[str]
    """By line, as all that follows."""
    keys: Sequence[str]
    parent_ids: Sequence[str]
    sort_keys: Sequence[Any]
    """What a record ascends by among its siblings; None if by nothing."""
    messages: Sequence[bytes] = ()
    """The bytes that the signatures cover; empty if the lines are unsigned."""
    signatures: Sequence[bytes] = ()
    """What stands in the place of the signatures, 64 bytes; empty if the lines are unsigned."""


class LinePatterns:
    """Reads blocks of lines of one run; its manifest is not among them."""

    def __init__(self, run_id: str, *, is_signed: bool) -> None:
        """Compile the patterns, which takes some hundredths of a second.

        Args:
            run_id: the run that all records must name.
            is_signed: whether the records must have a signature, or must not.
        """
        patterns = [_LinePattern(rule, run_id, is_signed=is_signed) for rule in ORDER_RULES]
        # Every type has another first key. Were two alike, the lines of one would match no pattern
        # and be read one by one.
        self._by_start = {each.start[:_START_LENGTH]: each for each in patterns}

    def read(self, content: bytes) -> Block | None:
        """Return whole lines that are certainly valid and canonical; None if any may not be."""
        if b"\0" in content.translate(_MARKED):
            return None
        try:
            content.decode()
        except UnicodeDecodeError:
            return None
        # Hot path: the lines of one type are matched by one call into C, 0.7 µs for a line, and put
        # back into their order. Parsing, writing and a look at the type of every value took 2.3 µs,
        # and a call for every line of one pattern for all types 2.0 µs.
        lines = content.splitlines(keepends=True)
        patterns = list(map(self._by_start.get, [line[:_START_LENGTH] for line in lines]))
        by_pattern: defaultdict[_LinePattern | None, list[bytes]] = defaultdict(list)
        for pattern, line in zip(patterns, lines, strict=True):
            by_pattern[pattern].append(line)
        found: dict[_LinePattern | None, _Lines] = {}
        for pattern, alike in by_pattern.items():
            read = None if pattern is None else pattern.read(alike)
            if read is None:
                return None
            found[pattern] = read
        in_order = map(next, map(found.__getitem__, patterns))
        return Block(*zip(*in_order, strict=True))


class _LinePattern:
    """The lines of one record type."""

    def __init__(self, rule: OrderRule, run_id: str, *, is_signed: bool) -> None:
        shape = SHAPES[rule.record_type]
        self.record_type = rule.record_type
        self.start = f'{{"{min(shape.fields)}":'.encode()
        names = {rule.key_field, rule.parent_field, *rule.ascending}
        text = _line(shape, names, run_id, is_signed=is_signed)
        # From the beginning of a line to its end, so that as many matches as lines are all lines.
        pattern = re.compile(f"^{text}\n".encode(), re.MULTILINE)
        self._find_all = pattern.findall
        self._at = {name: group - 1 for name, group in pattern.groupindex.items()}
        self._rule = rule
        self._sort_keys = _sort_keys(rule)

    def read(self, lines: Sequence[bytes]) -> "_Lines | None":
        """Return what the lines hold; None if any of them has another form."""
        found = self._find_all(b"".join(lines))
        if len(found) != len(lines):
            return None
        columns: Sequence[Column] = list(zip(*found, strict=True))
        at, rule = self._at, self._rule
        if _FRACTION_GROUP in at and not _are_shortest(columns[at[_FRACTION_GROUP]]):
            return None
        values: list[Iterable[Any]] = [
            repeat(self.record_type),
            _texts(columns[at[rule.key_field]]),
            _texts(columns[at[rule.parent_field]]),
            self._sort_keys([columns[at[name]] for name in rule.ascending]),
        ]
        if SIGNATURE in at:
            values.append(map(add, columns[at["head"]], columns[at["tail"]]))
            values.append(columns[at[SIGNATURE]])
        return zip(*values, strict=False)


def _line(shape: RecordShape, captured: Container[str], run_id: str, *, is_signed: bool) -> str:
    """Return the pattern of a line, with a named group for every value that is needed.

    Args:
        shape: the record type.
        captured: the fields that get a group of their name.
        run_id: the run that the lines must name.
        is_signed: whether there is a signature. The bytes before and after it are the groups
            `head` and `tail` then.
    """
    names = sorted(shape.fields)
    rules = _status_rules(shape)
    fields = {name: _field(shape, name, captured, run_id) for name in names}
    if not is_signed:
        # A second group, without which `findall` would return no tuples for some types.
        return rf"\{{{','.join(fields.values())}\}}{rules}()"
    head = ",".join(fields[name] for name in names if name < SIGNATURE)
    tail = "".join(f",{fields[name]}" for name in names if name > SIGNATURE)
    signature = rf'"{SIGNATURE}":"(?P<{SIGNATURE}>{_SIGNATURE_TEXT})"'
    return rf"(?P<head>\{{{head}),{signature}(?P<tail>{tail}\}}){rules}"


def _field(shape: RecordShape, name: str, captured: Container[str], run_id: str) -> str:
    """Return the pattern of a field: its key and its value."""
    field = shape.fields[name]
    if name == "run_id":
        value = re.escape(orjson.dumps(run_id).decode()[1:-1])
    elif name == "status" and _depends_on_status(shape):
        # Empty groups: `findall` makes no new object for what such a one has matched.
        value = "|".join(f"{member}(?P<is_{member}>)" for member in sorted(field.members or ()))
    elif field.members is not None:
        value = "|".join(map(re.escape, sorted(field.members)))
    elif field.types == NUMBER:
        # A record type has one such field at most.
        value = f"(?P<{_FRACTION_GROUP}>{_FRACTION})|{_INTEGER}"
    else:
        value = _TEXT if field.types == TEXT else _INTEGER
    value = f"(?P<{name}>{value})" if name in captured else f"(?:{value})"
    if field.types == TEXT:
        value = f'"{value}"'
    if field.nullable:
        null = f"null(?P<no_{name}>)" if name in _depends_on_status(shape) else "null"
        value = f"(?:{value}|{null})"
    return f'"{name}":{value}'


def _depends_on_status(shape: RecordShape) -> Collection[str]:
    """Return the fields that some status forbids or requires."""
    by_status = (*shape.null_when.values(), *shape.required_when.values())
    return {name for names in by_status for name in names}


def _status_rules(shape: RecordShape) -> str:
    """Return a pattern that matches nothing, and only where the status allows the nulls."""
    required = (
        f"(?(is_{status})(?(no_{name})(?!)))"
        for status, names in shape.required_when.items()
        for name in names
    )
    forbidden = (
        f"(?(is_{status})(?(no_{name})|(?!)))"
        for status, names in shape.null_when.items()
        for name in names
    )
    return "".join((*required, *forbidden))


def _sort_keys(rule: OrderRule) -> Callable[[Sequence[Column]], Iterable[Any]]:
    """Return what gives the sort keys of `OrderRule.ascending`, from the columns of its fields."""
    fields = SHAPES[rule.record_type].fields
    if not rule.ascending:
        return lambda _: repeat(None)
    if rule.allows_ties:
        return lambda columns: ((not value, int(value or 0)) for value in columns[0])
    convert = [
        partial(map, int) if fields[name].types == INTEGER else _texts for name in rule.ascending
    ]
    if len(convert) == 1:
        return lambda columns: convert[0](columns[0])
    return lambda columns: zip(
        *(each(column) for each, column in zip(convert, columns, strict=True)), strict=True
    )


def _texts(column: Column) -> Sequence[str]:
    # No value holds a newline.
    return b"\n".join(column).decode().split("\n")


def _are_shortest(fractions: Iterable[bytes]) -> bool:
    """Whether every fraction is written as RFC 8785 writes its number."""
    # From 1e-5 up orjson writes it so, and smaller ones with an exponent, which differs from these.
    joined = b"[%b]" % b",".join(filter(None, fractions))
    return orjson.dumps(orjson.loads(joined)) == joined
