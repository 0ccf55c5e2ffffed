"""The probe: an exporter in another process is counted, timed and compared like one in this."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Command

from elspeth.core.landscape import LandscapeDB
from harness.bench.race import IN_MEMORY_MAPS
from harness.checks.selftest import load_correct_exporters
from harness.compare.exports import SIGNING_KEY, Comparison, compare_exports, fixed_clock
from harness.exporters.measured import InOwnProcess, InThisProcess, in_own_process, measured
from harness.exporters.observation import ExportTask, MemoryUse
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, SubjectError, load_subject
from harness.exporters.subprocess_probe import Probe
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.counting.work import BRANCHES, VM_STEPS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "other-exporters.md"
RUN = RunSpec(rows=3, calls=1, batches=1, members=2)

ELSEWHERE = """
from elspeth.core.landscape import LandscapeExporter


class WithoutClock:
    def __init__(self, db, signing_key=None):
        self._exporter = LandscapeExporter(db, signing_key)

    def export_run(self, run_id, sign=False):
        return self._exporter.export_run(run_id, sign=sign)


class Refuses:
    def __init__(self, db, signing_key=None):
        pass

    def export_run(self, run_id, sign=False):
        raise KeyError("no such thing")


class SwapsTwo(WithoutClock):
    def export_run(self, run_id, sign=False):
        records = list(super().export_run(run_id, sign=sign))
        records[1], records[2] = records[2], records[1]
        return records
