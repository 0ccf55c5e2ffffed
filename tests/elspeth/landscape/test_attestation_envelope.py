"""DSSE envelopes and their statements: the form of the standard, exact to the byte."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from sample_run import KEY
from securesystemslib.dsse import Envelope

from elspeth.core.landscape.attestation.dsse import (
    PAYLOAD_TYPE,
    PURPOSE,
    HmacSigner,
    Signer,
    open_envelope,
    pre_authentication_encoding,
    sign_envelope,
)
from elspeth.core.landscape.attestation.ed25519 import Ed25519Signer
from elspeth.core.landscape.attestation.statement import (
    AttestationReason,
    InvalidAttestationError,
    Predicate,
    new_statement,
    read_statement,
)

SIGNER = HmacSigner(KEY)
PREDICATE = Predicate(
    sequence=2,
    previous="1" * 64,
    attested_at="2026-01-02T00:00:01+00:00",
    exported_at="2026-01-02T00:00:00+00:00",
    run_id="run <é>\n",
    format="jsonl",
    size_bytes=12,
    manifest_hash="2" * 64,
    record_counts={"run": 1, "manifest": 1},
    table_counts={"runs": 1},
)
STATEMENT = new_statement("run.jsonl", "0" * 64, PREDICATE)
SIGNED = sign_envelope(STATEMENT.payload(), SIGNER)


def ed25519_signer() -> Signer:
    return Ed25519Signer(Ed25519PrivateKey.from_private_bytes(b"p" * 32))


def reason(content: bytes, signer: Signer = SIGNER) -> AttestationReason:
    """Return the reason why a file is refused."""
    with pytest.raises(InvalidAttestationError) as caught:
        read_statement(open_envelope(content, (signer,)).payload)
    return caught.value.reason


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The statement with a change, signed again by a holder of the key."""
    statement = json.loads(STATEMENT.payload())
    change(statement)
    return sign_envelope(rfc8785.dumps(statement), SIGNER)


