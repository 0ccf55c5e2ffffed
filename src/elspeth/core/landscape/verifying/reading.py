"""What one line of an export says, read from either format, before it is judged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from elspeth.core.landscape.records import Record
from elspeth.core.landscape.verifying.findings import Problem

MAX_LINE_BYTES = 4 * 1024 * 1024
"""The longest line that is read. Exported texts are limited to 512 characters where the database
enforces it, so lines have hundreds of bytes; the bound is what keeps memory flat."""


# Frozen, it would take three times as long to make, which is a tenth of verifying a record.
@dataclass(slots=True)
class Reading:
    """One line as read: the record in it, if there is one, and what is wrong with its form."""

    line: int
    problems: Sequence[Problem] = ()
    kind: str | None = None
    """The record type; None when the line holds no record with known fields and values."""
    record: Record = field(default_factory=dict)
    messages: Iterable[bytes] = ()
    """What the signature may have been computed over: one, unless the format leaves it open."""
    signature: str | None = None
    file: str = ""
