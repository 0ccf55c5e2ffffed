"""Lines that are read by the block, or by several processes, get the result of single lines."""

import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from command_line import Command
from sample_run import KEY, Record
from signed_exports import as_export, export_lines, records_of, shortened, signed

from elspeth.core.landscape.keys import Keyring, SigningKeyError
from elspeth.core.landscape.verification import jsonl, shared_lines
from elspeth.core.landscape.verification.defects import ParsedLine
from elspeth.core.landscape.verification.jsonl import read_jsonl
from elspeth.core.landscape.verification.line_patterns import LinePatterns
from elspeth.core.landscape.verification.record_order import _CHECKED_RULES
from elspeth.core.landscape.verification.record_shapes import SHAPES, TEXT
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, _Digests
from elspeth.core.landscape.verification.verifier import Verifier
from elspeth.core.landscape.verification.verify import Reason, Verification, verify

OTHER_KEY = b"o" * 32


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The records of a run with every record type, 100 of them, with short ids."""
    return shortened(records_of(export_lines(tmp_path_factory.mktemp("export"))))


@pytest.fixture(scope="module")
def lines(records: list[Record]) -> list[bytes]:
    """The signed export of the records."""
    return as_export(records).splitlines(keepends=True)


def unsigned(records: Sequence[Record]) -> list[bytes]:
    return [rfc8785.dumps(record) + b"\n" for record in records]


class Inline(Executor):
    """Runs what is submitted at once, in this process."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


@contextmanager
def inline_pool(_: int) -> Iterator[Executor]:
    yield Inline()


Verify = Callable[..., Verification | str]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Verify:
    """A function that verifies content in three ways, which must have the same result."""
    path = tmp_path / "run.jsonl"

    def verified(key: bytes | Keyring | None, **options: Any) -> Verification | str:
        try:
            return verify(path, key, **options)
        except SigningKeyError as error:
            return str(error)

    def every_way(
        content: bytes, key: bytes | Keyring | None = KEY, **options: Any
    ) -> Verification | str:
        path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(Verifier, "patterns", lambda _: None)
            single = verified(key, **options)
        with monkeypatch.context() as patch:
            # Small ones, so that every change is near a border.
            patch.setattr(jsonl, "_FIRST_BLOCK_BYTES", 300)
            patch.setattr(jsonl, "_BLOCK_BYTES", 1000)
            assert verified(key, **options) == single
            patch.setattr(shared_lines, "PART_BYTES", 1500)
            patch.setattr(shared_lines, "worker_pool", inline_pool)
            assert verified(key, jobs=2, **options) == single
        return single

    return every_way


def without(key: str, line: bytes) -> bytes:
    record = json.loads(line)
    del record[key]
    return rfc8785.dumps(record) + b"\n"


def again(line: bytes, **changes: object) -> bytes:
    """The line with other values, signed again."""
    record = {key: value for key, value in json.loads(line).items() if key != "signature"}
    return signed(record | changes)


Change = Callable[[list[bytes], int], list[bytes]]


def on_line(change: Callable[[bytes], bytes]) -> Change:
    return lambda lines, at: [*lines[:at], change(lines[at]), *lines[at + 1 :]]


