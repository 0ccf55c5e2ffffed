"""The gate and `compare` on small revisions of a real repository, with times that are injected.

The exporters of both revisions are real. Where a time would decide, it is read from a file of the
revision instead of a clock: no test depends on the speed of the machine.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import gate
from harness.bench import race
from harness.bench.baseline import ROWS, Costs, ShapeCost, load_baseline
from harness.bench.environment import checked_out, working_tree
from harness.bench.experiment import Experiment
from harness.bench.race import Elapsed, Race, run_race, time_by_both_clocks
from harness.bench.result_file import load_results
from harness.bench.results import Judgement, Results, Topic
from harness.bench.revision_costs import RevisionCostsError, count_revision
from harness.checks.check import ALL_CHECKS, Check, CheckVerdict
from harness.checks.depth import Depth
from harness.checks.selection import Selection
from harness.checks.selftest import SelftestSelection
from harness.cli import gate as gate_command
from harness.cli.main import main
from harness.exporters.failure import ExportFailedError
from harness.exporters.observation import ExportTask
from harness.exporters.subprocess_probe import Probe
from harness.gate import Gate
from querygrowth.verdict import Outcome, Verdict

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "fixtures" / "results"
PASSED = load_results(SAVED / "passed.json")
MODULE = "trial_revision"
CANDIDATE = f"{MODULE}:TrialExporter"
EXPORTER = """
import os
from pathlib import Path
from elspeth.core.landscape import LandscapeExporter

class TrialExporter(LandscapeExporter):
    def write_jsonl(self, *arguments, **options):
        if "TRIAL_LOG" in os.environ:
            with Path(os.environ["TRIAL_LOG"]).open("a") as log:
                log.write("REVISION\\n")
        return super().write_jsonl(*arguments, **options)
"""


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(directory), *arguments], check=True, capture_output=True)


def write_revision(repository: Path, name: str, seconds: str) -> None:
    """Write an exporter that logs its revision, and the seconds that its race will see."""
    (repository / f"{MODULE}.py").write_text(EXPORTER.replace("REVISION", name))
    (repository / "seconds").write_text(seconds)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the revision `main`, at 1 second, and a slower working tree, at 2."""
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init", "--initial-branch", "main")
    git(directory, "config", "user.name", "somebody")
    git(directory, "config", "user.email", "somebody@localhost")
    write_revision(directory, "base", "1.0 1.0")
    git(directory, "add", "--all")
    git(directory, "commit", "--message", "base")
    write_revision(directory, "head", "2.0 2.0")
    return directory


@pytest.fixture
def injected_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the seconds of a round from the file `seconds` of the revision that is raced.

    No process is started: the exporter is where its revision has it.
    """
    monkeypatch.setattr(Probe, "locate", lambda probe: probe.paths[-1] / f"{MODULE}.py")
    turns: dict[Path, int] = {}

    def read(probe: Probe, task: ExportTask) -> Elapsed:
        file = probe.paths[-1] / "seconds"
        lines = file.read_text().splitlines()
        turns[file] = turns.get(file, -1) + 1
        return Elapsed(*map(float, lines[turns[file] % len(lines)].split()))

    monkeypatch.setattr(race, "time_by_both_clocks", read)


@pytest.fixture
def ran(
    forked_exporters: None,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., SimpleNamespace]]:
    """A function that runs the `harness` command from the repository, in this process."""
    monkeypatch.chdir(repository)
    monkeypatch.syspath_prepend(repository)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    # The page's plotting library takes seconds to import, and decides nothing.
    page = SimpleNamespace(render_page=lambda results, history=(): "a page")
    monkeypatch.setitem(sys.modules, "harness.report.page", page)

    def run(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    yield run
    sys.modules.pop(MODULE, None)


@pytest.fixture
def passing_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace what the gate collects from by parts that pass at once; a test breaks one of them."""
    accepted = load_baseline(ROOT / "fixtures" / "baseline.json")
    passed = SimpleNamespace(verdict=Verdict("the self-test", Outcome.PASSED, "", ""))
    parts: dict[str, Any] = {
        "asked": [],
        "experiment": replace(
            PASSED,
            pairing=None,
            judgements=tuple(
                each
                for each in PASSED.judgements
                if each.topic in (Topic.VACUITY, Topic.EQUIVALENCE, Topic.GROWTH, Topic.TARGETS)
            ),
        ),
        "checks": {},
        "costs": accepted,
        "selftest": [passed],
        "race": Outcome.PASSED,
    }

    def run_experiment(experiment: Experiment, *_: object) -> Results:
        parts["judges_times"] = experiment.judges_times
        return parts["experiment"]

    def run_selection(
        subject: object, setup: object, selection: Selection, **_: object
    ) -> Iterator[CheckVerdict]:
        parts["asked"].extend(selection.checks)
        for check in selection.checks:
            outcome = parts["checks"].get(check, Outcome.PASSED)
            verdict = Verdict(f"check {check}", outcome, "this", "that")
            yield CheckVerdict(check, "sqlite", verdict)

    monkeypatch.setattr(gate, "run_experiment", run_experiment)
    monkeypatch.setattr(gate, "run_selection", run_selection)
    monkeypatch.setattr(gate, "count_costs", lambda *_: parts["costs"])
    monkeypatch.setattr(gate, "formulas_of", lambda *_: {})
    monkeypatch.setattr(gate, "run_selftest", lambda *_: parts["selftest"])
    return parts


