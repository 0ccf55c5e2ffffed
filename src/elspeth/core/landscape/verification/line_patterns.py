"""Reads canonical lines of known form with one regular expression, many at a time.

The pattern is derived from the record shapes: sorted keys, no blanks, and values whose spelling
shows that they are valid and canonical. A block in which any line has another form, such as an
escape in a text or a number with an exponent, is left to the reader of single lines.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

Values: TypeAlias = tuple[str | None, ...]

# 15 digits are below 2^53. More digits, exponents and fractions below 1e-5 are rare.
_INTEGER = "0|-?[1-9][0-9]{0,14}"
# The last digit is not 0: RFC 8785 writes 5.0 as 5. Whether the digits are the shortest for the
# number is checked apart.
_FRACTION = r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]*[1-9]"
# Quicker than a class that leaves out newlines too. The number of newlines of a block shows that
# none of them is inside a text.
_TEXT = '[^"]*'
# A text with a backslash has an escape, of which several spell one character; a control character
# has to be escaped. Newlines are counted.
_REFUSED = bytes(byte for byte in range(0x20) if byte != ord("\n")) + b"\\"
_MARKED = bytes(0 if byte in _REFUSED else byte or 1 for byte in range(256))
_KEY_LENGTH = len(f',"{SIGNATURE}":"')
# Most records of a run are of the first types, and alternatives are tried in turn.
_FREQUENT = ("node_state", "call", "token", "row", "routing_event", "token_parent", "batch_member")


@dataclass(frozen=True, slots=True)
class LineKind:
    """The lines of one record type, in one status where a status forbids or requires values."""

    record_type: str
    groups: tuple[int, ...]
    """The groups of the key, of the parent's id, and of the values that siblings ascend by."""
    fraction_group: int
    """The group of a number with a fraction; 0 if the type has no such number."""
    signature_group: int
    """The group of the signature; 0 if the lines are unsigned."""
    sort_key: Callable[[Values], Any] | None
    """What siblings ascend by, given the values of the groups."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines that are valid and canonical, all signed or all unsigned."""

    kinds: Sequence[LineKind]
    values: Sequence[Values]
    """By line: the key, the parent's id, and the values that siblings ascend by."""
    messages: Sequence[bytes]
    """The bytes that the signatures cover; empty if the lines are unsigned."""
    signatures: Sequence[str]
    """What stands in the place of the signatures; empty if the lines are unsigned."""


class LinePatterns:
    """Reads blocks of lines of one run; its manifest is not among them."""

    def __init__(self, run_id: str, *, is_signed: bool) -> None:
        """Compile the pattern, which takes some hundredths of a second.

        Args:
            run_id: the run that all records must name.
            is_signed: whether the records must have a signature, or must not.
        """
        self._is_signed = is_signed
        self._kinds: dict[int, LineKind] = {}
        self._group_count = 0
        rules = {rule.record_type: rule for rule in ORDER_RULES}
        alternatives = [
            self._add(rules[name], status, run_id)
            for name in dict.fromkeys((*_FREQUENT, *rules))
            for status in _statuses(SHAPES[name])
        ]
        self._match = re.compile("|".join(alternatives)).match

    def read(self, content: bytes) -> Block | None:
        """Return whole lines that are certainly valid and canonical; None if any may not be."""
        if b"\0" in content.translate(_MARKED):
            return None
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return None
        kinds, values, messages, signatures = [], [], [], []
        fractions: list[str] = []
        match, known, is_signed = self._match, self._kinds, self._is_signed
        # The bytes have the offsets of the text if all of it is ASCII.
        source = content if len(content) == len(text) else _Encoded(text)
        position, end = 0, len(text)
        # Hot path, once per line: 0.6 µs for the match, where parsing, writing and a look at the
        # type of every value took 2.3 µs.
        while position < end:
            found = match(text, position)
            if found is None:
                return None
            # The last group of an alternative is empty and marks it.
            after = found.end()
            kind = known[found.lastindex or 0]
            kinds.append(kind)
            values.append(found.group(*kind.groups))
            if kind.fraction_group and (fraction := found[kind.fraction_group]) is not None:
                fractions.append(fraction)
            if is_signed:
                first, last = found.span(kind.signature_group)
                signatures.append(text[first:last])
                head = source[position : first - _KEY_LENGTH]
                messages.append(head + source[last + 1 : after - 1])
            position = after
        # Every line has a newline at its end, so with as many newlines as lines none is inside.
        if text.count("\n") != len(kinds) or not _are_shortest(fractions):
            return None
        return Block(kinds, values, messages, signatures)

    def _add(self, rule: OrderRule, status: str | None, run_id: str) -> str:
        """Add a kind of lines; return its pattern."""
        shape = SHAPES[rule.record_type]
        groups: dict[str, int] = {}
        fraction_group = 0
        needed = (rule.key_field, rule.parent_field, *rule.ascending)
        parts = []
        for name in sorted((*shape.fields, SIGNATURE) if self._is_signed else shape.fields):
            pattern = _TEXT if name == SIGNATURE else _value(shape, name, status, run_id)
            before, after = "", ""
            if name == SIGNATURE or shape.fields[name].types == TEXT:
                before = after = '"'
            if name in needed or name == SIGNATURE:
                groups[name] = self._next_group()
                pattern = f"({pattern})"
            elif name != SIGNATURE and shape.fields[name].types == NUMBER:
                # A record type has one such field at most.
                fraction_group = self._next_group()
                pattern = f"(?:{_INTEGER}|({_FRACTION}))"
            pattern = before + pattern + after
            if name != SIGNATURE:
                pattern = _or_null(shape, name, status, pattern)
            parts.append(f'"{name}":{pattern}')
        self._kinds[self._next_group()] = LineKind(
            rule.record_type,
            tuple(groups[name] for name in needed),
            fraction_group,
            groups.get(SIGNATURE, 0),
            _sort_key(rule),
        )
        return rf"\{{{','.join(parts)}\}}\n()"

    def _next_group(self) -> int:
        self._group_count += 1
        return self._group_count


