"""Attests an export that was just put in place: the next link of the chain beside it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from elspeth.core.clock import Clock, utc_now
from elspeth.core.error_text import describe_failure
from elspeth.core.landscape.attestation.dsse import Opener, Sealer, opened, sealed
from elspeth.core.landscape.attestation.statement import (
    AttestationError,
    Flaw,
    FlawedAttestationError,
    Predicate,
    Statement,
    read_statement,
    statement_about,
)
from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.output.atomic import UnconfirmedExportError, new_file, refuse_unusable
from elspeth.core.landscape.output.publish import Fingerprint, fingerprint
from elspeth.core.landscape.verification.verify import Verification, verify
from elspeth.core.safe_open import read_small_file

# The sidecar: the file beside an export that holds its attestation.


SUFFIX = ".attestation.json"
MOST_BYTES = 2**16
"""An attestation has about 2,000 bytes, and names of at most 255 bytes in it."""


@dataclass(frozen=True)
class Sidecar:
    """An attestation that was read: what it says, and the public name of the key that signed it."""

    path: Path
    statement: Statement
    key_id: str
    digest: str
    """SHA-256 of the file, by which the next attestation names it."""

    @property
    def predicate(self) -> Predicate:
        """What it states of the export."""
        return self.statement.predicate

    @property
    def exported_at(self) -> datetime | None:
        """When the export was made, if it says so."""
        stated = self.predicate.exported_at
        return None if stated is None else datetime.fromisoformat(stated)


def sidecar_of(export: Path) -> Path:
    """Return where the attestation of an export belongs."""
    return export.with_name(export.name + SUFFIX)


def read_sidecar(path: Path, openers: Sequence[Opener]) -> Sidecar:
    """Read an attestation, and make sure that one of the keys signed it.

    Raises FileNotFoundError when there is none, FlawedAttestationError when it is not sound.
    """
    try:
        content = read_small_file(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FlawedAttestationError(Flaw.MALFORMED, f"cannot be read: {error.strerror}") from error
    envelope = opened(content, openers)
    statement = read_statement(envelope.payload)
    return Sidecar(path, statement, envelope.key_id, hashlib.sha256(content).hexdigest())


CountTables: TypeAlias = Callable[[], Mapping[str, int]]
"""Counts the rows of the exported run, by the name of their table."""


@dataclass(frozen=True)
class Attester:
    """Who attests: a key to sign with, and the keys of attestations made before a rotation."""

    sealer: Sealer
    earlier: Sequence[Opener] = ()
    clock: Clock = field(default=utc_now, repr=False)

    def begin(self, target: Path) -> "NextAttestation":
        """Look at what is attested in a place so far, before an export to it.

        Raises AttestationError when that cannot be continued, and OSError when there is no such
        folder.
        """
        path = sidecar_of(target)
        refuse_unusable(path)
        try:
            target.name.encode()
        except UnicodeEncodeError:
            raise AttestationError("The name of an attested export has to be UTF-8") from None
        return NextAttestation(self, target, self._previous(path, target.name))

    def _previous(self, path: Path, name: str) -> Sidecar | None:
        try:
            previous = read_sidecar(path, (self.sealer, *self.earlier))
        except FileNotFoundError:
            return None
        except FlawedAttestationError as error:
            raise AttestationError(
                f"{path} does not stand ({error.flaw}: {error}), so no chain can go on from it. "
                "Find out why; name the key that it was made with; or keep it elsewhere, and "
                "begin a new chain without it"
            ) from error
        if previous.statement.name != name:
            raise AttestationError(
                f"{path} is the attestation of {previous.statement.name!r}, another place: keep "
                "it elsewhere, and begin a new chain without it"
            )
        return previous


@dataclass(frozen=True)
class NextAttestation:
    """The place of an export, and the attestation that the next one there will follow."""

    attester: Attester
    target: Path
    previous: Sidecar | None

    def attest(
        self, written: Fingerprint, run_id: str, key: bytes | None, tables: CountTables
    ) -> Sidecar:
        """Attest the export that was put in place with these bytes; return what stands beside it.

        It is read back, and has to verify under the signing key, or unsigned without one, and to
        hold as many records as `tables` says that the database has rows, asked now. Raises
        UnconfirmedExportError when it cannot be attested: it stays in place, the attestation
        before it too.
        """
        path = sidecar_of(self.target)
        try:
            with new_file(path) as file:
                self._refuse_if_overtaken(path)
                content = sealed(
                    self._statement(written, run_id, key, tables).payload(), self.attester.sealer
                )
                if len(content) > MOST_BYTES:
                    raise AttestationError("its run has an id that is too long to attest")
                file.write(content)
        except (OSError, ValueError, SQLAlchemyError) as error:
            raise UnconfirmedExportError(
                f"{self.target} is complete and in place, but not attested: "
                f"{describe_failure(error)}. Export again to attest it"
            ) from error
        return read_sidecar(path, (self.attester.sealer,))

    def attest_what_is_there(self, run_id: str, key: bytes | None, tables: CountTables) -> Sidecar:
        """Attest an export whose own attestation was cut off; nothing if it is attested already.

        Raises AttestationError for one that is not known to be younger than the one attested last:
        whoever put an older export back must not get it attested.
        """
        there = fingerprint(self.target)
        previous = self.previous
        if previous is not None and previous.statement.sha256 == there.sha256:
            return previous
        if previous is not None:
            found = verify(self.target, key, run_id=run_id, allow_unsigned=key is None)
            exported_at = moment_of(found)
            if exported_at is None or previous.exported_at is None:
                raise AttestationError(
                    "no manifest tells whether it is younger than the export attested last; "
                    "export again"
                )
            if exported_at < previous.exported_at:
                raise AttestationError("it is older than the export attested last; export again")
        return self.attest(there, run_id, key, tables)

    def _refuse_if_overtaken(self, path: Path) -> None:
        try:
            digest = hashlib.sha256(read_small_file(path, MOST_BYTES)).hexdigest()
        except FileNotFoundError:
            digest = None
        if digest != (self.previous and self.previous.digest):
            raise AttestationError("another export to the same place was attested meanwhile")

    def _statement(
        self, written: Fingerprint, run_id: str, key: bytes | None, tables: CountTables
    ) -> Statement:
        if fingerprint(self.target) != written:
            raise AttestationError("its bytes are no longer those that were written")
        found = verify(self.target, key, run_id=run_id, allow_unsigned=key is None)
        if not found.ok:
            raise AttestationError(f"it does not verify: {found.findings[0]}")
        stored = tables()
        _refuse_if_written_meanwhile(found, stored)
        stated_format: Literal["jsonl", "csv"] = "csv" if self.target.is_dir() else "jsonl"
        manifest = found.manifest or {}
        return statement_about(
            self.target.name,
            written.sha256,
            Predicate(
                sequence=1 if self.previous is None else self.previous.predicate.sequence + 1,
                previous=None if self.previous is None else self.previous.digest,
                attested_at=self.attester.clock().isoformat(),
                exported_at=_text(manifest.get("exported_at")),
                run_id=run_id,
                format=stated_format,
                size_bytes=written.size_bytes,
                manifest_hash=_text(manifest.get("final_hash")),
                record_counts=dict(found.counts),
                table_counts=dict(stored),
            ),
        )


def moment_of(found: Verification) -> datetime | None:
    """When a signed export says that it was made; None when it does not, or is not sound."""
    stated = (found.manifest or {}).get("exported_at")
    try:
        moment = datetime.fromisoformat(str(stated))
    except ValueError:
        return None
    return moment if found.ok and found.key_id and moment.tzinfo else None


def _refuse_if_written_meanwhile(found: Verification, tables: Mapping[str, int]) -> None:
    for kind in RECORD_TYPES:
        exported, stored = found.counts.get(kind.name, 0), tables[kind.table.name]
        if exported != stored:
            raise AttestationError(
                f"it holds {exported:,} records of type {kind.name}, the database {stored:,}: the "
                "run was written to meanwhile"
            )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
