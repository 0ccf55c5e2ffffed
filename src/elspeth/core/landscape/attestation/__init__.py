"""Attestations: a signed statement beside an export, chained to those before it, and its check."""

from elspeth.core.landscape.attestation.attesting import Attester, NextAttestation
from elspeth.core.landscape.attestation.checking import AttestationFinding, Attested, check
from elspeth.core.landscape.attestation.flaws import AttestationError, Flaw
from elspeth.core.landscape.attestation.seals import HmacSeal, Opener, Sealer
from elspeth.core.landscape.attestation.sidecar import Sidecar, read_sidecar, sidecar_of
from elspeth.core.landscape.attestation.statement import Statement

__all__ = [
    "AttestationError",
    "AttestationFinding",
    "Attested",
    "Attester",
    "Flaw",
    "HmacSeal",
    "NextAttestation",
    "Opener",
    "Sealer",
    "Sidecar",
    "Statement",
    "check",
    "read_sidecar",
    "sidecar_of",
]
