"""`landscape verify`: verifies an export, and on request the attestation beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.landscape.attestation import (
    AttestationResult,
    VerificationKey,
    attestation_path,
    check_attestation,
)
from elspeth.core.landscape.keys import Keyring
from elspeth.core.landscape.verification.verify import Verification, verify


@dataclass(frozen=True)
class AttestationOptions:
    """How to check the attestation: by which keys, and against what is remembered."""

    keys: Sequence[VerificationKey]
    at_least: int | None = None
    follows: Sequence[Path] = ()
    can_replace_signing_key: bool = False
    """Whether an attestation vouches for records whose signatures cannot be checked. True for
    Ed25519: a holder of the verification key cannot have made the attestation."""


@dataclass(frozen=True)
class VerifyRequest:
    """What to verify, and how."""

    path: Path
    key: bytes | Keyring | None
    run_id: str | None = None
    unique: bool = False
    allow_unsigned: bool = False
    attestation: AttestationOptions | None = None

    def run(self) -> "VerifyResult":
        """Verify.

        Raises:
            OSError: something cannot be read.
            SigningKeyError: the export is signed and the key is missing.
        """
        options = self.attestation
        if options is None:
            return VerifyResult(self, self._verify())
        is_missing = not self.path.exists() and attestation_path(self.path).exists()
        verification = (
            None if is_missing else self._verify(allow_unchecked=options.can_replace_signing_key)
        )
        attested = check_attestation(
            self.path,
            options.keys,
            verification,
            at_least=options.at_least,
            follows=options.follows,
        )
        return VerifyResult(self, verification, attested)

    def _verify(self, *, allow_unchecked: bool = False) -> Verification:
        return verify(
            self.path,
            self.key,
            run_id=self.run_id,
            unique=self.unique,
            allow_unsigned=self.allow_unsigned,
            allow_unchecked=allow_unchecked,
        )


@dataclass(frozen=True)
class VerifyResult:
    """The result of a request, and its words."""

    request: VerifyRequest
    verification: Verification | None
    """None when the export is missing."""
    attested: AttestationResult | None = None
    """None when the attestation was not to be checked."""

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for holds."""
        is_attested = self.attested is None or self.attested.ok
        return is_attested and self.verification is not None and self.verification.ok

    def lines(self) -> Iterator[str]:
        """Yield what to print, the worst first and the number of valid records last."""
        if self.attested is not None:
            yield from map(str, self.attested.defects)
        if self.verification is not None:
            yield from self._describe_export(self.verification)
        if self.attested is not None and self.attested.ok and self.attested.attestation is not None:
            attestation = self.attested.attestation
            stated = attestation.predicate
            yield (
                f"attested as number {stated.sequence} on {stated.attested_at} "
                f"with key {attestation.key_id}"
            )
        if self.verification is not None:
            yield f"{self.verification.valid_count:,}/{self.verification.record_count:,} valid"

    def _describe_export(self, verification: Verification) -> Iterator[str]:
        for defect in verification.defects:
            yield f"{self.request.path}: {defect}"
        if verification.defect_count > len(verification.defects):
            yield f"... and {verification.defect_count - len(verification.defects):,} more"
        if verification.hint:
            yield verification.hint
        if isinstance(self.request.key, Keyring) and verification.key_id is not None:
            yield f"signed with key {verification.key_id}"
        if not verification.is_signed:
            yield "unsigned: nothing shows who wrote it"
        elif self.request.key is None:
            yield "signatures of records not checked: no signing key was given"