"""


@pytest.fixture
def task(tmp_path: Path) -> Iterator[ExportTask]:
    with LandscapeDB(f"sqlite:///{tmp_path / 'audit.db'}") as db:
        run = generate_run(db, RUN)
        yield ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, tmp_path)


def test_the_time_of_several_exports_is_that_of_the_fastest(
    task: ExportTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ExportTask, int]] = []

    def ask(self: Probe, kind: str, task: ExportTask, *, tries: int) -> dict[str, list[float]]:
        asked.append((kind, task, tries))
        return {"seconds": [0.5, 0.25, 1.0]}

    monkeypatch.setattr(Probe, "ask", ask)
    assert Probe(DEFAULT_CANDIDATE).time(task, tries=3) == 0.25
    assert Probe(DEFAULT_CANDIDATE).time(task) == 0.25
    assert asked == [("time", task, 3), ("time", task, 1)]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    (directory / "their_exporters.py").write_text(ELSEWHERE)
    return directory


def test_the_probe_needs_the_standard_library_and_sqlalchemy_alone() -> None:
    folder = ROOT / "harness" / "exporters"
    imported: dict[str, set[str]] = {}
    for path in (folder / "probe_script.py", *(folder / "probe").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            for name in names:
                imported.setdefault(name.split(".")[0], set()).add(path.name)
    others = {
        name: files for name, files in imported.items() if name not in sys.stdlib_module_names
    }
    assert others.keys() == {"sqlalchemy", "querygrowth"}
    assert others["querygrowth"] == {"observation.py"}


def test_what_records_an_export_there_needs_no_sqlglot() -> None:
    code = (
        "import sys; sys.modules['sqlglot'] = None\n"
        "from querygrowth.counting import driver, record, work\n"
        "assert 'elspeth' not in sys.modules and 'harness' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WORK = (VM_STEPS, BRANCHES)


# What worker processes send is counted nowhere.
COUNTED = [
    CONTROL,
    *(each.exporter for each in load_correct_exporters() if not each.declared.worker_processes),
]


@pytest.mark.parametrize("exporter", COUNTED)
def test_an_exporter_is_observed_there_as_it_is_here(
    request: pytest.FixtureRequest, task: ExportTask, exporter: str
) -> None:
    if exporter not in (CONTROL, DEFAULT_CANDIDATE):
        request.getfixturevalue("forked_exporters")
    subject = load_subject(exporter)
    here = InThisProcess(subject)
    # Statements are compiled once in a process, which shows in the branches of a first export.
    here.observe(task)
    task.path_for(here.name).unlink()
    expected = here.observe(task, work=WORK)
    with in_own_process(exporter) as there:
        there.observe(task)
        found = there.observe(task, work=WORK)
    assert found.file == expected.file
    assert found.activity == expected.activity
    assert found.activity.queries
    assert found.activity.rows_fetched
    assert found.activity.work.keys() == set(WORK)
    assert all(each.site is not None for each in found.activity.shapes)


def test_an_exporter_without_writer_is_observed_there_as_it_is_here(
    task: ExportTask, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(elsewhere)
    expected = measured("their_exporters:WithoutClock").observe(task)
    with in_own_process("their_exporters:WithoutClock") as there:
        found = there.observe(task)
    # Its manifest has the time of the export, so that the bytes differ.
    assert found.file.records == expected.file.records
    assert found.activity == expected.activity


def test_the_parent_never_imports_the_exporter(task: ExportTask, elsewhere: Path) -> None:
    (elsewhere / "never_here.py").write_text(ELSEWHERE)
    with in_own_process("never_here:WithoutClock", src=elsewhere) as there:
        assert there.observe(task).activity.queries
        assert there.defined_at is not None
        assert Path(there.defined_at.path) == elsewhere / "never_here.py"
    assert "never_here" not in sys.modules


def test_an_action_that_fails_in_the_middle_of_an_export_spoils_no_later_answer(
    task: ExportTask,
) -> None:
    def fail() -> None:
        raise RuntimeError("the second process could not write")

    with in_own_process(CONTROL) as exporter:
        with pytest.raises(RuntimeError, match="could not write"):
            exporter.export_with_pause(task, fail)
        assert exporter.measure_held(task, tries=1).keys() == {"peaks", "left"}


def test_times_and_memory_come_from_there(task: ExportTask) -> None:
    subject = InOwnProcess(Probe(DEFAULT_CANDIDATE, (ROOT / "src",)))
    assert subject.time(task) > 0
    assert subject.time_first_row(task) > 0
    use = subject.measure_memory(task)
    assert use.peak_bytes >= use.start_bytes > 2**20


@pytest.mark.parametrize("reference", [DEFAULT_CANDIDATE, IN_MEMORY_MAPS])
def test_packages_of_the_working_directory_do_not_replace_those_of_this_process(
    task: ExportTask, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("harness", "elspeth"):
        package = tmp_path / "project" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('not the package that was meant')")
    monkeypatch.chdir(tmp_path / "project")
    assert measured(reference).measure_memory(task).peak_bytes > 2**20


def test_an_exporter_of_the_working_directory_is_imported_from_there(
    task: ExportTask, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "exporters_of_this_folder.py").write_text(ELSEWHERE)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = measured("exporters_of_this_folder:WithoutClock").measure_memory(task)
    assert found.peak_bytes > 2**20


def compare(task: ExportTask, probe: Probe) -> Comparison:
    with InOwnProcess(probe) as candidate:
        return compare_exports(task.db, task.run_id, candidate=candidate)


def test_the_same_exporter_of_another_checkout_is_identical(task: ExportTask) -> None:
    assert compare(task, Probe(DEFAULT_CANDIDATE, (ROOT / "src",))).identical


def test_an_exporter_without_clock_and_writers_is_compared_too(
    task: ExportTask, elsewhere: Path
) -> None:
    assert compare(task, Probe("their_exporters:WithoutClock", (elsewhere,))).identical


def test_a_fault_there_is_named_here(task: ExportTask, elsewhere: Path) -> None:
    found = compare(task, Probe("their_exporters:SwapsTwo", (elsewhere,))).difference
    assert found is not None
    assert found.headline.startswith("order, node ")


def test_an_error_there_is_known_here_by_its_name(task: ExportTask, elsewhere: Path) -> None:
    found = compare(task, Probe("their_exporters:Refuses", (elsewhere,))).difference
    assert found is not None
    assert found.found == "KeyError: 'no such thing'"


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (Probe("no_such_module:Exporter"), "No module named 'no_such_module'"),
        (Probe("json:Exporter"), "json has no class or function Exporter"),
        (Probe(DEFAULT_CANDIDATE, python="/no/such/python"), "/no/such/python cannot be run"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_one_line(
    task: ExportTask, probe: Probe, reason: str
) -> None:
    with InOwnProcess(probe) as exporter, pytest.raises(SubjectError, match=reason) as refusal:
        exporter.observe(task)
    assert "\n" not in str(refusal.value)


def test_the_worked_example_of_the_guide_says_what_the_guide_says(
    harness_command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    there = tmp_path / "audit"
    there.mkdir()
    (there / "audit_export.py").write_text(_block(guide, "file: audit_export.py"))
    command = _block(guide, "command").replace("../audit/venv/bin/python", sys.executable)
    monkeypatch.setenv("COLUMNS", "200")
    # In processes that the guide says nothing of.
    monkeypatch.setattr(Probe, "measure_memory", lambda *_, **__: MemoryUse(1, 2))
    monkeypatch.setattr(Probe, "time_first_row", lambda *_: 0.1)
    program, *arguments = command.replace("../audit", str(there)).split()
    said = harness_command(*arguments, "--output", tmp_path / "out")
    assert program == "harness"
    assert said.code == 1, said.err
    for line in _block(guide, "said").strip().splitlines():
        assert line in said.out
    assert f"{there}/audit_export.py:" in said.out


def _block(guide: str, name: str) -> str:
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", guide, re.DOTALL)
    assert found, name
    return found.group(1)
