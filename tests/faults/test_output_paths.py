"""Faults 18, 19, 31, 32: targets that cannot be written, that lead elsewhere, or that two write."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from audit_trail import OLD, Trail
from fault_injection import ANY, COMPLETE, KILLED, PREVIOUS, SUCCEEDED, Outcome, inject_fault
from formats import in_turn
from landscape_command import ended
from paused_process import paused, resume
from strace import disk_calls, paused_at_call


@pytest.mark.fault(18, short=3)
@in_turn(
    ("name", "message"),
    [
        ("a" * 300, "longer than 255 bytes"),
        ("é" * 140, "longer than 255 bytes"),
        ("a\0b", "NUL"),
    ],
    ids=["300 characters", "280 bytes", "NUL"],
)
def test_a_name_that_no_file_can_have_is_refused(trail: Trail, name: str, message: str) -> None:
    suffix = ".jsonl" if trail.export_format == "json" else ".csv"
    settings = trail.settings_file.read_text()
    with inject_fault(trail) as injection:
        trail.set_target(f"{trail.target.parent}/{name}{suffix}")
        refused = trail.export()
        injection.assert_survived(
            refused,
            Outcome(2, PREVIOUS, "failed", message),
            repair=lambda: put_text(trail.settings_file, settings),
        )


def put_text(path: Path, text: str) -> None:
    path.write_text(text)


def a_directory(target: Path) -> None:
    target.mkdir()
    (target / "precious.txt").write_bytes(OLD)


def a_file(target: Path) -> None:
    target.write_bytes(OLD)


def a_pipe(target: Path) -> None:
    os.mkfifo(target)


def a_link_to_a_device(target: Path) -> None:
    target.symlink_to("/dev/null")


def a_link_to_a_directory(target: Path) -> None:
    elsewhere = target.parent.parent / "elsewhere"
    elsewhere.mkdir()
    target.symlink_to(elsewhere)


@pytest.mark.fault(18, short=7)
@pytest.mark.parametrize(
    ("export_format", "put", "message"),
    [
        ("json", a_directory, "is a directory"),
        ("json", a_pipe, "is a device or a pipe"),
        ("json", a_link_to_a_device, "is a device or a pipe"),
        ("csv", a_directory, "'precious.txt'"),
        ("csv", a_file, "is not a directory"),
        ("csv", a_link_to_a_directory, "is not a directory"),
        ("csv", a_pipe, "is not a directory"),
    ],
)
def test_a_target_that_must_not_be_replaced_is_refused_and_unchanged(
    trail: Trail, put: Callable[[Path], None], message: str
) -> None:
    trail.remove_target()
    put(trail.target)
    before = trail.target.lstat()
    with inject_fault(trail) as injection:
        refused = trail.export()
        after = trail.target.lstat()
        assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
        outcome = Outcome(2, PREVIOUS, "failed", message)
        injection.assert_survived(refused, outcome, repair=trail.remove_target)


@pytest.mark.fault(18)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_replaced_and_its_destination_unchanged(trail: Trail, dangling: bool) -> None:
    destination = trail.folder / "destination"
    if not dangling:
        destination.write_bytes(OLD)
    trail.remove_target()
    trail.target.symlink_to(destination)
    with inject_fault(trail) as injection:
        done = trail.export()
        assert not trail.target.is_symlink()
        assert destination.exists() is not dangling
        assert dangling or destination.read_bytes() == OLD
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(19)
@pytest.mark.parametrize("is_reconciled", [False, True])
def test_the_second_of_two_exports_to_one_target_is_refused(
    trail: Trail, is_reconciled: bool
) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as first:
            second = trail.export()
            assert second.code == 3
            assert "another process is writing an export to it" in second.err
            assert trail.content() == injection.content
            if is_reconciled:
                # Reconciling must not touch the export that is running.
                assert trail.reconcile().code in (0, 1)
                assert trail.content() == injection.content
            resume(first)
            done = ended(first)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(19)
def test_a_killed_export_does_not_block_the_next(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with paused(trail) as first:
            assert trail.export().code == 3
            first.kill()
            died = ended(first)
        injection.assert_survived(died, KILLED)


@pytest.mark.fault(19)
@pytest.mark.parametrize("export_format", ["json"])
def test_an_export_with_several_jobs_locks_the_target_too(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with paused(trail, *trail.by_settings, "--jobs", "2") as first:
            second = trail.export("--jobs", "2")
            assert second.code == 3
            assert trail.content() == injection.content
            resume(first)
            done = ended(first)
        injection.assert_survived(done, SUCCEEDED)


@pytest.mark.fault(19)
def test_several_exports_that_start_together_succeed_or_are_refused(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        with ExitStack() as running:
            processes = [running.enter_context(trail.started(*trail.by_settings)) for _ in range(4)]
            all_ended = [ended(process) for process in processes]
        codes = [each.code for each in all_ended]
        assert set(codes) <= {0, 3}, all_ended
        assert 0 in codes
        injection.assert_survived(all_ended[codes.index(0)], Outcome(0, COMPLETE, ANY))


@pytest.mark.fault(31)
@pytest.mark.parametrize("export_format", ["csv"])
def test_sinks_that_differ_after_a_dot_are_different_places(trail: Trail) -> None:
    with inject_fault(trail) as injection:
        trail.set_target(f"{trail.target}.v2")
        done = trail.export()
        assert done.code == 0, done
        assert trail.content() == injection.content
        assert (trail.target.parent / "audit.v2" / "manifest.csv").exists()
        trail.set_target(f"{trail.target}.csv")
        injection.assert_survived(trail.export(), SUCCEEDED)


OTHER_CONTENT = [
    pytest.param("json", "", b"key = precious\n", id="settings"),
    pytest.param("json", "", b'{"event": "of another log"}\n', id="other JSON Lines"),
    pytest.param("json", "", b"\x37\x7f\x06\x82 the -wal of a database", id="a write-ahead log"),
    pytest.param("csv", "run.csv", b"distance,minutes\r\n5,25\r\n", id="other CSV"),
    pytest.param("csv", "run.csv/kept", b"precious", id="a folder of such a name"),
]


@pytest.mark.fault(31, short=10)
@pytest.mark.parametrize(("export_format", "name", "content"), OTHER_CONTENT)
@pytest.mark.parametrize("by_settings", [True, False])
def test_only_an_export_is_replaced(
    trail: Trail, name: str, content: bytes, by_settings: bool
) -> None:
    trail.remove_target()
    other = trail.target / name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(content)
    with inject_fault(trail) as injection:
        injection.content = None
        refused = trail.export() if by_settings else trail.landscape(*trail.to_path)
        assert other.read_bytes() == content
        trail.remove_target()
        status = "failed" if by_settings else None
        injection.assert_survived(refused, Outcome(2, PREVIOUS, status))


@pytest.mark.fault(31, short=5)
@pytest.mark.parametrize("export_format", ["csv"])
@pytest.mark.parametrize("path", ["/", ".", "..", "exports/.csv", "exports/...csv"])
def test_a_sink_that_names_no_place_is_refused(trail: Trail, path: str) -> None:
    settings = trail.settings_file.read_text()
    with inject_fault(trail) as injection:
        trail.set_target(path)
        refused = trail.export()
        injection.assert_survived(
            refused,
            Outcome(2, PREVIOUS, None, "names no directory"),
            repair=lambda: put_text(trail.settings_file, settings),
        )


NAME_CALLS = ("rename", "unlink", "unlinkat", "rmdir")
"""The system calls by which a CSV export changes what stands at a name."""


@pytest.mark.fault(32)
@pytest.mark.parametrize("export_format", ["csv"])
@pytest.mark.parametrize("second", ["export", "reconcile"])
@pytest.mark.parametrize("call", NAME_CALLS)
def test_a_second_command_at_every_change_of_a_name_disturbs_nothing(
    trail: Trail, second: str, call: str, tmp_path: Path, is_full: bool
) -> None:
    found = [name for name, _ in disk_calls(trail, tmp_path / "calls")].count(call)
    for k in range(1, found + 1) if is_full else range(found, found + 1):
        trail.reset()
        with inject_fault(trail) as injection:
            with paused_at_call(trail, call, k, tmp_path / f"log {call} {k}") as process:
                other = trail.export() if second == "export" else trail.reconcile()
                assert other.code in (0, 1, 3), other
            injection.assert_survived(ended(process), Outcome(0, COMPLETE, "completed"))
