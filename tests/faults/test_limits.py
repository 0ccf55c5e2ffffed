"""Faults 16 and 17: too little memory, too few descriptors, and nobody who reads the output."""

import os
import resource
import subprocess
import sys

import pytest
from survival import (
    ANY,
    COMPLETE,
    FINE,
    MAIN,
    PREVIOUS,
    Ended,
    Outcome,
    Trail,
    assert_discreet,
    environment,
)

ENOUGH_BYTES = 300 * 2**20


@pytest.mark.fault(16)
def test_300_mb_of_memory_are_enough(trail: Trail) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (ENOUGH_BYTES, ENOUGH_BYTES))

    with trail.injection() as injection:
        injection.survived(trail.export(before=limit), FINE)


TOO_LITTLE = """
import resource
import elspeth.cli.main
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {more}, size + {more}))
"""
"""Memory to start with, and hardly any more: an interpreter that lacks it for its imports cannot
even say so."""


@pytest.mark.fault(16)
@pytest.mark.parametrize("more", [0, 2**17, 2**18, 2**19, 2**20, 2**21, 2**22])
def test_too_little_memory_is_a_failure_like_any_other(trail: Trail, more: int) -> None:
    with trail.injection() as injection:
        done = trail.export(prelude=TOO_LITTLE.format(more=more))
        # SQLite may call it a disk I/O error, where it cannot map a file.
        injection.survived(done, fine_or_failed(done))


@pytest.mark.fault(16)
@pytest.mark.parametrize("count", [*range(5, 13), 16, 20, 24])
def test_too_few_descriptors_are_a_failure_like_any_other(trail: Trail, count: int) -> None:
    prelude = (
        "import resource, elspeth.cli.main\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({count}, {count}))"
    )
    with trail.injection() as injection:
        done = trail.export(prelude=prelude)
        injection.survived(done, fine_or_failed(done))


def fine_or_failed(done: Ended) -> Outcome:
    """What a limit has to end in, that may or may not be met: success, or failure with status.

    A database that cannot even be opened keeps no status.
    """
    return FINE if done.code == 0 else Outcome(3, PREVIOUS, ANY)


@pytest.mark.fault(17)
def test_an_export_whose_output_nobody_reads_is_in_place_and_says_so(trail: Trail) -> None:
    read, write = os.pipe()
    os.close(read)
    with trail.injection() as injection:
        done = trail.export(stdout=write)
        os.close(write)
        assert done.err == ""
        injection.survived(done, Outcome(3, COMPLETE, "completed"))


@pytest.mark.fault(17)
@pytest.mark.parametrize("command", ["runs", "verify", "reconcile", "doctor"])
def test_any_command_whose_output_nobody_reads_ends_quietly(trail: Trail, command: str) -> None:
    arguments = {
        "runs": ["--db", trail.url],
        "verify": [str(trail.target)],
        "reconcile": ["--settings", str(trail.settings_file)],
        "doctor": ["--db", trail.url],
    }[command]
    read, write = os.pipe()
    os.close(read)
    with trail.injection() as injection:
        done = trail.landscape(command, *arguments, stdout=write)
        os.close(write)
        assert done.err == ""
        injection.survived(done, Outcome(3, PREVIOUS, None))


@pytest.mark.fault(17)
def test_a_pipe_into_head_ends_quietly(trail: Trail) -> None:
    # The findings of a large target that does not verify, more than a pipe holds.
    command = f'"$0" -c "$1" verify "{trail.target}"; echo "code $?" >&2'
    with trail.injection() as injection:
        shell = subprocess.run(
            ["sh", "-c", f"({command}) | head -c 1", sys.executable, MAIN],
            env=environment(),
            cwd=trail.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert shell.stderr in ("code 1\n", "code 3\n")
        assert_discreet(Ended(shell.returncode, shell.stdout, ""))
        injection.survived(Ended(0, shell.stdout, ""), Outcome(0, PREVIOUS, None))
