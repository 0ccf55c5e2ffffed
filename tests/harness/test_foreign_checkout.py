"""An exporter of another checkout is judged like one of this environment, and not taken for it.

`foreign_checkout` lays out a stand-in of the original project: its package is `elspeth` as well.
"""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Command
from foreign_checkout import EXPORTER, lay_out

from elspeth.core.landscape import LandscapeDB
from harness.checks.check import Check
from harness.checks.run import run_checks
from harness.checks.setup import prepare_checks
from harness.compare.exports import SIGNING_KEY, compare_exports, fixed_clock
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import InOwnProcess, in_own_process, interpreter_of
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, ImportFailedError, SubjectError
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.verdict import Outcome

ROOT = Path(__file__).parents[2]
RUN = RunSpec(rows=3, calls=1, batches=1, members=2)


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("theirs") / "checkout")


@pytest.fixture(scope="module")
def foreign(src: Path) -> Iterator[InOwnProcess]:
    with in_own_process(EXPORTER, src=src) as exporter:
        yield exporter


@pytest.fixture
def task(tmp_path: Path) -> Iterator[ExportTask]:
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        run = generate_run(db, RUN)
        yield ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, tmp_path)


def test_its_queries_are_counted_at_the_lines_of_its_own_loops(
    foreign: InOwnProcess, task: ExportTask, src: Path
) -> None:
    exporter = src / "elspeth" / "core" / "landscape" / "exporter.py"
    activity = foreign.observe(task).activity
    tables = {shape.shape.table: shape for shape in activity.shapes}
    assert activity.by_table == in_own_process(CONTROL).observe(task).activity.by_table
    lines = exporter.read_text().splitlines()
    for table, method in (("calls", "get_calls"), ("tokens", "get_tokens")):
        site = tables[table].site
        # All queries of the recorder pass through one line of one wrapper.
        assert site is not None
        assert site.path == str(exporter)
        assert f"in recorder.{method}(" in lines[site.line - 1]


def test_without_a_clock_its_files_have_the_hash_of_the_controls(
    foreign: InOwnProcess, task: ExportTask
) -> None:
    assert not foreign.takes_clock
    comparison = compare_exports(task.db, task.run_id, candidate=foreign)
    assert comparison.identical
    assert comparison.candidate_sha256 == comparison.control_sha256
    assert foreign.observe(task).file.sha256 == comparison.control_sha256


def test_another_error_for_an_unknown_run_is_caught_alike_and_named(
    foreign: InOwnProcess, task: ExportTask
) -> None:
    comparison = compare_exports(task.db, "nosuch", candidate=foreign)
    assert comparison.other_refusal == ("RunNotFoundError", "ValueError")
    verdict = comparison.verdict()
    assert verdict.passed
    assert "refused with ValueError, which is caught like RunNotFoundError" in verdict.seen


@pytest.mark.parametrize("check", [Check.SIDE_EFFECTS, Check.BACKENDS])
def test_a_check_judges_it_in_its_own_process(foreign: InOwnProcess, check: Check) -> None:
    with prepare_checks() as setup:
        outcomes = [each.verdict.outcome for each in run_checks(foreign, setup, checks=[check])]
    expected = {Check.BACKENDS: Outcome.SKIPPED}
    assert outcomes == [expected.get(check, Outcome.PASSED)]


@pytest.mark.nightly
def test_every_check_judges_it(harness_command: Command, src: Path) -> None:
    ended = harness_command("check", "--src", src, "--all")
    assert ended.code == 1
    judged = {
        line.split()[1] for line in ended.out.splitlines() if line[:6] in ("passed", "failed")
    }
    assert judged == {each.value for each in Check} - {Check.BACKENDS.value}
    headline = ended.out.splitlines()[-1]
    assert "queries grew with rows" in headline
    assert "6 + 1.00 rows + 2.00 tokens + 2.00 node_states + 1.00 batches" in headline


@pytest.mark.nightly
def test_bench_names_the_growth_first_with_its_line_and_its_formula(
    harness_command: Command, src: Path, tmp_path: Path
) -> None:
    options = ("--rows", 20, "--rounds", 1, "--output", tmp_path / "out")
    ended = harness_command("bench", "--src", src, *options)
    assert ended.code == 1, ended.err
    headline = ended.out.splitlines()[-1]
    assert headline.startswith("growth: LandscapeExporter: queries grew with rows: queries = 6 + ")
    assert f"at: {src}/elspeth/core/landscape/exporter.py:" in ended.out
    assert "identical: " in ended.out
    # Their place is named where they are meant, and no place of ours.
    assert f"{EXPORTER} from {src}/elspeth/core/landscape/__init__.py" in "".join(
        ended.err.split("\n")
    )


