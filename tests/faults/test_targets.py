"""Faults 18 and 19: targets that cannot be, and targets that two processes write to."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from holding import held, send_on
from survival import ANY, COMPLETE, FINE, KILLED, OLD, PREVIOUS, Outcome, Trail, ended


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a" * 300, "longer than 255 bytes"),
        ("é" * 140, "longer than 255 bytes"),
        ("a\0b", "NUL"),
    ],
    ids=["300 characters", "280 bytes", "NUL"],
)
def test_a_name_that_no_file_can_have_is_refused(trail: Trail, name: str, said: str) -> None:
    suffix = ".jsonl" if trail.export_format == "json" else ".csv"
    settings = trail.settings_file.read_text()
    with trail.injection() as injection:
        trail.aimed_at(f"{trail.target.parent}/{name}{suffix}")
        refused = trail.export()
        injection.survived(
            refused,
            Outcome(2, PREVIOUS, "failed", said),
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


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("export_format", "put", "said"),
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
def test_what_an_export_must_not_replace_is_refused_and_left_alone(
    trail: Trail, put: Callable[[Path], None], said: str
) -> None:
    trail.remove_target()
    put(trail.target)
    before = trail.target.lstat()
    with trail.injection() as injection:
        refused = trail.export()
        after = trail.target.lstat()
        assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
        says = Outcome(2, PREVIOUS, "failed", said)
        injection.survived(refused, says, repair=trail.remove_target)


@pytest.mark.fault(18)
@pytest.mark.parametrize("export_format", ["json"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_replaced_and_its_victim_left_alone(trail: Trail, dangling: bool) -> None:
    victim = trail.folder / "victim"
    if not dangling:
        victim.write_bytes(OLD)
    trail.remove_target()
    trail.target.symlink_to(victim)
    with trail.injection() as injection:
        done = trail.export()
        assert not trail.target.is_symlink()
        assert victim.exists() is not dangling
        assert dangling or victim.read_bytes() == OLD
        injection.survived(done, FINE)


@pytest.mark.fault(19)
@pytest.mark.parametrize("is_stopped", [False, True])
def test_of_two_exports_to_one_target_the_second_is_turned_away(
    trail: Trail, is_stopped: bool
) -> None:
    with trail.injection() as injection:
        with held(trail) as first:
            second = trail.export()
            assert second.code == 3
            assert "another process is writing an export to it" in second.err
            assert trail.content() == injection.content
            if is_stopped:
                # What is settled meanwhile leaves the one at work alone.
                assert trail.reconcile().code in (0, 1)
                assert trail.content() == injection.content
            send_on(first)
            done = ended(first)
        injection.survived(done, FINE)


@pytest.mark.fault(19)
def test_one_that_was_killed_makes_room_for_the_next(trail: Trail) -> None:
    with trail.injection() as injection:
        with held(trail) as first:
            assert trail.export().code == 3
            first.kill()
            died = ended(first)
        injection.survived(died, KILLED)


@pytest.mark.fault(19)
@pytest.mark.parametrize("export_format", ["json"])
def test_one_that_shares_its_work_keeps_the_target_to_itself_as_well(trail: Trail) -> None:
    with trail.injection() as injection:
        with held(trail, *trail.by_settings, "--jobs", "2") as first:
            second = trail.export("--jobs", "2")
            assert second.code == 3
            assert trail.content() == injection.content
            send_on(first)
            done = ended(first)
        injection.survived(done, FINE)


@pytest.mark.fault(19)
def test_of_several_that_start_together_each_wins_or_is_turned_away(trail: Trail) -> None:
    with trail.injection() as injection:
        with ExitStack() as running:
            processes = [running.enter_context(trail.started(*trail.by_settings)) for _ in range(4)]
            all_ended = [ended(process) for process in processes]
        codes = [each.code for each in all_ended]
        assert set(codes) <= {0, 3}, all_ended
        assert 0 in codes
        injection.survived(all_ended[codes.index(0)], Outcome(0, COMPLETE, ANY))
