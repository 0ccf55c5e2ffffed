"""Signatures, manifests and unsigned exports: valid ones pass, defects are named."""

import json

import pytest
import rfc8785
from signed_exports import (
    Record,
    VerifyBytes,
    as_export,
    signed,
)

from elspeth.core.landscape.keys import SigningKeyError
from elspeth.core.landscape.verification.verify import Defect, Reason, Verification

FLAT_BYTES = 256 * 1024


def reasons(found: Verification) -> list[str]:
    return [defect.reason.value for defect in found.defects]


class TestSignatures:
    def test_a_changed_value(self, signed_lines: list[bytes], verify_bytes: VerifyBytes) -> None:
        changed = signed_lines[10].replace(b'"run_id":"run"', b'"run_id":"ran"')
        found = verify_bytes(b"".join([*signed_lines[:10], changed, *signed_lines[11:]]))
        assert reasons(found) == ["WRONG_RUN", "BAD_SIGNATURE"]
        assert (found.valid_count, found.record_count, found.hint) == (100, 101, None)

    def test_a_wrong_key_gives_a_hint(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        found = verify_bytes(b"".join(signed_lines), b"j" * 32)
        assert set(reasons(found)) == {"BAD_SIGNATURE"}
        assert (found.valid_count, found.defect_count, len(found.defects)) == (0, 101, 20)
        assert found.hint is not None
        assert "wrong key" in found.hint

    @pytest.mark.parametrize("signature", ["", "0", "é" * 64, "Ff" * 32, None, 5])
    def test_a_value_that_cannot_be_a_signature(
        self, signature: object, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        record = {**json.loads(signed_lines[10]), "signature": signature}
        line = rfc8785.dumps(record) + b"\n"
        found = verify_bytes(b"".join([*signed_lines[:10], line, *signed_lines[11:]]))
        assert reasons(found)[0] == ("BAD_SIGNATURE" if isinstance(signature, str) else "UNSIGNED")

    def test_a_signature_in_upper_case(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        record = json.loads(signed_lines[10])
        record["signature"] = record["signature"].upper()
        line = rfc8785.dumps(record) + b"\n"
        found = verify_bytes(b"".join([*signed_lines[:10], line, *signed_lines[11:]]))
        assert "64 lower-case hexadecimal digits" in str(found.defects[0])

    def test_the_defect_of_a_signature_is_named(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        changed = signed_lines[10].replace(b'"run_id":"run"', b'"run_id":"ran"')
        messages = [each.message for each in verify_bytes(changed).defects]
        assert messages[0] == "the signature does not match the record"
        shorter = rfc8785.dumps({**json.loads(signed_lines[0]), "signature": "0"}) + b"\n"
        messages = [each.message for each in verify_bytes(shorter).defects]
        assert messages[0] == "the signature is not 64 lower-case hexadecimal digits"

    def test_an_unreadable_line_is_not_reported_for_the_manifest_too(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        found = verify_bytes(b"".join([*signed_lines[:10], b"{}\n", *signed_lines[11:]]))
        assert reasons(found) == ["UNKNOWN_TYPE"]

    def test_an_expected_run(self, signed_lines: list[bytes], verify_bytes: VerifyBytes) -> None:
        content = b"".join(signed_lines)
        assert verify_bytes(content, run_id="run").ok
        found = verify_bytes(content, run_id="other")
        assert set(reasons(found)) == {"WRONG_RUN"}
        assert (found.valid_count, found.run_id) == (0, "other")

    def test_a_record_of_another_run(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        unsigned_records[5]["run_id"] = "other"
        assert verify_bytes(as_export(unsigned_records)).defects == (
            Defect(Reason.WRONG_RUN, "of run 'other', not 'run'", 6),
        )


class TestManifest:
    @pytest.mark.parametrize(
        ("change", "reason", "message"),
        [
            (
                {"record_count": 99},
                "COUNT",
                "the manifest counts 99 records, here are 100",
            ),
            (
                {"final_hash": "0" * 64},
                "HASH",
                "the manifest's hash is not that of these signatures",
            ),
            ({"hash_algorithm": "md5"}, "HASH", "unknown algorithms: ('md5', 'hmac-sha256')"),
            ({"signature_algorithm": "none"}, "HASH", "unknown algorithms: ('sha256', 'none')"),
        ],
    )
    def test_a_manifest_that_does_not_fit(
        self,
        change: Record,
        reason: str,
        message: str,
        signed_lines: list[bytes],
        verify_bytes: VerifyBytes,
    ) -> None:
        manifest = json.loads(signed_lines[-1])
        del manifest["signature"]
        found = verify_bytes(b"".join([*signed_lines[:-1], signed(manifest | change)]))
        assert found.defects == (Defect(Reason(reason), message, 101),)

    def test_a_file_that_ends_before_its_manifest(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        found = verify_bytes(b"".join(signed_lines[:-1]))
        assert reasons(found) == ["TRUNCATED"]
        assert (found.valid_count, found.record_count) == (100, 101)

    def test_a_manifest_alone(self, signed_lines: list[bytes], verify_bytes: VerifyBytes) -> None:
        order = Defect(Reason.ORDER, "a manifest without a run before it", 1)
        assert order in verify_bytes(signed_lines[-1]).defects

    def test_a_blank_line_at_the_end(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        assert reasons(verify_bytes(b"".join([*signed_lines, b"\n"]))) == ["TRAILING_DATA"]


class TestUnsigned:
    @pytest.fixture
    def unsigned(self, unsigned_records: list[Record]) -> list[bytes]:
        return [rfc8785.dumps(record) + b"\n" for record in unsigned_records]

    def test_an_unsigned_export_is_invalid_unless_allowed(
        self, unsigned: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        found = verify_bytes(b"".join(unsigned))
        assert reasons(found)[0] == "UNSIGNED"
        assert found.defect_count == len(unsigned) + 1
        assert verify_bytes(b"".join(unsigned), allow_unsigned=True).ok
        assert verify_bytes(b"".join(unsigned), None, allow_unsigned=True).is_signed is False

    def test_an_allowed_unsigned_export_is_still_checked(
        self, unsigned: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        rows = [line for line in unsigned if b'"record_type":"row"' in line]
        moved = [*rows, *(line for line in unsigned if line not in rows)]
        assert reasons(verify_bytes(b"".join(moved), allow_unsigned=True))[0] == "ORDER"
        assert reasons(verify_bytes(b"", allow_unsigned=True)) == ["EMPTY"]

    def test_a_signed_export_is_checked_although_unsigned_is_allowed(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        content = b"".join(signed_lines)
        assert verify_bytes(content, allow_unsigned=True).is_signed
        assert not verify_bytes(content, b"j" * 32, allow_unsigned=True).ok
        with pytest.raises(SigningKeyError, match="signed"):
            verify_bytes(content, None, allow_unsigned=True)

    @pytest.mark.parametrize("signed_first", [False, True])
    def test_half_signed_exports_are_refused(
        self,
        unsigned: list[bytes],
        signed_lines: list[bytes],
        verify_bytes: VerifyBytes,
        signed_first: bool,
    ) -> None:
        one, other = (signed_lines, unsigned) if signed_first else (unsigned, signed_lines)
        found = verify_bytes(b"".join([*one[:20], *other[20:]]), allow_unsigned=True)
        what = "has no signature" if signed_first else "signed, in an export that begins unsigned"
        assert found.defects[0] == Defect(Reason.UNSIGNED, what, 21)
        assert "HASH" not in reasons(found)

    def test_an_unsigned_manifest_is_always_refused(
        self, unsigned: list[bytes], signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        manifest = json.loads(signed_lines[-1])
        del manifest["signature"]
        content = b"".join([*unsigned, rfc8785.dumps(manifest), b"\n"])
        found = verify_bytes(content, allow_unsigned=True)
        line = len(unsigned) + 1
        assert found.defects == (Defect(Reason.UNSIGNED, "a manifest without a signature", line),)
