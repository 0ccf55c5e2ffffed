"""Attests an export that was just published, as the next link of the chain beside it."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from elspeth.core.clock import Clock, utc_now
from elspeth.core.error_text import describe_failure
from elspeth.core.landscape.attestation.check import (
    MOST_BYTES,
    Attestation,
    attestation_path,
    export_time,
    read_attestation,
)
from elspeth.core.landscape.attestation.dsse import Signer, VerificationKey, sign_envelope
from elspeth.core.landscape.attestation.statement import (
    AttestationError,
    InvalidAttestationError,
    Predicate,
    Statement,
    new_statement,
)
from elspeth.core.landscape.keys import Keyring
from elspeth.core.landscape.output.atomic import UnconfirmedExportError, new_file, refuse_unusable
from elspeth.core.landscape.output.publish import Fingerprint, fingerprint
from elspeth.core.landscape.verification.defects import Verification
from elspeth.core.landscape.verification.record_shapes import TABLE_NAMES
from elspeth.core.landscape.verification.verify import verify
from elspeth.core.safe_open import read_small_file

CountTables: TypeAlias = Callable[[], Mapping[str, int]]
"""Returns the number of rows of the exported run by table name."""


@dataclass(frozen=True)
class Attester:
    """The key that signs attestations, and the keys of attestations before a rotation."""

    signer: Signer
    earlier_keys: Sequence[VerificationKey] = ()
    clock: Clock = field(default=utc_now, repr=False)

    def begin(self, target: Path, leave_out: Iterable[str] = ()) -> "PendingAttestation":
        """Read the latest attestation of a place, before an export to it.

        Args:
            target: the path of the export.
            leave_out: the names of what the export leaves out.

        Raises:
            AttestationError: the chain cannot be continued.
            OSError: the folder does not exist.
        """
        path = attestation_path(target)
        # Before the export, not after it: the suffix may make the name too long.
        refuse_unusable(path)
        # The statement is JSON, which cannot hold the surrogates of other names.
        try:
            target.name.encode()
        except UnicodeEncodeError:
            raise AttestationError("The name of an attested export has to be UTF-8") from None
        left_out = ",".join(sorted(set(leave_out)))
        return PendingAttestation(self, target, self._previous(path, target.name), left_out)

    def _previous(self, path: Path, name: str) -> Attestation | None:
        try:
            previous = read_attestation(path, (self.signer, *self.earlier_keys))
        except FileNotFoundError:
            return None
        except InvalidAttestationError as error:
            raise AttestationError(
                f"{path} is not valid ({error.reason}: {error}), so the chain cannot go on from "
                "it. Find out why; name the key that it was made with; or keep it elsewhere, and "
                "begin a new chain without it"
            ) from error
        if previous.statement.name != name:
            raise AttestationError(
                f"{path} is the attestation of {previous.statement.name!r}, another place: keep "
                "it elsewhere, and begin a new chain without it"
            )
        return previous


@dataclass(frozen=True)
class PendingAttestation:
    """An export that will be attested, and the latest attestation of its place."""

    attester: Attester
    target: Path
    previous: Attestation | None
    left_out: str = ""

    def attest(
        self,
        written: Fingerprint,
        run_id: str,
        signing_key: bytes | Keyring | None,
        count_tables: CountTables,
        *,
        orphans: int = 0,
    ) -> Attestation:
        """Write the attestation of the published export, and return it as read back.

        The export is read back too. It must verify, and hold as many records as the database has
        rows.

        Args:
            written: the fingerprint of the bytes that were written.
            run_id: the exported run.
            signing_key: the key that the export is signed with, or a keyring that holds it; None
                for an unsigned export.
            count_tables: counts the rows of the run; called after the export is verified.
            orphans: the number of children without a parent that were accepted and left out.

        Raises:
            UnconfirmedExportError: the export cannot be attested. The export and the previous
                attestation stay in place.
        """
        path = attestation_path(self.target)
        try:
            # Under the lock of the new file, so that two exports cannot both pass the check and
            # both become number N + 1.
            with new_file(path) as file:
                self._refuse_if_overtaken(path)
                statement = self._statement(written, run_id, signing_key, count_tables, orphans)
                content = sign_envelope(statement.payload(), self.attester.signer)
                if len(content) > MOST_BYTES:
                    raise AttestationError("its run has an id that is too long to attest")
                file.write(content)
        except (OSError, ValueError, SQLAlchemyError) as error:
            raise UnconfirmedExportError(
                f"{self.target} is complete and in place, but not attested: "
                f"{describe_failure(error)}. Export again to attest it"
            ) from error
        # Read back, so that the reported attestation is the one on disk.
        return read_attestation(path, (self.attester.signer,))

    def attest_existing(
        self,
        run_id: str,
        signing_key: bytes | Keyring | None,
        count_tables: CountTables,
        *,
        orphans: int = 0,
    ) -> Attestation:
        """Attest an export whose process ended before attesting it; do nothing if it is attested.

        Args:
            run_id: the exported run.
            signing_key: the key that the export is signed with, or a keyring that holds it; None
                for an unsigned export.
            count_tables: counts the rows of the run.
            orphans: as in `attest`.

        Raises:
            AttestationError: the export is not known to be younger than the attested one.
            UnconfirmedExportError: as in `attest`.
        """
        actual = fingerprint(self.target)
        previous = self.previous
        if previous is not None and previous.statement.sha256 == actual.sha256:
            return previous
        # An older export that was put back must not become attested as the newest.
        if previous is not None:
            made = export_time(self._verify(run_id, signing_key))
            if made is None or previous.exported_at is None:
                raise AttestationError(
                    "no manifest tells whether it is younger than the export attested last; "
                    "export again"
                )
            if made < previous.exported_at:
                raise AttestationError("it is older than the export attested last; export again")
        return self.attest(actual, run_id, signing_key, count_tables, orphans=orphans)

    def _refuse_if_overtaken(self, path: Path) -> None:
        try:
            digest = hashlib.sha256(read_small_file(path, MOST_BYTES)).hexdigest()
        except FileNotFoundError:
            digest = None
        if digest != (self.previous and self.previous.digest):
            raise AttestationError("another export to the same place was attested meanwhile")

    def _verify(self, run_id: str, signing_key: bytes | Keyring | None) -> Verification:
        return verify(self.target, signing_key, run_id=run_id, allow_unsigned=signing_key is None)

    def _statement(
        self,
        written: Fingerprint,
        run_id: str,
        signing_key: bytes | Keyring | None,
        count_tables: CountTables,
        orphans: int,
    ) -> Statement:
        # Read back from disk, because the attestation is about the bytes that a reader finds.
        if fingerprint(self.target) != written:
            raise AttestationError("its bytes are no longer those that were written")
        verification = self._verify(run_id, signing_key)
        if not verification.ok:
            raise AttestationError(f"it does not verify: {verification.defects[0]}")
        # An unsigned export has no manifest, and only the attestation says what it leaves out.
        if verification.manifest is not None and verification.left_out != self.left_out:
            raise AttestationError(
                f"it leaves out {verification.left_out or 'nothing'!r} on request, "
                f"not {self.left_out or 'nothing'!r}"
            )
        # Counted last, so that rows written since the export's snapshot show as a difference.
        stored = count_tables()
        _refuse_other_counts(verification, stored)
        export_format: Literal["jsonl", "csv"] = "csv" if self.target.is_dir() else "jsonl"
        manifest = verification.manifest or {}
        return new_statement(
            self.target.name,
            written.sha256,
            Predicate(
                sequence=1 if self.previous is None else self.previous.predicate.sequence + 1,
                previous=None if self.previous is None else self.previous.digest,
                attested_at=self.attester.clock().isoformat(),
                exported_at=_text(manifest.get("exported_at")),
                run_id=run_id,
                format=export_format,
                size_bytes=written.size_bytes,
                manifest_hash=_text(manifest.get("final_hash")),
                record_counts=dict(verification.counts),
                table_counts=dict(stored),
                left_out=self.left_out or None,
                orphans=orphans or None,
            ),
        )


def _refuse_other_counts(verification: Verification, stored: Mapping[str, int]) -> None:
    """Refuse a run that was written to between its export and the count of its rows."""
    for record_type, table in TABLE_NAMES.items():
        exported = verification.counts.get(record_type, 0)
        if exported != stored[table]:
            raise AttestationError(
                f"it holds {exported:,} records of type {record_type}, the database "
                f"{stored[table]:,}: the run was written to meanwhile"
            )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
