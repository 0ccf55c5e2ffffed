"""Exports in the form of the original exporter are verified as far as they can be."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sample_run import KEY, Record
from signed_exports import as_export, records_of

from elspeth.core.landscape.verification import original_json
from elspeth.core.landscape.verification.read import read_records
from elspeth.core.landscape.verification.verify import Reason, Verification, verify

SHORT_KEY = b"k"
Write = Callable[[Sequence[Record]], str]


def as_lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def as_pretty_array(records: Sequence[Record]) -> str:
    return json.dumps(records, indent=2)


FORMS = pytest.mark.parametrize("write", [as_lines, json.dumps, as_pretty_array])


@pytest.fixture
def records(signed_lines: list[bytes]) -> list[Record]:
    """The signed records, with their fields in the order of the original."""
    return [in_field_order(json.loads(line)) for line in signed_lines]


def in_field_order(record: Record) -> Record:
    """Return a record that begins with its type and run and ends with its signature."""
    first = {name: record[name] for name in ("record_type", "run_id")}
    return {**first, **record, "signature": record.pop("signature", None)}


def as_original(records: Sequence[Record]) -> list[Record]:
    """Return records with the values that the original writes: integral durations as floats."""
    return [
        {
            name: float(value) if name in ("duration_ms", "latency_ms") and value else value
            for name, value in record.items()
        }
        for record in records
    ]


def check(folder: Path, content: str, key: bytes | None = KEY, **options: Any) -> Verification:
    path = folder / "export.json"
    path.write_text(content, encoding="utf-8")
    return verify(path, key, **options)


def reasons(found: Verification) -> list[Reason]:
    return [defect.reason for defect in found.defects]


@FORMS
def test_a_signed_export_is_valid_and_what_was_not_checked_is_named(
    tmp_path: Path, records: list[Record], write: Write
) -> None:
    found = check(tmp_path, write(as_original(records)), run_id="run", unique=True)
    assert (found.ok, found.valid_count, found.is_signed) == (True, len(records), True)
    assert "signatures, manifest and order were checked" in found.note
    assert "not checked: the spelling of the JSON" in found.note


@FORMS
def test_an_unsigned_export_is_valid_only_where_that_is_allowed(
    tmp_path: Path, signed_lines: list[bytes], write: Write
) -> None:
    content = write([{"record_type": "", **record} for record in records_of(signed_lines)])
    found = check(tmp_path, content, None, allow_unsigned=True)
    assert (found.ok, found.is_signed) == (True, False)
    assert "it has no signatures and no manifest" in found.note
    assert set(reasons(check(tmp_path, content))) == {Reason.UNSIGNED}


def test_an_export_in_the_form_of_this_project_has_no_note(
    tmp_path: Path, signed_lines: list[bytes]
) -> None:
    found = check(tmp_path, b"".join(signed_lines).decode())
    assert (found.ok, found.note) == (True, "")


def test_our_fields_in_another_order_are_not_taken_for_the_original(
    tmp_path: Path, records: list[Record]
) -> None:
    compact = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    assert set(reasons(check(tmp_path, compact))) == {Reason.NOT_CANONICAL}


@FORMS
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda records: records[:-1], {Reason.TRUNCATED}),
        (lambda records: records[:5] + records[6:], {Reason.COUNT, Reason.HASH}),
        (lambda records: [*records, records[-1]], {Reason.TRAILING_DATA}),
        (lambda records: [{**records[0], "status": "failed"}, *records[1:]], {"BAD_SIGNATURE"}),
        (lambda records: [{**records[0], "colour": 1}, *records[1:]], {Reason.FIELDS}),
        (lambda records: [{**records[0], "status": ["x"]}, *records[1:]], {Reason.VALUE}),
        (lambda records: [{**records[0], "status": float("nan")}, *records[1:]], {"CORRUPT_JSON"}),
        (lambda records: [{**records[0], "run_id": "\ud800"}, *records[1:]], {"NOT_CANONICAL"}),
        (lambda records: [records[0], records[-2], *records[1:]], {Reason.ORDER}),
        (lambda records: [records[0], "text", *records[1:]], {Reason.CORRUPT_JSON}),
    ],
)
def test_a_change_is_found(
    tmp_path: Path,
    records: list[Record],
    write: Write,
    change: Callable[[list[Any]], list[Any]],
    expected: set[str],
) -> None:
    assert expected <= set(reasons(check(tmp_path, write(change(records)))))


@pytest.mark.parametrize("cut", [1, 2, 40, 3000])
def test_an_array_that_was_cut_off_is_found(
    tmp_path: Path, records: list[Record], cut: int
) -> None:
    found = check(tmp_path, json.dumps(records)[:-cut])
    assert not found.ok
    assert {*reasons(found)} & {Reason.TORN_TAIL, Reason.CORRUPT_JSON}
    assert str(found.defects[0]).startswith("record ")


@pytest.mark.parametrize("piece", [1, 7, 300])
def test_an_array_is_read_in_pieces_of_any_size(
    tmp_path: Path, records: list[Record], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(original_json, "_READ_BYTES", piece)
    assert check(tmp_path, as_pretty_array(records[:3])).valid_count == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", Reason.EMPTY),
        ("[", Reason.TORN_TAIL),
        ("  [ ] x", Reason.TRAILING_DATA),
        ("[1]", Reason.CORRUPT_JSON),
        ("[[]]", Reason.CORRUPT_JSON),
        ('[{"a": 1, "a": 1}]', Reason.CORRUPT_JSON),
        ('{"record_type": "run", "record_type": "run"}\n', Reason.CORRUPT_JSON),
        ('{"record_type": "run"', Reason.TORN_TAIL),
        ("[" * 100_000, Reason.CORRUPT_JSON),
        ('[{"a":' + "[" * 100_000, Reason.CORRUPT_JSON),
        ('[{"a": "' + "x" * 1_000_000, Reason.TOO_LONG),
        ('{"record_type": "' + "x" * 1_000_000, Reason.TOO_LONG),
    ],
    ids=range(12),
)
def test_what_is_no_export_is_one_defect(tmp_path: Path, content: str, reason: Reason) -> None:
    found = check(tmp_path, content, max_line_bytes=2**19)
    assert found.defects[0].reason is reason


def test_bytes_that_are_no_text_are_a_defect(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'[{"a": "\xff"}]')
    found = verify(tmp_path / "x.json", KEY)
    assert reasons(found) == [Reason.CORRUPT_JSON]


def test_attempts_may_stand_in_any_order(tmp_path: Path, signed_lines: list[bytes]) -> None:
    """The original sorts the states of a token by their step alone."""
    unsigned = records_of(signed_lines)
    retried = next(
        at
        for at, record in enumerate(unsigned)
        if record["record_type"] == "node_state" and record["attempt"] == 1
    )
    first = max(at for at in range(retried) if unsigned[at]["record_type"] == "node_state")
    inside = ("routing_event", "call")
    end = next(
        at for at in range(retried + 1, len(unsigned)) if unsigned[at]["record_type"] not in inside
    )
    swapped = [
        *unsigned[:first],
        *unsigned[retried:end],
        *unsigned[first:retried],
        *unsigned[end:],
    ]
    content = as_export(swapped)
    assert Reason.ORDER in reasons(check(tmp_path, content.decode()))
    lines = [in_field_order(json.loads(line)) for line in content.splitlines()]
    found = check(tmp_path, json.dumps(lines))
    assert Reason.ORDER not in reasons(found)


def test_csv_files_of_the_original_are_those_of_this_project(
    tmp_path: Path, records: list[Record]
) -> None:
    groups: dict[str, list[Record]] = {}
    for record in as_original(records):
        groups.setdefault(record["record_type"], []).append(record)
    for record_type, group in groups.items():
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, sorted(group[0]))
        writer.writeheader()
        writer.writerows(group)
        (tmp_path / f"{record_type}.csv").write_bytes(text.getvalue().encode())
    found = verify(tmp_path, KEY)
    assert (found.ok, found.note) == (True, "")


def test_a_key_of_one_byte_is_reported(tmp_path: Path, signed_lines: list[bytes]) -> None:
    content = as_export(records_of(signed_lines), SHORT_KEY)
    lines = [in_field_order(json.loads(line)) for line in content.splitlines()]
    found = check(tmp_path, json.dumps(lines), SHORT_KEY)
    assert (found.ok, found.key_length) == (True, 1)


@FORMS
def test_records_of_every_form_are_read_in_their_order_up_to_a_length(
    tmp_path: Path, records: list[Record], signed_lines: list[bytes], write: Write
) -> None:
    path = tmp_path / "export.json"
    path.write_text(write(records), encoding="utf-8")
    ours = tmp_path / "export.jsonl"
    ours.write_bytes(b"".join(signed_lines))
    types = [record["record_type"] for record in records]
    for each in (path, ours):
        read = list(read_records(each))
        assert [line.record_type for line in read] == types
        assert [line.number for line in read] == list(range(1, len(records) + 1))
        assert not [line for line in read if line.defects]
    longest, *_ = read_records(ours, max_line_bytes=20)
    assert [defect.reason for defect in longest.defects] == [Reason.TOO_LONG]


@pytest.mark.parametrize("write", [as_lines, None], ids=["original", "ours"])
def test_a_line_that_was_cut_off_has_its_number(
    tmp_path: Path, records: list[Record], signed_lines: list[bytes], write: Write | None
) -> None:
    path = tmp_path / "export.jsonl"
    content = write(records).encode() if write else b"".join(signed_lines)
    path.write_bytes(content[:-30])
    *whole, torn = read_records(path)
    assert [defect.reason for defect in torn.defects] == [Reason.TORN_TAIL]
    assert torn.number == len(whole) + 1 == len(records)


@pytest.mark.parametrize("write", [as_lines, json.dumps, None], ids=["lines", "array", "ours"])
def test_a_compressed_export_that_was_cut_off_is_named_by_its_reason(
    tmp_path: Path, records: list[Record], signed_lines: list[bytes], write: Write | None
) -> None:
    content = write(records).encode() if write else b"".join(signed_lines)
    path = tmp_path / "export.jsonl.gz"
    path.write_bytes(gzip.compress(content)[:-20])
    assert reasons(verify(path, KEY)).count(Reason.CORRUPT_COMPRESSION) == 1
    *whole, damaged = read_records(path)
    assert [defect.reason for defect in damaged.defects] == [Reason.CORRUPT_COMPRESSION]
    assert damaged.number == len(whole) + 1
