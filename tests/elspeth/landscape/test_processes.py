"""Tests of worker processes: they end with the export that started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import psutil

from elspeth.core.landscape.export.worker import worker_processes
from elspeth.core.landscape.export.worker_secrets import Secrets

WORKING = """
import os, sys, time
from elspeth.core.landscape.export.worker import worker_processes
from elspeth.core.landscape.export.worker_secrets import Secrets

if __name__ == "__main__":
    with worker_processes(1, Secrets("", None)) as executors:
        print(executors[0].submit(os.getpid).result(), flush=True)
        executors[0].submit(time.sleep, 600)
        time.sleep(600)
"""


def test_each_executor_is_a_process_of_its_own_that_ends() -> None:
    with worker_processes(2, Secrets("", None)) as executors:
        pids = [executor.submit(os.getpid).result() for executor in executors]
        assert len({os.getpid(), *pids}) == 3
        executors[0].submit(sleep, 600)
    assert not any(map(psutil.pid_exists, pids))


def test_a_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "working.py"  # a file, because a spawned process imports it
    script.write_text(WORKING)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    gone, alive = psutil.wait_procs([worker], timeout=60)
    assert (len(gone), alive) == (1, [])
