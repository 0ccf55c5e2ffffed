"""Tests of atomic writing: a file or directory appears complete or not at all."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elspeth.core.landscape.output import lock
from elspeth.core.landscape.output.atomic import (
    ExportInProgressError,
    ExportTargetError,
    UnconfirmedExportError,
    is_being_written,
    new_directory,
    new_file,
    parts_folder_beside,
    recover_directory,
)


class FailedError(Exception):
    """What a block raises to see that nothing of it stays."""


def put_file(path: Path, content: bytes = b"new") -> None:
    with new_file(path) as file:
        file.write(content)


def put_directory(path: Path, content: bytes = b"new") -> None:
    with new_directory(path) as unfinished:
        (unfinished / "run.csv").write_bytes(content)


def put_half_a_file(path: Path, error: type[BaseException]) -> None:
    with new_file(path) as file:
        file.write(b"new")
        raise error


def put_half_a_directory(path: Path) -> None:
    with new_directory(path) as unfinished:
        (unfinished / "run.csv").touch()
        raise FailedError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFile:
    def test_it_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        target = tmp_path / "run.jsonl"
        with new_file(target) as file:
            file.write(b"new")
            file.flush()
            assert not target.exists()
        assert target.read_bytes() == b"new"
        assert names(tmp_path) == ["run.jsonl"]

    def test_what_it_replaces_stays_until_then(self, tmp_path: Path) -> None:
        target = tmp_path / "run.jsonl"
        target.write_bytes(b"old")
        with new_file(target) as file:
            file.write(b"new")
            file.flush()
            assert target.read_bytes() == b"old"
        assert target.read_bytes() == b"new"

    @pytest.mark.parametrize("error", [FailedError, KeyboardInterrupt, SystemExit])
    def test_a_block_that_raises_leaves_the_old_bytes_and_no_trace(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        target = tmp_path / "run.jsonl"
        target.write_bytes(b"old")
        with pytest.raises(error):
            put_half_a_file(target, error)
        assert target.read_bytes() == b"old"
        assert names(tmp_path) == ["run.jsonl"]

    def test_nobody_else_can_read_it_before_it_is_complete(self, tmp_path: Path) -> None:
        with new_file(tmp_path / "run.jsonl"):
            (unfinished,) = tmp_path.glob("*.tmp")
            assert mode_of(unfinished) == 0o600

    def test_it_keeps_the_permissions_of_what_it_replaces(self, tmp_path: Path) -> None:
        target = tmp_path / "run.jsonl"
        target.touch(mode=0o640)
        target.chmod(0o640)
        put_file(target)
        assert mode_of(target) == 0o640

    def test_a_new_one_has_the_permissions_that_any_new_file_would_get(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "any").touch()
        put_file(tmp_path / "run.jsonl")
        assert mode_of(tmp_path / "run.jsonl") == mode_of(tmp_path / "any")

    @pytest.mark.parametrize("victim", ["file", "directory", "nothing"])
    def test_a_link_is_replaced_and_its_victim_left_alone(
        self, tmp_path: Path, victim: str
    ) -> None:
        pointed_at, link = tmp_path / "victim", tmp_path / "run.jsonl"
        if victim == "file":
            pointed_at.write_bytes(b"precious")
        if victim == "directory":
            (pointed_at / "kept").mkdir(parents=True)
        link.symlink_to(pointed_at)
        put_file(link)
        assert not link.is_symlink()
        assert link.read_bytes() == b"new"
        assert pointed_at.exists() == (victim != "nothing")
        if victim == "file":
            assert pointed_at.read_bytes() == b"precious"

    def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ExportTargetError, match="is a directory; a file name is needed"):
            put_file(tmp_path)

    @pytest.mark.parametrize("through_link", [False, True])
    def test_a_pipe_is_refused(self, tmp_path: Path, through_link: bool) -> None:
        target = tmp_path / "pipe"
        os.mkfifo(target)
        if through_link:
            (tmp_path / "link").symlink_to(target)
            target = tmp_path / "link"
        before = names(tmp_path)
        with pytest.raises(ExportTargetError, match="is a device or a pipe"):
            put_file(target)
        assert names(tmp_path) == before

    def test_a_device_is_refused(self) -> None:
        with pytest.raises(ExportTargetError, match="is a device or a pipe"):
            put_file(Path("/dev/null"))
        assert Path("/dev/null").is_char_device()

    def test_a_database_is_refused_even_when_it_is_not_the_exported_one(
        self, tmp_path: Path
    ) -> None:
        target = tmp_path / "audit.db"
        target.write_bytes(b"SQLite format 3\0 and pages")
        with pytest.raises(ExportTargetError, match=r"audit\.db is a database"):
            put_file(target)
        assert target.read_bytes() == b"SQLite format 3\0 and pages"


PUTS = pytest.mark.parametrize("put", [put_file, put_directory])


@PUTS
class TestNames:
    @pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
    def test_a_file_that_sqlite_writes_beside_a_database_is_refused(
        self, tmp_path: Path, put: Callable[[Path], None], suffix: str
    ) -> None:
        database = tmp_path / "audit.db"
        database.write_bytes(b"SQLite format 3\0 and pages")
        with pytest.raises(ExportTargetError, match="the name of a file that SQLite writes"):
            put(tmp_path / f"audit.db{suffix}")
        put(tmp_path / f"other{suffix}")
        put(tmp_path / suffix)

    def test_a_nul_is_refused(self, tmp_path: Path, put: Callable[[Path], None]) -> None:
        with pytest.raises(ExportTargetError, match="NUL character"):
            put(tmp_path / "a\0b")

    def test_one_longer_than_255_bytes_is_refused(
        self, tmp_path: Path, put: Callable[[Path], None]
    ) -> None:
        with pytest.raises(ExportTargetError, match="longer than 255 bytes"):
            put(tmp_path / ("é" * 128))
        put(tmp_path / ("é" * 127 + "a"))

    @pytest.mark.parametrize("path", ["", ".", "..", "/"])
    def test_a_path_without_a_name_is_refused(self, put: Callable[[Path], None], path: str) -> None:
        with pytest.raises(ExportTargetError, match="names no file or directory"):
            put(Path(path))

    def test_a_folder_that_is_not_there_is_named(
        self, tmp_path: Path, put: Callable[[Path], None]
    ) -> None:
        with pytest.raises(FileNotFoundError, match=r"create it first.*/missing'"):
            put(tmp_path / "missing" / "run")
        assert names(tmp_path) == []

    def test_two_at_once_do_not_mix(self, tmp_path: Path, put: Callable[..., None]) -> None:
        put(tmp_path / "one")
        put(tmp_path / "two")
        assert names(tmp_path) == ["one", "two"]


class TestDirectory:
    def test_it_appears_when_the_block_ends_and_nothing_of_the_old_one_stays(
        self, tmp_path: Path
    ) -> None:
        target = tmp_path / "run"
        put_directory(target, b"old")
        (target / "stale.csv").touch()
        with new_directory(target) as unfinished:
            (unfinished / "run.csv").write_bytes(b"new")
            assert (target / "run.csv").read_bytes() == b"old"
        assert names(target) == ["run.csv"]
        assert (target / "run.csv").read_bytes() == b"new"
        assert names(tmp_path) == ["run"]

    @pytest.mark.parametrize("replaces", [False, True])
    def test_a_block_that_raises_leaves_the_old_one_and_no_trace(
        self, tmp_path: Path, replaces: bool
    ) -> None:
        target = tmp_path / "run"
        if replaces:
            put_directory(target, b"old")
        with pytest.raises(FailedError):
            put_half_a_directory(target)
        assert names(tmp_path) == ["run"] * replaces
        if replaces:
            assert (target / "run.csv").read_bytes() == b"old"

    def test_a_replacement_that_cannot_be_put_in_place_is_undone(self, tmp_path: Path) -> None:
        target = tmp_path / "run"
        put_directory(target, b"old")
        with pytest.raises(FileNotFoundError), new_directory(target) as unfinished:
            unfinished.rename(tmp_path / "elsewhere")
        assert (target / "run.csv").read_bytes() == b"old"
        assert names(tmp_path) == ["elsewhere", "run"]

    def test_it_keeps_the_permissions_of_what_it_replaces(self, tmp_path: Path) -> None:
        target = tmp_path / "run"
        put_directory(target)
        target.chmod(0o700)
        put_directory(target)
        assert mode_of(target) == 0o700

    def test_a_new_one_and_its_files_have_the_permissions_that_any_new_one_would_get(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "any").mkdir()
        (tmp_path / "any" / "file").touch()
        put_directory(tmp_path / "run")
        assert mode_of(tmp_path / "run") == mode_of(tmp_path / "any")
        assert mode_of(tmp_path / "run" / "run.csv") == mode_of(tmp_path / "any" / "file")


REPLACE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from elspeth.core.landscape.output.atomic import new_directory

moves = ("os.rename", "shutil.rmtree")
left = int(sys.argv[2])

def die(event, _):
    global left
    left -= event in moves
    if left < 0 and event in moves:
        os.kill(os.getpid(), signal.SIGKILL)

with new_directory(Path(sys.argv[1])) as unfinished:
    (unfinished / "run.csv").write_bytes(b"new")
    sys.addaudithook(die)
"""


