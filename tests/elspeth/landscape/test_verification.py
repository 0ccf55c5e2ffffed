"""The verifier passes what exporters write, and says by a code what is wrong with anything else."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from profiles import fewer_examples
from sample_run import BOTH, KEY, Exporter, SampleRun
from signed_exports import EVERY_TYPE, Record, as_export, export_lines, records_of, signed

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.keys import SigningKeyError, key_id
from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES, short_repr
from elspeth.core.landscape.verification.record_order import KEYS_REMEMBERED
from elspeth.core.landscape.verification.verify import Defect, Reason, Verification, verify
from harness.generate.features import FEATURES
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs

FLAT_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a signed export with every record type."""
    return export_lines(tmp_path_factory.mktemp("export"))


@pytest.fixture
def records(exported: list[bytes]) -> list[Record]:
    """Its records without signatures, for a test to change and sign again."""
    return records_of(exported)


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Verification]:
    """Verify bytes as a file."""

    def verify_bytes(content: bytes, key: bytes | None = KEY, **options: Any) -> Verification:
        path = tmp_path / "export.jsonl"
        path.write_bytes(content)
        return verify(path, key, **options)

    return verify_bytes


Check = Callable[..., Verification]


def reasons(found: Verification) -> list[str]:
    return [defect.reason.value for defect in found.defects]


def first_of(records: list[Record], kind: str) -> int:
    return next(at for at, record in enumerate(records) if record["record_type"] == kind)


class TestSoundExports:
    @fewer_examples(1 / 16)
    @given(spec=run_specs(max_rows=4), write=st.sampled_from(["write_jsonl", "write_csv"]))
    def test_whatever_both_exporters_write_verifies(
        self, tmp_path_factory: pytest.TempPathFactory, spec: RunSpec, write: str
    ) -> None:
        folder = tmp_path_factory.mktemp("run")
        with LandscapeDB(f"sqlite:///{folder / 'audit.db'}") as db:
            generate_run(db, spec)
            for exporter in BOTH:
                target = folder / exporter.__name__
                getattr(exporter(db, KEY), write)(spec.run_id, target, sign=True)
                for unique in (False, True):
                    found = verify(target, KEY, run_id=spec.run_id, unique=unique)
                    assert found.ok, found
                    assert found.record_count == found.valid_count > 0

    @pytest.mark.parametrize("write", ["write_jsonl", "write_csv"])
    @pytest.mark.parametrize("sign", [False, True])
    def test_exports_from_both_backends_verify(
        self, exporter: Exporter, sample: SampleRun, tmp_path: Path, write: str, sign: bool
    ) -> None:
        published = getattr(exporter, write)(sample.run_id, tmp_path / "run", sign=sign)
        found = verify(published.path, KEY, run_id=sample.run_id, allow_unsigned=not sign)
        lines = sample.records + sign
        seen = (found.run_id, found.is_signed, found.record_count, found.valid_count)
        assert seen == (sample.run_id, sign, lines, lines)
        assert (found.defects, sum(found.counts.values())) == ((), lines)
        assert found.counts["node_state"] == sample.states
        assert found.key_id == (key_id(KEY) if sign else None)

    @pytest.mark.parametrize(
        "feature", [name for name, each in sorted(FEATURES.items()) if not each.corrupt]
    )
    def test_exports_with_each_feature_of_a_run_verify(self, feature: str, tmp_path: Path) -> None:
        spec = replace(
            EVERY_TYPE,
            rows=4,
            states=3,
            routing_groups=2,
            neighbours=1,
            features=frozenset({feature}),
        )
        with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
            generate_run(db, spec)
            exporter = LandscapeExporter(db, KEY)
            exporter.write_jsonl(spec.run_id, tmp_path / "run.jsonl", sign=True)
            exporter.write_csv(spec.run_id, tmp_path / "run", sign=True)
        for name in ("run.jsonl", "run"):
            found = verify(tmp_path / name, KEY, unique=True)
            assert found.ok, found

    def test_what_a_record_names_may_be_of_another_run_or_come_later(
        self, records: list[Record], check: Check
    ) -> None:
        for kind, field in (
            ("row", "source_node_id"),
            ("token_parent", "parent_token_id"),
            ("node_state", "node_id"),
            ("routing_event", "edge_id"),
            ("batch_member", "token_id"),
            ("artifact", "produced_by_state_id"),
        ):
            records[first_of(records, kind)][field] = "elsewhere"
        assert check(as_export(records), unique=True).ok


