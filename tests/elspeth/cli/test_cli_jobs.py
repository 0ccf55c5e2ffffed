"""`landscape export --jobs` and `landscape doctor` on the command line."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import rfc8785
from command_line import Command
from sqlalchemy import make_url

from elspeth.core.landscape.exporter import _records


@dataclass
class _Block:
    lines: bytes
    record_count: int = 0


class TestJobs:
    def test_several_jobs_write_the_same_file(
        self, landscape: Command, url: str, folder: Path
    ) -> None:
        for jobs in (1, 2):
            ended = landscape(
                *("export", "--db", url, "--run", "latest", "--sign", "--jobs", jobs),
                *("--output", folder / f"{jobs}.jsonl"),
            )
            assert (ended.code, ended.err) == (0, "")
        records = [(folder / f"{jobs}.jsonl").read_text().splitlines()[:-1] for jobs in (1, 2)]
        assert records[0] == records[1]

    def test_several_jobs_write_the_same_csv_files(
        self, landscape: Command, url: str, folder: Path
    ) -> None:
        for jobs in (1, 2):
            ended = landscape(
                *("export", "--db", url, "--run", "latest", "--sign", "--jobs", jobs),
                *("--format", "csv", "--output", folder / f"{jobs}"),
            )
            assert (ended.code, ended.err) == (0, "")
        names = {path.name for path in (folder / "1").iterdir()}
        assert {path.name for path in (folder / "2").iterdir()} == names
        # The manifest holds the time of its export.
        for name in names - {"manifest.csv"}:
            assert (folder / "1" / name).read_bytes() == (folder / "2" / name).read_bytes()
        assert landscape("verify", folder / "2").out == "51/51 valid\n"

    @pytest.mark.parametrize("size", [1, 2, 7, 100])
    def test_records_are_read_from_lines_that_blocks_cut_anywhere(self, size: int) -> None:
        records = [
            {"record_type": "node_state", "duration_ms": 5.0, "attempt": 0, "text": "\u2028\n"},
            {"record_type": "node_state", "duration_ms": None, "attempt": 1, "text": "é"},
            {"record_type": "call", "latency_ms": 1e16},
        ]
        lines = b"".join(rfc8785.dumps(record) + b"\n" for record in records)
        blocks = (_Block(lines[at : at + size]) for at in range(0, len(lines), size))
        assert list(map(repr, _records(blocks))) == [
            repr({name: record[name] for name in sorted(record)}) for record in records
        ]

    @pytest.mark.parametrize(
        "arguments",
        [("0",), ("5",), ("5", "--format", "csv"), ("2", "--exporter", "legacy")],
    )
    def test_impossible_jobs_are_wrong_usage(
        self, landscape: Command, sqlite: str, folder: Path, arguments: tuple[str, ...]
    ) -> None:
        ended = landscape(
            *("export", "--db", sqlite, "--run", "latest"),
            *("--output", folder / "run", "--jobs", *arguments),
        )
        assert ended.code == 2
        assert list(folder.iterdir()) == []

    def test_quiet_sends_no_query_for_counts(
        self, landscape: Command, sqlite: str, folder: Path
    ) -> None:
        export = ("export", "--db", sqlite, "--run", "latest", "--output", folder / "run")
        assert landscape(*export, "--quiet").err == ""


class TestDoctor:
    def test_a_complete_database_gets_no_advice(self, landscape: Command, url: str) -> None:
        ended = landscape("doctor", "--db", url)
        assert (ended.code, ended.out) == (0, "Nothing to improve.\n")

    def test_a_missing_index_is_named_and_not_created(
        self, landscape: Command, sqlite: str
    ) -> None:
        with closing(sqlite3.connect(make_url(sqlite).database or "")) as connection:
            connection.execute("DROP INDEX ix_tokens_row_id")
        for _ in range(2):
            ended = landscape("doctor", "--db", sqlite)
            assert ended.code == 1
            assert "CREATE INDEX ix_tokens_row_id ON tokens (row_id);" in ended.out
