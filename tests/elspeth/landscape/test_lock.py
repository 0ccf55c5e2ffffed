"""Two processes at one target: the second one starts at every system call of the first."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from elspeth.core.landscape.output import lock
from elspeth.core.landscape.output.atomic import (
    ExportInProgressError,
    ExportTargetError,
    is_being_written,
    recover_directory,
    remove_left_lock,
)
from elspeth.core.landscape.output.publish import publish_csv, publish_jsonl
from elspeth.core.landscape.output.spreadsheet import write_spreadsheet_copy

Act = Callable[[Path, str], object]

CALLS = frozenset(
    {
        *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.listdir"),
        *("os.scandir", "shutil.rmtree", "fcntl.flock", "call"),
    }
)
"""The audit events of system calls on files. `call` stands for those that Python does not audit."""
UNAUDITED = ("fsync", "close", "lstat")


def csv_export(target: Path, run_id: str) -> object:
    rows = ({"record_type": kind, "run_id": run_id} for kind in ("run", "node"))
    return publish_csv(target, rows)


def jsonl_export(target: Path, run_id: str) -> object:
    return publish_jsonl(target, [f'{{"record_type":"run","run_id":"{run_id}"}}\n'.encode()] * 2)


def recovery(target: Path, _: str) -> object:
    is_being_written(target)
    remove_left_lock(target)
    return recover_directory(target)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def content(path: Path) -> Mapping[str, bytes]:
    if path.is_dir():
        return {each.name: each.read_bytes() for each in path.iterdir()}
    return {"": path.read_bytes()}


class Paused:
    """A child process that acts on a target, and stops itself before its k-th system call."""

    def __init__(self, act: Act, target: Path, k: int) -> None:
        self._pid = os.fork()
        if not self._pid:
            self._act(act, target, k)
        _, status = os.waitpid(self._pid, os.WUNTRACED)
        self.is_stopped = os.WIFSTOPPED(status)
        self._status = status

    def _act(self, act: Act, target: Path, k: int) -> None:
        left = k

        def stop(event: str, _: Any) -> None:
            nonlocal left
            if event in CALLS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGSTOP)

        for name in UNAUDITED:
            setattr(os, name, _audited(getattr(os, name)))
        sys.addaudithook(stop)
        code = 1
        try:
            act(target, "first")
            code = 0
        finally:
            os._exit(code)

    def ended(self) -> int:
        """Let the process go on, and return its exit code."""
        if self.is_stopped:
            os.kill(self._pid, signal.SIGCONT)
            _, self._status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(self._status)


def _audited(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        sys.audit("call")
        return function(*arguments, **options)

    return call


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_SECONDS_BETWEEN_TRIES", 0)


PAIRS: Mapping[str, tuple[Act, Act]] = {
    "CSV, CSV": (csv_export, csv_export),
    "CSV, reconcile": (csv_export, recovery),
    "JSON Lines, JSON Lines": (jsonl_export, jsonl_export),
    "JSON Lines, reconcile": (jsonl_export, recovery),
}


def stops(act: Act, target: Path) -> Iterator[Paused]:
    """Yield the first process, stopped before each of its system calls in turn."""
    k = 1
    while True:
        act(target, "old")
        process = Paused(act, target, k)
        if not process.is_stopped:
            assert process.ended() == 0
            break
        yield process
        k += 1
    assert k > 10, "the process stopped too seldom for the test to show anything"


@pytest.mark.parametrize("pair", PAIRS)
def test_a_second_process_never_disturbs_a_living_one(tmp_path: Path, pair: str) -> None:
    first, second = PAIRS[pair]
    target = tmp_path / "out"
    whole = {}
    for run_id in ("old", "first", "second"):
        first(target, run_id)
        whole[run_id] = content(target)
    refused = 0
    for process in stops(first, target):
        before = names(tmp_path)
        try:
            second(target, "second")
        except ExportInProgressError:
            refused += 1
            assert names(tmp_path) == before
        assert process.ended() == 0
        assert content(target) in (whole["first"], whole["second"])
        assert names(tmp_path) == ["out"]
    assert second is recovery or refused > 5


def test_two_copies_for_spreadsheets_do_not_mix(tmp_path: Path) -> None:
    export = tmp_path / "out"
    csv_export(export, "old")

    def copy(*_: object) -> object:
        return write_spreadsheet_copy(export)

    for process in stops(copy, export):
        with suppress(ExportInProgressError):
            copy()
        assert process.ended() == 0
        assert names(tmp_path) == ["out", "out.spreadsheet"]


def test_what_a_killed_process_left_is_recovered_by_one_of_two(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def leave_leftovers(_: Path, run_id: str) -> object:
        csv_export(target, "old")
        target.rename(lock.hidden_beside(target, "old"))
        lock.hidden_beside(target, "tmp").mkdir(exist_ok=True)
        return run_id

    for k in range(1, 60):
        leave_leftovers(target, "")
        process = Paused(recovery, target, k)
        try:
            recover_directory(target)
        except ExportInProgressError:
            assert process.is_stopped
        assert process.ended() == 0
        assert (target / "run.csv").exists()
        csv_export(target, "new")
        assert names(tmp_path) == ["out"]
        if not process.is_stopped:
            return
    pytest.fail("the recovery did not end")


def a_link(path: Path) -> None:
    path.symlink_to("elsewhere")


def a_socket(path: Path) -> None:
    os.mknod(path, 0o600 | 0o140000)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make a device")


IRREGULAR = {"pipe": os.mkfifo, "link": a_link, "socket": a_socket, "device": a_device}


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize(
    ("export", "suffix"),
    [
        *((csv_export, suffix) for suffix in ("lock", "tmp", "parts", "old")),
        # A file is replaced by one rename, without an old name.
        *((jsonl_export, suffix) for suffix in ("lock", "tmp", "parts")),
    ],
)
def test_what_is_no_file_at_a_hidden_name_is_refused_and_stays(
    tmp_path: Path, export: Act, suffix: str, kind: str
) -> None:
    hidden = lock.hidden_beside(tmp_path / "out", suffix)
    IRREGULAR[kind](hidden)
    with pytest.raises(ExportTargetError, match=rf"\.export-\w+\.{suffix} is neither"):
        export(tmp_path / "out", "new")
    assert names(tmp_path) == [hidden.name]


def test_the_lock_of_a_killed_export_is_removed_and_one_that_is_held_stays(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with lock.target_lock(target):
        remove_left_lock(target)
        assert names(tmp_path) == [lock.hidden_beside(target, "lock").name]
    lock.hidden_beside(target, "lock").touch()
    remove_left_lock(target)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", IRREGULAR)
def test_what_is_no_lock_stays(tmp_path: Path, kind: str) -> None:
    hidden = lock.hidden_beside(tmp_path / "out", "lock")
    IRREGULAR[kind](hidden)
    remove_left_lock(tmp_path / "out")
    assert names(tmp_path) == [hidden.name]
