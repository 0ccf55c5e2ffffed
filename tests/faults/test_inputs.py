"""Faults 23 to 27: files, keys, run ids and texts from outside that a command must not trust."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from audit_trail import Trail
from command_line import Command
from fault_injection import REFUSED, SUCCEEDED, Outcome, assert_clean_output, inject_fault
from fault_table import Tally
from formats import in_turn
from landscape_command import Ended
from sample_run import record_sample_run

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.keys import KEY_VARIABLE
from harness.bench.result_file import load_results
from harness.bench.results import Judgement, Topic
from harness.report import page
from harness.report.text import render_annotations, render_markdown, render_sarif
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome as Judged
from querygrowth.verdict import Verdict

PUT: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(b'{"format": 1, "rows": [10'),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "of another kind": lambda path: path.write_bytes(b"[1, 2, 3]"),
    "a directory": lambda path: path.mkdir(),
}
READING = {
    "a baseline": ("baseline", "--file"),
    "targets": ("bench", "--rows", "10", "--targets"),
    "results": ("gate", "--results"),
}


@pytest.mark.fault(23, short=18)
@pytest.mark.parametrize("reading", READING.values(), ids=READING)
@pytest.mark.parametrize("put", PUT.values(), ids=PUT)
def test_an_unreadable_baseline_or_targets_file_is_refused_before_judging(
    harness_command: Command,
    tmp_path: Path,
    tally: Tally,
    reading: tuple[str, ...],
    put: Callable[[Path], object],
) -> None:
    path = tmp_path / "given"
    put(path)
    with tally.injection():
        ended = harness_command(*reading, path)
        assert ended.code == 2, ended
        # Its steps are reported on stderr too.
        last = ended.err.splitlines(keepends=True)[-1]
        assert str(path) in last
        assert_clean_output(Ended(ended.code, ended.out, last))
        assert not (tmp_path / "out").exists()


KEYS = {
    "none": ({KEY_VARIABLE: ""}, "has 0 bytes"),
    "short": ({KEY_VARIABLE: "k" * 31}, "has 31 bytes"),
}


@pytest.mark.fault(24)
@in_turn(("environ", "message"), KEYS.values(), ids=KEYS)
def test_a_key_that_is_too_short_is_refused(
    trail: Trail, environ: dict[str, str], message: str
) -> None:
    with inject_fault(trail) as injection:
        ended = trail.export(environ=environ)
        injection.assert_survived(ended, Outcome(2, "previous", "failed", message))


def short(path: Path) -> None:
    path.write_bytes(b"k" * 31 + b"\n")
    path.chmod(0o600)


def open_to_all(path: Path) -> None:
    path.write_bytes(b"k" * 40)
    path.chmod(0o644)


def a_link(path: Path) -> None:
    real = path.with_suffix(".real")
    real.write_bytes(b"k" * 40)
    real.chmod(0o600)
    path.symlink_to(real)


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


@pytest.mark.fault(24, short=5)
@in_turn("put", [short, open_to_all, a_link, a_pipe, Path.mkdir])
def test_a_key_file_without_a_key_or_with_other_readers_is_refused(
    trail: Trail, put: Callable[[Path], object]
) -> None:
    path = trail.folder / "key"
    put(path)
    with inject_fault(trail) as injection:
        ended = trail.export("--key-file", str(path))
        injection.assert_survived(ended, Outcome(2, "previous", "failed", str(path)))


@pytest.mark.fault(24)
@pytest.mark.parametrize("option", ["--key", "--signing-key"])
def test_no_command_takes_a_key_as_an_argument(trail: Trail, option: str) -> None:
    with inject_fault(trail) as injection:
        ended = trail.export(f"{option}={'s' * 40}")
        assert "s" * 40 not in ended.err
        injection.assert_survived(ended, REFUSED)


RUN_IDS = {
    "a quote": 'it\'s "one"',
    "a statement": "x'; DROP TABLE runs; --",
    "percent": "100 %s %(x)s %d",
    "a line break": "two\nlines",
    "a path": "../../../outside",
    "markup": "<script>alert(1)</script>",
    "a terminal's codes": "\x1b[2J\x07red",
    "an annotation": "::error file=x::y",
    "long": "é" * 60,
    "latest": "latest ",
}


@pytest.mark.fault(25)
@in_turn("run_id", RUN_IDS.values(), ids=RUN_IDS)
def test_a_run_with_a_hostile_id_is_exported(
    tmp_path: Path, export_format: str, tally: Tally, run_id: str
) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    with LandscapeDB(url) as db:
        record_sample_run(LandscapeRecorder(db), run_id)
    trail = Trail.create(tmp_path / "trail", url, export_format, tally, run_id=run_id)
    trail.put_old_export()
    around = set(tmp_path.iterdir())
    with inject_fault(trail) as injection:
        ended = trail.export()
        assert "\x1b" not in ended.out
        assert "\n::" not in ended.out
        injection.assert_survived(ended, SUCCEEDED)
    assert set(tmp_path.iterdir()) == around


@pytest.mark.fault(25)
def test_a_run_whose_id_looks_like_an_option_is_exported(tmp_path: Path, tally: Tally) -> None:
    # JSON only, because a CSV export of it prints a warning: a spreadsheet reads it as a formula.
    test_a_run_with_a_hostile_id_is_exported(tmp_path, "json", tally, "--help")


@pytest.fixture(scope="module")
def drawn_once() -> Iterator[None]:
    """Draw equal charts once: that is nearly all of the time of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "draw", cache(page.draw))
        yield


