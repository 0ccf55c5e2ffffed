"""DSSE envelopes, and the keys that sign and verify them.

An envelope is canonical JSON around a payload, with one signature over the payload's type and
bytes. The format is the Dead Simple Signing Envelope, protocol version 1.0.2, so other tools can
read these files. `open_envelope` accepts only the exact bytes that `sign_envelope` writes.
`ed25519` holds the keys that need an extra.
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
# A file of unknown origin may name a key of any length, and the message quotes the name.
_LONGEST_KEY_ID = 80

# With the signing key itself, the signature of a record could pass as that of an attestation, and
# the other way round. A key derived for one purpose rules that out.
PURPOSE = b"elspeth landscape attestation v1"
"""The message whose HMAC under the signing key is the key of attestations."""

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
    """HMAC-SHA256 under a key derived from a signing key: a holder can both verify and sign."""

    signing_key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """The algorithm, and the public name of the signing key."""
        return f"hmac-sha256:{key_id(self.signing_key)}"

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 32 bytes."""
        derived = hmac.digest(self.signing_key, PURPOSE, _ALGORITHM)
        return hmac.digest(derived, message, _ALGORITHM)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the signature is right."""
        # In constant time, so that a wrong signature reveals nothing of the right one.
        return hmac.compare_digest(self.sign(message), signature)


@dataclass(frozen=True)
class SignedPayload:
    """The payload of a verified envelope, and the public name of the key that signed it."""

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
    """Return the bytes that are signed."""
    # The lengths make it unambiguous where the type ends and the payload begins.
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
        InvalidAttestationError: the content is not an envelope, or is not signed by these keys.
    """
    envelope = _parse(content)
    payload = _decode_base64(envelope.payload)
    signature = _decode_base64(envelope.signatures[0].sig)
    named = envelope.signatures[0].keyid
    # The name is not signed and only selects keys: the signature has to match under one of them.
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
    # After the signature, which covers the type: a changed type is reported as forged.
    if envelope.payload_type != PAYLOAD_TYPE:
        raise InvalidAttestationError(
            AttestationReason.MALFORMED, "of a payload type that no attestation has"
        )
    return SignedPayload(payload, named)


def _parse(content: bytes) -> _Envelope:
    try:
        envelope = _Envelope.model_validate_json(content)
        # Spacing, key order and escapes are not signed, so a change of them shows only here.
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
        # Different Base64 texts decode to the same bytes if only unused bits of the last digit
        # differ.
        if _encode_base64(content) == text:
            return content
    except (ValueError, binascii.Error):
        pass
    raise InvalidAttestationError(
        AttestationReason.MALFORMED, "holds Base64 that is not in its canonical form"
    )
