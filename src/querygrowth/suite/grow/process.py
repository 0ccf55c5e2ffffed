"""Start the growing run in a separate process, and read what it found."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

FOLDER = "QUERYGROWTH_GROW"  # the variable that names the folder of the two processes
TESTS = "tests.json"
RESULTS = "results.jsonl"
OUTPUT = "output.txt"
_CODE = (
    "import json, os, sys; from pathlib import Path; "
    f"given = json.loads(Path(os.environ['{FOLDER}'], '{TESTS}').read_text(encoding='utf-8')); "
    "sys.path[:] = given['path']; "
    "from querygrowth.suite.grow.runner import run; run(given)"
)
_SHOWN_OUTPUT = 3  # lines of a process that failed
_LOOK_EVERY = 0.5  # seconds between two looks at what is done
_SECONDS_TO_END = 10  # in which an interrupted process may tear its fixtures down


class TerminatedError(BaseException):
    """SIGTERM has arrived while the other process runs."""


@dataclass
class GrowingRun:
    """What the growing run found.

    Attributes:
        tests: How many tests were to be run again.
        results: What it showed of each test, in the order of the tests.
        failure: Why it ended early; empty if it did not.
    """

    tests: int
    results: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""


class GrowingProcess:
    """The growing run of one suite.

    Args:
        config: The configuration of pytest in the run that decides.
    """

    def __init__(self, config: pytest.Config) -> None:
        # As they are before the tests, which may change them.
        self._environment = dict(os.environ)
        self._path = list(sys.path)
        self._folder = config.invocation_params.dir
        self._arguments = [str(each) for each in config.invocation_params.args]
        if config.pluginmanager.hasplugin("pytest_cov"):
            self._arguments.append("--no-cov")

    def run(self, tests: Sequence[str], terminal: Any) -> GrowingRun:
        """Run tests again with their rows copied.

        SIGTERM ends this process as ever, once the other process and their folder are gone.

        Args:
            tests: Their node IDs.
            terminal: pytest's reporter, which shows how many are done; may be None.
        """
        try:
            with _terminated_by_signal():
                return self._results(tests, Progress(terminal, len(tests)))
        except TerminatedError:
            _raise_again(signal.SIGTERM)
            raise

    def _results(self, tests: Sequence[str], progress: "Progress") -> GrowingRun:
        found = GrowingRun(len(tests))
        with TemporaryDirectory(prefix="querygrowth-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            given = {"path": self._path, "arguments": self._arguments, "tests": list(tests)}
            (folder / TESTS).write_text(json.dumps(given), encoding="utf-8")
            (folder / RESULTS).touch()
            with (folder / OUTPUT).open("wb") as output:
                found.failure = self._failure(folder, output, progress)
            lines = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
            found.results = list(_complete(lines))
            if not found.failure and len(found.results) < len(tests):
                text = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
                found.failure = _last_words(text)
        return found

    def _failure(self, folder: Path, output: Any, progress: "Progress") -> str:
        """Run the process, and return why it could not end; empty if it did."""
        environment: Mapping[str, str] = {**self._environment, FOLDER: str(folder)}
        try:
            process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-c", _CODE],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it once, from here
            )
        except OSError as error:
            return f"cannot start {sys.executable}: {error}"
        try:
            code = _code_of(process, folder / RESULTS, progress)
        except BaseException as error:
            _end(process)
            if not isinstance(error, KeyboardInterrupt):
                raise
            return "interrupted"
        return f"ended by signal {-code}" if code < 0 else ""


class Progress:
    """Shows how many tests are done: in place on a terminal, else a line for each tenth of them.

    Args:
        terminal: pytest's reporter; may be None.
        tests: How many tests are to be run.
    """

    def __init__(self, terminal: Any, tests: int) -> None:
        self._terminal = terminal
        self._tests = tests
        self._tenths = 0
        if terminal is not None and tests:
            number = f"{tests:,} test" + ("" if tests == 1 else "s")
            terminal.write_line(f"\nrunning {number} again with their rows copied ...")

    def show(self, done: int) -> None:
        """Show the number of tests that are done."""
        if self._terminal is None:
            return
        text = f"{done:,} of {self._tests:,} tests run again"
        if self._terminal.isatty:
            self._terminal.rewrite(text, erase=True)
        elif done * 10 // self._tests > self._tenths:
            self._tenths = done * 10 // self._tests
            self._terminal.write_line(text)


def _code_of(process: "subprocess.Popen[bytes]", results: Path, progress: "Progress") -> int:
    """Wait for a process, and return its exit code."""
    done = 0
    while True:
        try:
            return process.wait(_LOOK_EVERY)
        except subprocess.TimeoutExpired:
            now = results.read_bytes().count(b"\n")
            if now != done:
                progress.show(done := now)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process so that it can tear its fixtures down, unless that takes too long."""
    try:
        process.send_signal(signal.SIGINT)
        process.wait(_SECONDS_TO_END)
    except BaseException:  # it takes too long, or the user asks again
        process.kill()
        process.wait()


def _raise_again(number: int) -> None:
    signal.raise_signal(number)  # with its default effect by now


@contextmanager
def _terminated_by_signal() -> Iterator[None]:
    """Let SIGTERM raise an exception, where it would end the process without any cleaning."""

    def terminate(number: int, frame: object) -> None:
        raise TerminatedError

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _complete(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # the process was killed while it wrote the last line
            return


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-_SHOWN_OUTPUT:]) or "it ended without a word"
