"""What can be wrong with an attestation, or between one and its export: codes for scripts."""

from enum import StrEnum


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