CHANGES: dict[str, Change] = {
    "dropped": lambda lines, at: lines[:at] + lines[at + 1 :],
    "duplicated": lambda lines, at: lines[: at + 1] + lines[at:],
    "swapped": lambda lines, at: lines[:at] + lines[at : at + 2][::-1] + lines[at + 2 :],
    "moved to the end": lambda lines, at: [*lines[:at], *lines[at + 1 : -1], lines[at], lines[-1]],
    "truncated": lambda lines, at: lines[:at],
    "cut": lambda lines, at: [*lines[:at], lines[at][:-9]],
    "followed by a blank line": lambda lines, at: [*lines[: at + 1], b"\n", *lines[at + 1 :]],
    "joined with the next": on_line(lambda line: line[:-1]),
    "split": on_line(lambda line: line.replace(b',"run_id"', b',\n"run_id"')),
    "with CR LF": on_line(lambda line: line[:-1] + b"\r\n"),
    "with a blank": on_line(lambda line: line.replace(b'":', b'": ', 1)),
    "with an escape": on_line(lambda line: line.replace(b"run", rb"\u0072un", 1)),
    "with a control character": on_line(lambda line: line.replace(b'"run"', b'"run\t"')),
    "not UTF-8": on_line(lambda line: line.replace(b'"run"', b'"run\xff"')),
    "with another signature": on_line(
        lambda line: again(line).replace(b'"signature":"', b'"signature":"0').replace(b'0",', b'",')
    ),
    "with a capital signature": on_line(
        lambda line: line.replace(
            json.loads(line)["signature"].encode(), json.loads(line)["signature"].upper().encode()
        )
    ),
    "without a signature": on_line(lambda line: without("signature", line)),
    "signed by another": on_line(
        lambda line: signed(json.loads(without("signature", line)), OTHER_KEY)
    ),
    "of another run": on_line(lambda line: again(line, run_id="rum")),
    "of another type": on_line(lambda line: again(line, record_type="rows")),
    "with one field more": on_line(lambda line: again(line, zeal="more")),
    "with an object": on_line(lambda line: again(line, run_id={"run": "run"})),
    "not JSON": on_line(lambda line: b"{" + line),
    "with a type in a text": on_line(lambda line: again(line, run_id='"record_type":"row"')),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_export_gets_the_same_result_in_every_way(
    change: str, lines: list[bytes], ways: Verify
) -> None:
    results = [ways(b"".join(CHANGES[change](lines, at))) for at in range(1, len(lines) - 1, 11)]
    found = [result for result in results if isinstance(result, Verification) and result.ok]
    assert not found


@pytest.mark.parametrize("change", [name for name in CHANGES if "sign" not in name])
def test_a_changed_unsigned_export_gets_the_same_result_in_every_way(
    change: str, records: list[Record], ways: Verify
) -> None:
    lines = unsigned(records)
    changed = [
        [without("signature", line) if b'"signature"' in line else line for line in each]
        if change in ("of another run", "of another type", "with one field more", "with an object")
        else each
        for each in (CHANGES[change](lines, at) for at in range(1, len(lines), 25))
    ]
    for each in changed:
        ways(b"".join(each), None, allow_unsigned=True)


def test_a_whole_export_gets_the_same_result_in_every_way(
    records: list[Record], lines: list[bytes], ways: Verify
) -> None:
    for content, key, options in (
        (lines, KEY, {}),
        (lines, KEY, {"run_id": "run"}),
        (lines, Keyring((OTHER_KEY, KEY)), {}),
        (lines, None, {"allow_unchecked": True}),
        (unsigned(records), None, {"allow_unsigned": True}),
        (lines, KEY, {"unique": True}),
    ):
        result = ways(b"".join(content), key, **options)
        assert isinstance(result, Verification)
        assert result.ok
        assert result.valid_count == len(content)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (OTHER_KEY, {}),
        (None, {}),
        (KEY, {"run_id": "other"}),
        (Keyring((OTHER_KEY, b"x" * 32)), {}),
        (KEY, {"max_line_bytes": 300}),
        (None, {"allow_unsigned": True}),
    ],
)
def test_a_wrong_question_gets_the_same_answer_in_every_way(
    key: bytes | Keyring | None, options: dict[str, Any], lines: list[bytes], ways: Verify
) -> None:
    result = ways(b"".join(lines), key, **options)
    assert isinstance(result, str) or not result.ok


def test_lines_of_two_keys_are_refused_in_every_way(records: list[Record], ways: Verify) -> None:
    at = len(records) // 2
    content = [*(signed(each) for each in records[:at])]
    content += [signed(each, OTHER_KEY) for each in records[at:]]
    result = ways(b"".join(content), Keyring((KEY, OTHER_KEY)))
    assert isinstance(result, Verification)
    assert result.defect_count == len(records) - at + 1


def test_signatures_whose_borders_have_moved_are_refused(
    records: list[Record], lines: list[bytes], ways: Verify
) -> None:
    """Joined, the signatures of the two lines are right."""
    first, second = (json.loads(line)["signature"] for line in lines[40:42])
    moved = [
        lines[40].replace(first.encode(), first[:-1].encode()),
        lines[41].replace(second.encode(), (first[-1] + second).encode()),
    ]
    result = ways(b"".join([*lines[:40], *moved, *lines[42:]]))
    assert isinstance(result, Verification)
    assert [defect.line for defect in result.defects if defect.line] == [41, 42]