class TestEnvelope:
    def test_the_signed_bytes_are_those_of_the_standards_example(self) -> None:
        encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
        assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"

    @given(st.text(st.characters(codec="utf-8")), st.binary())
    def test_the_signed_bytes_are_those_of_another_implementation(
        self, payload_type: str, payload: bytes
    ) -> None:
        theirs = Envelope(payload, payload_type, {}).pae()
        assert pre_authentication_encoding(payload_type, payload) == theirs

    @pytest.mark.parametrize("signer", [SIGNER, ed25519_signer()], ids=["hmac", "ed25519"])
    def test_another_implementation_reads_it_and_finds_the_signature(self, signer: Signer) -> None:
        envelope = Envelope.from_dict(json.loads(sign_envelope(STATEMENT.payload(), signer)))
        assert (envelope.payload, envelope.payload_type) == (STATEMENT.payload(), PAYLOAD_TYPE)
        signature = envelope.signatures[signer.key_id]
        assert signer.verifies(envelope.pae(), bytes.fromhex(signature.signature))

    def test_the_hmac_is_under_a_key_derived_for_attestations_alone(self) -> None:
        derived = hmac.digest(KEY, PURPOSE, hashlib.sha256)
        signed = hmac.digest(derived, b"message", hashlib.sha256)
        assert SIGNER.sign(b"message") == signed
        assert hmac.digest(KEY, b"message", hashlib.sha256) != signed

    def test_the_signature_of_a_record_is_invalid_for_an_attestation(self) -> None:
        envelope = json.loads(SIGNED)
        message = pre_authentication_encoding(PAYLOAD_TYPE, STATEMENT.payload())
        record_signature = hmac.digest(KEY, message, hashlib.sha256)
        envelope["signatures"][0]["sig"] = base64.b64encode(record_signature).decode()
        assert reason(rfc8785.dumps(envelope) + b"\n") is AttestationReason.FORGED

    @pytest.mark.parametrize("signer", [SIGNER, ed25519_signer()], ids=["hmac", "ed25519"])
    def test_every_change_of_a_byte_is_found(self, signer: Signer) -> None:
        content = sign_envelope(STATEMENT.payload(), signer)
        assert read_statement(open_envelope(content, (signer,)).payload) == STATEMENT
        for at, byte in enumerate(content):
            for other in (byte ^ 1, byte ^ 0x20, 0x20):
                if other != byte:
                    assert reason(content[:at] + bytes([other]) + content[at + 1 :], signer), at

    @given(st.data())
    def test_any_other_byte_anywhere_is_found(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(SIGNED) - 1))
        other = data.draw(st.integers(0, 255).filter(lambda byte: byte != SIGNED[at]))
        assert reason(SIGNED[:at] + bytes([other]) + SIGNED[at + 1 :])

    @given(st.data())
    def test_a_byte_more_or_less_anywhere_is_found(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(SIGNED) - 1))
        assert reason(SIGNED[:at] + SIGNED[at + 1 :])
        assert reason(SIGNED[:at] + bytes([data.draw(st.integers(0, 255))]) + SIGNED[at:])

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"\xff",
            b"{" * 5000,
            SIGNED + SIGNED,
            SIGNED[:-1],
            b"\0" * 99,
        ],
        ids=["nothing", "null", "list", "bare", "no text", "deep", "twice", "no end", "zeros"],
    )
    def test_other_content_is_refused(self, content: bytes) -> None:
        assert reason(content) is AttestationReason.MALFORMED

    def test_the_same_envelope_in_another_form_is_refused(self) -> None:
        assert (
            reason(json.dumps(json.loads(SIGNED), indent=1).encode()) is AttestationReason.MALFORMED
        )

    def test_two_signatures_are_refused(self) -> None:
        envelope = json.loads(SIGNED)
        envelope["signatures"] *= 2
        assert reason(rfc8785.dumps(envelope) + b"\n") is AttestationReason.MALFORMED

    def test_another_key_is_distinguished_from_a_forged_signature(self) -> None:
        assert reason(SIGNED, HmacSigner(b"j" * 32)) is AttestationReason.UNKNOWN_KEY
        envelope = json.loads(SIGNED)
        envelope["payload"] = base64.b64encode(b"{}").decode()
        assert reason(rfc8785.dumps(envelope) + b"\n") is AttestationReason.FORGED

    def test_a_sound_envelope_of_another_type_is_refused(self) -> None:
        envelope = json.loads(SIGNED)
        envelope["payloadType"] = "text/plain"
        signature = SIGNER.sign(pre_authentication_encoding("text/plain", STATEMENT.payload()))
        envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        assert reason(rfc8785.dumps(envelope) + b"\n") is AttestationReason.MALFORMED

    def test_no_key_is_shown(self) -> None:
        assert KEY.decode() not in repr(SIGNER)
        assert "p" * 32 not in repr(ed25519_signer())


class TestStatement:
    def test_it_is_an_in_toto_statement(self) -> None:
        statement = json.loads(STATEMENT.payload())
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["subject"] == [{"name": "run.jsonl", "digest": {"sha256": "0" * 64}}]
        assert statement["predicateType"].startswith("urn:")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("sequence", 0),
            ("sequence", "2"),
            ("sequence", True),
            ("previous", None),
            ("previous", "A" * 64),
            ("size_bytes", -1),
            ("size_bytes", 1.5),
            ("format", "xml"),
            ("exported_at", "yesterday"),
            ("exported_at", "2026-01-02T00:00:00"),
            ("record_counts", {"run": -1}),
            ("manifest_hash", ""),
            ("more", 1),
        ],
    )
    def test_a_signed_statement_of_other_content_is_refused(
        self, field: str, value: object
    ) -> None:
        content = changed(lambda statement: statement["predicate"].update({field: value}))
        assert reason(content) is AttestationReason.MALFORMED

    @pytest.mark.parametrize("field", ["_type", "predicateType", "subject"])
    def test_a_statement_of_another_type_is_refused(self, field: str) -> None:
        assert (
            reason(changed(lambda statement: statement.update({field: "x"})))
            is AttestationReason.MALFORMED
        )
        assert (
            reason(changed(lambda statement: statement.pop(field))) is AttestationReason.MALFORMED
        )

    def test_a_statement_that_is_not_canonical_is_refused(self) -> None:
        assert (
            reason(sign_envelope(b" " + STATEMENT.payload(), SIGNER)) is AttestationReason.MALFORMED
        )