MISTYPED: dict[str, tuple[Callable[[Path], list[object]], str]] = {
    "a folder above": (
        lambda src: ["--src", src.parent],
        "is imported from {ours}, not from {src.parent}",
    ),
    "an empty folder": (
        lambda src: ["--src", src.parent / "tests"],
        "is imported from {ours}, not from {src.parent}/tests",
    ),
    "no interpreter": (
        lambda src: ["--src", src, "--python", src.parent],
        "{src.parent} is a folder without bin/python",
    ),
    "a missing interpreter": (
        lambda src: ["--src", src, "--python", "nosuch-python"],
        "nosuch-python cannot be run: it does not exist",
    ),
    "no module": (
        lambda src: ["--src", src, "--candidate", "nosuch:Exporter"],
        f"failed in the subject's environment {sys.executable}: ModuleNotFoundError: No module",
    ),
    "no class": (
        lambda src: ["--src", src, "--candidate", EXPORTER[:-1]],
        "has no class or function LandscapeExporte; the nearest is LandscapeExporter",
    ),
    "no opener": (
        lambda src: ["--src", src, "--database", "elspeth.core.landscape:nosuch"],
        "elspeth.core.landscape:nosuch cannot be loaded: AttributeError",
    ),
    "an opener that takes no URL": (
        lambda src: ["--src", src, "--database", "os:getcwd"],
        "os:getcwd() cannot be called with a URL: too many positional arguments; name a function",
    ),
    "an opener of something else": (
        lambda src: ["--src", src, "--database", "os:fspath"],
        "os:fspath opens a str, which has no attribute engine",
    ),
    "an opener that fails": (
        lambda src: ["--src", src, "--database", "builtins:int"],
        "builtins:int cannot open a database of the harness: ValueError: invalid literal",
    ),
}


# The three commands share the code, and two mistakes show that all of them call it.
ASKED = [
    *(("check", each) for each in MISTYPED),
    *((command, each) for command in ("bench", "gate") for each in ("a folder above", "no class")),
]


@pytest.mark.parametrize(("command", "mistake"), ASKED)
def test_a_mistyped_option_is_refused_before_anything_is_judged(
    harness_command: Command, src: Path, command: str, mistake: str
) -> None:
    arguments, words = MISTYPED[mistake]
    ended = harness_command(command, *arguments(src))
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    ours = Path(sys.modules["elspeth"].__path__[0]) / "core" / "landscape" / "__init__.py"
    assert words.replace("{ours}", str(ours)).replace("{src.parent}", str(src.parent)) in line


