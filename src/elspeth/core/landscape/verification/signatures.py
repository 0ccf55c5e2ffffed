"""Checks the signatures of records, and the manifest against the signatures.

The check uses the standard library's `hmac` and shares no code with an exporter's signer.
"""

import hashlib
import hmac
import re
from binascii import hexlify
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from elspeth.core.landscape.keys import KEY_VARIABLE, SigningKeyError, key_id
from elspeth.core.landscape.verification.defects import (
    Defect,
    ParsedLine,
    Reason,
    Record,
    short_repr,
)
from elspeth.core.landscape.verification.record_shapes import MANIFEST

HASH_ALGORITHM = "sha256"
SIGNATURE_ALGORITHM = "hmac-sha256"

_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AcceptedSignatures:
    """The signatures that an export may have."""

    keys: Sequence[bytes] = field(repr=False)
    """The keys of which one may have signed the export."""
    allow_unsigned: bool = False
    """Accept an export without any signature; it needs no key."""
    allow_unchecked: bool = False
    """Accept signatures unchecked when there is no key."""


class RunningHash(Protocol):
    """Takes the signatures of all records, as SHA-256 does."""

    def update(self, content: bytes, /) -> None:
        """Take the next signatures."""

    def hexdigest(self) -> str:
        """Return the hash of all."""