class TestForm:
    """What is wrong with the bytes."""

    def test_an_empty_file_is_no_pass(self, check: Check) -> None:
        found = check(b"")
        assert (reasons(found), found.ok, found.valid_count) == (["EMPTY"], False, 0)

    def test_a_missing_last_newline(self, exported: list[bytes], check: Check) -> None:
        found = check(b"".join(exported)[:-1])
        assert reasons(found) == ["TORN_TAIL"]
        assert (found.valid_count, found.record_count) == (100, 101)

    @pytest.mark.parametrize(
        "change",
        [
            lambda line: line.replace(b",", b", ", 1),
            lambda line: line.replace(b"{", b" {", 1),
            lambda line: line.replace(b"}\n", b"}\r\n"),
            lambda line: line.replace(b'"run"', b'"r\\u0075n"'),
            lambda line: line.replace(b'"row_index":1', b'"row_index":1.0'),
            lambda line: line.replace(b'"row_index":1', b'"row_index":1e0'),
            lambda line: line.replace(b"{", b'{"record_type":"row",', 1),
            lambda line: json.dumps(dict(reversed(json.loads(line).items()))).encode() + b"\n",
        ],
        ids=["blank", "indent", "crlf", "escape", "fraction", "exponent", "twice", "order"],
    )
    def test_a_line_with_the_same_meaning_in_another_form(
        self, change: Callable[[bytes], bytes], exported: list[bytes], check: Check
    ) -> None:
        at = next(i for i, line in enumerate(exported) if b'"row_index":1' in line)
        changed = change(exported[at])
        assert json.loads(changed) == json.loads(exported[at])
        found = check(b"".join([*exported[:at], changed, *exported[at + 1 :]]))
        assert [(f.reason.value, f.line) for f in found.defects] == [("NOT_CANONICAL", at + 1)]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"", "CORRUPT_JSON"),
            (b"{", "CORRUPT_JSON"),
            (b"[]", "CORRUPT_JSON"),
            (b"null", "CORRUPT_JSON"),
            (b'{"a":NaN}', "CORRUPT_JSON"),
            (b'{"a":"\xff"}', "CORRUPT_JSON"),
            (b"\xef\xbb\xbf{}", "CORRUPT_JSON"),
            (b'{"a":' + b"[" * 100_000, "CORRUPT_JSON"),
            (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "CORRUPT_JSON"),
            (rb'{"\ud800":1}', "NOT_CANONICAL"),
            (b'{"a":' + b"1" * 5000 + b"}", "NOT_CANONICAL"),
            (b'{"a":"\\ud800"}', "NOT_CANONICAL"),
            (b'{"a":[]}', "VALUE"),
            (b"{}", "UNKNOWN_TYPE"),
            (b'{"record_type":["row"]}', "VALUE"),
            (b'{"record_type":"checkpoint","run_id":"run"}', "UNKNOWN_TYPE"),
        ],
    )
    def test_a_line_that_is_no_record(
        self, line: bytes, reason: str, exported: list[bytes], check: Check
    ) -> None:
        found = check(b"".join([*exported[:50], line + b"\n", *exported[50:]]))
        assert reasons(found)[0] == reason
        assert found.defects[0].line == 51
        assert reasons(found)[1:] == ["COUNT"]

    def test_a_line_of_any_length_is_read_in_bounded_memory(
        self, exported: list[bytes], tmp_path: Path
    ) -> None:
        path = tmp_path / "export.jsonl"
        with path.open("wb") as file:
            file.writelines(exported[:50])
            file.write(b'{"a":"')
            for _ in range(5):
                file.write(b"x" * MAX_LINE_BYTES)
            file.write(b'"}\n')
            file.writelines(exported[50:])
        tracemalloc.start()
        found = verify(path, KEY)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert reasons(found) == ["TOO_LONG", "COUNT"]
        assert (found.valid_count, found.record_count) == (100, 102)
        assert peak_bytes < 5 * MAX_LINE_BYTES

    def test_messages_stay_short_whatever_the_file_holds(
        self, records: list[Record], check: Check
    ) -> None:
        records[0]["run_id"] = "x" * 100_000
        assert max(len(str(each)) for each in check(as_export(records)).defects) < 300

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("x" * 78, repr("x" * 78)),
            ("x" * 79, f"'{'x' * 79}..."),
            ("\x1b" * 80, "'" + r"\x1b" * 19 + r"\x1" + "..."),
            (("x" * 100,), f"('{'x' * 78}..."),
        ],
    )
    def test_a_value_is_shown_up_to_eighty_characters(self, value: object, said: str) -> None:
        assert short_repr(value) == said


