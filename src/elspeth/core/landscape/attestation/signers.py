"""Keys that sign attestations and verify their signatures: the protocols, and HMAC-SHA256.

`ed25519` has the asymmetric kind, which needs an extra.
"""

import hmac
from dataclasses import dataclass, field
from typing import Protocol

from elspeth.core.landscape.keys import key_id

PURPOSE = b"elspeth landscape attestation v1"
"""The text that HMAC derives the key of attestations from the signing key with."""

_ALGORITHM = "sha256"


class VerificationKey(Protocol):
    """A key that verifies signatures."""

    @property
    def key_id(self) -> str:
        """The key's public name, which begins with the algorithm."""

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature of the message."""


class Signer(VerificationKey, Protocol):
    """A key that signs, and verifies what it signed."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the message."""


@dataclass(frozen=True)
class HmacSigner:
    """HMAC-SHA256 under a key derived from a signing key: a holder can both verify and sign.

    The signing key itself would let a record's signature pass as an attestation's, and the other
    way round. The derived key rules that out.
    """

    signing_key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """The algorithm, and the public name of the signing key."""
        return f"hmac-sha256:{key_id(self.signing_key)}"

    def sign(self, message: bytes) -> bytes:
        """Return 32 bytes."""
        derived = hmac.digest(self.signing_key, PURPOSE, _ALGORITHM)
        return hmac.digest(derived, message, _ALGORITHM)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.sign(message), signature)
