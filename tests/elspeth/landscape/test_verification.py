"""The verifier passes exports, and reports the defects of other content by code."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import fewer_examples
from sample_run import BOTH, KEY, Exporter, SampleRun
from signed_exports import (
    EVERY_TYPE,
    Record,
    VerifyBytes,
    as_export,
    export_lines,
)

from elspeth.contracts.errors import IS_NULL, MAX_INTEGER, NOT_FINITE, TOO_LARGE
from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.keys import key_id
from elspeth.core.landscape.verification.defects import short_repr
from elspeth.core.landscape.verification.record_order import KEYS_REMEMBERED
from elspeth.core.landscape.verification.record_shapes import INTEGER, NUMBER, TEXT, Field
from elspeth.core.landscape.verification.verify import Defect, Reason, Verification, verify
from harness.generate.features import FEATURES
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs

FLAT_BYTES = 256 * 1024

LIMIT = 4 * 2**20
"""A limit of lines that is cheaper to exceed than the default."""


def reasons(found: Verification) -> list[str]:
    return [defect.reason.value for defect in found.defects]


def first_of(records: list[Record], kind: str) -> int:
    return next(at for at, record in enumerate(records) if record["record_type"] == kind)


class TestSoundExports:
    @fewer_examples(1 / 16)
    @given(spec=run_specs(max_rows=4), write=st.sampled_from(["write_jsonl", "write_csv"]))
    def test_exports_of_both_exporters_verify(
        self, tmp_path_factory: pytest.TempPathFactory, spec: RunSpec, write: str
    ) -> None:
        folder = tmp_path_factory.mktemp("run")
        with LandscapeDB.in_memory() as db:
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
            forks=2,
            states=3,
            routing_groups=2,
            neighbours=1,
            features=frozenset({feature}),
        )
        with LandscapeDB.in_memory() as db:
            generate_run(db, spec)
            exporter = LandscapeExporter(db, KEY)
            exporter.write_jsonl(spec.run_id, tmp_path / "run.jsonl", sign=True)
            exporter.write_csv(spec.run_id, tmp_path / "run", sign=True)
        for name in ("run.jsonl", "run"):
            found = verify(tmp_path / name, KEY, unique=True)
            assert found.ok, found

    def test_a_named_record_may_be_of_another_run_or_come_later(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        for kind, field in (
            ("row", "source_node_id"),
            ("token_parent", "parent_token_id"),
            ("node_state", "node_id"),
            ("routing_event", "edge_id"),
            ("batch_member", "token_id"),
            ("artifact", "produced_by_state_id"),
        ):
            unsigned_records[first_of(unsigned_records, kind)][field] = "elsewhere"
        assert verify_bytes(as_export(unsigned_records), unique=True).ok


class TestForm:
    """Defects of the bytes."""

    def test_an_empty_file_fails(self, verify_bytes: VerifyBytes) -> None:
        found = verify_bytes(b"")
        assert (reasons(found), found.ok, found.valid_count) == (["EMPTY"], False, 0)

    def test_a_missing_last_newline(
        self, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        found = verify_bytes(b"".join(signed_lines)[:-1])
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
        self, change: Callable[[bytes], bytes], signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        at = next(i for i, line in enumerate(signed_lines) if b'"row_index":1' in line)
        changed = change(signed_lines[at])
        assert json.loads(changed) == json.loads(signed_lines[at])
        found = verify_bytes(b"".join([*signed_lines[:at], changed, *signed_lines[at + 1 :]]))
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
    def test_a_line_without_a_record(
        self, line: bytes, reason: str, signed_lines: list[bytes], verify_bytes: VerifyBytes
    ) -> None:
        found = verify_bytes(b"".join([*signed_lines[:50], line + b"\n", *signed_lines[50:]]))
        assert reasons(found)[0] == reason
        assert found.defects[0].line == 51
        assert reasons(found)[1:] == ["COUNT"]

    def test_a_line_of_any_length_is_read_in_bounded_memory(
        self, signed_lines: list[bytes], tmp_path: Path
    ) -> None:
        path = tmp_path / "export.jsonl"
        with path.open("wb") as file:
            file.writelines(signed_lines[:50])
            file.write(b'{"a":"')
            for _ in range(5):
                file.write(b"x" * LIMIT)
            file.write(b'"}\n')
            file.writelines(signed_lines[50:])
        tracemalloc.start()
        found = verify(path, KEY, max_line_bytes=LIMIT)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert reasons(found) == ["TOO_LONG", "COUNT"]
        assert (found.valid_count, found.record_count) == (100, 102)
        assert peak_bytes < 5 * LIMIT

    def test_messages_stay_short_for_any_content(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        unsigned_records[0]["run_id"] = "x" * 100_000
        assert (
            max(len(str(each)) for each in verify_bytes(as_export(unsigned_records)).defects) < 300
        )

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
    """Correctly signed records with wrong fields and values."""

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
        self,
        kind: str,
        change: Record,
        reason: str,
        unsigned_records: list[Record],
        verify_bytes: VerifyBytes,
    ) -> None:
        at = first_of(unsigned_records, kind)
        unsigned_records[at] |= change
        found = verify_bytes(as_export(unsigned_records))
        assert (found.defects[0].reason.value, found.defects[0].line) == (reason, at + 1)

    def test_a_field_that_no_record_has_is_named(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        at = first_of(unsigned_records, "row")
        unsigned_records[at] |= {"colour": "red"}
        message = "a row record that has the unknown 'colour'"
        assert verify_bytes(as_export(unsigned_records)).defects[0] == Defect(
            Reason.FIELDS, message, at + 1
        )

    def test_a_record_without_one_of_its_fields(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        at = first_of(unsigned_records, "row")
        del unsigned_records[at]["row_index"]
        found = verify_bytes(as_export(unsigned_records))
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
    def test_a_node_state_that_contradicts_its_status(
        self, status: str, change: Record, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        at = next(
            at
            for at, record in enumerate(unsigned_records)
            if record["record_type"] == "node_state" and record["status"] == status
        )
        unsigned_records[at] |= change
        assert verify_bytes(as_export(unsigned_records)).defects[0].reason is Reason.VALUE

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
        self, duration_ms: float, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        # Twice, so that the second is of a form that is known by then.
        for record in [each for each in unsigned_records if each["record_type"] == "call"][:2]:
            record["latency_ms"] = duration_ms
        assert verify_bytes(as_export(unsigned_records)).ok

    def test_keys_of_different_parents_are_compared_only_on_request(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        calls = [each for each in unsigned_records if each["record_type"] == "call"]
        calls[1]["call_id"] = calls[0]["call_id"]
        assert calls[0]["state_id"] != calls[1]["state_id"]
        content = as_export(unsigned_records)
        assert verify_bytes(content).ok
        assert reasons(verify_bytes(content, unique=True)) == ["DUPLICATE"]


class TestFields:
    """Single values, without a record around them."""

    @pytest.mark.parametrize(
        ("types", "value", "message"),
        [
            (INTEGER, MAX_INTEGER, None),
            (INTEGER, -MAX_INTEGER, None),
            (INTEGER, MAX_INTEGER + 1, TOO_LARGE),
            (INTEGER, -MAX_INTEGER - 1, TOO_LARGE),
            # A float may be written without a fraction, and then reads as an integer.
            (NUMBER, MAX_INTEGER + 1, None),
            (NUMBER, 1e300, None),
            (TEXT, "9" * 20, None),
            (NUMBER, float("inf"), NOT_FINITE),
            (NUMBER, float("nan"), NOT_FINITE),
            (NUMBER, "5", "holds '5', which is not a number"),
            (INTEGER, True, "holds True, which is not an integer"),
            (TEXT, 5, "holds 5, which is not text"),
            (TEXT, None, IS_NULL),
        ],
    )
    def test_a_value_has_the_type_and_the_limit_of_its_field(
        self, types: frozenset[type], value: object, message: str | None
    ) -> None:
        assert MAX_INTEGER == 2**53 - 1
        assert Field("field", types).defect(value) == message

    def test_a_field_may_be_null_or_of_an_enum(self) -> None:
        field = Field("status", nullable=True, members=frozenset({"open"}))
        assert [field.defect(value) for value in (None, "open", "shut")] == [
            None,
            None,
            "holds 'shut', which is not a known value",
        ]


class TestMemory:
    def test_memory_does_not_grow_with_the_export(self, tmp_path: Path) -> None:
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

    def test_keys_are_compared_up_to_a_limit(
        self, unsigned_records: list[Record], verify_bytes: VerifyBytes
    ) -> None:
        at = first_of(unsigned_records, "edge")
        edges = [unsigned_records[at] | {"edge_id": str(n)} for n in range(KEYS_REMEMBERED + 10)]
        content = as_export(
            [*unsigned_records[:at], *edges, edges[-1], *unsigned_records[at + 5 :]]
        )
        assert verify_bytes(content).ok
        assert reasons(verify_bytes(content, unique=True)) == ["DUPLICATE"]
