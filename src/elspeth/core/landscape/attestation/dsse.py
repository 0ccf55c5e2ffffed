"""DSSE envelopes: a payload with one signature over its type and itself, as canonical JSON.

The form is that of the Dead Simple Signing Envelope, version 1.0.2 of its protocol: any tool that
reads those can read these. Only the exact bytes that `sealed` writes are ever opened, so that a
change of a single byte is always found.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elspeth.core.landscape.attestation.statement import Flaw, FlawedAttestationError
from elspeth.core.landscape.keys import key_id

# Seals: what signs an attestation, and what recognises the signature. HMAC with the signing key.
#
# The key of an attestation's HMAC is not the signing key itself but derived from it, so that no
# signature of a record can ever stand under an attestation, nor the other way round.


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


PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True)
class Opened:
    """What was in an envelope, and the public name of the key that signed it."""

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

    def written(self) -> bytes:
        return rfc8785.dumps(self.model_dump(by_alias=True, mode="json")) + b"\n"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: lengths before texts leave no room for two readings."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sealed(payload: bytes, sealer: Sealer) -> bytes:
    """Return the file of an envelope around a payload."""
    signature = sealer.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return _Envelope(
        payload=_encoded(payload),
        payloadType=PAYLOAD_TYPE,
        signatures=(_Signature(keyid=sealer.key_id, sig=_encoded(signature)),),
    ).written()


def opened(content: bytes, openers: Sequence[Opener]) -> Opened:
    """Open the file of an envelope; raises FlawedAttestationError unless one of the keys fits."""
    envelope = _parsed(content)
    payload, signature = map(_decoded, (envelope.payload, envelope.signatures[0].sig))
    named = envelope.signatures[0].keyid
    candidates = [each for each in openers if each.key_id == named]
    if not candidates:
        known = " or ".join(each.key_id for each in openers)
        raise FlawedAttestationError(
            Flaw.UNKNOWN_KEY, f"signed with key {named[:80]}, and not with {known}"
        )
    message = pre_authentication_encoding(envelope.payload_type, payload)
    if not any(opener.fits(message, signature) for opener in candidates):
        raise FlawedAttestationError(Flaw.FORGED, "the signature is not that of what it says")
    if envelope.payload_type != PAYLOAD_TYPE:
        raise FlawedAttestationError(Flaw.MALFORMED, "of a type that no attestation has")
    return Opened(payload, named)


def _parsed(content: bytes) -> _Envelope:
    try:
        envelope = _Envelope.model_validate_json(content)
        if envelope.written() == content:
            return envelope
    except (ValidationError, rfc8785.CanonicalizationError):
        pass
    raise FlawedAttestationError(Flaw.MALFORMED, "no envelope, or not as one is written")


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
        if _encoded(content) == text:
            return content
    except (ValueError, binascii.Error):
        pass
    raise FlawedAttestationError(Flaw.MALFORMED, "holds what is not Base64 as it is written")
