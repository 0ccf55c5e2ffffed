"""The harness from its wheels, in a folder without a checkout: all that it needs comes with it."""

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


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("golden --check", "LandscapeExporter: sqlite/golden_1: the golden export to the byte"),
        pytest.param(
            "selftest --quick", "caught 3/3 with the right name", marks=pytest.mark.nightly
        ),
        ("selftest --mutants --operator drop-row --sample 1", "missed 0."),
        ("bench --rows 10 --rounds 1", "verdicts: "),
        (f"gate --results {SAVED}", "verdicts: "),
    ],
    ids=lambda each: each.partition(" --rows")[0],
)
def test_a_command_needs_no_checkout(
    installation: Installation, command: str, words: str, tmp_path: Path
) -> None:
    output = ["--output", str(tmp_path)] if command.startswith(("bench", "gate")) else []
    done = installation.python("-m", "harness", *command.split(), *output)
    assert done.returncode == 0, done.stdout + done.stderr
    assert words in done.stdout


# `check`, along the two axes that the faults below grow along.
FEW_AXES = """
import sys
from harness.checks import costs
from harness.cli.main import main

costs._AXES = ("rows", "batches")
costs._MANY = costs._FEW = (3, 10, 30)
costs._OTHER_RUNS = (10, 20, 40)
together = {"all axes": costs.axes_together()["all axes"]}
costs.axes_together = lambda: together
costs.kinds_of_entities = lambda **_: {}
sys.argv[1:1] = ["check", "--fail-fast"]
main()
"""


def test_the_quadratic_exporter_of_the_wheel_fails_the_work_check(
    installation: Installation,
) -> None:
    # Its frames lie inside the harness and below site-packages. Both are passed over elsewhere.
    exporter = "harness.fixtures.faulty_exporters.resources:QuadraticMerge"
    done = installation.python("-c", FEW_AXES, "--part", "work", "--candidate", exporter)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "branches grew faster than records" in done.stdout


def test_the_query_check_names_the_line_of_an_exporter_outside_the_working_directory(
    installation: Installation,
) -> None:
    exporter = "harness.fixtures.faulty_exporters.queries:MembersBatchByBatch"
    done = installation.python("-c", FEW_AXES, "--part", "queries", "--candidate", exporter)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "queries grew with batches" in done.stdout
    assert f"{installation.packages}/harness/fixtures/faulty_exporters/queries.py:" in done.stdout


@pytest.mark.parametrize(
    ("command", "option"),
    [("golden --update --yes", "--directory"), ("baseline --update", "--file")],
)
def test_an_update_does_not_write_into_the_installed_package(
    installation: Installation, command: str, option: str
) -> None:
    fixtures = installation.packages / "harness" / "fixtures"
    before = {path: path.stat().st_mtime_ns for path in fixtures.rglob("*.json*")}
    done = installation.python("-m", "harness", *command.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"with {option}" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in fixtures.rglob("*.json*")} == before


def test_an_update_writes_the_golden_exports_that_the_user_names(
    installation: Installation, tmp_path: Path
) -> None:
    named = tmp_path / "golden"
    done = installation.python(
        "-m", "harness", "golden", "--update", "--yes", "--directory", str(named)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (named / "sqlite" / "golden_1" / "export.jsonl").exists()


def test_an_update_writes_the_baseline_that_the_user_names(
    installation: Installation, tmp_path: Path
) -> None:
    named = tmp_path / "baseline.json"
    done = installation.python("-m", "harness", "baseline", "--update", "--file", str(named))
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(named) in done.stdout
    assert named.exists()


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
