"""DSSE envelopes: canonical JSON around a payload, with one signature over its type and bytes.

The format is the Dead Simple Signing Envelope, protocol version 1.0.2, so other tools can read
these files. `open_envelope` accepts only the exact bytes that `sign_envelope` writes: a change of
one byte anywhere is detected.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elspeth.core.landscape.attestation.statement import (
    AttestationReason,
    InvalidAttestationError,
)
from elspeth.core.landscape.keys import key_id

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_LONGEST_KEY_ID = 80

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


@dataclass(frozen=True)
class SignedPayload:
    """The content of a verified envelope, and the public name of the key that signed it."""

    payload: bytes
    key_id: str


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class _Signature(_Part):
    keyid: str
    sig: str


class _Envelope(_Part):
    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[_Signature]

    def file_content(self) -> bytes:
        return rfc8785.dumps(self.model_dump(by_alias=True, mode="json")) + b"\n"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed; lengths before texts make the encoding unambiguous."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, signer: Signer) -> bytes:
    """Return the content of an envelope file around a payload."""
    signature = signer.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return _Envelope(
        payload=_encode_base64(payload),
        payloadType=PAYLOAD_TYPE,
        signatures=(_Signature(keyid=signer.key_id, sig=_encode_base64(signature)),),
    ).file_content()


def open_envelope(content: bytes, keys: Sequence[VerificationKey]) -> SignedPayload:
    """Verify the content of an envelope file and return its payload.

    Args:
        content: the whole file.
        keys: the keys of which one must have signed it.

    Raises:
        InvalidAttestationError: the content is not such a file, or none of the keys signed it.
    """
    envelope = _parse(content)
    payload = _decode_base64(envelope.payload)
    signature = _decode_base64(envelope.signatures[0].sig)
    named = envelope.signatures[0].keyid
    candidates = [key for key in keys if key.key_id == named]
    if not candidates:
        known = " or ".join(key.key_id for key in keys)
        raise InvalidAttestationError(
            AttestationReason.UNKNOWN_KEY,
            f"signed with key {named[:_LONGEST_KEY_ID]}, and not with {known}",
        )
    message = pre_authentication_encoding(envelope.payload_type, payload)
    if not any(key.verifies(message, signature) for key in candidates):
        raise InvalidAttestationError(
            AttestationReason.FORGED, "the signature does not match the content"
        )
    if envelope.payload_type != PAYLOAD_TYPE:
        raise InvalidAttestationError(
            AttestationReason.MALFORMED, "of a payload type that no attestation has"
        )
    return SignedPayload(payload, named)


def _parse(content: bytes) -> _Envelope:
    try:
        envelope = _Envelope.model_validate_json(content)
        if envelope.file_content() == content:
            return envelope
    except (ValidationError, rfc8785.CanonicalizationError):
        pass
    raise InvalidAttestationError(
        AttestationReason.MALFORMED, "not an envelope in its canonical form"
    )


def _encode_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decode_base64(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
        # Unused bits of the last digit may differ in Base64 that decodes to the same bytes.
        if _encode_base64(content) == text:
            return content
    except (ValueError, binascii.Error):
        pass
    raise InvalidAttestationError(
        AttestationReason.MALFORMED, "holds Base64 that is not in its canonical form"
    )
