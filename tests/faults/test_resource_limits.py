"""Faults 16 and 17: too little memory, too few descriptors, and a closed standard output."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from audit_trail import Trail
from fault_injection import (
    ANY,
    COMPLETE,
    PREVIOUS,
    SUCCEEDED,
    Outcome,
    assert_clean_output,
    inject_fault,
)
from formats import in_turn
from landscape_command import MAIN, Ended, environment

ENOUGH_BYTES = 300 * 2**20


@pytest.mark.fault(16)
def test_300_mb_of_memory_are_enough(trail: Trail) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ENOUGH_BYTES, ENOUGH_BYTES))

    with inject_fault(trail) as injection:
        injection.assert_survived(trail.export(before=limit), SUCCEEDED)


TOO_LITTLE = """
import importlib, pkgutil, resource
from typer.testing import CliRunner
import elspeth.cli.main
for found in pkgutil.walk_packages(elspeth.__path__, "elspeth."):
    importlib.import_module(found.name)
CliRunner().invoke(elspeth.cli.main.app, ["runs", "--db", "sqlite:///absent.db"])
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {more}, size + {more}))
"""
"""Limits memory to what the process has after all its imports, and a little more.

A command imports what it needs when it runs, and typer does when it reads the arguments.

An interpreter without memory for its imports could not report it."""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc here")
@pytest.mark.fault(16)
@in_turn("more", [0, 2**17, 2**18, 2**19, 2**20, 2**21, 2**22])
def test_too_little_memory_fails_the_export(trail: Trail, more: int) -> None:
    with inject_fault(trail) as injection:
        done = trail.export(prelude=TOO_LITTLE.format(more=more))
        # SQLite reports a disk I/O error where it cannot map a file.
        injection.assert_survived(done, success_or_failure(done))


@pytest.mark.fault(16)
@in_turn("count", [*range(5, 13), 16, 20, 24])
def test_too_few_descriptors_fail_the_export(trail: Trail, count: int) -> None:
    prelude = (
        "import resource, elspeth.cli.main\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))"
    )
    with inject_fault(trail) as injection:
        done = trail.export(prelude=prelude)
        injection.assert_survived(done, success_or_failure(done))


def success_or_failure(done: Ended) -> Outcome:
    """Return the expected outcome of an export that may or may not reach its limit.

    The status is ANY, because a database that cannot be opened keeps none.
    """
    return SUCCEEDED if done.code == 0 else Outcome(3, PREVIOUS, ANY)


@pytest.mark.fault(17)
def test_an_export_with_a_closed_output_is_published_and_exits_with_3(trail: Trail) -> None:
    read, write = os.pipe()
    os.close(read)
    with inject_fault(trail) as injection:
        done = trail.export(stdout=write)
        os.close(write)
        assert done.err == ""
        injection.assert_survived(done, Outcome(3, COMPLETE, "completed"))


@pytest.mark.fault(17)
@in_turn("command", ["runs", "verify", "reconcile", "doctor"])
def test_a_command_with_a_closed_output_ends_without_an_error_message(
    trail: Trail, command: str
) -> None:
    arguments = {
        "runs": ["--db", trail.url],
        "verify": [str(trail.target)],
        "reconcile": ["--settings", str(trail.settings_file)],
        "doctor": ["--db", trail.url],
    }[command]
    read, write = os.pipe()
    os.close(read)
    with inject_fault(trail) as injection:
        done = trail.landscape(command, *arguments, stdout=write)
        os.close(write)
        assert done.err == ""
        injection.assert_survived(done, Outcome(3, PREVIOUS, None))


@pytest.mark.fault(17)
def test_a_pipe_into_head_ends_without_an_error_message(trail: Trail) -> None:
    # `head` closes the pipe after one byte, while `verify` may still print findings.
    command = f'"$0" -c "$1" verify "{trail.target}"; echo "code $?" >&2'
    with inject_fault(trail) as injection:
        shell = subprocess.run(
            ["sh", "-c", f"({command}) | head -c 1", sys.executable, MAIN],
            env=environment(),
            cwd=trail.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert shell.stderr in ("code 1\n", "code 3\n")
        assert_clean_output(Ended(shell.returncode, shell.stdout, ""))
        injection.assert_survived(Ended(0, shell.stdout, ""), Outcome(0, PREVIOUS, None))
