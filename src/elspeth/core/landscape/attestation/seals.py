"""Seals: what signs an attestation, and what recognises the signature. HMAC with the signing key.

The key of an attestation's HMAC is not the signing key itself but derived from it, so that no
signature of a record can ever stand under an attestation, nor the other way round.
"""

import hmac
from dataclasses import dataclass, field
from typing import Protocol

from elspeth.core.landscape.keys import key_id

PURPOSE = b"elspeth landscape attestation v1"
"""What the signing key is put through HMAC with to give the key of attestations."""

_ALGORITHM = "sha256"


class Opener(Protocol):
    """Recognises signatures under one key."""

    @property
    def key_id(self) -> str:
        """The key's public name, algorithm first."""

    def fits(self, message: bytes, signature: bytes) -> bool:
        """Whether it is the signature of the message."""


class Sealer(Opener, Protocol):
    """Signs under one key, and recognises what it signed."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the message."""


@dataclass(frozen=True)
class HmacSeal:
    """HMAC-SHA256 under a key derived from a signing key. Who can recognise it can also sign."""

    signing_key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """As the key itself is named everywhere, behind the algorithm."""
        return f"hmac-sha256:{key_id(self.signing_key)}"

    def sign(self, message: bytes) -> bytes:
        """Return 32 bytes."""
        derived = hmac.digest(self.signing_key, PURPOSE, _ALGORITHM)
        return hmac.digest(derived, message, _ALGORITHM)

    def fits(self, message: bytes, signature: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.sign(message), signature)
