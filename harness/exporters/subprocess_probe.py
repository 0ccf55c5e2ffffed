"""An exporter in another process and environment: counted, timed and compared like one here.

A `Probe` runs `probe_script.py` under the other environment's interpreter, once for every task.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.exporters.observation import ExportTask, MemoryUse, Observation, WrittenFile
from harness.exporters.subject import Exporter, Subject, SubjectError
from querygrowth.activity import StatementCount, activity_of_counts
from querygrowth.call_sites import CallSite

FIRST_ROW_TRIES = 5
"""Exports that are timed up to their first `row` record; the median counts."""

# A script and not `-m harness.exporters.probe_script`: the other environment may have no harness,
# or a folder of that name in the working directory.
_PROBE = Path(__file__).with_name("probe_script.py")


@dataclass(frozen=True)
class Probe:
    """An exporter of another environment, and how to run it there.

    Args:
        reference: The exporter there, as module:attribute.
        paths: Directories that come first on the import path.
        python: The interpreter.
        database: The class that opens the database there, as module:attribute; may be empty.
        name: The exporter's name in results; default: its attribute.
        environment: Environment variables; default: those of this process.
    """

    reference: str
    paths: tuple[Path, ...] = ()
    python: str = sys.executable
    database: str = ""
    name: str = ""
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    def locate(self) -> Path | None:
        """Import the exporter there; return the file of its module, None if it has none.

        Raises:
            SubjectError: It cannot be imported there.
        """
        request = {"task": "locate", "subject": self.reference, "paths": self._import_paths}
        with tempfile.TemporaryDirectory(prefix="harness-probe-") as directory:
            self._run(json.dumps({**request, "directory": directory}), "locate")
            file = json.loads(Path(directory, "answer.json").read_text(encoding="utf-8"))["file"]
        return None if file is None else Path(file)

    def describe(self, task: ExportTask) -> Mapping[str, Any]:
        """Return the exporter's methods and versions; SubjectError if it cannot be used."""
        with self._answered("describe", task) as answer:
            return answer.content

    def observe(self, task: ExportTask) -> Observation:
        """Count one export to a file."""
        with self._answered("count", task) as answer:
            content = answer.content
            file = WrittenFile.at(answer.directory / "export.jsonl")
        statements = [
            StatementCount(
                each["sql"], each["count"], CallSite(*each["site"]) if each["site"] else None
            )
            for each in content["statements"]
        ]
        activity = activity_of_counts(
            statements,
            dialect=content["dialect"],
            transactions=content["transactions"],
            records=file.records,
        )
        return Observation(self.label, activity, file)

    def time(self, task: ExportTask, *, tries: int = 1) -> float:
        """Return the seconds of the fastest of some exports, in a new process, after a warm-up."""
        with self._answered("time", task, tries=tries) as answer:
            return min(map(float, answer.content["seconds"]))

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record: the median of a few exports."""
        with self._answered("first_row", task, tries=FIRST_ROW_TRIES) as answer:
            return median(map(float, answer.content["seconds"]))

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export in a new process."""
        with self._answered("memory", task) as answer:
            return MemoryUse(**answer.content)

    @property
    def label(self) -> str:
        """The exporter's name in results."""
        return self.name or self.reference.rpartition(":")[2]

    @contextmanager
    def _answered(self, kind: str, task: ExportTask, *, tries: int = 1) -> Iterator["Answer"]:
        with tempfile.TemporaryDirectory(prefix="harness-probe-", dir=task.directory) as temporary:
            yield self.ask(kind, ProbeTask.of(task), Path(temporary), tries=tries)

    def ask(self, kind: str, task: "ProbeTask", directory: Path, *, tries: int = 1) -> "Answer":
        """Run one task in the other environment.

        Args:
            kind: One of TASKS of the probe script.
            task: The export to perform.
            directory: The folder for the answer and the written files.
            tries: The number of timed exports.

        Raises:
            SubjectError: The exporter cannot be imported, or fails. The message is one line.
        """
        request = {
            "subject": self.reference,
            "database": self.database,
            "paths": self._import_paths,
            "url": task.url,
            "run_id": task.run_id,
            "key": None if task.signing_key is None else task.signing_key.hex(),
            "clock": task.clock().isoformat(),
            "task": kind,
            "tries": tries,
            "directory": str(directory),
        }
        self._run(json.dumps(request), kind)
        # Through a file: the exporter may print to standard output.
        answer = (directory / "answer.json").read_text(encoding="utf-8")
        return Answer(json.loads(answer), directory)

    @property
    def _import_paths(self) -> list[str]:
        return [str(path.resolve()) for path in self.paths]

    def _run(self, request: str, kind: str) -> None:
        try:
            child = subprocess.run(  # noqa: S603 - the interpreter that the user named
                [self.python, str(_PROBE)],
                # Through a pipe: every user of the machine can read a process's arguments, and
                # the request holds the signing key and the database's password.
                input=request,
                capture_output=True,
                text=True,
                check=False,
                env=self.environment,
            )
        except OSError as error:
            raise SubjectError(f"{self.python} cannot be run: {error.strerror}") from error
        if child.returncode != 0:
            # A traceback ends with the error, which is the line that helps.
            last = (child.stderr.strip().splitlines() or ["no message"])[-1]
            raise SubjectError(f"{self.reference} in {self.python}: {kind} failed: {last}")


