"""A CSV export verifies as the typed records that its texts were written from."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_run import KEY
from signed_exports import EVERY_TYPE, Record, as_export, export_lines, records_of, shortened

from elspeth.core.landscape.verification.csv_files import CsvTable
from elspeth.core.landscape.verification.record_shapes import SHAPES
from elspeth.core.landscape.verification.signatures import AcceptedSignatures, SignatureVerifier
from elspeth.core.landscape.verification.verify import Defect, Reason, Verification, verify


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """The unsigned records of a run with every record type."""
    return shortened(records_of(export_lines(tmp_path_factory.mktemp("export"), EVERY_TYPE)))


@pytest.fixture
def directory(records: list[Record], tmp_path: Path) -> Path:
    """The records, signed, as a CSV export."""
    return publish(records, tmp_path / "run")


def publish(records: list[Record], directory: Path, *, sign: bool = True) -> Path:
    """Write records as a CSV export, without the fsyncs of a real one."""
    written = map(json_of, as_export(records).splitlines()) if sign else records
    tables: dict[str, list[Record]] = {}
    for record in written:
        tables.setdefault(record["record_type"], []).append(record)
    directory.mkdir()
    for name, rows in tables.items():
        with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, sorted(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return directory


def json_of(line: bytes) -> Record:
    record: Record = json.loads(line)
    # A float, as from a database: CSV distinguishes 5.0 from 5, canonical JSON does not.
    return {
        name: float(value) if name in ("duration_ms", "latency_ms") and value is not None else value
        for name, value in record.items()
    }


def reasons(found: Verification) -> list[tuple[str, str, int | None]]:
    return [(each.reason.value, each.file, each.line) for each in found.defects]


def with_first(records: list[Record], kind: str, **changes: object) -> list[Record]:
    at = next(at for at, each in enumerate(records) if each["record_type"] == kind)
    return [*records[:at], records[at] | changes, *records[at + 1 :]]


class TestRebuilding:
    def test_a_signed_directory_verifies(self, directory: Path) -> None:
        found = verify(directory, KEY, run_id="run", unique=True)
        assert (found.run_id, found.is_signed, found.defects) == ("run", True, ())
        assert (found.record_count, found.valid_count) == (101, 101)

    def test_an_unsigned_one_verifies_on_request(
        self, records: list[Record], tmp_path: Path
    ) -> None:
        directory = publish(records, tmp_path / "run", sign=False)
        assert not verify(directory, KEY).ok
        found = verify(directory, None, allow_unsigned=True)
        assert (found.ok, found.is_signed, found.record_count) == (True, False, 100)

    @pytest.mark.parametrize("branch_name", [None, ""])
    @pytest.mark.parametrize("fork_group_id", [None, ""])
    @pytest.mark.parametrize("join_group_id", [None, ""])
    def test_an_empty_field_is_null_or_empty_as_the_signature_says(
        self,
        records: list[Record],
        tmp_path: Path,
        branch_name: str | None,
        fork_group_id: str | None,
        join_group_id: str | None,
    ) -> None:
        changed = with_first(
            records,
            "token",
            branch_name=branch_name,
            fork_group_id=fork_group_id,
            join_group_id=join_group_id,
        )
        assert verify(publish(changed, tmp_path / "run"), KEY).ok

    def test_an_empty_output_hash_of_a_completed_state_is_text(
        self, records: list[Record], tmp_path: Path
    ) -> None:
        at = next(
            at
            for at, each in enumerate(records)
            if each["record_type"] == "node_state" and each["status"] == "completed"
        )
        changed = [*records]
        changed[at] = records[at] | {"output_hash": ""}
        assert verify(publish(changed, tmp_path / "run"), KEY).ok

    @pytest.mark.parametrize(
        "text",
        ['a"b', "a,b", "a\nb", "a\r\nb", "\r", '"', ' "" ', "é\U0001f600", "\0", "=1+1", "'"],
    )
    def test_texts_that_csv_quotes_are_read_back(
        self, text: str, records: list[Record], tmp_path: Path
    ) -> None:
        changed = with_first(records, "artifact", path_or_uri=text, artifact_type=text * 2)
        assert verify(publish(changed, tmp_path / "run"), KEY).ok

    @pytest.mark.parametrize("number", [5.0, -0.0, 1e-7, 1e16, 1e21, 0.1, 1 / 3])
    def test_floats_are_read_back(
        self, number: float, records: list[Record], tmp_path: Path
    ) -> None:
        changed = with_first(records, "call", latency_ms=number)
        assert verify(publish(changed, tmp_path / "run"), KEY).ok

    def test_a_record_of_another_run_stays_in_its_place(
        self, records: list[Record], tmp_path: Path
    ) -> None:
        found = verify(publish(with_first(records, "row", run_id="other"), tmp_path / "run"), KEY)
        assert reasons(found) == [("WRONG_RUN", "row.csv", 2)]


class TestDirectory:
    def test_an_empty_directory_fails(self, tmp_path: Path) -> None:
        found = verify(tmp_path, KEY)
        assert (found.ok, reasons(found)) == (False, [("EMPTY", "", None)])

    def test_a_foreign_file_is_found(self, directory: Path) -> None:
        (directory / "notes\n.txt").touch()
        (found,) = verify(directory, KEY).defects
        assert str(found) == "'notes\\n.txt': FOREIGN_FILE: is not part of an export"

    def test_a_stale_file_of_another_run_is_found(
        self, directory: Path, records: list[Record], tmp_path: Path
    ) -> None:
        other = publish([each | {"run_id": "other"} for each in records], tmp_path / "other")
        (directory / "artifact.csv").write_bytes((other / "artifact.csv").read_bytes())
        found = verify(directory, KEY)
        assert ("WRONG_RUN", "artifact.csv", 2) in reasons(found)

    @pytest.mark.parametrize("kind", sorted(SHAPES))
    def test_a_missing_file_is_found(self, kind: str, directory: Path) -> None:
        (directory / f"{kind}.csv").unlink()
        found = verify(directory, KEY)
        assert not found.ok
        assert ("TRUNCATED" in {reason for reason, *_ in reasons(found)}) == (kind == "manifest")

    @pytest.mark.parametrize("kind", sorted(SHAPES))
    def test_a_header_alone_is_found(self, kind: str, directory: Path) -> None:
        path = directory / f"{kind}.csv"
        path.write_bytes(path.read_bytes().partition(b"\r\n")[0] + b"\r\n")
        assert ("NOT_CANONICAL", f"{kind}.csv", 1) in reasons(verify(directory, KEY))

    @pytest.mark.parametrize("header", [b"", b"a,b\r\n", b"\xef\xbb\xbfa\r\n", b"a\n", b"\xff\r\n"])
    def test_another_header_is_found(self, header: bytes, directory: Path) -> None:
        path = directory / "edge.csv"
        path.write_bytes(header + path.read_bytes().partition(b"\r\n")[2] * bool(header))
        assert any(
            (file, line) == ("edge.csv", 1) for _, file, line in reasons(verify(directory, KEY))
        )

    def test_a_second_manifest_is_found(self, directory: Path) -> None:
        path = directory / "manifest.csv"
        content = path.read_bytes()
        path.write_bytes(content + content.partition(b"\r\n")[2])
        assert reasons(verify(directory, KEY)) == [("TRAILING_DATA", "manifest.csv", 3)]


class TestLines:
    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            (b"\r\n", b"\n", "TORN_TAIL"),
            (b"run", b'"run"', "NOT_CANONICAL"),
            (b"run", b"r\run", "NOT_CANONICAL"),
            (b"run", b"r\xffn", "CORRUPT_CSV"),
            (b"run,", b"run,,", "FIELDS"),
            (b",5\r\n", b",05\r\n", "VALUE"),
            (b",5\r\n", b",5.0\r\n", "VALUE"),
            (b",5\r\n", b", 5\r\n", "VALUE"),
            (b",5\r\n", b",\xd9\xa5\r\n", "VALUE"),
            (b",5\r\n", b"," + b"9" * 5000 + b"\r\n", "VALUE"),
            (b",5\r\n", b",\r\n", "VALUE"),
        ],
    )
    def test_a_line_that_no_export_has(
        self, old: bytes, new: bytes, reason: str, records: list[Record], tmp_path: Path
    ) -> None:
        directory = publish(with_first(records, "artifact", size_bytes=5), tmp_path / "run")
        path = directory / "artifact.csv"
        header, _, rest = path.read_bytes().partition(b"\r\n")
        path.write_bytes(header + b"\r\n" + rest.replace(old, new, 1))
        found = reasons(verify(directory, KEY))
        assert found[0] == (reason, "artifact.csv", 2)
        assert {each[1] for each in found[1:]} <= {"manifest.csv"}

    @pytest.mark.parametrize("text", ["nan", "inf", "1e400", "5", "1E5", "0x1p0", "5.00"])
    def test_a_number_that_no_export_has(self, text: str, directory: Path) -> None:
        path = directory / "call.csv"
        lines = list(csv.DictReader(io.StringIO(path.read_text(), newline="")))
        before = lines[0]["latency_ms"]
        path.write_bytes(path.read_bytes().replace(f",{before},".encode(), f",{text},".encode(), 1))
        assert reasons(verify(directory, KEY))[0] == ("VALUE", "call.csv", 2)

    def test_a_quote_that_is_never_closed_is_read_in_bounded_memory(self, directory: Path) -> None:
        path = directory / "artifact.csv"
        with path.open("ab") as file:
            file.write(b'"' + (b"x" * 1000 + b"\r\n") * 4194)
        found = verify(directory, KEY, max_line_bytes=4 * 2**20)
        assert [reason for reason, *_ in reasons(found)] == ["TOO_LONG", "COUNT"]

    def test_a_child_without_its_parent_is_found(self, directory: Path) -> None:
        path = directory / "row.csv"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]))
        found = verify(directory, KEY)
        assert found.defects[0].reason is Reason.ORDER
        assert found.defects[0].file == "token.csv"

    def test_lines_in_another_order_are_found(self, directory: Path) -> None:
        path = directory / "token.csv"
        header, *lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([header, *lines[1::-1], *lines[2:]]))
        assert Reason.HASH in {each.reason for each in verify(directory, KEY).defects}

    def test_every_flipped_bit_is_found(self, directory: Path) -> None:
        flips = found = 0
        for name, shape in SHAPES.items():
            content = (directory / f"{name}.csv").read_bytes()
            header, first, *_ = content.splitlines(keepends=True)
            assert sound(CsvTable(name, io.BytesIO(header + first), shape))
            for line in flipped(header + first):
                flips += 1
                found += not sound(CsvTable(name, io.BytesIO(line), shape))
        print(f"\nbits flipped in CSV: {found}/{flips} rejected")  # noqa: T201 - the report
        assert found == flips > 10_000


def flipped(line: bytes) -> Iterator[bytes]:
    for at, byte in enumerate(line):
        for bit in range(8):
            yield b"%b%b%b" % (line[:at], bytes([byte ^ 1 << bit]), line[at + 1 :])


def sound(table: CsvTable) -> bool:
    """Whether a table of one record has neither a problem nor a wrong signature."""
    signatures = SignatureVerifier(AcceptedSignatures((KEY,)))
    lines = 0
    while table.head is not None:
        lines += 1
        line = table.head.line
        if line.defects or signatures.check(line) is not None:
            return False
        table.advance()
    return lines == 1


def test_findings_name_the_file_and_the_line() -> None:
    defect = Defect(Reason.ORDER, "a second run", 2, "run.csv")
    assert str(defect) == "run.csv, line 2: ORDER: a second run"
