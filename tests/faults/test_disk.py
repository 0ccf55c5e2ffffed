"""Faults 11 and 12: a disk that is full, or fails at a write, a flush or a rename."""

import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from audit_trail import Trail
from fault_injection import COMPLETE, IO_FAILURE, UNCONFIRMED, Outcome, inject_fault
from fault_table import Tally
from formats import in_turn
from sample_run import add_rows
from strace import FLUSHES, REMOVALS, RENAMES, WRITES, disk_calls, inject_option, strace_command

LARGEST_FILE_BYTES = 2**20
MANY_ROWS = 12_000
"""Their export is larger than LARGEST_FILE_BYTES, but what a status update writes is not."""


@pytest.mark.fault(11)
def test_a_limit_to_the_size_of_a_file_fails_the_export(
    tmp_path: Path, recorded_database: Path, export_format: str, tally: Tally
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    add_rows(database, MANY_ROWS)
    trail = Trail.create(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    trail.put_old_export()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES))

    with inject_fault(trail) as injection:
        injection.assert_survived(
            trail.export(before=limit), replace(IO_FAILURE, message="File too large")
        )


@pytest.mark.fault(11)
def test_a_limit_that_the_database_meets_first_leaves_no_status(trail: Trail) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with inject_fault(trail) as injection:
        injection.assert_survived(trail.export(before=limit), Outcome(3, "previous", None, "disk"))


@pytest.mark.fault(11)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_standard_output_is_an_error_after_the_export_is_published(trail: Trail) -> None:
    with Path("/dev/full").open("wb") as full, inject_fault(trail) as injection:
        done = trail.export(stdout=full)
        expected = Outcome(3, COMPLETE, "completed", "No space left on device")
        injection.assert_survived(done, expected)


IN_A_SMALL_FILE_SYSTEM = """
set -e
mkdir small
mount -t tmpfs -o size=8k tmpfs small
cp -a exports/. small/
mount --bind small exports
code=0
"$@" || code=$?
umount exports
rm -r exports/*
cp -a small/. exports/
exit $code
"""
"""Exports to a small file system in memory that only this process sees, and copies it out."""


@pytest.mark.fault(11)
def test_a_full_disk_fails_the_export(trail: Trail) -> None:
    if problem := _mount_problem():
        pytest.skip(problem)
    with inject_fault(trail) as injection:
        under = ("unshare", "-Urm", "sh", "-c", IN_A_SMALL_FILE_SYSTEM, "sh")
        done = trail.export(under=under)
        injection.assert_survived(done, replace(IO_FAILURE, message="No space left on device"))


@cache
def _mount_problem() -> str:
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None:
        return "unshare is not installed here"
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no file system can be mounted here: {tried.stderr.strip()}" * (tried.returncode != 0)


FAILING = [
    pytest.param(WRITES, "ENOSPC", "No space left on device", id="write ENOSPC"),
    pytest.param(WRITES, "EIO", "Input/output error", id="write EIO"),
    pytest.param(FLUSHES, "EIO", "Input/output error", id="fsync EIO"),
    pytest.param(FLUSHES, "ENOSPC", "No space left on device", id="fsync ENOSPC"),
    pytest.param(RENAMES, "EIO", "Input/output error", id="rename EIO"),
    pytest.param(RENAMES, "ENOSPC", "No space left on device", id="rename ENOSPC"),
]


@pytest.mark.fault(11)
@in_turn(("calls", "error", "message"), FAILING)
def test_a_call_that_fails_before_publishing_fails_the_export(
    trail: Trail, calls: Sequence[str], error: str, message: str, is_full: bool, tmp_path: Path
) -> None:
    places = _places_before_publishing(trail, calls, tmp_path / "calls")
    assert places
    # The last place is the riskiest: it is the second of two renames, which publishes.
    for call, k in places if is_full else places[-1:]:
        trail.reset()
        with inject_fault(trail) as injection:
            under = strace_command(tmp_path / "log", *inject_option(call, f"error={error}", k))
            injection.assert_survived(
                trail.export(under=under), replace(IO_FAILURE, message=message)
            )


def _places_before_publishing(
    trail: Trail, calls: Sequence[str], log: Path
) -> Sequence[tuple[str, int]]:
    """Return the calls of some kinds on unfinished files up to the publishing rename, by number."""
    made = disk_calls(trail, log)
    published = max(at for at, (name, _) in enumerate(made) if name in RENAMES)
    return [
        (name, [before for before, _ in made[: at + 1]].count(name))
        for at, (name, arguments) in enumerate(made[: published + 1])
        if name in calls and "/.export-" in arguments
    ]


@pytest.mark.fault(12)
@in_turn("error", ["EIO", "ENOSPC", "EROFS"])
def test_a_directory_that_cannot_be_flushed_leaves_the_published_export_unconfirmed(
    trail: Trail, error: str, tmp_path: Path
) -> None:
    made = disk_calls(trail, tmp_path / "calls")
    published = max(at for at, (name, _) in enumerate(made) if name in RENAMES)
    k = [name for name, _ in made[:published]].count("fsync") + 1
    trail.reset()
    with inject_fault(trail) as injection:
        under = strace_command(tmp_path / "log", *inject_option("fsync", f"error={error}", k))
        done = trail.export(under=under)
        expected = replace(UNCONFIRMED, message="complete and in place, but", may_leave=True)
        injection.assert_intact(done, expected)
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        assert trail.unfinished() == []
        injection.assert_exportable_again()


@pytest.mark.fault(12)
@pytest.mark.parametrize("export_format", ["csv"])
@pytest.mark.parametrize("call", ["unlinkat", "fsync"])
def test_an_old_export_that_cannot_be_removed_leaves_the_published_one_unconfirmed(
    trail: Trail, call: str, tmp_path: Path
) -> None:
    made = [name for name, _ in disk_calls(trail, tmp_path / "calls")]
    last = max(at for at, name in enumerate(made) if name in (*REMOVALS, "fsync") and name == call)
    trail.reset()
    with inject_fault(trail) as injection:
        under = strace_command(
            tmp_path / "log", *inject_option(call, "error=EIO", made[: last + 1].count(call))
        )
        done = trail.export(under=under)
        expected = replace(UNCONFIRMED, message="complete and in place, but", may_leave=True)
        injection.assert_intact(done, expected)
        assert trail.reconcile().code == 0
        assert trail.unfinished() == []
        injection.assert_exportable_again()