@pytest.mark.fault(26, short=13)
@pytest.mark.parametrize("text", [*RUN_IDS.values(), "\ud800", "\u202egnp.exe", "a|b`c`[d](e)"])
def test_hostile_text_is_shown_as_text_in_every_report(
    tally: Tally, drawn_once: None, text: str
) -> None:
    passed = load_results(Path("fixtures/results/passed.json"))
    site = CallSite("src/a.py", 3, text)
    verdict = Verdict(text, Judged.FAILED, text, text, (text,), text, site)
    results = replace(passed, judgements=(Judgement(Topic.GROWTH, verdict),))
    with tally.injection():
        document, summary = page.render_page(results), render_markdown(results)
        assert "<script>alert" not in document
        # Indented lines and text in backticks are code, which Markdown shows unchanged.
        prose = [line for line in summary.splitlines() if not line.startswith("    ")]
        assert "<script>alert" not in re.sub("`[^`]*`", "", "\n".join(prose))
        annotations = list(render_annotations(results))
        assert len(annotations) == 1
        assert "\n" not in annotations[0]
        assert json.loads(render_sarif(results))["version"] == "2.1.0"
        for rendered in (document, summary, *annotations):
            assert "\x1b" not in rendered
            assert "\u202e" not in rendered


CONFIGURATIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "aliases": (lambda text: "a: &a [1]\nb: [*a, *a]\n", "anchors and aliases"),
    "a key twice": (lambda text: text[:-1] + ', "landscape": {}}', "given twice"),
    "an unknown key": (lambda text: text.replace('"sign"', '"signed"'), "signed is not a setting"),
    "a megabyte": (lambda text: text + "#" * 2**20, "larger than"),
    "a tag": (lambda text: "!!python/object/apply:os.system [id]\n", "tags are not allowed"),
    "nesting": (lambda text: "[" * 5000 + "]" * 5000, "nested more than"),
    "no mapping": (lambda text: "just text\n", "expected a mapping"),
    "no text": (lambda text: "\0", "settings.yaml"),
    "nothing": (lambda text: "", "asks for no export|ask for no export"),
}


@pytest.mark.fault(27, short=9)
@in_turn(("change", "message"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_hostile_configuration_is_refused_in_one_line(
    trail: Trail, change: Callable[[str], str], message: str
) -> None:
    right = trail.settings_file.read_text()
    with inject_fault(trail) as injection:
        trail.settings_file.write_text(change(right))
        ended = trail.export()
        assert any(each in ended.err for each in message.split("|")), ended.err
        trail.settings_file.write_text(right)
        injection.assert_survived(ended, REFUSED)