class TestValues:
    """Fields and values that no exporter writes, properly signed all the same."""

    @pytest.mark.parametrize(
        ("kind", "change", "reason"),
        [
            ("row", {"extra": 1}, "FIELDS"),
            ("row", {"row_index": None}, "VALUE"),
            ("row", {"row_index": "0"}, "VALUE"),
            ("row", {"row_index": True}, "VALUE"),
            ("row", {"row_index": 0.5}, "VALUE"),
            ("row", {"row_index": float(2**60)}, "VALUE"),
            ("row", {"row_id": 7}, "VALUE"),
            ("row", {"run_id": None}, "VALUE"),
            ("run", {"status": "done"}, "VALUE"),
            ("call", {"call_type": "LLM"}, "VALUE"),
            ("call", {"latency_ms": "5"}, "VALUE"),
        ],
    )
    def test_a_record_with_a_field_that_no_export_has(
        self, kind: str, change: Record, reason: str, records: list[Record], check: Check
    ) -> None:
        at = first_of(records, kind)
        records[at] |= change
        found = check(as_export(records))
        assert (found.defects[0].reason.value, found.defects[0].line) == (reason, at + 1)

    def test_a_field_that_no_record_has_is_named(self, records: list[Record], check: Check) -> None:
        at = first_of(records, "row")
        records[at] |= {"colour": "red"}
        message = "a row record that has the unknown 'colour'"
        assert check(as_export(records)).defects[0] == Defect(Reason.FIELDS, message, at + 1)

    def test_a_record_without_one_of_its_fields(self, records: list[Record], check: Check) -> None:
        at = first_of(records, "row")
        del records[at]["row_index"]
        found = check(as_export(records))
        assert (
            str(found.defects[0]) == f"line {at + 1}: FIELDS: a row record that lacks 'row_index'"
        )

    @pytest.mark.parametrize(
        ("status", "change"),
        [
            ("open", {"duration_ms": 5}),
            ("completed", {"output_hash": None}),
            ("failed", {"completed_at": None}),
        ],
    )
    def test_a_node_state_whose_status_says_otherwise(
        self, status: str, change: Record, records: list[Record], check: Check
    ) -> None:
        at = next(
            at
            for at, record in enumerate(records)
            if record["record_type"] == "node_state" and record["status"] == status
        )
        records[at] |= change
        assert check(as_export(records)).defects[0].reason is Reason.VALUE

    @pytest.mark.parametrize(
        "duration_ms",
        [
            0.0,
            -0.0,
            5.0,
            0.1,
            1e-5,
            9.99e-6,
            1e-7,
            5e-324,
            1e15,
            2.0**53,
            1e16,
            1e20,
            1e21,
            1.5e300,
        ],
    )
    def test_every_finite_duration_is_read_back(
        self, duration_ms: float, records: list[Record], check: Check
    ) -> None:
        # Twice, so that the second is of a form that is known by then.
        for record in [each for each in records if each["record_type"] == "call"][:2]:
            record["latency_ms"] = duration_ms
        assert check(as_export(records)).ok

    def test_keys_of_different_parents_are_compared_only_on_request(
        self, records: list[Record], check: Check
    ) -> None:
        calls = [each for each in records if each["record_type"] == "call"]
        calls[1]["call_id"] = calls[0]["call_id"]
        assert calls[0]["state_id"] != calls[1]["state_id"]
        content = as_export(records)
        assert check(content).ok
        assert reasons(check(content, unique=True)) == ["DUPLICATE"]


