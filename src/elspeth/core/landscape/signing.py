"""HMAC signatures, the running hash over them, and the manifest that closes a signed export."""

import hashlib
from binascii import hexlify
from collections.abc import Iterable

from elspeth.core.clock import Clock

MANIFEST = "manifest"
HASH_ALGORITHM = "sha256"
SIGNATURE_ALGORITHM = "hmac-sha256"
MINIMUM_KEY_BYTES = 32
SIGNATURE_BYTES = 64
"""As written: hexadecimal digits."""

_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class Signer:
    """HMAC-SHA256 (RFC 2104) under one key, with the states of both hashes computed once.

    Copies of the two prepared states take a third of the time of `hmac.digest`, the larger part
    of signing a few hundred bytes. A property test holds the result equal to the standard
    library's `hmac`.
    """

    def __init__(self, key: bytes) -> None:
        block = hashlib.sha256(key).digest() if len(key) > _BLOCK_BYTES else key
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def sign(self, message: bytes) -> str:
        """Return the signature of `message`: 64 lower-case hexadecimal digits."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def sign_all(self, messages: Iterable[bytes]) -> list[bytes]:
        """Return the signature of each message, as the ASCII bytes of what `sign` returns."""
        # The steps of `sign`, without its call, and the digits of all in one go.
        new_inner, new_outer = self._inner.copy, self._outer.copy
        digests = []
        for message in messages:
            inner = new_inner()
            inner.update(message)
            outer = new_outer()
            outer.update(inner.digest())
            digests.append(outer.digest())
        digits = hexlify(b"".join(digests))
        return [digits[at : at + SIGNATURE_BYTES] for at in range(0, len(digits), SIGNATURE_BYTES)]


class RunningHash:
    """SHA-256 over the hexadecimal signatures of an export, in emission order, with their count."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.record_count = 0

    def add(self, signature: str) -> None:
        """Take in the next record's signature."""
        # Not add_all: a subclass may sign with a text of another length, and that is a record too.
        self._hash.update(signature.encode("ascii"))
        self.record_count += 1

    def add_all(self, signatures: bytes) -> None:
        """Take in the signatures of the next records, one behind the other."""
        self._hash.update(signatures)
        self.record_count += len(signatures) // SIGNATURE_BYTES

    def manifest(self, run_id: str, clock: Clock) -> dict[str, object]:
        """Build the unsigned manifest of the records taken in so far; the clock is read now."""
        return {
            "record_type": MANIFEST,
            "run_id": run_id,
            "record_count": self.record_count,
            "final_hash": self._hash.hexdigest(),
            "hash_algorithm": HASH_ALGORITHM,
            "signature_algorithm": SIGNATURE_ALGORITHM,
            "exported_at": clock().isoformat(),
        }