@dataclass(frozen=True)
class ProbeTask:
    """An export to perform, in values that pass between processes."""

    url: str
    run_id: str
    signing_key: bytes | None
    clock: Clock

    @classmethod
    def of(cls, task: ExportTask) -> "ProbeTask":
        """The same export as a task of this process."""
        return cls(task.db.connection_string, task.run_id, task.signing_key, task.clock)


@dataclass(frozen=True)
class Answer:
    """The answer of a probe, and the directory of the files that it wrote."""

    content: Mapping[str, Any]
    directory: Path


Write = Callable[..., None]


@dataclass(frozen=True)
class ProbedExporter:
    """Exports through a probe; `write_*` is None if the exporter there has no such method."""

    # As fields and not as methods: the harness looks for them to decide whether the exporter
    # writes files or its records are written for it.

    probe: Probe
    url: str
    signing_key: bytes | None
    clock: Clock
    write_jsonl: Write | None = None
    write_csv: Write | None = None

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[Mapping[str, Any]]:
        """Yield the records that the exporter yielded, then raise the error that it ended in."""
        with tempfile.TemporaryDirectory(prefix="harness-probe-") as directory:
            answer = self.ask("records", run_id, Path(directory), sign)
            with (answer.directory / "records").open(encoding="ascii") as file:
                yield from map(json.loads, file)
            # After the records, so that a comparison sees how far the exporter came.
            _raise_its_error(answer)

    def ask(self, kind: str, run_id: str, directory: Path, sign: bool) -> Answer:
        """Run one of the probe's tasks for a run."""
        task = ProbeTask(self.url, run_id, self.signing_key if sign else None, self.clock)
        return self.probe.ask(kind, task, directory)


def subject_of(probe: Probe, task: ExportTask) -> Subject:
    """Return the subject that represents a probe's exporter in comparisons."""
    offered = probe.describe(task)

    def build(db: LandscapeDB, signing_key: bytes | None, clock: Clock) -> Exporter:
        plain = ProbedExporter(probe, db.connection_string, signing_key, clock)
        return ProbedExporter(
            probe,
            db.connection_string,
            signing_key,
            clock,
            _writer(plain, "jsonl", "export.jsonl") if offered["writes_jsonl"] else None,
            _writer(plain, "csv", "csv") if offered["writes_csv"] else None,
        )

    def build_without_clock(db: LandscapeDB, signing_key: bytes | None = None) -> Exporter:
        return build(db, signing_key, task.clock)

    return Subject(probe.label, build if offered["takes_clock"] else build_without_clock)


def _writer(exporter: ProbedExporter, kind: str, name: str) -> Write:
    """Make a function that exports there, and moves the files to the target."""

    def write(run_id: str, target: Path, sign: bool = False) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-probe-") as directory:
            written = Path(directory, name)
            if target.is_dir():
                # The exporter must see the files in the directory: it may have to refuse them.
                shutil.copytree(target, written)
            _raise_its_error(exporter.ask(kind, run_id, Path(directory), sign))
            if target.is_dir():
                # `move` would put the export into the directory, not in its place.
                shutil.rmtree(target)
            shutil.move(written, target)

    return write


def _raise_its_error(answer: Answer) -> None:
    error = answer.content["error"]
    if error is not None:
        # With the class name from there: errors of two exporters are compared by it.
        raise type(error["type_name"], (RuntimeError,), {})(error["message"])