class TestSignatures:
    def test_a_changed_value(self, exported: list[bytes], check: Check) -> None:
        changed = exported[10].replace(b'"run_id":"run"', b'"run_id":"ran"')
        found = check(b"".join([*exported[:10], changed, *exported[11:]]))
        assert reasons(found) == ["WRONG_RUN", "BAD_SIGNATURE"]
        assert (found.valid_count, found.record_count, found.hint) == (100, 101, None)

    def test_a_wrong_key_is_guessed(self, exported: list[bytes], check: Check) -> None:
        found = check(b"".join(exported), b"j" * 32)
        assert set(reasons(found)) == {"BAD_SIGNATURE"}
        assert (found.valid_count, found.defect_count, len(found.defects)) == (0, 101, 20)
        assert found.hint is not None
        assert "wrong key" in found.hint

    @pytest.mark.parametrize("signature", ["", "0", "é" * 64, "Ff" * 32, None, 5])
    def test_a_signature_that_is_none(
        self, signature: object, exported: list[bytes], check: Check
    ) -> None:
        record = {**json.loads(exported[10]), "signature": signature}
        line = rfc8785.dumps(record) + b"\n"
        found = check(b"".join([*exported[:10], line, *exported[11:]]))
        assert reasons(found)[0] == ("BAD_SIGNATURE" if isinstance(signature, str) else "UNSIGNED")

    def test_a_signature_in_upper_case(self, exported: list[bytes], check: Check) -> None:
        record = json.loads(exported[10])
        record["signature"] = record["signature"].upper()
        line = rfc8785.dumps(record) + b"\n"
        found = check(b"".join([*exported[:10], line, *exported[11:]]))
        assert "64 lower-case hexadecimal digits" in str(found.defects[0])

    def test_what_is_wrong_with_a_signature_is_said(
        self, exported: list[bytes], check: Check
    ) -> None:
        changed = exported[10].replace(b'"run_id":"run"', b'"run_id":"ran"')
        messages = [each.message for each in check(changed).defects]
        assert messages[0] == "the signature does not match the record"
        shorter = rfc8785.dumps({**json.loads(exported[0]), "signature": "0"}) + b"\n"
        messages = [each.message for each in check(shorter).defects]
        assert messages[0] == "the signature is not 64 lower-case hexadecimal digits"

    def test_a_line_that_cannot_be_read_is_not_blamed_on_the_manifest_too(
        self, exported: list[bytes], check: Check
    ) -> None:
        found = check(b"".join([*exported[:10], b"{}\n", *exported[11:]]))
        assert reasons(found) == ["UNKNOWN_TYPE"]

    def test_an_expected_run(self, exported: list[bytes], check: Check) -> None:
        content = b"".join(exported)
        assert check(content, run_id="run").ok
        found = check(content, run_id="other")
        assert set(reasons(found)) == {"WRONG_RUN"}
        assert (found.valid_count, found.run_id) == (0, "other")

    def test_a_record_of_another_run(self, records: list[Record], check: Check) -> None:
        records[5]["run_id"] = "other"
        assert check(as_export(records)).defects == (
            Defect(Reason.WRONG_RUN, "of run 'other', not 'run'", 6),
        )


