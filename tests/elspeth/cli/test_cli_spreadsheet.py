"""CSV exports with formulas: the warning, and the copy that is safe to open."""

from pathlib import Path

import pytest
from command_line import Command
from sample_run import DYNAMIC

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder


@pytest.fixture
def hostile(sqlite: str) -> str:
    """A database whose run has two names of plugins that are formulas."""
    with LandscapeDB(sqlite) as db:
        for name in ("=cmd|' /C calc'!A0", "@SUM(1+1)\x1b[2J"):
            LandscapeRecorder(db).register_node(
                "run-1", name, "sink", "1.0", {}, schema_config=DYNAMIC
            )
    return sqlite


def export(url: str, folder: Path, *options: str) -> tuple[object, ...]:
    target = ("--output", folder / "run", "--format", "csv", "--sign")
    return ("export", "--db", url, "--run", "run-1", *target, *options)


def test_a_warning_names_files_counts_and_the_option(
    landscape: Command, hostile: str, folder: Path
) -> None:
    ended = landscape(*export(hostile, folder))
    assert ended.code == 0
    assert ended.err == (
        f"warning: {folder}/run: cells that a spreadsheet would run as formulas: 2 in node.csv; "
        "open a copy made with --spreadsheet-safe instead\n"
    )
    assert landscape("verify", folder / "run").code == 0
    assert [path.name for path in folder.iterdir()] == ["run"]


def test_the_copy_is_written_beside_unchanged_bytes_without_a_warning(
    landscape: Command, hostile: str, folder: Path
) -> None:
    landscape(*export(hostile, folder))
    before = (folder / "run" / "node.csv").read_bytes()
    ended = landscape(*export(hostile, folder, "--spreadsheet-safe"))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith(f"copy for spreadsheets in {folder}/run.spreadsheet\n")
    assert (folder / "run" / "node.csv").read_bytes() == before
    assert b"\"'=cmd|' /C calc'!A0\"" in (folder / "run.spreadsheet" / "node.csv").read_bytes()
    ended = landscape("verify", folder / "run.spreadsheet")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.count("\n") == 2
    assert "SPREADSHEET_COPY: this is a copy for spreadsheets, which never verifies" in ended.out


def test_an_export_without_formulas_gives_no_warning(
    landscape: Command, sqlite: str, folder: Path
) -> None:
    assert landscape(*export(sqlite, folder)).err == ""


def test_an_impossible_copy_is_refused_before_any_work(
    landscape: Command, hostile: str, folder: Path
) -> None:
    jsonl = export(hostile, folder, "--spreadsheet-safe", "--format", "jsonl")
    ended = landscape(*jsonl)
    assert ended.code == 2
    assert "--spreadsheet-safe is for format csv" in ended.err
    (folder / "run.spreadsheet").write_text("precious")
    ended = landscape(*export(hostile, folder, "--spreadsheet-safe"))
    assert ended.code == 2
    assert "is not a copy of an export" in ended.err
    assert [path.name for path in folder.iterdir()] == ["run.spreadsheet"]
    assert (folder / "run.spreadsheet").read_text() == "precious"
