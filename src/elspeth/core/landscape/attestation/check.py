"""Checks an export against the attestation beside it, and that against attestations kept elsewhere.

The attestation beside an export can be put back together with an older export: only something
remembered elsewhere can tell. That is a sequence number, or an attestation that was copied away.
"""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from elspeth.core.landscape.attestation.create import Sidecar, moment_of, read_sidecar, sidecar_of
from elspeth.core.landscape.attestation.dsse import Opener
from elspeth.core.landscape.attestation.statement import Flaw, FlawedAttestationError
from elspeth.core.landscape.output.publish import fingerprint
from elspeth.core.landscape.verification.verify import Verification

_NO_EXPORT = (errno.ELOOP, errno.EINVAL)
"""What reading says of a symbolic link, and of what is no regular file."""


@dataclass(frozen=True, slots=True)
class AttestationFinding:
    """One thing wrong with an attestation, or with what it is about: code, in words, and where."""

    flaw: Flaw
    message: str
    path: Path

    def __str__(self) -> str:
        return f"{self.path}: {self.flaw.value}: {self.message}"


@dataclass(frozen=True, slots=True)
class Attested:
    """What checking an export against its attestation found."""

    sidecar: Sidecar | None
    """The attestation beside the export; None when there is none that stands."""
    findings: tuple[AttestationFinding, ...]

    @property
    def ok(self) -> bool:
        """Whether the export is the one attested, and nothing known contradicts that."""
        return not self.findings


def check(
    export: Path,
    openers: Sequence[Opener],
    found: Verification | None,
    *,
    at_least: int | None = None,
    follows: Sequence[Path] = (),
) -> Attested:
    """Check the attestation beside an export against it, and against what is remembered.

    `found` is what verifying the export itself found; None when it is not there. `at_least` is the
    smallest sequence number that the attestation may have, `follows` names attestations of the
    same place that were kept elsewhere. Raises OSError when something cannot be read.
    """
    path = sidecar_of(export)
    try:
        sidecar = read_sidecar(path, openers)
    except FileNotFoundError:
        missing = AttestationFinding(Flaw.NO_ATTESTATION, "there is no attestation", path)
        return Attested(None, (missing,))
    except FlawedAttestationError as error:
        return Attested(None, (AttestationFinding(error.flaw, str(error), path),))
    findings = [
        *_content(export, sidecar, found),
        *_sequence(sidecar, at_least),
        *_chain(sidecar, follows, openers),
    ]
    return Attested(sidecar, tuple(findings))


def _content(
    export: Path, sidecar: Sidecar, found: Verification | None
) -> Iterator[AttestationFinding]:
    stated = sidecar.predicate
    if found is None:
        what = f"not there, and attested as {_named(sidecar)}"
        yield AttestationFinding(Flaw.MISSING_EXPORT, what, export)
        return
    try:
        there = fingerprint(export)
    except OSError as error:
        if error.errno not in _NO_EXPORT:
            raise
        message = f"not the export attested as {_named(sidecar)}: a link, or more than files"
        yield AttestationFinding(Flaw.FOREIGN_EXPORT, message, export)
        return
    if there.sha256 != sidecar.statement.sha256:
        yield _other_export(export, sidecar, found)
        return
    manifest_hash = (found.manifest or {}).get("final_hash")
    facts = (
        ("run", stated.run_id, found.run_id),
        ("format", stated.format, "csv" if export.is_dir() else "jsonl"),
        ("size", stated.size_bytes, there.size_bytes),
        ("manifest hash", stated.manifest_hash, manifest_hash),
        ("record counts", stated.record_counts, dict(found.counts)),
    )
    for what, attested, seen in facts:
        if attested != seen:
            message = f"the {what} attested is not that of the export with these very bytes"
            yield AttestationFinding(Flaw.CONTENT, message, sidecar.path)


def _other_export(export: Path, sidecar: Sidecar, found: Verification) -> AttestationFinding:
    """Tell, by what a sound export itself says, how another one came to stand here."""
    if sidecar.statement.name != export.name:
        message = f"not {sidecar.statement.name!r}, whose attestation stands beside it"
        return AttestationFinding(Flaw.FOREIGN_EXPORT, message, export)
    made, attested = moment_of(found), sidecar.exported_at
    if made is None or attested is None or made == attested:
        message = f"not the export attested as {_named(sidecar)}"
        return AttestationFinding(Flaw.FOREIGN_EXPORT, message, export)
    stands = f"a sound export of run {found.run_id!r} from {made.isoformat()}"
    if made < attested:
        message = f"{stands}, older than the one attested as {_named(sidecar)}"
        return AttestationFinding(Flaw.ROLLED_BACK, message, export)
    message = (
        f"{stands}, younger than the one attested as {_named(sidecar)}: made without attesting, "
        "or cut off before it was attested, or brought from elsewhere; export again to attest"
    )
    return AttestationFinding(Flaw.NOT_ATTESTED, message, export)


def _sequence(sidecar: Sidecar, at_least: int | None) -> Iterator[AttestationFinding]:
    stated = sidecar.predicate.sequence
    if at_least is not None and stated < at_least:
        message = f"number {stated}, older than number {at_least}, which is known"
        yield AttestationFinding(Flaw.ROLLED_BACK, message, sidecar.path)


def _chain(
    sidecar: Sidecar, follows: Sequence[Path], openers: Sequence[Opener]
) -> Iterator[AttestationFinding]:
    kept = []
    for path in follows:
        try:
            kept.append(read_sidecar(path, openers))
        except FlawedAttestationError as error:
            yield AttestationFinding(error.flaw, str(error), path)
    links = sorted((*kept, sidecar), key=lambda each: each.predicate.sequence)
    for earlier, later in pairwise(links):
        yield from _link(earlier, later)
    newest = links[-1].predicate.sequence
    if newest > sidecar.predicate.sequence:
        message = f"number {sidecar.predicate.sequence}, older than number {newest}, which is known"
        yield AttestationFinding(Flaw.ROLLED_BACK, message, sidecar.path)


def _link(earlier: Sidecar, later: Sidecar) -> Iterator[AttestationFinding]:
    """What is wrong between two attestations that stand next to each other, as far as known."""
    first, second = earlier.predicate.sequence, later.predicate.sequence
    if earlier.digest == later.digest:
        return
    if earlier.statement.name != later.statement.name:
        names = f"{earlier.statement.name!r} and {later.statement.name!r}"
        yield AttestationFinding(Flaw.CHAIN, f"of two places, {names}", later.path)
    elif first == second:
        message = f"{earlier.path} is another number {first}: one chain became two"
        yield AttestationFinding(Flaw.CHAIN, message, later.path)
    elif second > first + 1:
        missing = f"{first + 1}" if second == first + 2 else f"{first + 1} to {second - 1}"
        message = f"number {second} does not show that it follows {earlier.path}, number {first}"
        yield AttestationFinding(Flaw.GAP, f"{message}, without number {missing}", later.path)
    elif later.predicate.previous != earlier.digest:
        message = f"number {second} follows another number {first} than {earlier.path}"
        yield AttestationFinding(Flaw.CHAIN, message, later.path)


def _named(sidecar: Sidecar) -> str:
    stated = sidecar.predicate
    when = stated.exported_at or stated.attested_at
    return f"number {stated.sequence}, of run {stated.run_id!r} from {when}"