def test_siblings_far_apart_are_compared_in_every_way(records: list[Record], ways: Verify) -> None:
    """All signatures and the manifest fit."""
    rows = [at for at, each in enumerate(records) if each["record_type"] == "row"]
    after = next(at for at, each in enumerate(records) if each["record_type"] == "batch")
    first, second = records[rows[0] : rows[1]], records[rows[1] : after]
    swapped = [*records[: rows[0]], *second, *first, *records[after:]]
    artifact = next(each for each in records if each["record_type"] == "artifact")
    for changed, reason in ((swapped, Reason.ORDER), ([*records, artifact], Reason.DUPLICATE)):
        result = ways(as_export(changed))
        assert isinstance(result, Verification)
        assert [defect.reason for defect in result.defects] == [reason]


@pytest.mark.parametrize("key", [KEY, None])
def test_a_part_that_is_signed_in_an_unsigned_export_is_refused_in_every_way(
    key: bytes | None, records: list[Record], lines: list[bytes], ways: Verify
) -> None:
    first, end = (
        max(at for at, each in enumerate(records) if each["record_type"] == "row"),
        min(at for at, each in enumerate(records) if each["record_type"] == "batch"),
    )
    # From one border of the parts to another.
    content = [*unsigned(records[:first]), *lines[first:end], *unsigned(records[end:])]
    result = ways(b"".join(content), key, allow_unsigned=True)
    assert isinstance(result, Verification)
    assert result.defect_count == end - first


def test_the_result_of_parts_is_that_of_a_whole_export_only_without_a_defect(
    lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lines, "PART_BYTES", 1500)
    monkeypatch.setattr(shared_lines, "worker_pool", inline_pool)
    path = tmp_path / "run.jsonl"
    for content, is_shared in ((lines, True), (lines[:-1], False), ([*lines, lines[-1]], False)):
        path.write_bytes(b"".join(content))
        with path.open("rb") as file:
            accepted = AcceptedSignatures((KEY,))
            result = shared_lines.verify_in_parts(file, accepted, None, 2, 10**6)
            assert file.tell() == 0
        assert (result is not None) is is_shared


def test_every_type_of_record_is_read_by_the_block(
    lines: list[bytes], records: list[Record]
) -> None:
    for is_signed, content in ((True, lines[:-1]), (False, unsigned(records))):
        block = LinePatterns("run", is_signed=is_signed).read(b"".join(content))
        assert block is not None
        assert list(block.record_types) == [record["record_type"] for record in records]


@pytest.mark.parametrize("is_signed", [True, False])
def test_a_line_that_is_read_by_the_block_has_the_reading_of_single_lines(
    is_signed: bool, lines: list[bytes], records: list[Record]
) -> None:
    """Bytes at random places, among them all that JSON gives a meaning."""
    patterns = LinePatterns("run", is_signed=is_signed)
    chosen = random.Random(0)
    content = lines[:-1] if is_signed else unsigned(records)
    alphabet = b'{}[]",:\\/0159-+.eEu \t\n\r\x00\x1f\x7fnulx\xc3\xa9\xed'
    accepted = 0
    for line in content * 12:
        at = chosen.randrange(len(line))
        piece = bytes(chosen.choice(alphabet) for _ in range(chosen.choice((0, 1, 1, 1, 2))))
        accepted += accepts_like_single_lines(patterns, line[:at] + piece + line[at + 1 :])
    # Most changes of a text or a number leave a valid line.
    assert accepted > len(content)


def accepts_like_single_lines(patterns: LinePatterns, changed: bytes) -> bool:
    block = patterns.read(changed)
    if block is None:
        return False
    read = [*read_jsonl(BytesIO(changed))]
    assert not [each for each in read if each.defects], changed
    assert list(block.record_types) == [each.record_type for each in read]
    assert (list(block.keys), list(block.parent_ids), list(block.sort_keys)) == places_of(read)
    if block.signatures:
        assert list(block.signatures) == [(each.signature or "").encode() for each in read]
        assert list(block.messages) == [next(iter(each.messages)) for each in read]
    return True


def places_of(read: Sequence[ParsedLine]) -> tuple[list[object], list[object], list[object]]:
    """By line: the key, the id of the parent, and what it ascends by."""
    rules = [_CHECKED_RULES[str(line.record_type)] for line in read]
    pairs = list(zip(rules, (line.record for line in read), strict=True))
    return (
        [record[rule.key_field] for rule, record in pairs],
        [record[rule.parent_field] for rule, record in pairs],
        [rule.sort_key and rule.sort_key(record) for rule, record in pairs],
    )


