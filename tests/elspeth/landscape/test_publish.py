"""Tests of publishing: the content of JSON Lines and CSV exports, and what they replace."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import pytest

from elspeth.core.landscape.export.record_types import RECORD_TYPES
from elspeth.core.landscape.export.signed_lines import MANIFEST
from elspeth.core.landscape.output import csv_tables, publish
from elspeth.core.landscape.output.atomic import ExportTargetError
from elspeth.core.landscape.output.publish import CSV_NAMES, publish_csv, publish_jsonl
from elspeth.core.landscape.verification.defects import MAX_LINE_BYTES

RUN: dict[str, Any] = {"record_type": "run", "run_id": "r", "status": "completed"}
ROWS: list[dict[str, Any]] = [
    {"record_type": "row", "run_id": "r", "row_index": index, "branch": None} for index in range(3)
]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def failing_lines() -> Iterator[bytes]:
    yield from (b"{}\n" for _ in range(5000))
    raise ValueError("corrupt")


class TestJsonl:
    def test_it_holds_the_lines_and_is_described(self, tmp_path: Path) -> None:
        published = publish_jsonl(tmp_path / "run.jsonl", iter([b'{"a":1}\n', b'{"b":2}\n']))
        content = (tmp_path / "run.jsonl").read_bytes()
        assert content == b'{"a":1}\n{"b":2}\n'
        assert (published.record_count, published.size_bytes) == (2, len(content))
        assert published.sha256 == hashlib.sha256(content).hexdigest()
        assert published.path == tmp_path / "run.jsonl"

    def test_progress_is_told_now_and_then_and_at_the_end(self, tmp_path: Path) -> None:
        reported: list[int] = []
        publish_jsonl(tmp_path / "run.jsonl", [b"{}\n"] * 2500, progress=reported.append)
        assert reported == [1000, 2000, 2500]

    @pytest.mark.parametrize(("longest", "told"), [(9, 0), (10, 0), (11, 11), (25, 25)])
    def test_a_line_that_verify_reads_on_request_only_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longest: int, told: int
    ) -> None:
        monkeypatch.setattr(publish, "LONG_LINE_BYTES", 10)
        lines = [b"{}\n", b"x" * (longest - 1) + b"\n", b"{}\n"]
        assert publish_jsonl(tmp_path / "run.jsonl", lines).long_line_bytes == told

    def test_the_limit_is_that_of_verify(self) -> None:
        assert publish.LONG_LINE_BYTES == MAX_LINE_BYTES

    @pytest.mark.parametrize("replaces", [False, True])
    def test_an_error_midway_keeps_the_old_bytes(self, tmp_path: Path, replaces: bool) -> None:
        target = tmp_path / "run.jsonl"
        if replaces:
            target.write_bytes(b"old")
        with pytest.raises(ValueError, match="corrupt"):
            publish_jsonl(target, failing_lines())
        assert names(tmp_path) == ["run.jsonl"] * replaces
        if replaces:
            assert target.read_bytes() == b"old"

    def test_a_disk_that_fills_up_keeps_the_old_bytes(
        self, tmp_path: Path, full_disk: AbstractContextManager[None]
    ) -> None:
        target = tmp_path / "run.jsonl"
        target.write_bytes(b"old")
        with full_disk, pytest.raises(OSError, match="File too large"):
            publish_jsonl(target, [b"x" * 100 + b"\n"] * 2000)
        assert target.read_bytes() == b"old"
        assert names(tmp_path) == ["run.jsonl"]

    def test_a_source_that_is_cut_short_is_closed_at_once(self, tmp_path: Path) -> None:
        closed: list[bool] = []

        def lines() -> Iterator[bytes]:
            try:
                yield from [b"{}\n"] * 5000
            finally:
                closed.append(True)

        def fail(_: int) -> None:
            raise OSError("full")

        source = lines()
        with pytest.raises(OSError, match="full"):
            publish_jsonl(tmp_path / "run.jsonl", source, progress=fail)
        assert closed == [True]

    def test_a_directory_is_refused_before_anything_is_read(self, tmp_path: Path) -> None:
        with pytest.raises(ExportTargetError, match="is a directory"):
            publish_jsonl(tmp_path, failing_lines())


class TestCsv:
    def test_there_is_a_file_for_every_record_type_and_the_manifest(self) -> None:
        names = [*(record_type.name for record_type in RECORD_TYPES), MANIFEST]
        assert {f"{name}.csv" for name in names} == CSV_NAMES

    def test_columns_are_sorted_lines_end_in_crlf_and_null_is_empty(self, tmp_path: Path) -> None:
        published = publish_csv(tmp_path / "run", [RUN, *ROWS])
        assert names(tmp_path / "run") == ["row.csv", "run.csv"]
        assert (tmp_path / "run" / "row.csv").read_bytes() == (
            b"branch,record_type,row_index,run_id\r\n,row,0,r\r\n,row,1,r\r\n,row,2,r\r\n"
        )
        assert published.record_count == 4

    def test_text_that_means_something_in_csv_comes_back_as_it_was(self, tmp_path: Path) -> None:
        text = 'a,"b"\r\nc\n\0é 𝄞;=1+1'
        publish_csv(tmp_path / "run", [{**RUN, "status": text}])
        content = (tmp_path / "run" / "run.csv").read_bytes().decode()
        (row,) = csv.DictReader(io.StringIO(content, newline=""))
        assert row["status"] == text

    @pytest.mark.parametrize("text", ["a", "a" * 100, "é" * 100, '"' * 100, "\r\n" * 50])
    def test_a_line_that_verify_reads_on_request_only_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setattr(publish, "LONG_LINE_BYTES", 100)
        published = publish_csv(tmp_path / "run", [{**RUN, "status": text}])
        head, _, rest = (tmp_path / "run" / "run.csv").read_bytes().partition(b"\r\n")
        assert b"status" in head
        assert published.long_line_bytes == (len(rest) if len(rest) > 100 else 0)

    def test_it_is_described_by_its_files(self, tmp_path: Path) -> None:
        published = publish_csv(tmp_path / "run", [RUN, *ROWS])
        contents = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
        listing = "".join(
            f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents)
        )
        assert published.sha256 == hashlib.sha256(listing.encode()).hexdigest()
        assert published.size_bytes == sum(map(len, contents.values()))

    def test_progress_is_told_now_and_then_and_at_the_end(self, tmp_path: Path) -> None:
        reported: list[int] = []
        publish_csv(tmp_path / "run", [RUN] * 2500, progress=reported.append)
        assert reported == [1000, 2000, 2500]

    def test_files_of_an_earlier_export_do_not_survive(self, tmp_path: Path) -> None:
        publish_csv(tmp_path / "run", [RUN, *ROWS])
        publish_csv(tmp_path / "run", [RUN])
        assert names(tmp_path / "run") == ["run.csv"]

    def test_an_empty_directory_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        publish_csv(tmp_path / "run", [RUN])
        assert names(tmp_path / "run") == ["run.csv"]

    @pytest.mark.parametrize("foreign", ["notes.txt", "customers.csv", "RUN.CSV", ".hidden"])
    def test_a_directory_that_holds_anything_else_is_refused(
        self, tmp_path: Path, foreign: str
    ) -> None:
        publish_csv(tmp_path / "run", [RUN])
        (tmp_path / "run" / foreign).write_text("precious")
        with pytest.raises(ExportTargetError, match=f"holds '{foreign}', which does not belong to"):
            publish_csv(tmp_path / "run", [RUN, *ROWS])
        assert names(tmp_path / "run") == sorted([foreign, "run.csv"])

    @pytest.mark.parametrize("kind", ["file", "link"])
    def test_a_target_that_is_not_a_directory_is_refused(self, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "run"
        if kind == "file":
            target.write_text("precious")
        else:
            (tmp_path / "elsewhere").mkdir()
            target.symlink_to(tmp_path / "elsewhere")
        before = names(tmp_path)
        with pytest.raises(ExportTargetError, match="is not a directory"):
            publish_csv(target, [RUN])
        assert names(tmp_path) == before

    @pytest.mark.parametrize("name", ["a\0b", "a" * 256, "."])
    def test_a_name_that_no_directory_can_have_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ExportTargetError):
            publish_csv(Path(name) if name == "." else tmp_path / name, [RUN])

    def test_an_error_midway_keeps_the_old_export(self, tmp_path: Path) -> None:
        def failing() -> Iterator[dict[str, Any]]:
            yield from ROWS
            raise ValueError("corrupt")

        publish_csv(tmp_path / "run", [RUN])
        with pytest.raises(ValueError, match="corrupt"):
            publish_csv(tmp_path / "run", failing())
        assert names(tmp_path) == ["run"]
        assert names(tmp_path / "run") == ["run.csv"]

    def test_a_disk_that_fills_up_keeps_the_old_export_and_no_file_open(
        self, tmp_path: Path, full_disk: AbstractContextManager[None]
    ) -> None:
        publish_csv(tmp_path / "run", [RUN])
        records = [
            {**RUN, "status": "x" * 5000, "record_type": name.removesuffix(".csv")}
            for name in CSV_NAMES
        ]
        descriptors = names(Path("/dev/fd"))
        with full_disk, pytest.raises(OSError, match="File too large"):
            publish_csv(tmp_path / "run", records)
        assert names(Path("/dev/fd")) == descriptors
        assert names(tmp_path) == ["run"]
        assert names(tmp_path / "run") == ["run.csv"]

    @pytest.mark.parametrize("fails", [False, True])
    def test_files_reach_the_disk_before_they_are_published_and_need_not_after_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
    ) -> None:
        flushed: list[str] = []

        def flush_to_disk(file: IO[bytes]) -> None:
            assert not (tmp_path / "run").exists()
            assert os.fstat(file.fileno()).st_size > 0
            flushed.append(Path(f"/dev/fd/{file.fileno()}").readlink().name)

        def records() -> Iterator[dict[str, Any]]:
            yield from (RUN, *ROWS)
            if fails:
                raise ValueError("corrupt")

        monkeypatch.setattr(csv_tables, "flush_to_disk", flush_to_disk)
        descriptors = names(Path("/dev/fd"))
        with pytest.raises(ValueError, match="corrupt") if fails else nullcontext():
            publish_csv(tmp_path / "run", records())
        assert sorted(flushed) == ([] if fails else ["row.csv", "run.csv"])
        assert names(Path("/dev/fd")) == descriptors

    def test_an_unknown_record_type_has_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"Unknown record type '\.\./escape'"):
            publish_csv(tmp_path / "run", [RUN, {"record_type": "../escape"}])
        assert names(tmp_path) == []

    def test_uneven_records_share_the_columns_of_all(self, tmp_path: Path) -> None:
        records = [
            {"record_type": "run", "b": "1,\r\n"},
            {"record_type": "run", "c": 2, "a": None},
            {"record_type": "run", "b": 3},
        ]
        publish_csv(tmp_path / "run", records)
        assert names(tmp_path / "run") == ["run.csv"]
        assert (tmp_path / "run" / "run.csv").read_bytes() == (
            b'a,b,c,record_type\r\n,"1,\r\n",,run\r\n,,2,run\r\n,3,,run\r\n'
        )
