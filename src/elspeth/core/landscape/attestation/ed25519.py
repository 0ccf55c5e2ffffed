"""Ed25519 keys for attestations: a public key verifies but cannot sign. Needs extra `attest`."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from elspeth.core.landscape.keys import (
    MOST_KEY_FILE_BYTES,
    SigningKeyError,
    key_id,
    read_secret_file,
)
from elspeth.core.safe_open import read_small_file


@dataclass(frozen=True)
class Ed25519VerificationKey:
    """A public key, which verifies signatures."""

    public: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """The algorithm, and the first digits of the SHA-256 of the 32 bytes of the public key."""
        return f"ed25519:{key_id(self.public.public_bytes_raw())}"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the owner of the private key signed the message."""
        try:
            self.public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Ed25519Signer:
    """A private key, which signs."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def verification_key(self) -> Ed25519VerificationKey:
        """The public key, which may be given to others."""
        return Ed25519VerificationKey(self.private.public_key())

    @property
    def key_id(self) -> str:
        """The name of the public key."""
        return self.verification_key.key_id

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self.private.sign(message)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether this key signed the message."""
        return self.verification_key.verifies(message, signature)


def read_private_key(path: Path) -> Ed25519Signer:
    """Read a private key in PEM, without a passphrase, from a file that others cannot access.

    Raises:
        SigningKeyError: the file is unsafe or holds another kind of content. The message does not
            quote the content.
    """
    content = read_secret_file(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # From None: the library's message may quote the content, which is a secret.
        raise SigningKeyError(
            f"{path} is not a private key in PEM without a passphrase; make one with "
            "`openssl genpkey -algorithm ed25519`"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} is a private key, but not an Ed25519 key")
    return Ed25519Signer(key)


def read_public_key(path: Path) -> Ed25519VerificationKey:
    """Read a public key in PEM.

    Raises:
        SigningKeyError: the file cannot be read or holds another kind of content.
    """
    # A public key may be readable by everyone, so this is not `read_secret_file`.
    try:
        key = load_pem_public_key(read_small_file(path, MOST_KEY_FILE_BYTES))
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(
            f"{path} is not a public key in PEM; get it from the private one with "
            "`openssl pkey -pubout`"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningKeyError(f"{path} is a public key, but not an Ed25519 key")
    return Ed25519VerificationKey(key)
