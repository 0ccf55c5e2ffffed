"""A subject that lives in another process: compared here like any other, exported there."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from harness.measurement.probing import Answer, Probe, ProbeTask
from harness.observation import ExportTask
from harness.subject import Exporter, Subject

Write = Callable[..., None]


@dataclass(frozen=True)
class ProbedExporter:
    """Has the probe export, and passes on what it wrote; `write_*` is None where it cannot."""

    probe: Probe
    url: str
    signing_key: bytes | None
    clock: Clock
    write_jsonl: Write | None = None
    write_csv: Write | None = None

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[Mapping[str, Any]]:
        """Yield the records that the exporter yielded, then raise the error it ended in."""
        with tempfile.TemporaryDirectory(prefix="harness-probe-") as directory:
            answer = self.ask("records", run_id, Path(directory), sign)
            with (answer.directory / "records").open(encoding="ascii") as file:
                yield from map(json.loads, file)
            _raise_its_error(answer)

    def ask(self, kind: str, run_id: str, directory: Path, sign: bool) -> Answer:
        """Have the probe do one of its tasks for a run."""
        task = ProbeTask(self.url, run_id, self.signing_key if sign else None, self.clock)
        return self.probe.ask(kind, task, directory)


def subject_of(probe: Probe, task: ExportTask) -> Subject:
    """Return the subject that stands for a probe's exporter in comparisons."""
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
    """Make a function that has files written there and put where they are wanted."""

    def write(run_id: str, target: Path, sign: bool = False) -> None:
        with tempfile.TemporaryDirectory(prefix="harness-probe-") as directory:
            written = Path(directory, name)
            if target.is_dir():
                # An export into a directory that is not empty has to settle what is in it.
                shutil.copytree(target, written)
            _raise_its_error(exporter.ask(kind, run_id, Path(directory), sign))
            if target.is_dir():
                shutil.rmtree(target)
            shutil.move(written, target)

    return write


def _raise_its_error(answer: Answer) -> None:
    error = answer.content["error"]
    if error is not None:
        # By its own name, which is what two exporters' errors are compared by.
        raise type(error["type_name"], (RuntimeError,), {})(error["message"])
