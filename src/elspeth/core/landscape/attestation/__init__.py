"""Attestations: a signed statement beside an export, chained to the attestations before it."""

from elspeth.core.landscape.attestation.check import (
    Attestation,
    AttestationDefect,
    AttestationResult,
    attestation_path,
    check_attestation,
    read_attestation,
)
from elspeth.core.landscape.attestation.create import Attester, PendingAttestation
from elspeth.core.landscape.attestation.dsse import HmacSigner, Signer, VerificationKey
from elspeth.core.landscape.attestation.statement import (
    AttestationError,
    AttestationReason,
    Statement,
)

__all__ = [
    "Attestation",
    "AttestationDefect",
    "AttestationError",
    "AttestationReason",
    "AttestationResult",
    "Attester",
    "HmacSigner",
    "PendingAttestation",
    "Signer",
    "Statement",
    "VerificationKey",
    "attestation_path",
    "check_attestation",
    "read_attestation",
]
