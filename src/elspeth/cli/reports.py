"""What `--json` prints: one document for a command, published as docs/landscape.schema.json."""

import json
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    from elspeth.core.landscape.attestation import Attestation

Outcome = Literal["passed", "failed", "inconclusive", "skipped"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Report(_Part):
    format: Literal["landscape/1"] = "landscape/1"
    outcome: Outcome
    exit_code: int
    """The exit code of the command. An error that ends a command prints no document."""


class RunEntry(_Part):
    """A run of the database."""

    run_id: str
    started_at: str
    status: str
    export_status: str | None
    """The status of its export by settings; null where there was none."""
    rows: int
    tokens: int
    node_states: int
    records: int


class RunsReport(_Report):
    """`landscape runs`: the runs, newest first."""

    command: Literal["runs"] = "runs"
    runs: tuple[RunEntry, ...]
    warning: str | None = None


class AttestationEntry(_Part):
    """An attestation beside an export."""

    path: str
    sequence: int
    attested_at: str
    key_id: str

    @classmethod
    def of(cls, attestation: "Attestation") -> Self:
        """Return the entry of an attestation that was read."""
        stated = attestation.predicate
        return cls(
            path=str(attestation.path),
            sequence=stated.sequence,
            attested_at=stated.attested_at,
            key_id=attestation.key_id,
        )


class ExportEntry(_Part):
    """The export of a run. A run that was not exported has a reason, and no digest."""

    run_id: str
    outcome: Outcome
    exit_code: int
    path: str
    reason: str | None = None
    """Why the run was not exported, or the export is unconfirmed or skipped."""
    record_count: int | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    """Of the uncompressed bytes; of a directory, over the names and digests of its files."""
    compression: Literal["gzip", "zstd"] | None = None
    left_out: tuple[str, ...] = ()
    orphans: int = 0
    """Children without a parent, which were accepted and left out."""
    attestation: AttestationEntry | None = None
    spreadsheet_copy: str | None = None
    formula_cells: dict[str, int] = Field(default_factory=dict)
    """By file: texts that a spreadsheet would run as formulas."""


class ExportReport(_Report):
    """`landscape export`: the exports, one for every chosen run."""

    command: Literal["export"] = "export"
    exports: tuple[ExportEntry, ...]


class ReconciledEntry(_Part):
    """An export that was pending."""

    run_id: str
    outcome: Outcome
    export_status: str
    reason: str


class ReconcileReport(_Report):
    """`landscape reconcile`: the exports that were pending."""

    command: Literal["reconcile"] = "reconcile"
    exports: tuple[ReconciledEntry, ...]


class DefectEntry(_Part):
    """One thing wrong with an export or an attestation."""

    reason: str
    """A code that docs/verification.md or docs/attestation.md explains."""
    message: str
    file: str = ""
    line: int | None = None


class VerifiedEntry(_Part):
    """An export, and what verifying it found."""

    path: str
    outcome: Outcome
    exit_code: int
    reason: str | None = None
    """Why the export could not be verified, or was skipped."""
    run_id: str | None = None
    is_signed: bool | None = None
    key_id: str | None = None
    record_count: int | None = None
    valid_count: int | None = None
    defect_count: int | None = None
    defects: tuple[DefectEntry, ...] = ()
    """The first defects, at most twenty."""
    attestation: AttestationEntry | None = None
    """The attestation, if it was checked and is valid."""
    attestation_defects: tuple[DefectEntry, ...] = ()
    left_out: str = ""
    note: str = ""


class MissingEntry(_Part):
    """Something that should be there: an attested export, or the export of a completed run."""

    kind: Literal["export", "run", "attestation"]
    name: str
    message: str


class VerifyReport(_Report):
    """`landscape verify`: the exports, and what is missing."""

    command: Literal["verify"] = "verify"
    exports: tuple[VerifiedEntry, ...]
    missing: tuple[MissingEntry, ...] = ()


class AttestReport(_Report):
    """`landscape attest`: the attestation of an export."""

    command: Literal["attest"] = "attest"
    path: str
    run_id: str | None
    attestation: AttestationEntry | None
    """Null where the export does not verify."""
    is_new: bool
    """False for an export that was attested already."""
    defects: tuple[DefectEntry, ...] = ()


class ShowReport(_Report):
    """`landscape show`: the chosen records, with their signatures, not verified."""

    command: Literal["show"] = "show"
    records: tuple[dict[str, str | int | float | None], ...]
    defects: tuple[DefectEntry, ...] = ()
    """Lines that cannot be read."""


class AdviceEntry(_Part):
    """A missing index or a slow query plan, and the statement that mends it."""

    problem: str
    why: str
    statement: str | None


class DoctorReport(_Report):
    """`landscape doctor`: what was found in the database."""

    command: Literal["doctor"] = "doctor"
    advice: tuple[AdviceEntry, ...]
    orphans: tuple[str, ...]
    warning: str | None = None


Report = Annotated[
    RunsReport
    | ExportReport
    | ReconcileReport
    | VerifyReport
    | AttestReport
    | ShowReport
    | DoctorReport,
    Field(discriminator="command"),
]


def reports_schema() -> str:
    """Return the JSON Schema of all reports, as published in docs/landscape.schema.json."""
    schema = TypeAdapter(Report).json_schema(mode="serialization")
    title = "What the landscape command prints with --json"
    return json.dumps({"title": title, **schema}, indent=2) + "\n"
