"""`landscape verify`: verifies an export, and on request the attestation beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elspeth.core.landscape.keys import MINIMUM_KEY_BYTES, Keyring
from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES
from elspeth.core.landscape.verification.verify import Verification, verify

# Imported when an attestation is checked: its JSON is read with pydantic, which takes time to load.
if TYPE_CHECKING:
    from elspeth.core.landscape.attestation import AttestationResult, VerificationKey


@dataclass(frozen=True)
class AttestationOptions:
    """How to check the attestation: the accepted keys, and the known earlier attestations."""

    keys: "Sequence[VerificationKey]"
    at_least: int | None = None
    follows: Sequence[Path] = ()
    # True for Ed25519, whose verification key cannot sign. A holder of an HMAC key could have made
    # the attestation, so that one cannot stand in for the signatures of records.
    can_replace_signing_key: bool = False
    """Whether the attestation is enough where no key can check the signatures of records."""


@dataclass(frozen=True)
class VerifyRequest:
    """An export to verify, and the options."""

    path: Path
    key: bytes | Keyring | None
    run_id: str | None = None
    unique: bool = False
    allow_unsigned: bool = False
    attestation: AttestationOptions | None = None
    max_line_bytes: int | None = None
    jobs: int = 1

    def run(self) -> "VerifyResult":
        """Verify the export, and its attestation if `attestation` is set.

        Raises:
            OSError: something cannot be read.
            SigningKeyError: the export is signed and the key is missing.
        """
        options = self.attestation
        if options is None:
            return VerifyResult(self, self._verify())
        from elspeth.core.landscape.attestation import attestation_path, check_attestation

        # An export that is missing beside its attestation is a failed verification (exit code 1),
        # while a path with neither of them is an input error (exit code 3).
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
            max_line_bytes=self.max_line_bytes or MAX_LINE_BYTES,
            jobs=self.jobs,
        )


@dataclass(frozen=True)
class VerifyResult:
    """The result of a request, and the lines to print about it."""

    request: VerifyRequest
    verification: Verification | None
    """None when the export is missing."""
    attested: "AttestationResult | None" = None
    """None when the attestation was not checked."""

    @property
    def ok(self) -> bool:
        """Whether the export is valid, and its attestation too if it was checked."""
        is_attested = self.attested is None or self.attested.ok
        return is_attested and self.verification is not None and self.verification.ok

    def lines(self) -> Iterator[str]:
        """Yield the lines to print: defects first, the number of valid records last."""
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
            # An unsigned export has no manifest that says it.
            if stated.left_out and not (self.verification and self.verification.left_out):
                yield f"left out on request: {stated.left_out}"
            if stated.orphans:
                yield f"left out, because their parents are missing: {stated.orphans:,}"
        if self.verification is not None:
            yield f"{self.verification.valid_count:,}/{self.verification.record_count:,} valid"

    def _describe_export(self, verification: Verification) -> Iterator[str]:
        for defect in verification.defects:
            yield f"{self.request.path}: {defect}"
        if verification.defect_count > len(verification.defects):
            yield f"... and {verification.defect_count - len(verification.defects):,} more"
        if verification.hint:
            yield verification.hint
        if verification.note:
            yield verification.note
        if verification.left_out:
            yield f"left out on request: {verification.left_out}"
        # With a single key the user knows which one it was.
        if isinstance(self.request.key, Keyring) and verification.key_id is not None:
            yield f"signed with key {verification.key_id}"
        if not verification.is_signed:
            yield "unsigned: nothing shows who wrote it"
        elif self.request.key is None:
            yield "signatures of records not checked: no signing key was given"
        elif verification.key_length is not None and verification.key_length < MINIMUM_KEY_BYTES:
            yield f"signed with a key of {verification.key_length} bytes, which can be guessed"
