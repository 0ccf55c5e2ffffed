"""Judges signatures: each record's own, and the hash over all of them that the manifest gives."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence

from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.export.signed_lines import (
    HASH_ALGORITHM,
    MANIFEST,
    SIGNATURE_ALGORITHM,
    Signer,
)
from elspeth.core.landscape.keys import KEY_VARIABLE, SigningKeyError, key_id
from elspeth.core.landscape.verification.defects import Problem, Reading, Reason, shown

_DIGEST = re.compile("[0-9a-f]{64}")


class Signatures:
    """The signatures of an export so far.

    The first record decides whether it is a signed export; an unsigned one is accepted only when
    it `may_be_unsigned`, and then no key is needed. Of several keys the one that fits first, at
    the first record in an export that nobody changed, is the only one from then on. Without a key
    signatures `may_be_unchecked`, when something else vouches for the bytes.
    """

    def __init__(
        self, keys: Sequence[bytes], *, may_be_unsigned: bool, may_be_unchecked: bool = False
    ) -> None:
        self._keys = keys
        self._key = keys[0] if len(keys) == 1 else None
        self._signer = None if self._key is None else Signer(self._key)
        self._may_be_unsigned = may_be_unsigned
        self._may_be_unchecked = may_be_unchecked
        self._running = hashlib.sha256()
        self._is_whole = True
        self._checked = self._bad = 0
        self.are_expected: bool | None = None

    @property
    def all_are_bad(self) -> bool:
        """Whether there were signatures and not one was right."""
        return self._checked == self._bad > 0

    @property
    def key_id(self) -> str | None:
        """The public name of the key that fits; None when none does."""
        return None if self._key is None or self._checked == self._bad else key_id(self._key)

    def check(self, reading: Reading) -> Problem | None:
        """Check the signature of the next record.

        Raises SigningKeyError for a signed record when there is no key.
        """
        signature = reading.signature
        if self.are_expected is None:
            self.are_expected = signature is not None or not self._may_be_unsigned
        if signature is None or not self.are_expected:
            return self._missing_or_unexpected(reading)
        if reading.kind != MANIFEST:
            self._running.update(signature.encode())
        if not self._keys:
            if self._may_be_unchecked:
                return None
            raise SigningKeyError(f"The export is signed: set {KEY_VARIABLE} to check it")
        self._checked += 1
        if signature.isascii() and self._is_signed(reading.messages, signature):
            return None
        self._bad += 1
        return Problem(Reason.BAD_SIGNATURE, _what_is_wrong_with(signature))

    def skip(self) -> None:
        """Go past a line whose signature could not be read."""
        self._is_whole = False

    def check_manifest(self, manifest: Record, record_count: int) -> Iterator[Problem]:
        """Compare the manifest with what stood before it."""
        stated = manifest["record_count"]
        if stated != record_count:
            yield Problem(
                Reason.COUNT,
                f"the manifest counts {shown(stated)} records, here are {record_count}",
            )
        algorithms = (manifest["hash_algorithm"], manifest["signature_algorithm"])
        if algorithms != (HASH_ALGORITHM, SIGNATURE_ALGORITHM):
            yield Problem(Reason.HASH, f"unknown algorithms: {shown(algorithms)}")
        elif self._is_whole and manifest["final_hash"] != self._running.hexdigest():
            yield Problem(Reason.HASH, "the manifest's hash is not that of these signatures")

    def _is_signed(self, messages: Iterable[bytes], signature: str) -> bool:
        """Whether it is the signature of one of these; with a key still to be found, under any."""
        if self._signer is not None:
            return _fits(self._signer, messages, signature)
        messages = tuple(messages)
        for key in self._keys:
            signer = Signer(key)
            if _fits(signer, messages, signature):
                self._key, self._signer = key, signer
                return True
        return False

    def _missing_or_unexpected(self, reading: Reading) -> Problem | None:
        self.skip()
        if reading.signature is not None:
            return Problem(Reason.UNSIGNED, "signed, in an export that begins unsigned")
        if reading.kind == MANIFEST and not self.are_expected:
            return Problem(Reason.UNSIGNED, "a manifest without a signature")
        return Problem(Reason.UNSIGNED, "has no signature") if self.are_expected else None


def _fits(signer: Signer, messages: Iterable[bytes], signature: str) -> bool:
    return any(hmac.compare_digest(signer.sign(message), signature) for message in messages)


def _what_is_wrong_with(signature: str) -> str:
    if _DIGEST.fullmatch(signature) is None:
        return "the signature is not 64 lower-case hexadecimal digits"
    return "the signature does not match the record"
