"""The statement of an attestation: an export's digest, its run, and the attestation before it.

The format is an in-toto statement, so that other tools can match its subject by digest.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:elspeth:landscape-export:1"


class AttestationReason(StrEnum):
    """Codes for what is wrong with an attestation, explained in `docs/attestation.md`."""

    NO_ATTESTATION = "NO_ATTESTATION"
    MALFORMED = "MALFORMED"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    FORGED = "FORGED"
    MISSING_EXPORT = "MISSING_EXPORT"
    FOREIGN_EXPORT = "FOREIGN_EXPORT"
    NOT_ATTESTED = "NOT_ATTESTED"
    ROLLED_BACK = "ROLLED_BACK"
    CONTENT = "CONTENT"
    CHAIN = "CHAIN"
    GAP = "GAP"


class AttestationError(ValueError):
    """The export cannot be attested and nothing was changed; the message says what to do."""


class InvalidAttestationError(AttestationError):
    """A file is not a valid attestation under the given keys, for this reason."""

    def __init__(self, reason: AttestationReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    # Strict: pydantic would otherwise read "2" and true as numbers.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class _Digest(_Part):
    sha256: _Sha256


class Subject(_Part):
    """The export: the name of its file or directory, and the digest of its content."""

    digest: _Digest
    name: str


class Predicate(_Part):
    """The facts that the statement states about the export."""

    # RFC 8785 writes numbers as doubles, which are exact below 2^53.
    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    """The number of exports attested in this place, this one included."""
    previous: _Sha256 | None
    """SHA-256 of the file of the attestation before this one; null for the first."""
    attested_at: str
    exported_at: str | None
    """The manifest's `exported_at`; null for an unsigned export."""
    run_id: str
    format: Literal["jsonl", "csv"]
    size_bytes: _Count
    manifest_hash: _Sha256 | None
    """The manifest's `final_hash`, over all signatures; null for an unsigned export."""
    record_counts: dict[str, _Count]
    """Records in the file, by type, the manifest included."""
    table_counts: dict[str, _Count]
    """Rows of the run in the database, by table, read right after the export was in place."""
    left_out: Annotated[str, Field(min_length=1)] | None = None
    """What the export leaves out on request, as its manifest names it; absent for nothing."""
    orphans: Annotated[int, Field(ge=1)] | None = None
    """Children without a parent that were accepted, and left out; absent for none."""

    @model_validator(mode="after")
    def _check_chain_and_times(self) -> "Predicate":
        if (self.sequence == 1) != (self.previous is None):
            raise ValueError("only the first attestation of a place has no previous one")
        # Times are compared to tell which of two exports is older, and Python cannot compare a
        # time with an offset to one without.
        for time in filter(None, (self.attested_at, self.exported_at)):
            if datetime.fromisoformat(time).tzinfo is None:
                raise ValueError("a time without its UTC offset")
        return self


class Statement(_Part):
    """An in-toto statement about one export."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject]
    predicate_type: Literal["urn:elspeth:landscape-export:1"] = Field(alias="predicateType")
    predicate: Predicate

    @property
    def name(self) -> str:
        """The name of the exported file or directory."""
        return self.subject[0].name

    @property
    def sha256(self) -> str:
        """The digest of the file; of a directory, over the names and digests of its files."""
        return self.subject[0].digest.sha256

    def payload(self) -> bytes:
        """Return the statement as canonical JSON. Raises ValueError for a lone surrogate."""
        content: dict[str, Any] = self.model_dump(by_alias=True, mode="json")
        # Absent, so that the statement of an export that leaves out nothing keeps its bytes.
        for name in ("left_out", "orphans"):
            if content["predicate"][name] is None:
                del content["predicate"][name]
        return rfc8785.dumps(content)


def new_statement(name: str, sha256: str, predicate: Predicate) -> Statement:
    """Return the statement about an export.

    Args:
        name: the name of the file or directory.
        sha256: the digest, as in `Fingerprint.sha256`.
        predicate: the facts to state.
    """
    return Statement.model_validate(
        {
            "_type": STATEMENT_TYPE,
            "subject": (Subject(name=name, digest=_Digest(sha256=sha256)),),
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def read_statement(payload: bytes) -> Statement:
    """Read a payload that `Statement.payload` wrote.

    Raises:
        InvalidAttestationError: the payload is anything else.
    """
    try:
        statement = Statement.model_validate_json(payload)
        # Other spacing, key order or escapes would parse to the same statement.
        if statement.payload() == payload:
            return statement
    except (ValidationError, rfc8785.CanonicalizationError):
        pass
    raise InvalidAttestationError(
        AttestationReason.MALFORMED, "not the statement of an attestation in its canonical form"
    )