class _Encoded:
    """A text whose slices are bytes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __getitem__(self, part: slice) -> bytes:
        return self._text[part].encode()


def _statuses(shape: RecordShape) -> Sequence[str | None]:
    """Return the statuses that need a pattern each; None for one pattern of all."""
    if not shape.null_when and not shape.required_when:
        return (None,)
    return sorted(shape.fields["status"].members or (), key=lambda name: name != "completed")


def _value(shape: RecordShape, name: str, status: str | None, run_id: str) -> str:
    """Return the pattern of a value that is not null, without the quotes of a text."""
    field = shape.fields[name]
    if name == "run_id":
        return re.escape(orjson.dumps(run_id).decode()[1:-1])
    if name == "status" and status is not None:
        return re.escape(status)
    if field.members is not None:
        return f"(?:{'|'.join(map(re.escape, sorted(field.members)))})"
    return _TEXT if field.types == TEXT else f"(?:{_INTEGER})"


def _or_null(shape: RecordShape, name: str, status: str | None, pattern: str) -> str:
    if name in shape.null_when.get(status or "", ()):
        # The groups are kept, so that their numbers are right; this look-ahead never matches.
        return f"(?:null|(?!){pattern})"
    is_nullable = shape.fields[name].nullable
    if is_nullable and name not in shape.required_when.get(status or "", ()):
        return f"(?:null|{pattern})"
    return pattern


def _sort_key(rule: OrderRule) -> Callable[[Values], Any] | None:
    """Return what `OrderRule.ascending` says, given the texts behind the key and the parent."""
    fields = SHAPES[rule.record_type].fields
    types = [fields[name].types for name in rule.ascending]
    if rule.allows_ties:
        return lambda values: (values[2] is None, int(values[2] or 0))
    if types == [INTEGER]:
        return lambda values: int(values[2] or 0)
    if types == [INTEGER, INTEGER]:
        return lambda values: (int(values[2] or 0), int(values[3] or 0))
    convert = [int if each == INTEGER else str for each in types]
    if not types:
        return None
    return lambda values: tuple(
        each(value or "") for each, value in zip(convert, values[2:], strict=True)
    )


def _are_shortest(fractions: Sequence[str]) -> bool:
    """Whether every fraction is written as RFC 8785 writes its number."""
    # From 1e-5 up orjson writes it so, and smaller ones with an exponent, which differs from these.
    joined = f"[{','.join(fractions)}]".encode()
    return orjson.dumps(orjson.loads(joined)) == joined
