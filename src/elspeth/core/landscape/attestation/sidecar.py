"""The sidecar: the file beside an export that holds its attestation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from elspeth.core.landscape.attestation.envelope import opened
from elspeth.core.landscape.attestation.flaws import Flaw, FlawedAttestationError
from elspeth.core.landscape.attestation.seals import Opener
from elspeth.core.landscape.attestation.statement import Predicate, Statement, read_statement
from elspeth.core.landscape.small_files import read_small_file

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
