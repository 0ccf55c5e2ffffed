"""What an exporter says and leaves behind: its signing key, open files, threads."""

import base64
import logging
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from elspeth.core.landscape import LandscapeExporter
from harness.checks.setup import CheckSetup, prepare_checks
from harness.checks.side_effects import judge_side_effects
from harness.exporters.measured import as_measured
from harness.exporters.probe.key_traces import overheard
from harness.exporters.probe.process_state import open_files, process_state
from harness.exporters.subject import Subject

KEY = b"wH5'#zN8!fY3\"uD7$eK2&jS6*gC4%xP9"
TEXT = KEY.decode()


def _private_logger() -> logging.Logger:
    logger = logging.getLogger("harness.test.private")
    logger.propagate = False
    return logger


def _log_an_error() -> None:
    try:
        raise KeyError(TEXT)
    except KeyError:
        _private_logger().exception("it failed")


def _left_in_a_file() -> None:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(KEY)


LEAKS: dict[str, tuple[Callable[[], object], str]] = {
    "debug": (lambda: logging.getLogger("x").debug("with %s", KEY), "a log record"),
    "argument": (lambda: logging.getLogger("x").info("%(a)s", {"a": 1, "k": KEY}), "a log record"),
    "no propagation": (lambda: _private_logger().error("%r", {"k": KEY}), "a log record"),
    "logged error": (_log_an_error, "an error"),
    "print": (lambda: sys.stdout.write(TEXT), "what it printed"),
    "stderr": (lambda: sys.stderr.write(TEXT), "what it printed"),
    "descriptor": (lambda: os.write(2, KEY), "what it printed"),
    "child": (lambda: os.system(f"echo '{KEY.hex()}'"), "what it printed"),
    "warning": (lambda: warnings.warn(TEXT, stacklevel=1), "a warning"),
    "environment": (lambda: os.environ.update(LEAKED=TEXT), "an environment variable"),
    "command line": (
        lambda: subprocess.run([sys.executable, "-c", "", KEY.hex()], check=True),
        "a program that it started",
    ),
    "file": (_left_in_a_file, "the file tmp"),
    "hexadecimal": (lambda: sys.stdout.write(KEY.hex().upper()), "what it printed (hexadecimal)"),
    "Base64": (
        lambda: sys.stdout.write(base64.b64encode(b"k" + KEY).decode()),
        "what it printed (Base64)",
    ),
    "bytes": (lambda: sys.stdout.write(repr(KEY)), "what it printed"),
    "numbers": (lambda: sys.stdout.write(str(list(KEY))), "what it printed (JSON of bytes)"),
    "part": (lambda: sys.stdout.write(TEXT[:16]), "what it printed (raw)"),
}


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("way", LEAKS)
def test_a_key_is_found(way: str, tmp_path: Path) -> None:
    leak, place = LEAKS[way]
    before = process_state()
    with overheard() as found:
        leak()
    assert any(each.startswith(place) for each in found.traces(KEY, tmp_path / "empty"))
    monitored = {**process_state(), "environment": before["environment"]}
    assert monitored == before


@pytest.mark.parametrize(
    "error", [ValueError(TEXT), ValueError("x", {"k": KEY}), OSError(2, "m", TEXT)]
)
def test_a_key_in_an_error_is_found(error: Exception, tmp_path: Path) -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = error
    for raised in (error, outer):
        with overheard() as found:
            found.add_error(raised)
        assert found.traces(KEY, tmp_path)[0].startswith("an error")


def test_other_texts_hold_no_key(tmp_path: Path) -> None:
    with overheard() as found:
        logging.getLogger("x").debug("exporting %s", "run-1")
        sys.stdout.write(f"signature {KEY[::-1].hex()} {TEXT[:8]}")
        found.add_error(ValueError("no key"))
        (tmp_path / "export.jsonl").write_text(TEXT[:11])
    assert found.traces(KEY, tmp_path) == []


class _Logs(LandscapeExporter):
    """Logs its settings, at the level that nobody shows."""

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        _private_logger().debug("exporting with %s", vars(self))
        return super().export_run(run_id, sign)


class _OpensFiles(LandscapeExporter):
    """Opens a lock file for each export, and keeps it open."""

    locks: ClassVar[list[int]] = []

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        self.locks.append(os.open(os.devnull, os.O_RDONLY))
        return super()._iter_records(run_id)


class _OpensOneFile(_OpensFiles):
    """Opens one lock file for all exports of the process."""

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        if self.locks:
            return LandscapeExporter._iter_records(self, run_id)
        return super()._iter_records(run_id)


class _StartsTimers(LandscapeExporter):
    """Warns of an export that takes long, and of one that has ended."""

    timers: ClassVar[list[threading.Timer]] = []

    def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
        timer = threading.Timer(600, int)
        timer.daemon = True
        timer.start()
        self.timers.append(timer)
        return super()._iter_records(run_id)


class _Raises(LandscapeExporter):
    """Says in its error how it was made."""

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[dict[str, Any]]:
        try:
            yield from super().export_run(run_id, sign)
        except ValueError as error:
            key = getattr(self, "_signing_key", None)
            raise ValueError(f"{error} (with the key {key!r})") from None


@pytest.fixture(scope="module")
def setup() -> Iterator[CheckSetup]:
    with prepare_checks() as setup:
        yield setup


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    while _OpensFiles.locks:
        os.close(_OpensFiles.locks.pop())
    while _StartsTimers.timers:
        _StartsTimers.timers.pop().cancel()


@pytest.mark.parametrize(
    ("exporter", "seen"),
    [
        (_Logs, "the signing key stands in a log record ("),
        (_Raises, "the signing key stands in an error ("),
        (_OpensFiles, "files left open: /dev/null: whole exports"),
        (_StartsTimers, "2 threads left running: whole exports"),
    ],
)
def test_what_an_exporter_leaves_is_named(
    setup: CheckSetup, exporter: type[LandscapeExporter], seen: str
) -> None:
    candidate = as_measured(Subject(exporter.__name__, exporter))
    verdict = judge_side_effects(candidate, setup.runs["sqlite"])
    assert verdict.failed
    assert verdict.seen.startswith(seen)
    assert verdict.next_step.startswith("what it logs, ") == ("key" in seen)


@pytest.mark.parametrize("exporter", [LandscapeExporter, _OpensOneFile])
def test_an_exporter_that_leaves_nothing_passes(
    setup: CheckSetup, exporter: type[LandscapeExporter]
) -> None:
    candidate = as_measured(Subject(exporter.__name__, exporter))
    verdict = judge_side_effects(candidate, setup.runs["sqlite"])
    assert verdict.passed, verdict


def test_files_of_databases_are_not_left_open(tmp_path: Path) -> None:
    path, other = tmp_path / "audit 1.db", tmp_path / "lock"
    files = [os.open(each, os.O_CREAT | os.O_RDWR) for each in (path, f"{path}-wal", other)]
    uri = f"file:{tmp_path}/audit%201.db?mode=rw&uri=true"
    try:
        for database in (str(path), uri):
            found = open_files([database])
            assert [each for each in found if each.startswith(str(tmp_path))] == [str(other)]
    finally:
        for each in files:
            os.close(each)
