"""Faults 11 and 12: a disk that is full, or fails at a write, a flush or a rename."""

import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from fault_table import Tally
from sample_run import add_rows
from survival import COMPLETE, F3, UNCONFIRMED, Outcome, Trail
from tracing import FLUSHES, REMOVALS, RENAMES, WRITES, calls_of, injecting, traced

LARGEST_FILE_BYTES = 2**20
MANY_ROWS = 10_000
"""Whose export is larger than that, though what one status update writes is not."""


@pytest.mark.fault(11)
def test_a_limit_to_the_size_of_a_file(
    tmp_path: Path, recorded_database: Path, export_format: str, tally: Tally
) -> None:
    database = Path(shutil.copy(recorded_database, tmp_path / "audit.db"))
    add_rows(database, MANY_ROWS)
    trail = Trail.laid(tmp_path / "trail", f"sqlite:///{database}", export_format, tally)
    trail.put_old_export()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, LARGEST_FILE_BYTES))

    with trail.injection() as injection:
        injection.survived(trail.export(before=limit), replace(F3, says="File too large"))


@pytest.mark.fault(11)
def test_a_limit_that_the_database_meets_first(trail: Trail) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with trail.injection() as injection:
        injection.survived(trail.export(before=limit), Outcome(3, "previous", None, "disk"))


@pytest.mark.fault(11)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_is_full_is_told_though_the_export_is_in_place(trail: Trail) -> None:
    with Path("/dev/full").open("wb") as full, trail.injection() as injection:
        done = trail.export(stdout=full)
        injection.survived(done, Outcome(3, COMPLETE, "completed", "No space left on device"))


IN_A_SMALL_ROOM = """
set -e
mkdir room
mount -t tmpfs -o size=8k tmpfs room
cp -a exports/. room/
mount --bind room exports
code=0
"$@" || code=$?
umount exports
rm -r exports/*
cp -a room/. exports/
exit $code
"""
"""Exports to a small file system in memory, which nobody else sees; what is left is copied out."""


@pytest.mark.fault(11)
def test_a_full_disk(trail: Trail) -> None:
    if problem := _no_room():
        pytest.skip(problem)
    with trail.injection() as injection:
        under = ("unshare", "-Urm", "sh", "-c", IN_A_SMALL_ROOM, "sh")
        done = trail.export(under=under)
        injection.survived(done, replace(F3, says="No space left on device"))


@cache
def _no_room() -> str:
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
@pytest.mark.parametrize(("calls", "error", "said"), FAILING)
def test_a_call_that_fails_before_the_export_is_in_place(
    trail: Trail, calls: Sequence[str], error: str, said: str, is_full: bool, tmp_path: Path
) -> None:
    places = _places_before_publishing(trail, calls, tmp_path / "calls")
    assert places
    # The last is the riskiest: of two renames the second, after which the target is in place.
    for call, k in places if is_full else places[-1:]:
        trail.reset()
        with trail.injection() as injection:
            under = traced(tmp_path / "log", *injecting(call, f"error={error}", k))
            injection.survived(trail.export(under=under), replace(F3, says=said))


def _places_before_publishing(
    trail: Trail, calls: Sequence[str], log: Path
) -> Sequence[tuple[str, int]]:
    """Which calls of these kinds, by number, concern what is being written, up to its rename."""
    made = calls_of(trail, log)
    published = max(at for at, (name, _) in enumerate(made) if name in RENAMES)
    return [
        (name, [before for before, _ in made[: at + 1]].count(name))
        for at, (name, arguments) in enumerate(made[: published + 1])
        if name in calls and "/.export-" in arguments
    ]


@pytest.mark.fault(12)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EROFS"])
def test_a_directory_that_cannot_be_flushed_leaves_the_export_in_place_unconfirmed(
    trail: Trail, error: str, tmp_path: Path
) -> None:
    made = calls_of(trail, tmp_path / "calls")
    published = max(at for at, (name, _) in enumerate(made) if name in RENAMES)
    k = [name for name, _ in made[:published]].count("fsync") + 1
    trail.reset()
    with trail.injection() as injection:
        under = traced(tmp_path / "log", *injecting("fsync", f"error={error}", k))
        done = trail.export(under=under)
        said = replace(UNCONFIRMED, says="complete and in place, but", may_leave=True)
        injection.endured(done, said)
        assert trail.reconcile().code == 0
        assert trail.recorded().status == "completed"
        assert trail.unfinished() == []
        injection.assert_exportable_again()


@pytest.mark.fault(12)
@pytest.mark.parametrize("export_format", ["csv"])
@pytest.mark.parametrize("call", ["unlinkat", "fsync"])
def test_what_was_replaced_and_cannot_be_removed_leaves_the_export_in_place_unconfirmed(
    trail: Trail, call: str, tmp_path: Path
) -> None:
    made = [name for name, _ in calls_of(trail, tmp_path / "calls")]
    last = max(at for at, name in enumerate(made) if name in (*REMOVALS, "fsync") and name == call)
    trail.reset()
    with trail.injection() as injection:
        under = traced(
            tmp_path / "log", *injecting(call, "error=EIO", made[: last + 1].count(call))
        )
        done = trail.export(under=under)
        said = replace(UNCONFIRMED, says="complete and in place, but", may_leave=True)
        injection.endured(done, said)
        assert trail.reconcile().code == 0
        assert trail.unfinished() == []
        injection.assert_exportable_again()