class TestManifest:
    @pytest.mark.parametrize(
        ("change", "reason", "message"),
        [
            ({"record_count": 99}, "COUNT", "the manifest counts 99 records, here are 100"),
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
        self, change: Record, reason: str, message: str, exported: list[bytes], check: Check
    ) -> None:
        manifest = json.loads(exported[-1])
        del manifest["signature"]
        found = check(b"".join([*exported[:-1], signed(manifest | change)]))
        assert found.defects == (Defect(Reason(reason), message, 101),)

    def test_a_file_that_ends_before_its_manifest(
        self, exported: list[bytes], check: Check
    ) -> None:
        found = check(b"".join(exported[:-1]))
        assert reasons(found) == ["TRUNCATED"]
        assert (found.valid_count, found.record_count) == (100, 101)

    def test_a_manifest_alone(self, exported: list[bytes], check: Check) -> None:
        order = Defect(Reason.ORDER, "a manifest without a run before it", 1)
        assert order in check(exported[-1]).defects

    def test_a_blank_line_at_the_end(self, exported: list[bytes], check: Check) -> None:
        assert reasons(check(b"".join([*exported, b"\n"]))) == ["TRAILING_DATA"]


class TestUnsigned:
    @pytest.fixture
    def unsigned(self, records: list[Record]) -> list[bytes]:
        return [rfc8785.dumps(record) + b"\n" for record in records]

    def test_it_is_invalid_unless_that_is_allowed(
        self, unsigned: list[bytes], check: Check
    ) -> None:
        found = check(b"".join(unsigned))
        assert reasons(found)[0] == "UNSIGNED"
        assert found.defect_count == len(unsigned) + 1
        assert check(b"".join(unsigned), allow_unsigned=True).ok
        assert check(b"".join(unsigned), None, allow_unsigned=True).is_signed is False

    def test_it_is_still_checked(self, unsigned: list[bytes], check: Check) -> None:
        rows = [line for line in unsigned if b'"record_type":"row"' in line]
        moved = [*rows, *(line for line in unsigned if line not in rows)]
        assert reasons(check(b"".join(moved), allow_unsigned=True))[0] == "ORDER"
        assert reasons(check(b"", allow_unsigned=True)) == ["EMPTY"]

    def test_a_signed_one_is_checked_even_so(self, exported: list[bytes], check: Check) -> None:
        content = b"".join(exported)
        assert check(content, allow_unsigned=True).is_signed
        assert not check(content, b"j" * 32, allow_unsigned=True).ok
        with pytest.raises(SigningKeyError, match="signed"):
            check(content, None, allow_unsigned=True)

    @pytest.mark.parametrize("signed_first", [False, True])
    def test_half_signed_ones_are_refused(
        self, unsigned: list[bytes], exported: list[bytes], check: Check, signed_first: bool
    ) -> None:
        one, other = (exported, unsigned) if signed_first else (unsigned, exported)
        found = check(b"".join([*one[:20], *other[20:]]), allow_unsigned=True)
        what = "has no signature" if signed_first else "signed, in an export that begins unsigned"
        assert found.defects[0] == Defect(Reason.UNSIGNED, what, 21)
        assert "HASH" not in reasons(found)

    def test_an_unsigned_manifest_is_refused_whatever_is_allowed(
        self, unsigned: list[bytes], exported: list[bytes], check: Check
    ) -> None:
        manifest = json.loads(exported[-1])
        del manifest["signature"]
        content = b"".join([*unsigned, rfc8785.dumps(manifest), b"\n"])
        found = check(content, allow_unsigned=True)
        line = len(unsigned) + 1
        assert found.defects == (Defect(Reason.UNSIGNED, "a manifest without a signature", line),)


class TestMemory:
    def test_it_does_not_grow_with_the_export(self, tmp_path: Path) -> None:
        peaks = []
        for rows in (100, 2000):
            folder = tmp_path / str(rows)
            folder.mkdir()
            export_lines(folder, RunSpec(run_id="run", rows=rows))
            tracemalloc.start()
            found = verify(folder / "run.jsonl", KEY, unique=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert found.ok
            assert found.record_count > 3 * rows
        assert peaks[1] - peaks[0] < FLAT_BYTES

    def test_keys_are_remembered_up_to_a_bound(self, records: list[Record], check: Check) -> None:
        at = first_of(records, "edge")
        edges = [records[at] | {"edge_id": str(n)} for n in range(KEYS_REMEMBERED + 10)]
        content = as_export([*records[:at], *edges, edges[-1], *records[at + 5 :]])
        assert check(content).ok
        assert reasons(check(content, unique=True)) == ["DUPLICATE"]
