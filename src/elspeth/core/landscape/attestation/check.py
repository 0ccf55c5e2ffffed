"""Reads attestations, and checks an export against the attestation beside it and earlier ones.

A person who puts back an older export can put back its attestation as well. Only a sequence number
or a copy of an attestation that was kept elsewhere detects that.
"""

import errno
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from elspeth.core.landscape.attestation.dsse import VerificationKey, open_envelope
from elspeth.core.landscape.attestation.statement import (
    AttestationError,
    AttestationReason,
    InvalidAttestationError,
    Predicate,
    Statement,
    read_statement,
)
from elspeth.core.landscape.output.publish import fingerprint
from elspeth.core.landscape.verification.defects import Verification
from elspeth.core.safe_open import read_small_file

SUFFIX = ".attestation.json"
MOST_BYTES = 2**16
"""The largest attestation; a usual one has about 2,000 bytes."""

_NOT_AN_EXPORT = (errno.ELOOP, errno.EINVAL)
"""The errors of opening a symbolic link, and anything else that is not a regular file."""


@dataclass(frozen=True)
class Attestation:
    """An attestation file: its statement, and the public name of the key that signed it."""

    path: Path
    statement: Statement
    key_id: str
    digest: str
    """SHA-256 of the file, which the next attestation holds as `previous`."""

    @property
    def predicate(self) -> Predicate:
        """The stated facts about the export."""
        return self.statement.predicate

    @property
    def exported_at(self) -> datetime | None:
        """When the export was made; None if the attestation does not state it."""
        stated = self.predicate.exported_at
        return None if stated is None else datetime.fromisoformat(stated)

    @property
    def summary(self) -> str:
        """The number, run and time of the attested export, for messages."""
        stated = self.predicate
        when = stated.exported_at or stated.attested_at
        return f"number {stated.sequence}, of run {stated.run_id!r} from {when}"


@dataclass(frozen=True, slots=True)
class AttestationDefect:
    """One thing wrong with an attestation or its export: the code, the message, and the file."""

    reason: AttestationReason
    message: str
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: {self.reason.value}: {self.message}"


@dataclass(frozen=True, slots=True)
class AttestationResult:
    """The result of checking an export against its attestation."""

    attestation: Attestation | None
    """The attestation beside the export; None when it is missing or invalid."""
    defects: tuple[AttestationDefect, ...]

    @property
    def ok(self) -> bool:
        """Whether the export is the attested one, and not known to be an older one."""
        return not self.defects


def attestation_path(export: Path) -> Path:
    """Return the path of an export's attestation.

    Raises:
        AttestationError: The path is the root of the file system, which has no name.
    """
    named = _named(export)
    if not named.name:
        raise AttestationError(f"{export} is no export, and nothing can stand beside it")
    return named.with_name(named.name + SUFFIX)


def _named(export: Path) -> Path:
    """Return a path of an export that ends in its name, as `.` and `..` do not."""
    return export if export.name not in ("", "..") else export.resolve()


def read_attestation(path: Path, keys: Sequence[VerificationKey]) -> Attestation:
    """Read an attestation and verify its signature.

    Args:
        path: the file.
        keys: the accepted keys.

    Raises:
        FileNotFoundError: the file is missing.
        InvalidAttestationError: the file is not a valid attestation under these keys.
    """
    try:
        content = read_small_file(path, MOST_BYTES)
    except FileNotFoundError:
        # Missing is a case of its own: the first export of a place has no attestation yet.
        raise
    except OSError as error:
        raise InvalidAttestationError(
            AttestationReason.MALFORMED, f"cannot be read: {error.strerror}"
        ) from error
    signed = open_envelope(content, keys)
    statement = read_statement(signed.payload)
    return Attestation(path, statement, signed.key_id, hashlib.sha256(content).hexdigest())


def check_attestation(
    export: Path,
    keys: Sequence[VerificationKey],
    verification: Verification | None,
    *,
    at_least: int | None = None,
    follows: Sequence[Path] = (),
) -> AttestationResult:
    """Check an export against its attestation, and the attestation against known earlier ones.

    Args:
        export: the exported file or directory.
        keys: the accepted keys, for all attestations.
        verification: the result of verifying the export itself; None when it is missing.
        at_least: the smallest sequence number that the attestation may have.
        follows: attestations of the same place that were kept elsewhere.

    Raises:
        OSError: the export or a file of `follows` cannot be read.
    """
    path = attestation_path(export)
    try:
        attestation = read_attestation(path, keys)
    except FileNotFoundError:
        missing = AttestationDefect(
            AttestationReason.NO_ATTESTATION, "the attestation is missing", path
        )
        return AttestationResult(None, (missing,))
    except InvalidAttestationError as error:
        return AttestationResult(None, (AttestationDefect(error.reason, str(error), path),))
    defects = [
        *_check_content(export, attestation, verification),
        *_check_sequence(attestation, at_least),
        *_check_chain(attestation, follows, keys),
    ]
    return AttestationResult(attestation, tuple(defects))


def export_time(verification: Verification) -> datetime | None:
    """Return the time in the manifest of an export; None when it is unsigned or does not verify."""
    stated = (verification.manifest or {}).get("exported_at")
    try:
        time = datetime.fromisoformat(str(stated))
    except ValueError:
        return None
    # Only a verified signature makes the time more than a claim of the file.
    return time if verification.ok and verification.key_id and time.tzinfo else None


