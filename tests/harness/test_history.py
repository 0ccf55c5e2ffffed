"""History: earlier results in order, of one machine and size, with changes marked."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.bench.result_file import (
    Entry,
    append_entry,
    comparable,
    entry_of,
    load_history,
    load_results,
)
from harness.bench.results import ResultsError


def entry(day: int, speed_up: float, **changes: object) -> Entry:
    plain = Entry(
        measured_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day),
        commit=f"{day:040x}",
        machine="a machine",
        rows=2000,
        queries=12,
        records_per_second=1000 * speed_up,
        speed_up=speed_up,
        rows_per_second=100 * speed_up,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_entries_read_back_in_the_order_they_were_added(tmp_path: Path) -> None:
    entries = [entry(1, 20.0), entry(2, 21.0)]
    for each in entries:
        append_entry(tmp_path / "history.jsonl", each)
    assert load_history(tmp_path / "history.jsonl") == tuple(entries)


def test_an_entry_is_taken_from_the_largest_run() -> None:
    results = load_results(Path("fixtures/results/passed.json"))
    taken = entry_of(results)
    assert taken.rows == results.largest.run.rows
    assert taken.queries == 12
    timing = results.largest.candidate.timing
    assert taken.rows_per_second == timing.per_second(taken.rows)
    assert taken.records_per_second > taken.rows_per_second > 0


def test_the_revision_where_the_speed_changed_is_marked_and_no_other() -> None:
    speed_ups = [20.0, 20.4, 19.8, 16.0, 20.1]
    marked = comparable([entry(d, s) for d, s in enumerate(speed_ups)], entry(9, 20.0))
    assert [each.changed for each in marked] == [False, False, False, True, False]


def test_another_machine_or_size_is_no_part_of_the_trend() -> None:
    entries = [entry(1, 20.0), entry(2, 9.0, machine="another"), entry(3, 5.0, rows=100)]
    assert comparable(entries, entry(4, 20.0)) == (entry(1, 20.0),)


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, entry(1, 20.0))
    path.write_text(path.read_text() + '{"half')
    with pytest.raises(ResultsError, match="line 2"):
        load_history(path)


def test_a_missing_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no history"):
        load_history(tmp_path / "absent.jsonl")


def test_a_line_has_a_version_and_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, entry(1, 20.0, changed=True))
    line = json.loads(path.read_text())
    assert line["format"] == 2
    assert "changed" not in line
    assert load_history(path) == (entry(1, 20.0),)


@pytest.mark.parametrize(
    "changed", [{}, {"changed": False}, {"changed": True}, {"format": 1}], ids=str
)
def test_a_line_of_an_older_format_is_read_without_rows_per_second(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, entry(1, 20.0))
    line = json.loads(path.read_text())
    del line["format"], line["rows_per_second"]
    path.write_text(json.dumps(line | changed) + "\n")
    append_entry(path, entry(2, 21.0))
    assert load_history(path) == (entry(1, 20.0, rows_per_second=None), entry(2, 21.0))


def test_a_line_of_a_newer_format_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, entry(1, 20.0))
    newer = json.loads(path.read_text()) | {"format": 3, "memory": 17}
    path.write_text(path.read_text() + json.dumps(newer) + "\n")
    with pytest.raises(ResultsError, match="line 2 is of format 3, newer than 2"):
        load_history(path)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"format": "1"},
        {"format": True},
        {"rows": "2000"},
        {"speed_up": -1},
        {"unknown": 1},
    ],
)
def test_a_line_with_a_wrong_value_is_refused_by_its_number(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "history.jsonl"
    append_entry(path, entry(1, 20.0))
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    with pytest.raises(ResultsError, match="line 1 is not an entry of a history"):
        load_history(path)
