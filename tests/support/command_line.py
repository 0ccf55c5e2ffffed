"""Fixtures that run the commands `landscape` and `harness` in the process of the test."""

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TypeAlias

import pytest
from sample_run import KEY, record_sample_run
from shared_recordings import put_recording
from sqlalchemy import make_url

from elspeth.cli import main as cli
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.keys import KEY_VARIABLE


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Command: TypeAlias = Callable[..., Ended]


@pytest.fixture
def landscape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """A function that runs the command in this process, with a key in the environment."""
    monkeypatch.setenv(KEY_VARIABLE, KEY.decode())
    # On a busy machine, an export takes so long that it would write lines of progress.
    monkeypatch.setattr("elspeth.cli.progress.SECONDS_BETWEEN_LINES", inf)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["landscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(stop.value.code or 0), printed.out, printed.err)

    yield run
    gc.enable()


@pytest.fixture
def harness_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs the `harness` command in this process."""
    # Imported here: the tests of the audit trail do not need the harness.
    from harness.cli.main import main

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return Ended(int(stop.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the exports of a command."""
    path = tmp_path / "exports"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def recorded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with a sample run, for tests to copy."""
    path = tmp_path_factory.mktemp("recorded") / "audit.db"
    recorded(f"sqlite:///{path}")
    return path


@pytest.fixture
def url(landscape_url: str, recorded_file: Path) -> str:
    """The URL of a database with a sample run, on each backend in turn."""
    url = make_url(landscape_url)
    if url.get_backend_name() == "sqlite":
        shutil.copyfile(recorded_file, url.database or "")
    else:
        recorded(landscape_url)
    return landscape_url


@pytest.fixture
def sqlite(sqlite_url: str, recorded_file: Path) -> str:
    """The URL of an SQLite file with a sample run."""
    shutil.copyfile(recorded_file, make_url(sqlite_url).database or "")
    return sqlite_url


def recorded(url: str) -> str:
    """Record a sample run, and return the URL of its database."""
    with LandscapeDB(url) as db:
        put_recording(db, record_sample_run)
    return url
