"""Fault 43: an export with other options is cut off, or one of its calls fails."""

import multiprocessing
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from audit_trail import OLD, Trail
from fault_injection import assert_clean_output
from fault_table import LostError, Tally
from landscape_command import KEY
from sample_run import record_sample_run
from strace import (
    FLUSHES,
    REMOVALS,
    RENAMES,
    WRITES,
    disk_calls_of,
    inject_option,
    strace_command,
)

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.attestation import attestation_path
from elspeth.core.landscape.output.spreadsheet import SPREADSHEET_MARKER
from elspeth.core.landscape.verification import shared_lines
from elspeth.core.landscape.verification.verify import verify

UNFINISHED = ".export-"
MANY_ROWS = 400
"""So many that an export to standard output takes several writes."""


@dataclass(frozen=True)
class Case:
    """Options of `landscape export`, and the paths of what it publishes, in the folder `exports`.

    Attributes:
        options: The options.
        targets: The names of the exports.
        copy: The name of the copy for spreadsheets, if there is one.
    """

    options: Sequence[str]
    targets: Sequence[str]
    copy: str | None = None


ONE = ("--run", "run-1", "--output")
CASES: Mapping[str, Case] = {
    "compress": Case((*ONE, "exports/a.gz", "--compress", "gzip"), ["a.gz"]),
    "attest": Case((*ONE, "exports/a.jsonl", "--attest"), ["a.jsonl"]),
    "csv jobs": Case((*ONE, "exports/a", "--format", "csv", "--jobs", "2"), ["a"]),
    "jobs": Case((*ONE, "exports/a.gz", "--compress", "gzip", "--jobs", "2"), ["a.gz"]),
    "all": Case(("--all", "--output", "exports"), ["run-1.jsonl", "run-2.jsonl"]),
    "all csv": Case(
        ("--all", "--output", "exports", "--format", "csv", "--attest"), ["run-1", "run-2"]
    ),
    "copy": Case(
        (*ONE, "exports/a", "--format", "csv", "--spreadsheet-safe"), ["a"], "a.spreadsheet"
    ),
}


