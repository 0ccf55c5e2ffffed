"""What an attestation says: which bytes an export has, of which run, and what stood there before.

The form is an in-toto statement, so that its subject can be matched by digest with other tools.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

# What can be wrong with an attestation, or between one and its export: codes for scripts.


class Flaw(StrEnum):
    """Why an attestation does not stand. `docs/attestation.md` explains them."""

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
    """Nothing can be attested here, and nothing was changed; the message says what to do."""


class FlawedAttestationError(AttestationError):
    """A file that is no sound attestation under the keys at hand, and why."""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(message)
        self.flaw = flaw


STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:elspeth:landscape-export:1"

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class _Digest(_Part):
    sha256: _Sha256


class Subject(_Part):
    """The export: the name of its file or directory, and the digest of its content."""

    digest: _Digest
    name: str


class Predicate(_Part):
    """What is stated of the export."""

    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    """How many exports were attested in this place, this one included."""
    previous: _Sha256 | None
    """SHA-256 of the attestation before this one, its whole file; null for the first."""
    attested_at: str
    exported_at: str | None
    """As the export's manifest says; null for an unsigned export."""
    run_id: str
    format: Literal["jsonl", "csv"]
    size_bytes: _Count
    manifest_hash: _Sha256 | None
    """The manifest's `final_hash`, over all signatures; null for an unsigned export."""
    record_counts: dict[str, _Count]
    """Records in the file, by type, the manifest included."""
    table_counts: dict[str, _Count]
    """Rows of the run in the database, by table, read right after the export was in place."""

    @model_validator(mode="after")
    def _first_has_none_before_it(self) -> "Predicate":
        if (self.sequence == 1) != (self.previous is None):
            raise ValueError("the first attestation of a place, and no other, has none before it")
        for moment in filter(None, (self.attested_at, self.exported_at)):
            if datetime.fromisoformat(moment).tzinfo is None:
                raise ValueError("a moment without its offset")
        return self


class Statement(_Part):
    """An in-toto statement about one export."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Subject]
    predicate_type: Literal["urn:elspeth:landscape-export:1"] = Field(alias="predicateType")
    predicate: Predicate

    @property
    def name(self) -> str:
        """The name of the file or directory that it is about."""
        return self.subject[0].name

    @property
    def sha256(self) -> str:
        """The digest of its content; of a directory, over the names and digests of its files."""
        return self.subject[0].digest.sha256

    def payload(self) -> bytes:
        """Return it as canonical JSON (RFC 8785). Raises ValueError for a lone surrogate."""
        return rfc8785.dumps(self.model_dump(by_alias=True, mode="json"))


def statement_about(name: str, sha256: str, predicate: Predicate) -> Statement:
    """State the predicate of an export of that name and digest."""
    return Statement.model_validate(
        {
            "_type": STATEMENT_TYPE,
            "subject": (Subject(name=name, digest=_Digest(sha256=sha256)),),
            "predicateType": PREDICATE_TYPE,
            "predicate": predicate,
        }
    )


def read_statement(payload: bytes) -> Statement:
    """Read a payload back. Raises FlawedAttestationError when it is not just so written."""
    try:
        statement = Statement.model_validate_json(payload)
        if statement.payload() == payload:
            return statement
    except (ValidationError, rfc8785.CanonicalizationError):
        pass
    raise FlawedAttestationError(Flaw.MALFORMED, "states nothing that an attestation states")