class TestKilled:
    """A process killed between the two renames: the next one finishes or undoes its work."""

    def replace_and_die(self, target: Path, *, moves: int) -> None:
        """Replace `target` in a process that is killed before its move of that number, from 0."""
        killed = subprocess.run([sys.executable, "-c", REPLACE_AND_DIE, target, str(moves)])
        assert killed.returncode == -signal.SIGKILL

    @pytest.mark.parametrize(("moves", "content"), [(0, b"old"), (1, b"old"), (2, b"new")])
    def test_recovery_gives_one_whole_directory(
        self, tmp_path: Path, moves: int, content: bytes
    ) -> None:
        target = tmp_path / "run"
        put_directory(target, b"old")
        self.replace_and_die(target, moves=moves)
        assert target.exists() == (moves != 1)
        recover_directory(target)
        assert (target / "run.csv").read_bytes() == content
        assert not list(tmp_path.glob("*.old"))

    @pytest.mark.parametrize("moves", [0, 1, 2])
    def test_a_further_replacement_succeeds(self, tmp_path: Path, moves: int) -> None:
        target = tmp_path / "run"
        put_directory(target, b"old")
        self.replace_and_die(target, moves=moves)
        put_directory(target, b"newest")
        assert (target / "run.csv").read_bytes() == b"newest"
        assert not list(tmp_path.glob("*.old"))

    def test_recovery_without_an_interruption_changes_nothing(self, tmp_path: Path) -> None:
        put_directory(tmp_path / "run")
        recover_directory(tmp_path / "run")
        recover_directory(tmp_path / "other")
        assert names(tmp_path) == ["run"]