def decided(ran: Callable[..., SimpleNamespace], *arguments: str) -> tuple[Any, Results]:
    """Run the gate on the trial exporter, and read the results that it wrote."""
    said = ran("gate", "--candidate", CANDIDATE, "--rows", "10", "--output", "out", *arguments)
    return said, load_results(Path("out/results.json"))


# The gate: every part of it is collected, and decides.


def test_a_change_of_which_everything_passes_passes(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    said, results = decided(ran)
    assert said.code == 0, said.out
    assert results.outcome is Outcome.PASSED
    assert passing_parts["asked"] == list(Selection.of_depth(Depth.DEFAULT).checks)
    assert passing_parts["judges_times"] is False


def test_a_pull_request_is_checked_for_what_is_fast_and_the_night_for_all(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    needed = {Check.RECORDS, Check.PLAN, Check.QUERIES, Check.SIZE, Check.WORK, Check.SNAPSHOT}
    asked = []
    for arguments in ((), ("--nightly",)):
        passing_parts["asked"].clear()
        decided(ran, *arguments)
        asked.append(set(passing_parts["asked"]))
    assert needed <= asked[0] < asked[1] == set(ALL_CHECKS)


@pytest.mark.parametrize("check", [Check.RECORDS, Check.PLAN, Check.QUERIES, Check.SNAPSHOT])
def test_the_verdict_of_every_check_decides(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any], check: Check
) -> None:
    passing_parts["checks"] = {check: Outcome.FAILED}
    said, results = decided(ran)
    assert said.code == 1
    (failure,) = results.failures
    assert failure.verdict.subject == f"check {check}"
    growth = check is Check.QUERIES
    assert failure.topic is (Topic.GROWTH if growth else Topic.EQUIVALENCE)


def test_a_cost_above_the_baseline_decides(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    accepted = passing_parts["costs"]
    more = ShapeCost.of("rows", "SELECT more", (1, 1, 1), ROWS)
    passing_parts["costs"] = replace(accepted, shapes=(*accepted.shapes, more))
    said, results = decided(ran)
    assert said.code == 1
    assert {each.topic for each in results.failures} == {Topic.BASELINE}


def test_a_self_test_that_misses_a_fault_decides(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    missed = Verdict("the self-test", Outcome.FAILED, "caught", "missed")
    passing_parts["selftest"].append(SimpleNamespace(verdict=missed))
    said, results = decided(ran)
    assert said.code == 1
    assert [each.verdict for each in results.failures] == [missed]


def test_a_failure_of_the_experiment_decides(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    failed = Judgement(Topic.EQUIVALENCE, Verdict("bytes", Outcome.FAILED, "same", "others"))
    experiment = passing_parts["experiment"]
    passing_parts["experiment"] = replace(experiment, judgements=(*experiment.judgements, failed))
    said, results = decided(ran)
    assert said.code == 1
    assert results.failures == (failed,)


def test_a_slower_head_fails_by_the_speed_alone(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any], injected_times: None
) -> None:
    said, results = decided(ran, "--base", "main")
    assert said.code == 1
    (failure,) = results.failures
    assert failure.topic is Topic.SPEED
    assert failure.verdict.subject == "rows/s of head working tree against base main"
    assert results.pairing is not None
    assert results.pairing.wall.ratio == pytest.approx(0.5)
    assert results.pairing.rows == 500
    assert "racing main: 0.500 after 12" in said.err


def test_a_faster_head_passes_with_its_speed(
    ran: Callable[..., SimpleNamespace],
    passing_parts: dict[str, Any],
    injected_times: None,
    repository: Path,
) -> None:
    write_revision(repository, "head", "0.5 0.5")
    said, results = decided(ran, "--base", "main")
    assert said.code == 0, said.out
    assert results.pairing is not None
    assert results.pairing.wall.ratio == pytest.approx(2)
    speed = [each.verdict for each in results.judgements if each.topic is Topic.SPEED]
    assert [each.outcome for each in speed] == [Outcome.PASSED]


def test_an_undecided_speed_passes_with_a_warning_and_fails_the_night(
    ran: Callable[..., SimpleNamespace],
    passing_parts: dict[str, Any],
    injected_times: None,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_command, "MAX_ROUNDS", 12)
    write_revision(repository, "head", "0.5 0.5\n2.0 2.0")
    said, results = decided(ran, "--base", "main")
    assert said.code == 0
    assert results.outcome is Outcome.INCONCLUSIVE
    assert "warning: not decided: speed against base" in said.err
    again = ran("gate", "--results", "out/results.json", "--nightly", "--output", "again")
    assert again.code == 1


def test_without_a_base_nothing_is_raced(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    _, results = decided(ran)
    assert results.pairing is None
    assert all(each.topic is not Topic.SPEED for each in results.judgements)


def test_an_exporter_that_did_nothing_is_not_raced(
    repository: Path, passing_parts: dict[str, Any], tmp_path: Path
) -> None:
    failed = Judgement(Topic.VACUITY, Verdict("it", Outcome.FAILED, "an export", "it raised"))
    passing_parts["experiment"] = replace(PASSED, pairing=None, judgements=(failed,))
    found = gate._raced(
        passing_parts["experiment"], race_of(repository, repository), tmp_path, lambda step: None
    )
    (*_, speed) = found.judgements
    assert (speed.topic, speed.verdict.outcome) == (Topic.SPEED, Outcome.SKIPPED)
    assert found.pairing is None


@pytest.mark.parametrize("part", ["formulas_of", "run_race"])
def test_an_export_that_crashes_late_is_a_failure_of_a_report_with_all_else(
    ran: Callable[..., SimpleNamespace],
    passing_parts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    def crash(*_: object) -> None:
        raise ExportFailedError("Exporter", "it raised KeyError: 'late'")

    monkeypatch.setattr(gate, part, crash)
    said, results = decided(ran, *(("--base", "main") if part == "run_race" else ()))
    assert said.code == 1
    (failure,) = results.failures
    assert (failure.topic, failure.verdict.seen) == (Topic.VACUITY, "it raised KeyError: 'late'")
    assert failure.verdict.site is not None
    assert results.sizes == PASSED.sizes
    assert Path("out/report.md").exists()


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--nightly",), 1)])
def test_a_base_that_does_not_end_leaves_the_speed_undecided(
    ran: Callable[..., SimpleNamespace],
    passing_parts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
) -> None:
    def hang(*_: object) -> None:
        raise ExportFailedError("base main", "it did not end within 60 s", timed_out=True)

    monkeypatch.setattr(gate, "run_race", hang)
    said, results = decided(ran, "--base", "main", *arguments)
    assert said.code == code
    (speed,) = (each.verdict for each in results.judgements if each.topic is Topic.SPEED)
    assert speed.outcome is Outcome.INCONCLUSIVE
    assert speed.seen == "not raced: base main: it did not end within 60 s"
    assert not results.failures


@pytest.mark.parametrize(
    ("option", "content"),
    [("--baseline", "{}"), ("--targets", ""), ("--results", "{}")],
)
def test_an_input_that_is_refused_is_exit_code_2_and_nothing_is_measured(
    ran: Callable[..., SimpleNamespace],
    passing_parts: dict[str, Any],
    repository: Path,
    option: str,
    content: str,
) -> None:
    (repository / "given").write_text(content)
    saved = ("gate", option, "given", "--output", "out")
    said = ran(*saved, *(() if option == "--results" else ("--candidate", CANDIDATE)))
    assert said.code == 2
    assert "given" in said.err
    assert passing_parts["asked"] == []
    assert not Path("out").exists()


def test_an_unknown_base_is_exit_code_2_before_anything_is_measured(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    said = ran("gate", "--candidate", CANDIDATE, "--base", "no-such", "--output", "out")
    assert said.code == 2
    assert "no-such" in said.err
    assert passing_parts["asked"] == []


@pytest.mark.parametrize(
    ("file", "is_whole"),
    [
        ("harness/gate.py", True),
        ("fixtures/targets.toml", True),
        ("src/querygrowth/counting/log.py", True),
        ("src/elspeth/core/clock.py", False),
        ("docs/harness/page.md", False),
    ],
)
def test_a_change_of_what_judges_selects_the_whole_self_test(
    repository: Path, monkeypatch: pytest.MonkeyPatch, file: str, is_whole: bool
) -> None:
    path = repository / file
    path.parent.mkdir(parents=True)
    path.write_text("changed")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "a change")
    monkeypatch.chdir(repository)
    found = gate_command._selection("main~1", nightly=False)
    assert bool(found.correct) is is_whole
    assert not gate_command._selection(None, nightly=False).correct
    assert gate_command._selection(None, nightly=True).correct


LOSES_A_RECORD = """    def _iter_records(self, run_id):
        yield from list(super()._iter_records(run_id))[:-1]
"""


@pytest.mark.parametrize("change", ["", LOSES_A_RECORD], ids=["no change", "loses a record"])
@pytest.mark.usefixtures("small_plans", "prepared_checks", "without_memory")
def test_the_gate_measures_and_checks_the_exporter_of_the_working_tree(
    ran: Callable[..., SimpleNamespace],
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    # The real experiment and the real check; the other parts take long and have tests above.
    accepted = load_baseline(ROOT / "fixtures" / "baseline.json")
    passed = SimpleNamespace(verdict=Verdict("the self-test", Outcome.PASSED, "", ""))
    monkeypatch.setattr(gate, "count_costs", lambda *_: accepted)
    monkeypatch.setattr(gate, "formulas_of", lambda *_: {})
    monkeypatch.setattr(gate, "run_selftest", lambda *_: [passed])
    (repository / f"{MODULE}.py").write_text(EXPORTER.replace("REVISION", "head") + change)
    # Three sizes to pass, and one to lose a record in.
    rows, sizes = ("10", [10]) if change else ("20", [10, 14, 20])
    part = ("--part", "plan")
    said = ran("gate", "--candidate", CANDIDATE, "--rows", rows, *part, "--output", "out")
    results = load_results(Path("out/results.json"))
    assert [each.run.rows for each in results.sizes] == sizes
    assert results.outcome is (Outcome.FAILED if change else Outcome.PASSED), said.out
    assert said.code == bool(change)
    differ = [each.verdict for each in results.failures if each.topic is Topic.EQUIVALENCE]
    assert bool(differ) is bool(change)
    # The judgement of the check, beside those of the experiment.
    assert any("changed query plans" in each.verdict.seen for each in results.judgements)
    recorded = [
        each.verdict for each in results.judgements if "a time of this machine" in each.verdict.seen
    ]
    assert [each.subject[:2] for each in recorded] == ["R4", "R6", "R7"]


# Work under versions that the baseline does not have.


OTHER = "SQLite 3.99.0, CPython 3.99"


def costs_under(versions: str, steps: tuple[int, ...], like: Costs) -> Costs:
    return replace(like, work={versions: {"vm_steps": steps}})


@pytest.mark.parametrize(
    ("base", "outcome"),
    [
        ((10, 20, 30), Outcome.PASSED),
        ((10, 20, 29), Outcome.FAILED),
        (None, Outcome.INCONCLUSIVE),
    ],
)
def test_work_under_other_versions_is_compared_with_the_base_of_the_same_job(
    repository: Path,
    passing_parts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    base: tuple[int, ...] | None,
    outcome: Outcome,
) -> None:
    accepted = passing_parts["costs"]
    passing_parts["costs"] = costs_under(OTHER, (10, 20, 30), accepted)
    counted: list[str] = []

    def count(checkout: Any, reference: str, python: str, directory: Path) -> Costs:
        counted.append(checkout.name)
        if base is None:
            raise RevisionCostsError("main could not be counted: ImportError")
        return costs_under(OTHER, base, accepted)

    monkeypatch.setattr(gate, "count_revision", count)
    planned = Gate(
        experiment_of(), accepted, SelftestSelection(()), (), race_of(repository, repository)
    )
    verdicts = gate._judge_costs(planned, tmp_path, lambda step: None)
    steps = next(each for each in verdicts if each.subject == "vm_steps")
    assert steps.outcome is outcome
    assert counted == ["base"]
    assert ("main could not be counted: ImportError" in steps.evidence) is (base is None)
    without = replace(planned, race=None)
    verdicts = gate._judge_costs(without, tmp_path, lambda step: None)
    assert {each.outcome for each in verdicts if each.subject == "vm_steps"} == {
        Outcome.INCONCLUSIVE
    }
    assert counted == ["base"]


def test_a_ratchet_that_could_not_be_judged_fails_the_night(
    ran: Callable[..., SimpleNamespace], passing_parts: dict[str, Any]
) -> None:
    passing_parts["costs"] = costs_under(OTHER, (1, 2, 3), passing_parts["costs"])
    said, results = decided(ran)
    assert said.code == 0
    assert results.outcome is Outcome.INCONCLUSIVE
    assert "warning: not decided: baseline: vm_steps" in said.err
    again = ran("gate", "--results", "out/results.json", "--nightly", "--output", "again")
    assert again.code == 1


def test_a_revision_is_counted_with_its_own_exporter(repository: Path, tmp_path: Path) -> None:
    (repository / f"{MODULE}.py").write_text(
        EXPORTER + "    def _iter_records(self, run_id):\n"
        "        with self._db.connection() as connection:\n"
        "            connection.exec_driver_sql('SELECT count(*) FROM rows').scalar()\n"
        "        yield from super()._iter_records(run_id)\n"
    )
    tree = working_tree(repository)
    with checked_out(tree, "main", tmp_path / "base") as base:
        at_base = count_revision(base, CANDIDATE, sys.executable, tmp_path / "one")
    at_head = count_revision(tree, CANDIDATE, sys.executable, tmp_path / "two")

    # The search for orphans and damage before an export counts as well, in subqueries.
    counting = {
        name: [each.counts for each in found.shapes if each.text.upper().startswith("SELECT COUNT")]
        for name, found in (("base", at_base), ("head", at_head))
    }
    assert counting == {"base": [], "head": [(1, 1, 1)]}
    assert at_base.rows == at_head.rows == ROWS
    ((_, work),) = at_base.work.items()
    assert set(work) == {"vm_steps", "branches"}
    with pytest.raises(RevisionCostsError, match=r"working tree could not be counted: .*no_such"):
        count_revision(tree, "no_such:It", sys.executable, tmp_path / "three")


# The race: which revision is which, and what is timed.


def experiment_of() -> Experiment:
    candidate = SimpleNamespace(name="TrialExporter", is_here=True, defined_at=None)
    return Experiment((), candidate, candidate, ())  # type: ignore[arg-type]


def race_of(base: Path, head: Path) -> Race:
    sides = (replace(working_tree(each), name=name) for each, name in ((base, "base"), (head, "h")))
    return Race(CANDIDATE, *sides, sys.executable, 10, 12)


def test_a_side_of_a_race_is_the_exporter_of_its_revision(
    repository: Path, tmp_path: Path, injected_times: None
) -> None:
    tree = working_tree(repository)
    with checked_out(tree, "main", tmp_path / "base") as base:
        found = run_race(race_of(base.directory, tree.directory), tmp_path, lambda *_: None)
    assert set(found.wall.base.seconds) == {1.0}
    assert set(found.wall.head.seconds) == {2.0}
    assert found.wall.base.subject.startswith("base")
    assert found.wall.head.subject.startswith("head")
    assert found.rows == 10
    assert found.records is not None
    assert found.records > 10


def test_an_export_of_a_round_runs_the_code_of_its_checkout_in_a_new_process(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("TRIAL_LOG", str(log))
    tree = working_tree(repository)
    planned = race_of(repository, repository)
    with checked_out(tree, "main", tmp_path / "base") as base:
        probe = base.exporter(CANDIDATE, role="base", python=sys.executable)
        spec = race.RunSpec.typical(planned.rows)
        with race._recorded(f"sqlite:///{tmp_path / 'race.db'}", spec, tmp_path) as task:
            elapsed = time_by_both_clocks(probe, task)
            # One export is a warm-up. The first one includes imports and compiled statements.
            assert log.read_text().split() == ["base"] * (1 + race.TRIES)
            head = tree.exporter(CANDIDATE, role="head", python=sys.executable)
            time_by_both_clocks(head, task)
    assert log.read_text().split()[-1] == "head"
    assert race.TRIES == 5
    assert 0 < elapsed.wall < 600
    assert 0 < elapsed.cpu < 600


def test_a_round_is_the_fastest_export_by_each_clock_without_waits_for_a_core(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    content = {
        "seconds": [5.0, 3.0, 9.0, 4.0, 6.0],
        "cpu_seconds": [2.5, 2.75, 2.25, 2.5, 2.875],
        "core_waits": [1.0, 0.0, 7.0, 1.5, 2.0],
    }

    def ask(probe: Probe, kind: str, task: object, *, tries: int) -> dict[str, list[float]]:
        asked.append((kind, tries))
        return content

    monkeypatch.setattr(Probe, "ask", ask)
    probe = working_tree(repository).exporter(CANDIDATE, role="head", python=sys.executable)
    with race._recorded("sqlite://", race.RunSpec.typical(10), tmp_path) as task:
        assert time_by_both_clocks(probe, task) == Elapsed(wall=2.0, cpu=2.25)
    assert asked == [("time", 5)]


def test_waits_for_a_core_that_exceed_a_short_export_leave_times_that_have_a_ratio(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"seconds": [0.002] * 5, "cpu_seconds": [0.0] * 5, "core_waits": [0.003] * 5}
    monkeypatch.setattr(Probe, "ask", lambda *_, **__: content)
    probe = working_tree(repository).exporter(CANDIDATE, role="head", python=sys.executable)
    with race._recorded("sqlite://", race.RunSpec.typical(10), tmp_path) as task:
        elapsed = time_by_both_clocks(probe, task)
        actions = {"base": lambda: elapsed, "head": lambda: elapsed}
        *_, found = race.pairings(actions, rows=10, records=10, max_rounds=12)
    assert found.wall.ratio == found.cpu.ratio == 1.0


# `compare`: exit codes, and the order of its revisions.


def test_compare_of_a_slower_working_tree_fails(
    ran: Callable[..., SimpleNamespace], injected_times: None
) -> None:
    said = ran("compare", "main", "--candidate", CANDIDATE, "--rows", "10", "--output", "out")
    assert said.code == 1
    results = load_results(Path("out/results.json"))
    assert results.pairing is not None
    assert results.pairing.wall.ratio == pytest.approx(0.5)
    assert [each.topic for each in results.failures] == [Topic.SPEED]
    assert "uncommitted changes, which are measured too" in said.err
    assert "12 of at most 96 rounds: ratio 0.500, 0.500 to 0.500; CPU time 0.500" in said.err


def test_compare_of_two_revisions_judges_the_second_by_the_first(
    ran: Callable[..., SimpleNamespace], injected_times: None, repository: Path
) -> None:
    git(repository, "commit", "--all", "--message", "head")
    git(repository, "tag", "slow")
    options = ("--candidate", CANDIDATE, "--rows", "10", "--output", "out")
    assert ran("compare", "main~1", "slow", *options).code == 1
    said = ran("compare", "slow", "main~1", *options)
    assert said.code == 0
    results = load_results(Path("out/results.json"))
    assert results.pairing is not None
    assert results.pairing.wall.ratio == pytest.approx(2)
    assert "uncommitted" not in said.err


def test_compare_that_could_not_decide_is_exit_code_1_and_says_what_would(
    ran: Callable[..., SimpleNamespace], injected_times: None, repository: Path
) -> None:
    write_revision(repository, "head", "0.8 1.0\n1.2 1.0")
    options = ("--candidate", CANDIDATE, "--rows", "10", "--max-rounds", "13", "--output", "out")
    said = ran("compare", "main", *options)
    assert said.code == 1
    (judgement,) = load_results(Path("out/results.json")).judgements
    assert judgement.verdict.outcome is Outcome.INCONCLUSIVE
    assert "undecided after 13 rounds" in judgement.verdict.next_step


@pytest.mark.parametrize(
    ("seconds", "code"),
    [("1.3 1.0", 1), ("1.0 1.3", 0), ("1.0 1.0", 0), ("0.6 1.3", 0)],
    ids=["only waiting", "more CPU time, not slower", "the same", "two processes"],
)
def test_compare_judges_by_both_clocks(
    ran: Callable[..., SimpleNamespace],
    injected_times: None,
    repository: Path,
    seconds: str,
    code: int,
) -> None:
    write_revision(repository, "head", seconds)
    options = ("--candidate", CANDIDATE, "--rows", "10", "--output", "out")
    assert ran("compare", "main", *options).code == code


def test_a_comparison_of_revisions_does_not_pass_the_gate(
    ran: Callable[..., SimpleNamespace], injected_times: None, repository: Path
) -> None:
    write_revision(repository, "head", "1.0 1.0")
    options = ("--candidate", CANDIDATE, "--rows", "10", "--output", "out")
    assert ran("compare", "main", *options).code == 0
    said = ran("gate", "--results", "out/results.json", "--output", "again")
    assert said.code == 1
    assert "nothing was judged" in said.out
