"""A fast way to read lines of a form that was read exactly before: for speed alone.

Whatever it is not sure of it leaves to the exact reading. A line that it accepts is byte for byte
what orjson writes for the parsed values, and they are values for which orjson writes canonical
JSON (RFC 8785): text, null, integers up to 2^53 - 1, and numbers with a fraction from 1e-5 up,
under sorted ASCII keys. So the line is its own canonical form, whatever parsed it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter

import orjson

from elspeth.core.landscape.records import Record
from elspeth.core.landscape.verifying.fields import SIGNATURE, Shape
from elspeth.core.landscape.verifying.reading import MAX_LINE_BYTES, Reading

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
