"""An exporter that harms its process, the database or the harness gets a verdict that names it."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import hostile_exporters
import pytest
from hostile_exporters import Hostile
from profiles import is_nightly

from harness.checks import cases
from harness.checks.check import Check, Limits
from harness.checks.database_changes import PLAN_CHANGES
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup, prepare_checks
from harness.cli.main import main
from harness.exporters.measured import in_own_process
from querygrowth.verdict import CRASH, Verdict

# What these exporters do shows in a run of any size, and in any export.
pytestmark = pytest.mark.usefixtures("small_plans", "one_plan_change")

UNUSUAL = "harness.fixtures.correct_exporters.unusual"
FOLDER = Path(hostile_exporters.__file__).parent


@pytest.fixture
def one_plan_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export under the usual plan and another one, except in the nightly run."""
    if not is_nightly():
        monkeypatch.setattr(cases, "PLAN_CHANGES", PLAN_CHANGES[:2])


@pytest.fixture(scope="module")
def setup() -> Iterator[CheckSetup]:
    with prepare_checks() as setup:
        yield setup


def verdicts(
    reference: str, setup: CheckSetup, *checks: Check, limits: Limits | None = None
) -> list[Verdict]:
    with in_own_process(reference) as candidate:
        found = run_checks(candidate, setup, checks=checks, limits=limits)
        return [each.verdict for each in found]


CRASHES = {
    "RaisesSystemExit": "it raised SystemExit: 0",
    "RaisesKeyboardInterrupt": "it raised KeyboardInterrupt",
    "RaisesBaseException": "it raised BaseException: out of bounds second line",
    "RaisesAnErrorThatCannotBeShown": "it raised SystemExit: 0",
    "EndsTheProcess": "it ended its process with exit status 0",
    "EndsTheProcessWhenItIsMade": "it ended its process with exit status 0",
    "IsKilled": "its process was killed by SIGKILL",
    "Segfaults": "its process was killed by SIGSEGV",
    "ClosesAllDescriptors": "it closed the harness's descriptors",
    "WritesToAllDescriptors": "it wrote to a descriptor that is not its own",
    "WritesToOpenFiles": "it wrote to a descriptor that is not its own",
}
FAILURES = {
    "RaisesWhenItIsMade": "expected no error, found RuntimeError",
    "NeverEnds": "records, record",
    "YieldsNumbers": "record 1 is not a dict with text keys, but 1",
    "ReturnsNone": "expected no error, found export_run returned a NoneType instead of records",
    # Which of the two processes is faster is not known, but each order has a verdict.
    "ForksAndGoesOn": " process",
    "ForksAndGoesOnFirst": "it went on with the export in a process that it forked",
    "ForksAndGoesOnLast": " behind: ",
    "LocksTheDatabase": "it holds a lock on the database",
    "LeavesAProcess": "processes behind: ",
    "LeavesADaemon": "(sleep 600)",
    "LeavesAThread": "threads behind: left over",
    "ClosesTheDatabase": "it closed the database that it was given",
    "DisposesTheEngine": "it disposed the engine that it was given",
    "ClosesStandardOutput": "it changed the standard streams",
    "DeletesTheDatabase": "it deleted or replaced the database file",
    "WritesToTheDatabase": "it wrote to the database",
}
CHANGES = {
    "ChangesTheDirectory": "it changed the current directory from ",
    "ChangesTheEnvironment": "it changed the environment: HOSTILE",
    "ChangesTheUmask": "it changed the umask from 0022 to 0077",
    "ChangesASignalHandler": "it changed the signal handlers: SIGUSR1",
    "ChangesTheLocale": "it changed the locale from ",
    "ChangesTheImportPath": "it changed the import path",
}
"""Settings of the process, each of which is named."""
HANGS = ("Hangs", "HangsAndIgnoresSignals")

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="there is no /proc here, and it is not noticed"
)
BY_PROC = ("LeavesAProcess", "LeavesADaemon", "ForksAndGoesOnLast", "WritesToOpenFiles")
"""Exporters whose harm is seen by what /proc says of processes and files."""

IN_AN_INTERPRETER = (
    "EndsTheProcess",
    "EndsTheProcessWhenItIsMade",
    "IsKilled",
    "Segfaults",
    "ClosesAllDescriptors",
    "WritesToAllDescriptors",
    "WritesToOpenFiles",
    "ForksAndGoesOn",
    "ForksAndGoesOnFirst",
    "ForksAndGoesOnLast",
    "LeavesAProcess",
    "LeavesADaemon",
    "ClosesStandardOutput",
    *CHANGES,
)
"""Exporters that harm the process. What the others do is the same in a forked process."""


def marks_of(exporter: str) -> list[pytest.MarkDecorator]:
    """Return the marks of the test of one exporter."""
    return [
        *([needs_proc] if exporter in (*BY_PROC, "ChangesTheUmask") else []),
        *([pytest.mark.nightly] if exporter in CHANGES else []),
    ]


def test_the_table_holds_every_hostile_exporter() -> None:
    classes = {each.__name__ for each in vars(hostile_exporters).values() if _is_one(each)}
    assert classes == {*CRASHES, *FAILURES, *CHANGES, *HANGS, "ChangesEverySetting"}


