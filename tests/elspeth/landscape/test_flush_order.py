"""What is flushed to disk before what: after a power cut a name stands for complete content."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from elspeth.core.landscape.output.atomic import (
    UnconfirmedExportError,
    new_directory,
    new_file,
    recover_directory,
)
from elspeth.core.landscape.output.publish import publish_csv, publish_jsonl

TEMPORARY = ".tmp"
REPLACED = ".old"
LOCK = ".lock"
UNLOCKED = ("remove", LOCK)
"""The last step. No flush follows: a lock file that a power cut brings back locks nothing."""
RECORDS = (
    {"record_type": "run", "run_id": "r", "record_key": "1"},
    {"record_type": "node", "node_id": "a"},
    {"record_type": "node", "node_id": "b"},
)


class Disk:
    """Records each flush, rename and removal below a folder, in order.

    A flush is recorded with the content that it makes durable: that of the file, or for a directory
    the names in it. A temporary name is recorded by its suffix.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls: list[tuple[object, ...]] = []
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._flush(getattr(os, name)))
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._rename(getattr(os, name)))
        for name in ("unlink", "remove", "rmdir"):
            monkeypatch.setattr(os, name, self._remove(getattr(os, name)))

    def role(self, path: object) -> str:
        """Return a path relative to the folder, with temporary names shortened."""
        relative = Path(os.fsdecode(os.fspath(path))).relative_to(self.folder)  # type: ignore[call-overload]
        return "/".join(
            Path(part).suffix if part.startswith(".export-") else part for part in relative.parts
        )

    def _flush(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def flush(descriptor: int) -> None:
            path = self._path_of(os.fstat(descriptor))
            if path is not None:
                self.calls.append(("flush", self.role(path), self._content(path)))
            real(descriptor)

        return flush

    def _path_of(self, wanted: os.stat_result) -> Path | None:
        for path in (self.folder, *self.folder.rglob("*")):
            with suppress(FileNotFoundError):
                if os.path.samestat(path.lstat(), wanted):
                    return path
        return None

    def _content(self, path: Path) -> object:
        if path.is_dir():
            return tuple(sorted(self.role(each).rpartition("/")[2] for each in path.iterdir()))
        return path.read_bytes()

    def _rename(self, real: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **options: Any) -> None:
            self.calls.append(("rename", self.role(source), self.role(target)))
            real(source, target, **options)

        return rename

    def _remove(self, real: Callable[..., None]) -> Callable[..., None]:
        def remove(path: Any, **options: Any) -> None:
            # Only the name: `shutil.rmtree` removes by a name in an open directory.
            name = Path(os.fsdecode(path)).name
            shown = Path(name).suffix if name.startswith(".export-") else name
            # The removal of a name that is not there changes nothing.
            real(path, **options)
            self.calls.append(("remove", shown))

        return remove

    def take(self) -> list[tuple[object, ...]]:
        """Return the calls so far, and forget them."""
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    folder = tmp_path / "target"
    folder.mkdir()
    disk = Disk(folder, monkeypatch)
    yield disk
    monkeypatch.undo()


def test_a_file_is_flushed_whole_then_renamed_then_its_name_is_flushed(disk: Disk) -> None:
    with new_file(disk.folder / "run.jsonl") as file:
        file.write(b"in the buffer until the flush")
        assert disk.take() == []

    assert disk.take() == [
        ("flush", TEMPORARY, b"in the buffer until the flush"),
        ("rename", TEMPORARY, "run.jsonl"),
        ("flush", "", (LOCK, "run.jsonl")),
        UNLOCKED,
    ]


def test_json_lines_are_written_by_the_same_steps(disk: Disk) -> None:
    path = disk.folder / "run.jsonl"
    path.write_bytes(b"old")
    publish_jsonl(path, iter([b"{}\n", b"[]\n"]))

    assert disk.take() == [
        ("flush", TEMPORARY, b"{}\n[]\n"),
        ("rename", TEMPORARY, "run.jsonl"),
        ("flush", "", (LOCK, "run.jsonl")),
        UNLOCKED,
    ]


NODES = b"node_id,record_type\r\na,node\r\nb,node\r\n"
RUNS = b"record_key,record_type,run_id\r\n1,run,r\r\n"
FILES = {("flush", ".tmp/node.csv", NODES), ("flush", ".tmp/run.csv", RUNS)}


def test_every_csv_file_and_their_names_are_flushed_before_the_rename(disk: Disk) -> None:
    publish_csv(disk.folder / "run", RECORDS)

    calls = disk.take()
    assert set(calls[:2]) == FILES
    assert calls[2:] == [
        ("flush", TEMPORARY, ("node.csv", "run.csv")),
        ("rename", TEMPORARY, "run"),
        ("flush", "", (LOCK, "run")),
        UNLOCKED,
    ]


def test_an_old_directory_is_removed_after_the_name_of_the_new_one_is_on_disk(disk: Disk) -> None:
    publish_csv(disk.folder / "run", RECORDS[:1])
    disk.take()
    publish_csv(disk.folder / "run", RECORDS)

    calls = disk.take()
    assert set(calls[:2]) == FILES
    assert calls[2:] == [
        ("flush", TEMPORARY, ("node.csv", "run.csv")),
        ("rename", "run", REPLACED),
        ("rename", TEMPORARY, "run"),
        ("flush", "", (LOCK, REPLACED, "run")),
        ("remove", "run.csv"),
        ("remove", REPLACED),
        ("flush", "", (LOCK, "run")),
        UNLOCKED,
    ]


def test_a_file_that_gets_a_further_column_is_flushed_when_it_is_complete(disk: Disk) -> None:
    wider = {"record_type": "node", "node_id": "c", "colour": "red"}
    publish_csv(disk.folder / "run", (*RECORDS[1:], wider))

    flushed = b"colour,node_id,record_type\r\n,a,node\r\n,b,node\r\nred,c,node\r\n"
    calls = disk.take()
    assert calls[0] == ("rename", ".tmp/node.csv", ".tmp/node.narrow")
    assert calls[1:] == [
        ("remove", "node.narrow"),
        ("flush", ".tmp/node.csv", flushed),
        ("flush", TEMPORARY, ("node.csv",)),
        ("rename", TEMPORARY, "run"),
        ("flush", "", (LOCK, "run")),
        UNLOCKED,
    ]


@pytest.mark.parametrize("is_in_place", [True, False])
def test_a_recovered_directory_is_flushed_by_name(disk: Disk, is_in_place: bool) -> None:
    with new_directory(disk.folder / "run") as unfinished:
        (unfinished / "run.csv").write_bytes(b"old")
        aside = unfinished.with_suffix(REPLACED)
    (disk.folder / "run").rename(aside)
    if is_in_place:
        (disk.folder / "run").mkdir()
    disk.take()
    recover_directory(disk.folder / "run")

    removed = [("remove", "run.csv"), ("remove", REPLACED)]
    expected = removed if is_in_place else [("rename", REPLACED, "run")]
    assert disk.take() == [*expected, ("flush", "", (LOCK, "run")), UNLOCKED]


def test_an_export_and_its_attestation_are_two_files_one_after_the_other(
    landscape: Command, sqlite: str, disk: Disk
) -> None:
    path = disk.folder / "run.jsonl"
    ended = landscape(
        *("export", "--run", "latest", "--db", sqlite, "--output", path, "--sign", "--attest")
    )

    assert ended.code == 0, ended
    attestation = next(each for each in disk.folder.iterdir() if each != path)
    assert disk.take() == [
        ("flush", TEMPORARY, path.read_bytes()),
        ("rename", TEMPORARY, "run.jsonl"),
        ("flush", "", (LOCK, "run.jsonl")),
        UNLOCKED,
        ("flush", TEMPORARY, attestation.read_bytes()),
        ("rename", TEMPORARY, attestation.name),
        ("flush", "", (LOCK, *sorted(("run.jsonl", attestation.name)))),
        UNLOCKED,
    ]


@pytest.mark.parametrize("which", [1, 2])
def test_a_flush_that_fails_ends_the_export_at_that_step(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    path = disk.folder / "run.jsonl"
    path.write_bytes(b"old")
    real, count = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == which:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    expected = OSError if which == 1 else UnconfirmedExportError
    with pytest.raises(expected):
        publish_jsonl(path, iter([b"new\n"]))

    assert path.read_bytes() == (b"old" if which == 1 else b"new\n")
    assert [each.name for each in disk.folder.iterdir()] == ["run.jsonl"]


def test_a_directory_that_a_kill_left_aside_is_put_back_before_the_next_is_filled(
    disk: Disk,
) -> None:
    path = disk.folder / "run"
    with new_directory(path) as unfinished:
        (unfinished / "run.csv").write_bytes(b"old")
        aside = unfinished.with_suffix(REPLACED)
    path.rename(aside)
    disk.take()
    with new_directory(path):
        assert disk.take() == [
            ("rename", REPLACED, "run"),
            ("flush", "", (LOCK, "run")),
        ]
        assert (path / "run.csv").read_bytes() == b"old"


def test_an_old_directory_is_put_back_when_the_new_one_cannot_take_its_place(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = disk.folder / "run"
    publish_csv(path, RECORDS[:1])
    disk.take()
    recorded = os.rename

    def rename(source: Any, target: Any) -> None:
        if disk.role(source) == TEMPORARY:
            raise OSError(5, "Input/output error")
        recorded(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="Input/output error"):
        publish_csv(path, RECORDS)

    assert [each for each in disk.take() if each[0] == "rename"] == [
        ("rename", "run", REPLACED),
        ("rename", REPLACED, "run"),
    ]
    assert [each.name for each in path.iterdir()] == ["run.csv"]
    assert [each.name for each in disk.folder.iterdir()] == ["run"]