HOLD = """
import sys
from pathlib import Path
from elspeth.core.landscape.output import atomic

with getattr(atomic, sys.argv[1])(Path(sys.argv[2])) as unfinished:
    if sys.argv[1] == "new_directory":
        (unfinished / "half.csv").touch()
    else:
        with atomic.parts_folder_beside(Path(sys.argv[2])) as parts:
            (parts / "0.lines").touch()
            print("holding", flush=True)
            sys.stdin.read()
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["new_file", "new_directory"])
def kind(request: pytest.FixtureRequest) -> str:
    """What another process writes at the target."""
    return str(request.param)


@pytest.fixture
def held(tmp_path: Path, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """A living process in the middle of writing to `run`."""
    command = [sys.executable, "-c", HOLD, kind, tmp_path / "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        yield process
        process.kill()


PUT: dict[str, Callable[[Path], None]] = {"new_file": put_file, "new_directory": put_directory}


class TestOthers:
    """Other processes at the same target: one at a time, and leftovers of a killed one go."""

    @pytest.mark.parametrize("mine", PUT)
    def test_a_living_one_is_not_disturbed(
        self, held: subprocess.Popen[bytes], tmp_path: Path, mine: str
    ) -> None:
        before = names(tmp_path)
        with pytest.raises(ExportInProgressError, match="another process is writing"):
            PUT[mine](tmp_path / "run")
        assert names(tmp_path) == before
        assert is_being_written(tmp_path / "run")

    def test_it_may_finish(self, held: subprocess.Popen[bytes], tmp_path: Path, kind: str) -> None:
        held.communicate()
        assert held.returncode == 0
        assert names(tmp_path) == ["run"]
        assert not is_being_written(tmp_path / "run")

    @pytest.mark.parametrize("mine", PUT)
    def test_what_a_killed_one_left_is_removed_by_the_next(
        self, held: subprocess.Popen[bytes], tmp_path: Path, mine: str
    ) -> None:
        held.kill()
        held.wait()
        assert list(tmp_path.glob(".export-*")), "it left nothing: the test shows nothing"
        assert not is_being_written(tmp_path / "run")
        PUT[mine](tmp_path / "run")
        assert names(tmp_path) == ["run"]

    def test_another_target_in_the_same_folder_is_free(
        self, held: subprocess.Popen[bytes], tmp_path: Path
    ) -> None:
        put_file(tmp_path / "other")
        assert (tmp_path / "other").read_bytes() == b"new"

    def test_of_many_that_begin_at_once_each_wins_or_is_turned_away(self, tmp_path: Path) -> None:
        script = "import sys; sys.argv = ['', 'new_file', sys.argv[1]];" + HOLD
        command = [sys.executable, "-c", script, tmp_path / "run"]
        (tmp_path / ".export-left.tmp").touch()
        crowd = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for _ in range(6)
        ]
        errors = [process.communicate()[1].decode() for process in crowd]
        failed = [error for process, error in zip(crowd, errors, strict=True) if process.returncode]
        assert len(failed) < len(crowd), failed
        assert all("another process is writing" in error for error in failed)
        assert names(tmp_path) == [".export-left.tmp", "run"]

    @pytest.mark.parametrize("kind", PUT)
    def test_the_lock_is_taken_again_when_another_has_removed_its_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        removed: list[str] = []
        take = lock._lock

        def lock_late(descriptor: int, kind: int) -> bool:
            # Another process ends between the opening of the file and the lock.
            if not removed:
                (opened,) = tmp_path.glob(".export-*.lock")
                opened.unlink()
                removed.append(opened.name)
            return take(descriptor, kind)

        monkeypatch.setattr(lock, "_lock", lock_late)
        PUT[kind](tmp_path / "run")
        assert removed
        assert names(tmp_path) == ["run"]

    @pytest.mark.parametrize("kind", PUT)
    def test_a_target_that_another_locks_first_every_time_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setattr(lock, "_lock", lambda *_: False)
        with pytest.raises(ExportInProgressError):
            PUT[kind](tmp_path / "run")


class TestFlushes:
    """What reaches the disk before what: after a power cut the target is the old or the new one."""

    @pytest.fixture
    def steps(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The flushes in order: what was flushed, and whether the target had its name by then."""
        taken: list[str] = []

        def fsync(descriptor: int) -> None:
            status = os.fstat(descriptor)
            flushed = next(
                (
                    each.name if each.name == "run" else "unfinished"
                    for each in tmp_path.iterdir()
                    if os.path.samestat(each.stat(), status)
                ),
                "folder",
            )
            content = status.st_size if stat.S_ISREG(status.st_mode) else "names"
            taken.append(f"{flushed} ({content}){', renamed' * (tmp_path / 'run').exists()}")

        monkeypatch.setattr(os, "fsync", fsync)
        return taken

    def test_a_file_is_flushed_whole_then_named_then_its_name_is_flushed(
        self, steps: list[str], tmp_path: Path
    ) -> None:
        put_file(tmp_path / "run", b"12345")
        assert steps == ["unfinished (5)", "folder (names), renamed"]

    def test_a_directory_is_flushed_then_named_then_its_name_is_flushed(
        self, steps: list[str], tmp_path: Path
    ) -> None:
        put_directory(tmp_path / "run")
        assert steps == ["unfinished (names)", "folder (names), renamed"]


class TestPartsFolder:
    def test_it_is_removed_at_the_end_with_its_content(self, tmp_path: Path) -> None:
        target = tmp_path / "run.jsonl"
        with new_file(target), parts_folder_beside(target) as parts:
            assert mode_of(parts) == 0o700
            (parts / "0.lines").touch()
        assert names(tmp_path) == ["run.jsonl"]


class TestUnconfirmed:
    @pytest.mark.parametrize("mine", PUT)
    def test_a_folder_that_cannot_be_flushed_leaves_what_is_complete_in_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: str
    ) -> None:
        def fail(path: Path) -> None:
            if path == tmp_path:
                raise OSError(5, "Input/output error")

        monkeypatch.setattr("elspeth.core.landscape.output.atomic.sync_directory", fail)
        with pytest.raises(UnconfirmedExportError, match=r"run is complete .*Input/output error"):
            PUT[mine](tmp_path / "run")
        assert names(tmp_path) == ["run"]
