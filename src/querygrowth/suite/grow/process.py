"""Start the growing run in a separate process, and read what it found."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
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

    def run(self, tests: Sequence[str]) -> GrowingRun:
        """Run tests again with their rows copied.

        Args:
            tests: Their node IDs.
        """
        found = GrowingRun(len(tests))
        with TemporaryDirectory(prefix="querygrowth-") as name:
            folder = Path(name)
            given = {"path": self._path, "arguments": self._arguments, "tests": list(tests)}
            (folder / TESTS).write_text(json.dumps(given), encoding="utf-8")
            (folder / RESULTS).touch()
            with (folder / OUTPUT).open("wb") as output:
                found.failure = self._failure(folder, output)
            lines = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
            found.results = list(_complete(lines))
            if not found.failure and len(found.results) < len(tests):
                text = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
                found.failure = _last_words(text)
        return found

    def _failure(self, folder: Path, output: Any) -> str:
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
            )
        except OSError as error:
            return f"cannot start {sys.executable}: {error}"
        try:
            code = process.wait()
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, KeyboardInterrupt):
                raise
            return "interrupted"
        return f"ended by signal {-code}" if code < 0 else ""


def _complete(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:  # the process was killed while it wrote the last line
            return


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(lines[-_SHOWN_OUTPUT:]) or "it ended without a word"