def _is_one(value: object) -> bool:
    return isinstance(value, type) and value.__module__ == "hostile_exporters" and value != Hostile


@needs_proc
def test_every_setting_that_an_exporter_changes_is_named(setup: CheckSetup) -> None:
    found = verdicts("hostile_exporters:ChangesEverySetting", setup, Check.PLAN)
    failed = [each.seen for each in found if each.failed]
    for words in CHANGES.values():
        assert [each for each in failed if words in each], (words, failed)
    assert not [each for each in failed if "\n" in each or "Traceback" in each]


@pytest.mark.parametrize(
    ("exporter", "words"),
    [
        pytest.param(exporter, words, marks=marks_of(exporter))
        for exporter, words in {**CRASHES, **FAILURES, **CHANGES}.items()
    ],
)
def test_a_hostile_exporter_fails_in_one_line_that_names_the_harm(
    request: pytest.FixtureRequest, setup: CheckSetup, exporter: str, words: str
) -> None:
    if exporter not in IN_AN_INTERPRETER:
        request.getfixturevalue("forked_exporters")
    found = verdicts(f"hostile_exporters:{exporter}", setup, Check.PLAN)
    failed = [each for each in found if each.failed]
    named = [each for each in failed if words in each.seen]
    assert named, [each.seen for each in found]
    assert all("\n" not in each.seen and "Traceback" not in each.seen for each in failed)
    assert all(each.subject == exporter for each in failed)
    if exporter in CRASHES:
        assert named[0].kind == CRASH


@pytest.mark.parametrize("exporter", ["ClosesAllDescriptors", "WritesToAllDescriptors"])
def test_files_that_the_harness_has_open_change_no_verdict(
    setup: CheckSetup, exporter: str
) -> None:
    """The pipes of the exporter's process have high numbers here, and low ones there."""
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(Path(os.devnull).open("rb"))
        (first, *_) = verdicts(f"hostile_exporters:{exporter}", setup, Check.PLAN)
    assert (first.seen, first.kind) == (CRASHES[exporter], CRASH)


@needs_proc
def test_a_broken_file_of_records_is_no_fault_of_the_harness(setup: CheckSetup) -> None:
    strict = replace(setup, is_strict=True)
    found = verdicts("hostile_exporters:WritesToOpenFiles", strict, Check.PLAN, Check.SNAPSHOT)
    assert [each.subject for each in found if each.seen == CRASHES["WritesToOpenFiles"]] == [
        "WritesToOpenFiles"
    ] * 2, found


@pytest.mark.parametrize("exporter", HANGS)
def test_a_hang_is_stopped_and_after_two_the_other_checks_are_left_out(
    setup: CheckSetup, exporter: str
) -> None:
    checks = (Check.RECORDS, Check.PLAN, Check.QUERIES)
    found = verdicts(f"hostile_exporters:{exporter}", setup, *checks, limits=Limits(2.0))
    assert [(each.outcome.value, each.seen) for each in found] == [
        ("failed", "it did not end within 2 s and was stopped"),
        ("failed", "it did not end within 2 s and was stopped"),
        ("skipped", "not run: exports hung 2 times before"),
    ]


@needs_proc
def test_what_an_exporter_leaves_behind_is_killed(setup: CheckSetup) -> None:
    verdicts("hostile_exporters:LeavesADaemon", setup, Check.PLAN)
    marks = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"sleep\x00600" in (folder / "cmdline").read_bytes():
                marks.append((folder / "environ").read_bytes())
        except OSError:
            continue
    assert not [each for each in marks if b"HARNESS_EXPORTER_PROCESS=" in each]


@pytest.mark.usefixtures("forked_exporters")
def test_the_next_candidate_meets_a_whole_database(setup: CheckSetup) -> None:
    for exporter in ("DeletesTheDatabase", "WritesToTheDatabase"):
        verdicts(f"hostile_exporters:{exporter}", setup, Check.PLAN)
    found = verdicts(f"{UNUSUAL}:ReturnsAList", setup, Check.PLAN)
    assert [each.outcome.value for each in found] == ["passed", "passed"], found


@pytest.mark.usefixtures("forked_exporters")
@pytest.mark.parametrize(
    "exporter",
    [
        "ReturnsAList",
        "ReadsAtTheCall",
        "Prints",
        "InAThread",
        "InAForkedProcess",
    ],
)
def test_an_unusual_correct_exporter_passes(setup: CheckSetup, exporter: str) -> None:
    found = verdicts(f"{UNUSUAL}:{exporter}", setup, Check.PLAN, Check.SNAPSHOT)
    assert [each.outcome.value for each in found] == ["passed"] * 3, [each.seen for each in found]


def test_the_command_ends_with_exit_code_1_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["check", "--part", "snapshot", "--candidate", "hostile_exporters:EndsTheProcess"]
    monkeypatch.setattr(sys, "argv", ["harness", *command])
    monkeypatch.syspath_prepend(FOLDER)
    directory = Path.cwd()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert Path.cwd() == directory
    said = capfd.readouterr()
    assert "it ended its process with exit status 0" in said.out
    assert "Traceback" not in said.out + said.err
