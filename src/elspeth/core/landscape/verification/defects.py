"""The facts of a verification: a parsed line, the defects that it can have, and the result."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]

# Keeps memory flat for any file. Real lines have hundreds of bytes: PostgreSQL limits exported
# texts to 512 characters. SQLite enforces no lengths, so an export can hold longer lines.
MAX_LINE_BYTES = 64 * 1024 * 1024
"""The length of the longest line that is read, if no other limit is chosen."""

_LONGEST_REPR = 80


class Reason(StrEnum):
    """Codes for what is wrong with an export, explained in `docs/verification.md`."""

    EMPTY = "EMPTY"
    TORN_TAIL = "TORN_TAIL"
    TOO_LONG = "TOO_LONG"
    CORRUPT_JSON = "CORRUPT_JSON"
    CORRUPT_CSV = "CORRUPT_CSV"
    CORRUPT_COMPRESSION = "CORRUPT_COMPRESSION"
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


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong with an export: the code, the message, and the place.

    The modules that judge one record leave `line` and `file` empty; `Verifier` fills them in.
    """

    reason: Reason
    message: str
    line: int | None = None
    """Counted from 1; None when the defect concerns the export as a whole."""
    file: str = ""
    """The name of the file in a directory of CSV files; empty for JSON Lines."""
    unit: str = "line"
    """What `line` counts: lines, or the records of a JSON array."""

    def at(self, line: int, file: str, unit: str) -> "Defect":
        """Return the same defect with its place."""
        return replace(self, line=line, file=file, unit=unit)

    def __str__(self) -> str:
        line = "" if self.line is None else f"{self.unit} {self.line}"
        place = ", ".join(filter(None, (self.file, line)))
        return ": ".join(filter(None, (place, self.reason.value, self.message)))


# Hot path, one per record. Not frozen: a frozen dataclass takes three times as long to build, which
# cost a tenth of the time of a record.
@dataclass(slots=True)
class ParsedLine:
    """One line of an export: its record, or the defects of its form."""

    number: int
    """Counted from 1, in its file."""
    defects: Sequence[Defect] = ()
    record_type: str | None = None
    """None when the line holds no record with known fields and valid values."""
    record: Record = field(default_factory=dict)
    messages: Iterable[bytes] = ()
    """The byte strings that the signature may cover: one, or several for a CSV line."""
    signature: str | None = None
    file: str = ""
    unit: str = "line"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying one export."""

    run_id: str | None
    """The run that was expected, or else the run that the first record names."""
    is_signed: bool
    """False only for an unsigned export that was allowed to be unsigned."""
    record_count: int
    """Lines of the file, or of all CSV files; a missing manifest counts as one more."""
    valid_count: int
    defect_count: int
    defects: tuple[Defect, ...]
    """The first defects, at most 20; `defect_count` counts all of them."""
    every_signature_is_bad: bool = False
    key_id: str | None = None
    """The public name of the signing key; None when the export is unsigned or no key fits."""
    key_length: int | None = None
    """The length of that key in bytes."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The number of readable records by type, the manifest included."""
    manifest: Mapping[str, object] | None = None
    """The manifest without its signature; None when the export has none."""
    note: str = ""
    """What could not be checked in an export of this form; empty when all was checked."""

    @property
    def left_out(self) -> str:
        """What the export leaves out on request, as its manifest names it; empty for nothing."""
        return str((self.manifest or {}).get("left_out", ""))

    @property
    def ok(self) -> bool:
        """Whether the export is complete and has no defect."""
        return self.defect_count == 0

    def as_of_run(self, run_id: str) -> "Verification":
        """Return the result of the same export, of which another run is expected.

        Args:
            run_id: the expected run. An export of another run has one defect more.
        """
        if self.run_id in (None, run_id):
            return self
        message = f"of run {short_repr(self.run_id)}, not {short_repr(run_id)}"
        defects = (Defect(Reason.WRONG_RUN, message), *self.defects)
        return replace(self, defects=defects, defect_count=self.defect_count + 1)

    @property
    def hint(self) -> str | None:
        """The likely cause of all defects together, if there is one."""
        if self.every_signature_is_bad:
            return "every record fails: probably the wrong key"
        return None


def too_long(limit: int, besides: str = "") -> Defect:
    """Return the defect of a line that is longer than a limit in bytes."""
    message = f"longer than {limit:,} bytes{besides}; --max-line-bytes sets another limit"
    return Defect(Reason.TOO_LONG, message)


def short_repr(value: object) -> str:
    """Return the repr of a value of unknown origin and size, cut after 80 characters."""
    # Cut before repr too: a text may have 4 MiB.
    text = repr(value[:_LONGEST_REPR] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."
