"""The harness from its wheels, in a folder without a checkout: all that it needs comes with it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

wheel = pytest.importorskip(
    "hatchling.builders.wheel", reason="hatchling is not installed: no wheel to test"
)

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "fixtures" / "results" / "passed.json"


@dataclass(frozen=True)
class Installation:
    """The unpacked wheels, and a folder to run commands in."""

    packages: Path
    folder: Path

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the wheels first on the import path, in the folder."""
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.packages)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    directory = tmp_path_factory.mktemp("installed")
    for project in (ROOT, ROOT / "src" / "querygrowth"):
        builder = wheel.WheelBuilder(str(project))
        for built in builder.build(directory=str(directory / "wheels"), versions=["standard"]):
            with zipfile.ZipFile(built) as archive:
                archive.extractall(directory / "site-packages")
    # Files that a look-up relative to the working directory would find, and fail on.
    folder = directory / "folder"
    (folder / "fixtures" / "golden").mkdir(parents=True)
    (folder / "fixtures" / "targets.toml").write_text("not TOML")
    (folder / "fixtures" / "baseline.json").write_text("not JSON")
    return Installation(directory / "site-packages", folder)


def test_the_harness_and_its_fixtures_come_from_the_wheel(installation: Installation) -> None:
    script = (
        "import harness.fixtures.usual_exporter as exporter\n"
        "from harness import packaged\n"
        "from harness.bench.baseline import DEFAULT_BASELINE, load_baseline\n"
        "from harness.bench.targets import DEFAULT_TARGETS, load_targets\n"
        "from harness.checks.selftest import load_correct_exporters, load_seeded_faults\n"
        "from harness.exporters.subject import load_subject\n"
        "assert load_baseline(DEFAULT_BASELINE) and load_targets(DEFAULT_TARGETS)\n"
        "for each in (*load_seeded_faults(), *load_correct_exporters()):\n"
        "    load_subject(each.exporter)\n"
        "print(exporter.__file__, packaged.FIXTURES, sep='\\n')\n"
    )
    done = installation.python("-c", script)
    assert done.returncode == 0, done.stderr
    fixtures = installation.packages / "harness" / "fixtures"
    assert done.stdout.splitlines() == [str(fixtures / "usual_exporter.py"), str(fixtures)]


# Runs commands one after the other, with checks of costs along the axes of the faults below.
RUN_COMMANDS = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from harness.checks import costs
from harness.cli.main import main

costs._AXES = ("rows", "batches")
costs._MANY = costs._FEW = (3, 10, 30)
costs._OTHER_RUNS = (10, 20, 40)
together = {"all axes": costs.axes_together()["all axes"]}
costs.axes_together = lambda: together
costs.kinds_of_entities = lambda **_: {}
ended = []
for command in sys.argv[1:]:
    sys.argv = ["harness", *command.split()]
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            ended.append([end.code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""
FAULTY = "harness.fixtures.faulty_exporters"
GOLDEN = "golden --check"
MUTANTS = "selftest --mutants --operator drop-row --sample 1"
BENCH = "bench --rows 10 --rounds 1 --output bench"
GATE = f"gate --results {SAVED} --output gate"
# Its frames lie inside the harness and below site-packages. Both are passed over elsewhere.
WORK = f"check --fail-fast --part work --candidate {FAULTY}.resources:QuadraticMerge"
QUERIES = f"check --fail-fast --part queries --candidate {FAULTY}.queries:MembersBatchByBatch"
UPDATE_GOLDEN = "golden --update --yes"
UPDATE_BASELINE = "baseline --update"
COMMANDS = (
    *(GOLDEN, MUTANTS, BENCH, GATE, WORK, QUERIES, UPDATE_GOLDEN, UPDATE_BASELINE),
    f"{UPDATE_GOLDEN} --directory golden",
    f"{UPDATE_BASELINE} --file baseline.json",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def times_of_fixtures(installation: Installation) -> dict[Path, int]:
    fixtures = installation.packages / "harness" / "fixtures"
    return {path: path.stat().st_mtime_ns for path in fixtures.rglob("*.json*")}


@pytest.fixture(scope="module")
def times_before(installation: Installation) -> dict[Path, int]:
    """When the installed fixtures were changed, before any command."""
    return times_of_fixtures(installation)


@pytest.fixture(scope="module")
def ended(installation: Installation, times_before: dict[Path, int]) -> dict[str, Ended]:
    """The ends of COMMANDS, in one process."""
    done = installation.python("-c", RUN_COMMANDS, *COMMANDS)
    assert done.returncode == 0, done.stderr
    found = (Ended(*each) for each in json.loads(done.stdout))
    return dict(zip(COMMANDS, found, strict=True))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (GOLDEN, "LandscapeExporter: sqlite/golden_1: the golden export to the byte"),
        (MUTANTS, "missed 0."),
        (BENCH, "verdicts: "),
        (GATE, "verdicts: "),
    ],
    ids=["golden", "selftest", "bench", "gate"],
)
def test_a_command_needs_no_checkout(ended: dict[str, Ended], command: str, words: str) -> None:
    assert ended[command].code == 0, ended[command]
    assert words in ended[command].out


@pytest.mark.nightly
def test_the_quick_selftest_needs_no_checkout(installation: Installation) -> None:
    done = installation.python("-m", "harness", "selftest", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "caught 3/3 with the right name" in done.stdout


def test_the_quadratic_exporter_of_the_wheel_fails_the_work_check(ended: dict[str, Ended]) -> None:
    assert ended[WORK].code == 1, ended[WORK]
    assert "branches grew faster than records" in ended[WORK].out


def test_the_query_check_names_the_line_of_an_exporter_outside_the_working_directory(
    installation: Installation, ended: dict[str, Ended]
) -> None:
    assert ended[QUERIES].code == 1, ended[QUERIES]
    assert "queries grew with batches" in ended[QUERIES].out
    assert f"{installation.packages}/harness/fixtures/faulty_exporters/queries.py:" in (
        ended[QUERIES].out
    )


@pytest.mark.parametrize(
    ("command", "option"), [(UPDATE_GOLDEN, "--directory"), (UPDATE_BASELINE, "--file")]
)
def test_an_update_does_not_write_into_the_installed_package(
    installation: Installation,
    ended: dict[str, Ended],
    times_before: dict[Path, int],
    command: str,
    option: str,
) -> None:
    assert ended[command].code == 2, ended[command]
    assert f"with {option}" in ended[command].err
    assert times_of_fixtures(installation) == times_before


@pytest.mark.parametrize(
    ("command", "written"),
    [
        (f"{UPDATE_GOLDEN} --directory golden", "golden/sqlite/golden_1/export.jsonl"),
        (f"{UPDATE_BASELINE} --file baseline.json", "baseline.json"),
    ],
)
def test_an_update_writes_what_the_user_names(
    installation: Installation, ended: dict[str, Ended], command: str, written: str
) -> None:
    assert ended[command].code == 0, ended[command]
    assert (installation.folder / written).exists()


def test_the_snapshot_check_runs_beside_a_folder_named_harness(
    installation: Installation,
) -> None:
    strangers = installation.folder / "harness"
    strangers.mkdir()
    (strangers / "__init__.py").write_text("raise SystemExit('the stranger')\n")
    try:
        done = installation.python("-m", "harness", "check", "--part", "snapshot")
    finally:
        shutil.rmtree(strangers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a snapshot, while a second process wrote" in done.stdout


def test_a_checkout_has_one_import_name_for_an_exporter() -> None:
    with pytest.raises(ImportError, match=r"import it as harness\.fixtures"):
        import fixtures  # noqa: F401