@pytest.mark.parametrize(
    "written",
    [
        *("5.0", "-0", "-0.0", "0.10", "01", "1e2", "1E-6", "0.000001", "9.9e-6", "1e21", "+1"),
        *(".5", "5.", "9007199254740993", "1.00000000000000001", "123456789012345.67890", "NaN"),
        "true",
    ],
)
def test_a_number_that_is_not_canonical_is_left_to_single_lines(written: str) -> None:
    line = (
        '{"call_id":"c","call_index":0,"call_type":"llm","latency_ms":%s,"record_type":"call",'
        '"request_hash":"h","response_hash":null,"run_id":"run","state_id":"s",'
        '"status":"success"}\n'
    )
    patterns = LinePatterns("run", is_signed=False)
    for canonical in ("5", "-5", "0", "0.1", "0.00001", "12.5", "null"):
        assert patterns.read((line % canonical).encode()) is not None, canonical
    assert patterns.read((line % written).encode()) is None


@pytest.mark.parametrize("is_signed", [True, False])
def test_a_pattern_allows_the_nulls_that_the_shape_allows(
    is_signed: bool, records: list[Record]
) -> None:
    """Every status with every choice of nulls, also where the type has no rules by status."""
    patterns = LinePatterns("run", is_signed=is_signed)
    write = signed if is_signed else lambda record: rfc8785.dumps(record) + b"\n"
    by_type = {record["record_type"]: record for record in records}
    assert by_type.keys() == SHAPES.keys() - {"manifest"}
    judged = set()
    for name, record in by_type.items():
        shape = SHAPES[name]
        names = [name for name, field in shape.fields.items() if field.nullable]
        values = {each: 1 if shape.fields[each].types != TEXT else "text" for each in names}
        statuses = shape.fields["status"].members if "status" in shape.fields else (None,)
        for status, *nulls in product(statuses or (), *([False, True] for _ in names)):
            changed = record | {
                each: None if is_null else values[each]
                for each, is_null in zip(names, nulls, strict=True)
            }
            changed |= {} if status is None else {"status": status}
            is_valid = shape.defect(changed) is None
            assert (patterns.read(write(changed)) is not None) is is_valid, changed
            judged.add((name, is_valid))
    assert ("node_state", False) in judged


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 200])
def test_digests_are_those_of_the_standard_library(length: int) -> None:
    key = bytes(range(length))
    messages = [b"", b"a", bytes(1000)]
    assert list(_Digests(key).of_all(messages)) == [
        hmac.new(key, message, hashlib.sha256).digest() for message in messages
    ]


class TestProcesses:
    def test_processes_share_an_export(
        self, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared_lines, "PART_BYTES", 5000)
        path = tmp_path / "run.jsonl"
        path.write_bytes(b"".join(lines))
        shared = []

        def noted(*arguments: Any) -> Verification | None:
            shared.append(unchanged(*arguments))
            return shared[-1]

        unchanged = shared_lines.verify_in_parts
        monkeypatch.setattr(shared_lines, "verify_in_parts", noted)
        result = verify(path, KEY, jobs=2)
        assert result.ok
        assert shared == [result]
        assert result == verify(path, KEY)

    def test_a_process_that_has_ended_is_an_error(
        self, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Broken(Inline):
            def submit(self, *_: Any, **__: Any) -> "Future[Any]":
                future: Future[Any] = Future()
                future.set_exception(BrokenExecutor())
                return future

        @contextmanager
        def broken_pool(_: int) -> Iterator[Executor]:
            yield Broken()

        monkeypatch.setattr(shared_lines, "PART_BYTES", 1500)
        monkeypatch.setattr(shared_lines, "worker_pool", broken_pool)
        path = tmp_path / "run.jsonl"
        path.write_bytes(b"".join(lines))
        with pytest.raises(ChildProcessError, match="use --jobs 1"):
            verify(path, KEY, jobs=2)

    def test_an_export_that_was_replaced_is_left_to_one_process(
        self, lines: list[bytes], tmp_path: Path
    ) -> None:
        path = tmp_path / "run.jsonl"
        path.write_bytes(b"".join(lines))
        part = shared_lines.Part(
            str(path), (0, 0), 0, 1, "run", True, AcceptedSignatures((KEY,)), 10**6
        )
        assert shared_lines.check_part(part) is None

    @pytest.mark.parametrize("jobs", ["0", "65", "-1", "two", ""])
    def test_a_wrong_number_of_jobs_is_refused(self, jobs: str, landscape: Command) -> None:
        ended = landscape("verify", "run.jsonl", "--jobs", jobs)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert "--jobs" in ended.err