BROKEN = {
    "raises": ("from theirs import inner\n", "importing broken failed", "KeyError: 'no key'"),
    "exits": ("import sys\nsys.exit(0)\n", "importing broken failed", "it ended with sys.exit(0)"),
    "ends": ("import os\nos._exit(0)\n", "importing it", "ended its process with exit status 0"),
    "hangs": ("import time\ntime.sleep(60)\n", "importing broken", "did not end within 1 s"),
    "is no Python": ("def Exporter(\n", "importing broken failed", "SyntaxError"),
    "lacks a module": (
        "import nosuch_package\n",
        "failed in the subject's environment",
        "No module named 'nosuch_package'",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_candidate_that_cannot_be_imported_fails_with_its_own_lines(
    tmp_path: Path, fault: str
) -> None:
    text, *words = BROKEN[fault]
    (tmp_path / "broken.py").write_text(f"print('x' * 100_000)\n{text}")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "inner.py").write_text(
        "def fail():\n    raise KeyError('no key')\n\nfail()"
    )
    with pytest.raises(ImportFailedError) as caught:
        in_own_process("broken:Exporter", src=tmp_path, start_seconds=1 if fault == "hangs" else 60)
    message = str(caught.value)
    assert "\n" not in message
    assert [each for each in words if each not in message] == []
    if fault == "raises":
        at = f"; at {tmp_path}/theirs/inner.py:2 (raise KeyError('no key')), from "
        assert f"{at}{tmp_path}/theirs/inner.py:4 (fail()), from {tmp_path}/broken.py:2" in message
    elif fault != "ends":
        assert f"; at {tmp_path}/broken.py:" in message
    assert "harness/exporters" not in message
    verdict = caught.value.verdict
    assert (verdict.subject, verdict.outcome, verdict.seen) == ("Exporter", "failed", message)
    assert ("--python" in verdict.next_step) == (fault == "lacks a module")


@pytest.mark.parametrize("command", ["check", "bench", "gate"])
def test_a_broken_import_is_a_failed_verdict_of_every_command(
    harness_command: Command, tmp_path: Path, command: str
) -> None:
    # The module is there, so that nothing is mistyped: an exit code of 2 would say "not judged".
    (tmp_path / "broken.py").write_text("raise KeyError('no key')\n")
    output = () if command == "check" else ("--output", tmp_path / "out")
    ended = harness_command(command, "--src", tmp_path, "--candidate", "broken:Exporter", *output)
    assert (ended.code, ended.err) == (1, "")
    headline = ended.out.splitlines()[-1]
    assert "Exporter: broken:Exporter: importing broken failed" in headline
    assert f"KeyError: 'no key'; at {tmp_path}/broken.py:1" in headline
    if output:
        again = harness_command("gate", "--results", tmp_path / "out" / "results.json", *output)
        assert (again.code, again.out.splitlines()[-1]) == (1, headline)


def test_a_stored_run_is_opened_so_that_their_class_cannot_write(
    harness_command: Command, src: Path, task: ExportTask, tmp_path: Path
) -> None:
    # Its class creates tables and sets pragmas; a new table would be written into evidence.
    schema = src / "elspeth" / "core" / "landscape" / "schema.py"
    copy = lay_out(tmp_path / "newer")
    added = '\nextra_table = Table("extra", metadata, _key("extra_id"))\n'
    (copy / schema.relative_to(src)).write_text(schema.read_text() + added)
    before = (tmp_path / "audit.db").read_bytes()
    stored = ("--db", task.db.absolute_url, "--run", task.run_id)
    ended = harness_command("check", "--src", copy, *stored)
    assert ended.code == 0, ended.err
    assert "LandscapeExporter: the same export to the byte" in ended.out
    assert (tmp_path / "audit.db").read_bytes() == before


def test_the_opener_of_the_guide_opens_a_newer_schema(
    task: ExportTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (ROOT / "docs" / "foreign-checkout.md").read_text(encoding="utf-8")
    block = re.findall(r"<!-- file: upgraded.py -->\n```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "upgraded.py").write_text(*block)
    newer = lay_out(tmp_path / "newer")
    schema = newer / "elspeth" / "core" / "landscape" / "schema.py"
    column = '_reference("row_id", "rows.row_id", index=True),'
    assert schema.read_text().count(column) == 1
    added = '_text("run_id", required=True), _text("colour"),'
    schema.write_text(
        schema.read_text().replace(column, column + added)
        + '\nextra_table = Table("extra", metadata, _key("extra_id"))\n'
    )
    with in_own_process(EXPORTER, src=newer) as plain, pytest.raises(ExportFailedError):
        plain.observe(task)  # Their query for tokens names the columns.
    monkeypatch.chdir(tmp_path)
    with in_own_process(EXPORTER, src=newer, database="upgraded:open_database") as upgraded:
        assert compare_exports(task.db, task.run_id, candidate=upgraded).identical


def test_a_virtual_environment_names_its_interpreter(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    # The link itself, since its place is what makes it the interpreter of the environment.
    assert interpreter_of(str(tmp_path / "venv")) == str(python)
    assert interpreter_of(str(python)) == str(python)
    assert interpreter_of("sh") == shutil.which("sh")


def test_an_interpreter_without_sqlalchemy_is_named(src: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    python.chmod(0o755)
    with pytest.raises(SubjectError, match=f"SQLAlchemy is not installed .*{python}"):
        in_own_process(EXPORTER, src=src, python=str(python))


def test_a_program_that_is_no_python_is_refused(src: Path) -> None:
    with pytest.raises(
        SubjectError, match=r"does not start as a Python of 3\.10 or newer"
    ) as caught:
        in_own_process(EXPORTER, src=src, python="true")
    # A mistyped option and not a fault of the exporter, which would be a failed verdict.
    assert not isinstance(caught.value, ImportFailedError)
