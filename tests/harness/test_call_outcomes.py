"""Two performances of one script of calls are compared step by step, without an exporter."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.compare.call_outcomes import (
    CallScript,
    Performance,
    difference_in_files,
    error_text,
    first_difference_in_calls,
)
from harness.compare.difference import Kind
from harness.exporters.probe.folders import TARGETS

BUILD = {"step": "build", "exporter": "a", "key": None}
LIST = {"step": "list", "exporter": "a", "run_id": "r", "sign": False}
FILES = {"step": "files"}
JOBS = {"step": "write", "exporter": "a", "jobs": 2}
NOTHING: dict[str, Any] = {"error": None}
REFUSED = {"error": {"classes": ["KeyError", "LookupError"], "message": "no run\nmore"}}
INVALID = {"error": {"classes": ["ValueError"], "message": "no run"}}
SUBCLASS = {"error": {"classes": ["RunError", "ValueError"], "message": ""}}
NO_JOBS = {"error": {"classes": ["ParallelExportError"], "message": "one job only"}}


def performed(
    directory: Path, steps: Sequence[dict[str, Any]], outcomes: Sequence[dict[str, Any]]
) -> Performance:
    """A performance whose outcomes name records and files as dicts, which are written here."""
    directory.mkdir()
    stored = []
    for number, outcome in enumerate(outcomes):
        found = dict(outcome)
        if "records" in found:
            lines = [json.dumps(each) for each in found["records"]]
            found["records"] = f"{number}.jsonl"
            (directory / found["records"]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        if TARGETS in found:
            for name, (_, text) in found[TARGETS].items():
                (directory / TARGETS).mkdir(exist_ok=True)
                (directory / TARGETS / name).write_text(text, encoding="utf-8")
            found[TARGETS] = [(name, *each) for name, each in found[TARGETS].items()]
        stored.append(found)
    return Performance(CallScript("script", tuple(steps)), stored, directory)


def compared(
    tmp_path: Path,
    steps: Sequence[dict[str, Any]],
    wanted: Sequence[dict[str, Any]],
    seen: Sequence[dict[str, Any]],
) -> tuple[str, int] | None:
    """The headline of the first difference, and its step."""
    found = first_difference_in_calls(
        performed(tmp_path / "control", steps, wanted),
        performed(tmp_path / "candidate", steps, seen),
    )
    return found and (found.headline, found.number)


def files(**found: tuple[str, str]) -> dict[str, Any]:
    """The outcome of listing files: a mode and a text, `folder` or `link to ...`, for each name."""
    return NOTHING | {TARGETS: found}


@pytest.mark.parametrize(
    ("wanted", "seen", "kind", "expected", "found"),
    [
        ({"a": ("600", "x")}, {"a": ("600", "x")}, None, "", ""),
        ({}, {"a": ("600", "x")}, Kind.EXTRA_FILE, "no file", "a file"),
        ({"a": ("600", "x")}, {}, Kind.MISSING_FILE, "a file", "none"),
        ({"a": ("600", "x")}, {"a": ("644", "x")}, Kind.MODE, "mode 600", "mode 644"),
        ({"a": ("600", "x")}, {"a": ("600", "folder")}, Kind.MISSING_FILE, "a file", "a folder"),
        ({"a": ("600", "folder")}, {"a": ("600", "x")}, Kind.EXTRA_FILE, "a folder", "a file"),
        (
            {"a": ("600", "link to b")},
            {"a": ("600", "folder")},
            Kind.EXTRA_FILE,
            "a link to b",
            "a folder",
        ),
        ({"a": ("600", "x\ny\n")}, {"a": ("600", "x\nz\n")}, Kind.BYTES, "'y\\n'", "'z\\n'"),
        (
            {"a": ("600", "x\n")},
            {"a": ("600", "x\nz\n")},
            Kind.BYTES,
            "the end of the file",
            "'z\\n'",
        ),
        (
            {"a": ("600", "x\ny")},
            {"a": ("600", "x\n")},
            Kind.BYTES,
            "'y'",
            "the end of the file",
        ),
        (
            {"a": ("600", "x"), "b": ("600", "")},
            {"b": ("600", "")},
            Kind.MISSING_FILE,
            "a file",
            "none",
        ),
    ],
)
def test_files_differ_by_name_form_mode_and_contents(
    wanted: dict[str, tuple[str, str]],
    seen: dict[str, tuple[str, str]],
    kind: Kind | None,
    expected: str,
    found: str,
    tmp_path: Path,
) -> None:
    control = performed(tmp_path / "control", [FILES], [files(**wanted)])
    candidate = performed(tmp_path / "candidate", [FILES], [files(**seen)])
    difference = difference_in_files(control, candidate, 0)
    if kind is None:
        assert difference is None
    else:
        assert difference is not None
        assert (difference.kind, difference.place) == (kind, "a")
        assert (difference.expected, difference.found) == (expected, found)
    without = difference_in_files(control, candidate, 0, contents=False)
    assert without == (None if kind is Kind.BYTES else difference)


def test_contents_that_a_later_step_replaced_are_told_apart_by_the_outcome(tmp_path: Path) -> None:
    control = performed(tmp_path / "control", [FILES], [files(a=("600", "x"))])
    candidate = performed(tmp_path / "candidate", [FILES], [files(a=("600", "y"))])
    for each in (control, candidate):
        (each.directory / TARGETS / "a").unlink()
    difference = difference_in_files(control, candidate, 0)
    assert difference is not None
    assert (difference.kind, difference.found) == (Kind.BYTES, "other bytes")


@pytest.mark.parametrize(
    ("wanted", "seen", "headline"),
    [
        (NOTHING, NOTHING, None),
        (REFUSED, REFUSED, None),
        # Callers can rely on a ValueError alone.
        (REFUSED, INVALID, None),
        (INVALID, SUBCLASS, None),
        (INVALID, REFUSED, "error"),
        (NOTHING, REFUSED, "error"),
        (REFUSED, NOTHING, "error"),
        (NOTHING | {"groups": ["run"]}, NOTHING | {"groups": ["run"]}, None),
        (NOTHING | {"groups": ["run"]}, NOTHING | {"groups": ["row"]}, "order"),
        # What the candidate does not have, is not compared.
        (NOTHING, REFUSED | {"missing": "list"}, None),
        (REFUSED | {"missing": "list"}, NOTHING, None),
    ],
)
def test_errors_are_compared_as_far_as_callers_rely_on_them(
    wanted: dict[str, Any], seen: dict[str, Any], headline: str | None, tmp_path: Path
) -> None:
    found = compared(tmp_path, [BUILD, LIST], [NOTHING, wanted], [NOTHING, seen])
    assert (found and (found[0].split(",")[0].split(":")[0], found[1])) == (
        headline and (headline, 1)
    )


@pytest.mark.parametrize(("step", "is_option"), [(JOBS, True), (LIST, False)])
def test_several_jobs_may_be_refused_and_the_files_are_then_not_compared(
    step: dict[str, Any], is_option: bool, tmp_path: Path
) -> None:
    one = files(a=("600", "x"))
    found = compared(
        tmp_path, [BUILD, step, FILES], [NOTHING, NOTHING, one], [NOTHING, NO_JOBS, files()]
    )
    assert (found is None) is is_option
    assert error_text(NO_JOBS) == "ParallelExportError: one job only"
    assert [error_text(each) for each in (NOTHING, REFUSED, SUBCLASS)] == [
        "no error",
        "KeyError: no run",
        "RunError: ",
    ]


def test_records_are_compared_where_the_files_differ(tmp_path: Path) -> None:
    one, other = ({"record_type": "run", "run_id": "r", "status": each} for each in ("a", "b"))
    steps = [BUILD, LIST]
    wanted, seen = ([NOTHING, NOTHING | {"records": [each]}] for each in (one, other))
    found = compared(tmp_path, steps, wanted, seen)
    assert found == ("field, run, field status, record 1: script", 1)
