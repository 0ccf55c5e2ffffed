"""Runs the `landscape` command of fault tests in this process, and reads the end of another one."""

import gc
import io
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

from elspeth.cli.main import main
from elspeth.core.landscape.keys import KEY_VARIABLE

KEY = "this is the signing key, which must not be printed"
MAIN = "from elspeth.cli.main import main; main()"


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a process."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """Return the environment of this process with a key and without settings."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ELSPETH_")}
    # Without bytecode files a process makes the same system calls every time.
    return inherited | {KEY_VARIABLE: KEY, "PYTHONDONTWRITEBYTECODE": "1"}


def run_here(arguments: Sequence[str], environ: Mapping[str, str]) -> Ended:
    """Run the `landscape` command in this process, and undo what it changed of the process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in "12")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    code = 1
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "argv", ["landscape", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except Exception:
            traceback.print_exc()
        finally:
            gc.enable()
            for number, handler in handlers.items():
                signal.signal(number, handler)
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return Ended(code, *texts)


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Wait for the end of a process, and return how it ended."""
    out, err = process.communicate()
    return Ended(process.returncode, out or "", err or "")