class SignatureVerifier:
    """Checks the signatures of one export, record by record."""

    def __init__(
        self, accepted: AcceptedSignatures, running_hash: RunningHash | None = None
    ) -> None:
        """Start before the first record.

        Args:
            accepted: the signatures to accept. After the first key that fits a record, the other
                keys are not accepted any more.
            running_hash: takes the signatures of the records in turn; None for SHA-256.
        """
        keys = self._keys = accepted.keys
        self._key: bytes | None = None
        self._mac: hmac.HMAC | None = None
        self._digests = _Digests(b"")
        if len(keys) == 1:
            self._choose(keys[0])
        self._allow_unsigned = accepted.allow_unsigned
        self._allow_unchecked = accepted.allow_unchecked
        self._running_hash = running_hash or hashlib.sha256()
        self._has_every_signature = True
        self._checked = self._bad = 0
        self.is_signed: bool | None = None
        """None before the first record."""

    @property
    def every_signature_is_bad(self) -> bool:
        """Whether signatures were checked and all of them are wrong."""
        return self._checked == self._bad > 0

    @property
    def key_id(self) -> str | None:
        """The public name of the key that fits; None when no key fits."""
        return None if self._key is None or self._checked == self._bad else key_id(self._key)

    @property
    def key_length(self) -> int | None:
        """The length in bytes of the key that fits; None when no key fits."""
        return None if self._key is None or self.key_id is None else len(self._key)

    def check(self, line: ParsedLine) -> Defect | None:
        """Check the signature of the next record.

        Raises:
            SigningKeyError: the record is signed and the key is missing.
        """
        signature = line.signature
        # The first record decides for all. Otherwise a changed record without its signature would
        # pass within a signed export wherever unsigned exports are allowed.
        if self.is_signed is None:
            self.is_signed = signature is not None or not self._allow_unsigned
        if signature is None or not self.is_signed:
            return self._missing_or_unexpected(line)
        # Before the check, because the manifest's hash covers the signatures as they are written,
        # right or wrong. A changed record then gives one defect, and not a wrong hash as well.
        if line.record_type != MANIFEST:
            self._running_hash.update(signature.encode())
        if not self._keys:
            if self._allow_unchecked:
                return None
            raise SigningKeyError(f"The export is signed: set {KEY_VARIABLE} to check it")
        self._checked += 1
        # compare_digest raises TypeError for text with other characters than ASCII.
        if signature.isascii() and self._fits(line.messages, signature):
            return None
        self._bad += 1
        return Defect(Reason.BAD_SIGNATURE, _describe_bad_signature(signature))

    @property
    def takes_blocks(self) -> bool:
        """Whether `check_block` can be asked: it is known which key checks the signatures, if any.

        Of several keys, `check` finds the one that fits.
        """
        has_no_key = not self._keys and self._allow_unchecked
        return self.is_signed is False or (
            self.is_signed is True and (self._key is not None or has_no_key)
        )

    def check_block(self, messages: Sequence[bytes], signatures: Sequence[bytes]) -> bool:
        """Check the signatures of many records, none of them the first one or the manifest.

        Args:
            messages: the bytes that the signatures cover; empty in an unsigned export.
            signatures: the signatures, of 64 bytes each; empty in an unsigned export.

        Returns:
            Whether all of them fit. If not, nothing was checked, and `check` finds the one that
            does not.
        """
        if not self.is_signed:
            self.skip_unreadable()
            return True
        # Joined signatures show no borders: each has its length.
        joined = b"".join(signatures)
        if self._key is not None:
            expected = hexlify(b"".join(self._digests.of_all(messages)))
            if not hmac.compare_digest(expected, joined):
                return False
            self._checked += len(signatures)
        self._running_hash.update(joined)
        return True

    @property
    def key(self) -> bytes | None:
        """The key that fits; None before one does, or without a key."""
        return self._key

    def add_checked(self, signatures: bytes, count: int) -> None:
        """Add records that are checked already.

        Args:
            signatures: their signatures, joined; empty in an unsigned export.
            count: the number of records.
        """
        if not self.is_signed:
            self.skip_unreadable()
        elif self._key is not None:
            self._checked += count
        self._running_hash.update(signatures)

    def skip_unreadable(self) -> None:
        """Skip a line whose signature cannot be read."""
        # The manifest's hash covers that signature too, so the hash cannot be checked any more.
        self._has_every_signature = False

    def check_manifest(self, manifest: Record, record_count: int) -> Iterator[Defect]:
        """Compare the manifest with the `record_count` records before it, and their signatures."""
        stated = manifest["record_count"]
        if stated != record_count:
            yield Defect(
                Reason.COUNT,
                f"the manifest counts {short_repr(stated)} records, here are {record_count}",
            )
        algorithms = (manifest["hash_algorithm"], manifest["signature_algorithm"])
        if algorithms != (HASH_ALGORITHM, SIGNATURE_ALGORITHM):
            yield Defect(Reason.HASH, f"unknown algorithms: {short_repr(algorithms)}")
        elif self._has_every_signature and manifest["final_hash"] != self._running_hash.hexdigest():
            yield Defect(Reason.HASH, "the manifest's hash is not that of these signatures")

    def _choose(self, key: bytes) -> None:
        self._key = key
        # Hot path: copied for every record, so that the key is hashed once per export.
        self._mac = hmac.new(key, digestmod=hashlib.sha256)
        self._digests = _Digests(key)

    def _fits(self, messages: Iterable[bytes], signature: str) -> bool:
        """Whether a message has this signature under the key, or under any key until one fits."""
        if self._mac is not None:
            return _has_signature(self._mac, messages, signature)
        messages = tuple(messages)
        for key in self._keys:
            if _has_signature(hmac.new(key, digestmod=hashlib.sha256), messages, signature):
                self._choose(key)
                return True
        return False

    def _missing_or_unexpected(self, line: ParsedLine) -> Defect | None:
        self.skip_unreadable()
        if line.signature is not None:
            return Defect(Reason.UNSIGNED, "signed, in an export that begins unsigned")
        if line.record_type == MANIFEST and not self.is_signed:
            return Defect(Reason.UNSIGNED, "a manifest without a signature")
        return Defect(Reason.UNSIGNED, "has no signature") if self.is_signed else None


class _Digests:
    """HMAC-SHA256 of many messages, by its definition (RFC 2104)."""

    # Two copied hash states take 0.7 µs for a message, and a copied `hmac.HMAC` 1.0 µs. A signature
    # that does not fit is judged again by `hmac`, and a test compares the two.

    def __init__(self, key: bytes) -> None:
        size = hashlib.sha256().block_size
        block = (hashlib.sha256(key).digest() if len(key) > size else key).ljust(size, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def of_all(self, messages: Iterable[bytes]) -> Sequence[bytes]:
        """Return the digests of the messages."""
        new_inner, new_outer = self._inner.copy, self._outer.copy
        digests = []
        for message in messages:
            inner = new_inner()
            inner.update(message)
            outer = new_outer()
            outer.update(inner.digest())
            digests.append(outer.digest())
        return digests


def _has_signature(mac: hmac.HMAC, messages: Iterable[bytes], signature: str) -> bool:
    for message in messages:
        copied = mac.copy()
        copied.update(message)
        if hmac.compare_digest(copied.hexdigest(), signature):
            return True
    return False


def _describe_bad_signature(signature: str) -> str:
    if _DIGEST.fullmatch(signature) is None:
        return "the signature is not 64 lower-case hexadecimal digits"
    return "the signature does not match the record"
