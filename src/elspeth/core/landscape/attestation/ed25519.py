"""Ed25519 seals: who can recognise a signature cannot make one. Needs the extra `attest`."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from elspeth.core.landscape.keys import SigningKeyError, key_id, read_secret
from elspeth.core.safe_open import read_small_file

_MOST_BYTES = 2**16


@dataclass(frozen=True)
class Ed25519Opener:
    """Recognises signatures by the public key."""

    public: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """The public key's name: the first digits of the SHA-256 of its 32 bytes."""
        return f"ed25519:{key_id(self.public.public_bytes_raw())}"

    def fits(self, message: bytes, signature: bytes) -> bool:
        """Whether the private key's owner signed the message."""
        try:
            self.public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Ed25519Seal:
    """Signs with the private key."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def opener(self) -> Ed25519Opener:
        """What recognises its signatures, for others to hold."""
        return Ed25519Opener(self.private.public_key())

    @property
    def key_id(self) -> str:
        """The public key's name."""
        return self.opener.key_id

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes."""
        return self.private.sign(message)

    def fits(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed the message."""
        return self.opener.fits(message, signature)


def read_seal(path: Path) -> Ed25519Seal:
    """Read a private key in PEM, without a passphrase, from a file as safe as a key file.

    Raises SigningKeyError, which shows nothing of it.
    """
    content = read_secret(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyError(
            f"{path} is no private key in PEM without a passphrase; make one with "
            "`openssl genpkey -algorithm ed25519`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} is a private key, but none of Ed25519")
    return Ed25519Seal(key)


def read_opener(path: Path) -> Ed25519Opener:
    """Read a public key in PEM. Raises SigningKeyError."""
    try:
        key = load_pem_public_key(read_small_file(path, _MOST_BYTES))
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(
            f"{path} is no public key in PEM; get it from the private one with "
            "`openssl pkey -pubout`"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"{path} is a public key, but none of Ed25519")
    return Ed25519Opener(key)
