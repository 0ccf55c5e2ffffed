"""`landscape export --jobs` and `landscape doctor`, as they are used."""

import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from sample_run import KEY, record_sample_run
from sqlalchemy import make_url

from elspeth import cli
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
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
    """Run the command in this process, with a key in the environment."""
    monkeypatch.setenv(KEY_VARIABLE, KEY.decode())

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["landscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(stop.value.code or 0), printed.out, printed.err)

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "exports"
    path.mkdir()
    return path


@pytest.fixture
def url(landscape_url: str) -> str:
    """A database with a sample run, once on each backend."""
    return recorded(landscape_url)


@pytest.fixture
def sqlite(sqlite_url: str) -> str:
    return recorded(sqlite_url)


def recorded(url: str) -> str:
    with LandscapeDB(url) as db:
        record_sample_run(LandscapeRecorder(db))
    return url


class TestJobs:
    def test_several_jobs_write_the_same_file(
        self, landscape: Command, url: str, folder: Path
    ) -> None:
        for jobs in (1, 2):
            ended = landscape(
                *("export", "--db", url, "--run", "latest", "--sign", "--jobs", jobs),
                *("--output", folder / f"{jobs}.jsonl"),
            )
            assert (ended.code, ended.err) == (0, "")
        records = [(folder / f"{jobs}.jsonl").read_text().splitlines()[:-1] for jobs in (1, 2)]
        assert records[0] == records[1]

    @pytest.mark.parametrize(
        "arguments",
        [("0",), ("5",), ("2", "--format", "csv"), ("2", "--exporter", "legacy")],
    )
    def test_jobs_that_cannot_be_are_wrong_usage(
        self, landscape: Command, sqlite: str, folder: Path, arguments: tuple[str, ...]
    ) -> None:
        ended = landscape(
            *("export", "--db", sqlite, "--run", "latest"),
            *("--output", folder / "run", "--jobs", *arguments),
        )
        assert ended.code == 2
        assert list(folder.iterdir()) == []

    def test_quiet_asks_for_no_counts(self, landscape: Command, sqlite: str, folder: Path) -> None:
        export = ("export", "--db", sqlite, "--run", "latest", "--output", folder / "run")
        assert landscape(*export, "--quiet").err == ""


class TestDoctor:
    def test_a_sound_database_needs_nothing(self, landscape: Command, url: str) -> None:
        ended = landscape("doctor", "--db", url)
        assert (ended.code, ended.out) == (0, "Nothing to improve.\n")

    def test_a_lost_index_is_named_and_not_created(self, landscape: Command, sqlite: str) -> None:
        with closing(sqlite3.connect(make_url(sqlite).database or "")) as connection:
            connection.execute("DROP INDEX ix_tokens_row_id")
        for _ in range(2):
            ended = landscape("doctor", "--db", sqlite)
            assert ended.code == 1
            assert "CREATE INDEX ix_tokens_row_id ON tokens (row_id);" in ended.out