@pytest.fixture
def two_runs(tmp_path: Path, tally: Tally) -> Trail:
    """Two runs in a database, and an empty folder for exports."""
    folder = tmp_path / "trail"
    url = f"sqlite:///{tmp_path}/audit.db"
    with LandscapeDB(url) as db:
        for run_id in ("run-1", "run-2"):
            record_sample_run(LandscapeRecorder(db), run_id)
    return Trail.create(folder, url, "json", tally)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every case."""
    return CASES[request.param]


def exports(trail: Trail) -> Path:
    return trail.folder / "exports"


def reset(trail: Trail, case: Case, *, with_old: bool) -> None:
    """Empty the folder of the exports, and put an old one at every target."""
    shutil.rmtree(exports(trail))
    exports(trail).mkdir()
    for name in case.targets if with_old else ():
        path = exports(trail) / name
        if "csv" in case.options:
            path.mkdir()
            path = path / "run.csv"
        path.write_bytes(OLD)


def arguments(trail: Trail, case: Case) -> tuple[str, ...]:
    return ("export", "--db", trail.url, *case.options, "--sign", "--quiet")


def assert_nothing_torn(trail: Trail, case: Case) -> None:
    """Assert that every target is absent, or as it was, or complete."""
    for name in case.targets:
        path = exports(trail) / name
        found = path / "run.csv" if path.is_dir() else path
        is_old = found.exists() and found.read_bytes() == OLD
        if path.exists() and not is_old and not verify(path, KEY.encode()).ok:
            raise LostError(f"{path} is torn")
        if not path.exists() and not any(each.suffix == ".old" for each in unfinished(trail)):
            # Of a first export, whose target was absent.
            assert not is_old
    if case.copy is not None and (copy := exports(trail) / case.copy).exists():
        assert (copy / SPREADSHEET_MARKER).exists()
        assert len([*copy.iterdir()]) == len([*(exports(trail) / case.targets[0]).iterdir()]) + 1


def assert_exported(trail: Trail, case: Case) -> None:
    """Export without a fault, and assert that everything is there, verifies and is all there is."""
    done = trail.landscape(*arguments(trail, case))
    assert (done.code, done.err) == (0, ""), done
    expected = {*case.targets, *([case.copy] if case.copy else [])}
    if "--attest" in case.options:
        paths = [exports(trail) / name for name in case.targets]
        expected |= {attestation_path(path).name for path in paths}
        assert trail.landscape("verify", *map(str, paths), "--attestation").code == 0
    assert {path.name for path in exports(trail).iterdir()} == expected
    assert_nothing_torn(trail, case)


def unfinished(trail: Trail) -> list[Path]:
    return [path for path in exports(trail).iterdir() if path.name.startswith(UNFINISHED)]


def places(
    trail: Trail, case: Case, log: Path, calls: Sequence[str], *, is_full: bool
) -> Iterator[tuple[str, int]]:
    """Yield the calls of some kinds on the exports, by number: all, or the last of each kind."""
    reset(trail, case, with_old="--attest" not in case.options)
    made = disk_calls_of(trail, log, *arguments(trail, case))
    found: Counter[str] = Counter()
    chosen = []
    for name, text in made:
        found[name] += 1
        # The folder of the workers' parts goes with the export, whether it is renamed or not.
        if name in calls and "exports/" in text and ".parts" not in text:
            chosen.append((name, found[name]))
    assert chosen
    yield from chosen if is_full else chosen[-1:]


@pytest.mark.fault(43)
def test_sigkill_under_other_options_tears_nothing(
    two_runs: Trail, case: Case, is_full: bool, tmp_path: Path
) -> None:
    trail, evidence = two_runs, two_runs.evidence()
    # In short only publishing, which differs most: the last rename of each.
    calls = (*WRITES, *FLUSHES, *RENAMES, *REMOVALS) if is_full else RENAMES
    for call, k in [*places(trail, case, tmp_path / "calls", calls, is_full=is_full)]:
        reset(trail, case, with_old="--attest" not in case.options)
        with trail.tally.injection():
            under = strace_command(tmp_path / "log", *inject_option(call, "signal=KILL", k))
            died = trail.landscape(*arguments(trail, case), under=under)
            assert died.code == -9, (call, k, died)
            assert_clean_output(died)
            assert_nothing_torn(trail, case)
            assert_exported(trail, case)
            assert trail.evidence() == evidence


@pytest.mark.fault(43)
@pytest.mark.parametrize("calls", [WRITES, FLUSHES, RENAMES], ids=lambda calls: calls[0])
def test_a_failing_call_under_other_options_tears_nothing(
    two_runs: Trail, case: Case, calls: Sequence[str], is_full: bool, tmp_path: Path
) -> None:
    trail, evidence = two_runs, two_runs.evidence()
    for call, k in [*places(trail, case, tmp_path / "calls", calls, is_full=is_full)]:
        reset(trail, case, with_old="--attest" not in case.options)
        with trail.tally.injection():
            under = strace_command(tmp_path / "log", *inject_option(call, "error=ENOSPC", k))
            failed = trail.landscape(*arguments(trail, case), under=under)
            assert failed.code in (3, 5), (call, k, failed)
            assert_clean_output(failed)
            assert "No space left on device" in failed.out + failed.err
            assert_nothing_torn(trail, case)
            assert failed.code == 5 or unfinished(trail) == []
            assert_exported(trail, case)
            assert trail.evidence() == evidence


@pytest.mark.fault(43)
def test_sigkill_of_an_export_to_standard_output_gives_no_export(
    two_runs: Trail, is_full: bool, tmp_path: Path
) -> None:
    trail = two_runs
    with LandscapeDB(trail.url) as db:
        recorder = LandscapeRecorder(db)
        node = recorder.get_nodes("run-1")[0].node_id
        for index in range(100, 100 + MANY_ROWS):
            recorder.create_row("run-1", node, index, {})
    evidence = trail.evidence()
    command = ("export", "--db", trail.url, "--run", "run-1", "--output", "-", "--sign", "--quiet")
    made = disk_calls_of(trail, tmp_path / "calls", *command)
    writes = [text for name, text in made if name == "write"]
    written = [number for number, text in enumerate(writes, start=1) if text.startswith("1<")]
    whole = trail.landscape(*command).out
    assert len(written) > 1
    for k in written if is_full else written[-1:]:
        with trail.tally.injection():
            under = strace_command(tmp_path / "log", *inject_option("write", "signal=KILL", k))
            died = trail.landscape(*command, under=under)
            assert died.code == -9, (k, died)
            received = tmp_path / "received.jsonl"
            received.write_text(died.out)
            if len(died.out) < len(whole) and verify(received, KEY.encode()).ok:
                raise LostError(f"half of an export verifies, after write {k}")
            assert [*exports(trail).iterdir()] == []
            assert trail.evidence() == evidence


@pytest.mark.fault(43)
def test_a_killed_worker_of_verify_gives_no_verdict(
    two_runs: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lines, "PART_BYTES", 4_000)
    path = tmp_path / "run-1.jsonl"
    path.write_bytes(two_runs.undisturbed[""])
    submit = ProcessPoolExecutor.submit

    def killing(pool: ProcessPoolExecutor, *task: object) -> object:
        submitted = submit(pool, *task)  # type: ignore[arg-type]
        for process in multiprocessing.active_children():
            process.kill()
        return submitted

    with two_runs.tally.injection(), monkeypatch.context() as patched:
        patched.setattr(ProcessPoolExecutor, "submit", killing)
        with pytest.raises(ChildProcessError, match="has ended; use --jobs 1"):
            verify(path, KEY.encode(), jobs=2)
        assert multiprocessing.active_children() == []
        assert path.read_bytes() == two_runs.undisturbed[""]
    assert verify(path, KEY.encode(), jobs=2).ok
