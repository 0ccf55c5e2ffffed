"""The default cases hold every kind of value in every column, as docs/generated-runs.md says."""

from pathlib import Path

import pytest

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness.checks.column_kinds import (
    REASONS,
    ColumnKinds,
    StoredValues,
    reason_for,
    table_of_kinds,
    with_table,
)
from harness.generate.generator import generate_run
from harness.generate.presets import preset

PAGE = Path(__file__).parents[2] / "docs" / "generated-runs.md"


@pytest.fixture(scope="module")
def stored() -> StoredValues:
    return StoredValues.of_default_cases()


@pytest.fixture(scope="module")
def measured(stored: StoredValues) -> list[ColumnKinds]:
    return stored.kinds()


def test_every_column_of_the_exported_tables_is_measured(measured: list[ColumnKinds]) -> None:
    columns = [f"{table.name}.{each.name}" for table in EXPORTED_TABLES for each in table.columns]
    assert [each.column for each in measured] == columns


def test_no_kind_of_value_is_missing_without_a_reason(measured: list[ColumnKinds]) -> None:
    assert {each.column: holes for each in measured if (holes := list(each.holes))} == {}


def test_every_reason_still_stands_for_a_hole(measured: list[ColumnKinds]) -> None:
    used = {
        reason_for(each.column, kind)
        for each in measured
        for kind, is_held in each.held.items()
        if not is_held
    }
    assert used >= {reason for _, _, reason in REASONS}


def test_columns_of_one_type_differ_in_some_row(stored: StoredValues) -> None:
    assert list(stored.equal_pairs()) == []


def test_the_page_holds_the_table_as_measured(measured: list[ColumnKinds]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page, table_of_kinds(measured))


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        with_table("# A page\n", "")


def test_a_run_without_variety_leaves_holes_and_equal_columns() -> None:
    stored = StoredValues()
    with LandscapeDB.in_memory() as db:
        generate_run(db, preset("tiny"))
        stored.add(db)
    held = {each.column: each.held for each in stored.kinds()}
    assert not held["runs.reproducibility_grade"]["NULL"]
    # A column that cannot be NULL has no hole there.
    assert "NULL" not in held["rows.row_index"]
    assert not held["rows.row_index"]["negative"]
    assert held["rows.row_index"]["zero"]
    assert not held["nodes.plugin_name"]["blank at an end"]
    assert not held["runs.status"]["every member"]
    assert ("tokens.fork_group_id", "tokens.join_group_id") in list(stored.equal_pairs())
