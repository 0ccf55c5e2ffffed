"""What `landscape verify` does: check an export, and if asked the attestation beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.landscape.attestation import Attested, Opener, sidecar_of
from elspeth.core.landscape.attestation import check as check_attestation
from elspeth.core.landscape.keys import Keyring
from elspeth.core.landscape.verification.verify import Verification, verify


@dataclass(frozen=True)
class ByAttestation:
    """That the attestation is to be checked too, by which keys, and against what is remembered."""

    openers: Sequence[Opener]
    at_least: int | None = None
    follows: Sequence[Path] = ()
    can_stand_for_signatures: bool = False
    """Whether records need no key of their own, because others than who made them cannot attest."""


@dataclass(frozen=True)
class Request:
    """What is to be checked, and how."""

    path: Path
    key: bytes | Keyring | None
    run_id: str | None = None
    unique: bool = False
    allow_unsigned: bool = False
    by_attestation: ByAttestation | None = None

    def answer(self) -> "Answer":
        """Check it. Raises OSError, and SigningKeyError when the export is signed and no key."""
        by = self.by_attestation
        if by is None:
            return Answer(self, self._verify())
        is_missing = not self.path.exists() and sidecar_of(self.path).exists()
        found = None if is_missing else self._verify(unchecked=by.can_stand_for_signatures)
        attested = check_attestation(
            self.path, by.openers, found, at_least=by.at_least, follows=by.follows
        )
        return Answer(self, found, attested)

    def _verify(self, *, unchecked: bool = False) -> Verification:
        return verify(
            self.path,
            self.key,
            run_id=self.run_id,
            unique=self.unique,
            allow_unsigned=self.allow_unsigned,
            unchecked=unchecked,
        )


@dataclass(frozen=True)
class Answer:
    """What checking found."""

    request: Request
    found: Verification | None
    """None when the export is not there."""
    attested: Attested | None = None

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for holds."""
        is_attested = self.attested is None or self.attested.ok
        return is_attested and self.found is not None and self.found.ok

    def lines(self) -> Iterator[str]:
        """Say it, the worst first, and end with how many records are valid."""
        if self.attested is not None:
            yield from map(str, self.attested.findings)
        if self.found is not None:
            yield from self._about_export(self.found)
        if self.attested is not None and self.attested.sidecar is not None and self.attested.ok:
            sidecar = self.attested.sidecar
            stated = sidecar.predicate
            yield (
                f"attested as number {stated.sequence} on {stated.attested_at} "
                f"with key {sidecar.key_id}"
            )
        if self.found is not None:
            yield f"{self.found.valid_count:,}/{self.found.record_count:,} valid"

    def _about_export(self, found: Verification) -> Iterator[str]:
        for finding in found.findings:
            yield f"{self.request.path}: {finding}"
        if found.finding_count > len(found.findings):
            yield f"... and {found.finding_count - len(found.findings):,} more"
        if found.hint:
            yield found.hint
        if isinstance(self.request.key, Keyring) and found.key_id is not None:
            yield f"signed with key {found.key_id}"
        if not found.is_signed:
            yield "unsigned: nothing shows who wrote it"
        elif self.request.key is None:
            yield "signatures of records not checked: there is no signing key"