def _check_content(
    export: Path, attestation: Attestation, verification: Verification | None
) -> Iterator[AttestationDefect]:
    stated = attestation.predicate
    if verification is None:
        message = f"missing, and attested as {attestation.summary}"
        yield AttestationDefect(AttestationReason.MISSING_EXPORT, message, export)
        return
    try:
        actual = fingerprint(export)
    except OSError as error:
        if error.errno not in _NOT_AN_EXPORT:
            raise
        message = f"not the export attested as {attestation.summary}: a link, or more than files"
        yield AttestationDefect(AttestationReason.FOREIGN_EXPORT, message, export)
        return
    if actual.sha256 != attestation.statement.sha256:
        yield _describe_other_export(export, attestation, verification)
        return
    # The same bytes at another place: the chain of that place says nothing about this one.
    if attestation.statement.name != _named(export).name:
        message = (
            f"it was made for {attestation.statement.name!r}, another place than "
            f"{_named(export).name!r}: verify the export under that name"
        )
        yield AttestationDefect(AttestationReason.FOREIGN_EXPORT, message, attestation.path)
    # The bytes are the attested ones, so a difference here is a false statement of the signer.
    manifest_hash = (verification.manifest or {}).get("final_hash")
    facts: tuple[tuple[str, object, object], ...] = (
        ("run", stated.run_id, verification.run_id),
        ("format", stated.format, "csv" if export.is_dir() else "jsonl"),
        ("size", stated.size_bytes, actual.size_bytes),
        ("manifest hash", stated.manifest_hash, manifest_hash),
        ("record counts", stated.record_counts, dict(verification.counts)),
    )
    # Without a manifest only the attestation says what was left out.
    if verification.manifest is not None:
        facts = (*facts, ("left_out", stated.left_out or "", verification.left_out))
    for fact, attested, found in facts:
        if attested != found:
            message = f"the attested {fact} is not that of the export, whose bytes are attested"
            yield AttestationDefect(AttestationReason.CONTENT, message, attestation.path)


def _describe_other_export(
    export: Path, attestation: Attestation, verification: Verification
) -> AttestationDefect:
    """Return the defect of an export that is not the attested one, by its name and time."""
    if attestation.statement.name != _named(export).name:
        message = f"not {attestation.statement.name!r}, whose attestation stands beside it"
        return AttestationDefect(AttestationReason.FOREIGN_EXPORT, message, export)
    # Without two times, or with equal ones, it is unknown which of the exports is older.
    made, attested = export_time(verification), attestation.exported_at
    if made is None or attested is None or made == attested:
        message = f"not the export attested as {attestation.summary}"
        return AttestationDefect(AttestationReason.FOREIGN_EXPORT, message, export)
    here = f"a sound export of run {verification.run_id!r} from {made.isoformat()}"
    if made < attested:
        message = f"{here}, older than the one attested as {attestation.summary}"
        return AttestationDefect(AttestationReason.ROLLED_BACK, message, export)
    message = (
        f"{here}, younger than the one attested as {attestation.summary}: made without attesting, "
        "or cut off before it was attested, or brought from elsewhere; export again to attest"
    )
    return AttestationDefect(AttestationReason.NOT_ATTESTED, message, export)


def _check_sequence(attestation: Attestation, at_least: int | None) -> Iterator[AttestationDefect]:
    if at_least is not None and attestation.predicate.sequence < at_least:
        yield _rolled_back(attestation, at_least)


def _check_chain(
    attestation: Attestation, follows: Sequence[Path], keys: Sequence[VerificationKey]
) -> Iterator[AttestationDefect]:
    kept = []
    for path in follows:
        try:
            kept.append(read_attestation(path, keys))
        except InvalidAttestationError as error:
            yield AttestationDefect(error.reason, str(error), path)
    # In order of number, because `follows` may be given in any order, and each pair of neighbours
    # has to be linked.
    links = sorted((*kept, attestation), key=lambda link: link.predicate.sequence)
    for earlier, later in pairwise(links):
        yield from _check_link(earlier, later)
    newest = links[-1].predicate.sequence
    if newest > attestation.predicate.sequence:
        yield _rolled_back(attestation, newest)


def _rolled_back(attestation: Attestation, known: int) -> AttestationDefect:
    message = f"number {attestation.predicate.sequence}, older than number {known}, which is known"
    return AttestationDefect(AttestationReason.ROLLED_BACK, message, attestation.path)


def _check_link(earlier: Attestation, later: Attestation) -> Iterator[AttestationDefect]:
    """Yield a defect if two neighbours among the known attestations do not form a chain."""
    first, second = earlier.predicate.sequence, later.predicate.sequence
    # The kept copy of the attestation beside the export.
    if earlier.digest == later.digest:
        return
    if earlier.statement.name != later.statement.name:
        names = f"{earlier.statement.name!r} and {later.statement.name!r}"
        reason, message = AttestationReason.CHAIN, f"of two places, {names}"
    elif first == second:
        reason = AttestationReason.CHAIN
        message = f"{earlier.path} is another number {first}: one chain became two"
    elif second > first + 1:
        # Only the hashes of the attestations between could link these two.
        missing = f"{first + 1}" if second == first + 2 else f"{first + 1} to {second - 1}"
        reason = AttestationReason.GAP
        message = (
            f"number {second} does not show that it follows {earlier.path}, number {first}, "
            f"without number {missing}"
        )
    elif later.predicate.previous != earlier.digest:
        reason = AttestationReason.CHAIN
        message = f"number {second} follows another number {first} than {earlier.path}"
    else:
        return
    yield AttestationDefect(reason, message, later.path)
