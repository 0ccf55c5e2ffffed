"""Attestations: a signed statement beside an export, chained to those before it, and its check."""

from elspeth.core.landscape.attestation.check import AttestationFinding, Attested, check
from elspeth.core.landscape.attestation.create import (
    Attester,
    NextAttestation,
    Sidecar,
    read_sidecar,
    sidecar_of,
)
from elspeth.core.landscape.attestation.dsse import HmacSeal, Opener, Sealer
from elspeth.core.landscape.attestation.statement import AttestationError, Flaw, Statement

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
