"""DSSE envelopes and the statements in them: the standard's form, and no other byte."""

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
    HmacSeal,
    Sealer,
    opened,
    pre_authentication_encoding,
    sealed,
)
from elspeth.core.landscape.attestation.ed25519 import Ed25519Seal
from elspeth.core.landscape.attestation.statement import (
    Flaw,
    FlawedAttestationError,
    Predicate,
    read_statement,
    statement_about,
)
from elspeth.core.landscape.export.signed_lines import Signer

HMAC = HmacSeal(KEY)
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
STATEMENT = statement_about("run.jsonl", "0" * 64, PREDICATE)
SEALED = sealed(STATEMENT.payload(), HMAC)


def ed25519_seal() -> Sealer:
    return Ed25519Seal(Ed25519PrivateKey.from_private_bytes(b"p" * 32))


def flaw(content: bytes, sealer: Sealer = HMAC) -> Flaw:
    """What is wrong with a file, opened and read."""
    with pytest.raises(FlawedAttestationError) as caught:
        read_statement(opened(content, (sealer,)).payload)
    return caught.value.flaw


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The sealed statement with a change to it, sealed anew by whoever holds the key."""
    statement = json.loads(STATEMENT.payload())
    change(statement)
    return sealed(rfc8785.dumps(statement), HMAC)


class TestEnvelope:
    def test_what_is_signed_is_the_standards_example(self) -> None:
        encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
        assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"

    @given(st.text(st.characters(codec="utf-8")), st.binary())
    def test_what_is_signed_is_what_another_implementation_signs(
        self, payload_type: str, payload: bytes
    ) -> None:
        theirs = Envelope(payload, payload_type, {}).pae()
        assert pre_authentication_encoding(payload_type, payload) == theirs

    @pytest.mark.parametrize("sealer", [HMAC, ed25519_seal()], ids=["hmac", "ed25519"])
    def test_another_implementation_reads_it_and_finds_the_signature(self, sealer: Sealer) -> None:
        envelope = Envelope.from_dict(json.loads(sealed(STATEMENT.payload(), sealer)))
        assert (envelope.payload, envelope.payload_type) == (STATEMENT.payload(), PAYLOAD_TYPE)
        signature = envelope.signatures[sealer.key_id]
        assert sealer.fits(envelope.pae(), bytes.fromhex(signature.signature))

    def test_the_hmac_is_under_a_key_derived_for_attestations_alone(self) -> None:
        derived = hmac.digest(KEY, PURPOSE, hashlib.sha256)
        signed = hmac.digest(derived, b"message", hashlib.sha256)
        assert HMAC.sign(b"message") == signed
        assert Signer(KEY).sign(b"message") != signed.hex()

    def test_the_signature_of_a_record_is_none_of_an_attestation(self) -> None:
        envelope = json.loads(SEALED)
        message = pre_authentication_encoding(PAYLOAD_TYPE, STATEMENT.payload())
        record_signature = bytes.fromhex(Signer(KEY).sign(message))
        envelope["signatures"][0]["sig"] = base64.b64encode(record_signature).decode()
        assert flaw(rfc8785.dumps(envelope) + b"\n") is Flaw.FORGED

    @pytest.mark.parametrize("sealer", [HMAC, ed25519_seal()], ids=["hmac", "ed25519"])
    def test_every_byte_counts(self, sealer: Sealer) -> None:
        content = sealed(STATEMENT.payload(), sealer)
        assert read_statement(opened(content, (sealer,)).payload) == STATEMENT
        for at, byte in enumerate(content):
            for other in (byte ^ 1, byte ^ 0x20, 0x20):
                if other != byte:
                    assert flaw(content[:at] + bytes([other]) + content[at + 1 :], sealer), at

    @given(st.data())
    def test_any_other_byte_anywhere_is_found(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(SEALED) - 1))
        other = data.draw(st.integers(0, 255).filter(lambda byte: byte != SEALED[at]))
        assert flaw(SEALED[:at] + bytes([other]) + SEALED[at + 1 :])

    @given(st.data())
    def test_a_byte_more_or_less_anywhere_is_found(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(SEALED) - 1))
        assert flaw(SEALED[:at] + SEALED[at + 1 :])
        assert flaw(SEALED[:at] + bytes([data.draw(st.integers(0, 255))]) + SEALED[at:])

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"\xff",
            b"{" * 5000,
            SEALED + SEALED,
            SEALED[:-1],
            b"\0" * 99,
        ],
        ids=["nothing", "null", "list", "bare", "no text", "deep", "twice", "no end", "zeros"],
    )
    def test_what_is_no_envelope_is_refused(self, content: bytes) -> None:
        assert flaw(content) is Flaw.MALFORMED

    def test_the_same_in_another_form_is_refused(self) -> None:
        assert flaw(json.dumps(json.loads(SEALED), indent=1).encode()) is Flaw.MALFORMED

    def test_two_signatures_are_refused(self) -> None:
        envelope = json.loads(SEALED)
        envelope["signatures"] *= 2
        assert flaw(rfc8785.dumps(envelope) + b"\n") is Flaw.MALFORMED

    def test_another_key_is_told_from_a_forged_signature(self) -> None:
        assert flaw(SEALED, HmacSeal(b"j" * 32)) is Flaw.UNKNOWN_KEY
        envelope = json.loads(SEALED)
        envelope["payload"] = base64.b64encode(b"{}").decode()
        assert flaw(rfc8785.dumps(envelope) + b"\n") is Flaw.FORGED

    def test_a_sound_envelope_of_another_type_is_refused(self) -> None:
        envelope = json.loads(SEALED)
        envelope["payloadType"] = "text/plain"
        signature = HMAC.sign(pre_authentication_encoding("text/plain", STATEMENT.payload()))
        envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        assert flaw(rfc8785.dumps(envelope) + b"\n") is Flaw.MALFORMED

    def test_no_key_is_shown(self) -> None:
        assert KEY.decode() not in repr(HMAC)
        assert "p" * 32 not in repr(ed25519_seal())


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
    def test_a_sealed_statement_of_something_else_is_refused(
        self, field: str, value: object
    ) -> None:
        content = changed(lambda statement: statement["predicate"].update({field: value}))
        assert flaw(content) is Flaw.MALFORMED

    @pytest.mark.parametrize("field", ["_type", "predicateType", "subject"])
    def test_a_statement_of_another_type_is_refused(self, field: str) -> None:
        assert flaw(changed(lambda statement: statement.update({field: "x"}))) is Flaw.MALFORMED
        assert flaw(changed(lambda statement: statement.pop(field))) is Flaw.MALFORMED

    def test_a_statement_that_is_not_canonical_is_refused(self) -> None:
        assert flaw(sealed(b" " + STATEMENT.payload(), HMAC)) is Flaw.MALFORMED
