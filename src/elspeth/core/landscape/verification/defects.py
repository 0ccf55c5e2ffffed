"""What one line of an export says, read from either format, before it is judged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from elspeth.core.landscape.export.record_types import Record

# What a verification finds: the reasons why an export is not valid, and where.


_LONGEST_SHOWN = 80


class Reason(StrEnum):
    """Why an export does not verify. Codes for scripts; `docs/verification.md` explains them."""

    EMPTY = "EMPTY"
    TORN_TAIL = "TORN_TAIL"
    TOO_LONG = "TOO_LONG"
    CORRUPT_JSON = "CORRUPT_JSON"
    CORRUPT_CSV = "CORRUPT_CSV"
    NOT_CANONICAL = "NOT_CANONICAL"
    FOREIGN_FILE = "FOREIGN_FILE"
    SPREADSHEET_COPY = "SPREADSHEET_COPY"
    UNKNOWN_TYPE = "UNKNOWN_TYPE"
    FIELDS = "FIELDS"
    VALUE = "VALUE"
    UNSIGNED = "UNSIGNED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    WRONG_RUN = "WRONG_RUN"
    ORDER = "ORDER"
    DUPLICATE = "DUPLICATE"
    TRUNCATED = "TRUNCATED"
    TRAILING_DATA = "TRAILING_DATA"
    COUNT = "COUNT"
    HASH = "HASH"


class Problem(NamedTuple):
    """One thing wrong with a record, before it is said where."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with an export: which reason, in words, and where."""

    reason: Reason
    message: str
    line: int | None = None
    """Counted from 1; None when the export as a whole is meant."""
    file: str = ""
    """The file's name in a directory of CSV files."""

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}"
        where = ", ".join(filter(None, (self.file, line)))
        return ": ".join(filter(None, (where, self.reason.value, self.message)))


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking one export found. `findings` holds the first ones, `finding_count` all."""

    run_id: str | None
    """The run that was expected, or else the one that the first record names."""
    is_signed: bool
    """False only for an unsigned export that was allowed to be."""
    record_count: int
    """Lines of the file, or of all CSV files; a manifest that is missing counts as one more."""
    valid_count: int
    finding_count: int
    findings: tuple[Finding, ...]
    every_signature_is_bad: bool = False
    key_id: str | None = None
    """The public name of the key that signed it; None when it is unsigned, or no key fits."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many records of each type could be read, the manifest included."""
    manifest: Mapping[str, object] | None = None
    """The manifest as read, without its signature; None when there is none."""

    @property
    def ok(self) -> bool:
        """Whether everything holds that has to hold for a complete export."""
        return self.finding_count == 0

    @property
    def hint(self) -> str | None:
        """What the findings together suggest, if anything."""
        if self.every_signature_is_bad:
            return "every record fails: probably the wrong key"
        return None


def shown(value: object) -> str:
    """Show a value of unknown origin and size in a message."""
    text = repr(value[:_LONGEST_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


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
