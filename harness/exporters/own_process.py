"""An exporter in a process that it has for itself: export, count, time and weigh it there."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from elspeth.core.landscape import LandscapeDB
from harness.exporters.canonical_json import canonical
from harness.exporters.failure import read_records
from harness.exporters.observation import (
    ExportTask,
    MemoryUse,
    Observation,
    WrittenFile,
    observation_of,
)
from harness.exporters.probe import exports
from harness.exporters.subprocess_probe import ExporterProcess, Probe
from querygrowth.counting.record import Record
from querygrowth.counting.work import BRANCHES, VM_STEPS
from querygrowth.places.call_sites import CallSite


class InOwnProcess:
    """An exporter in a process that it has for itself: of this environment or another."""

    def __init__(
        self, probe: Probe, seconds: float | None = None, process: ExporterProcess | None = None
    ) -> None:
        """Remember the exporter; its process is started when it is first asked.

        Args:
            probe: The exporter and its environment.
            seconds: The limit of a pass; default: DEFAULT_SECONDS of the process.
            process: A process that it shares with another object; default: a new one.
        """
        self.probe = probe
        self.process = process or ExporterProcess(probe)
        self._seconds = seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The probe's label."""
        return self.probe.label

    @property
    def is_here(self) -> bool:
        """Always false."""
        return False

    @property
    def takes_clock(self) -> bool:
        """Whether its class or function has a parameter `clock`."""
        return bool(self.process.description["takes_clock"])

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its class or function."""
        place = self.process.description["defined_at"]
        return CallSite(*place) if place else None

    def open_database(self, task: ExportTask) -> None:
        """Open the database of a task there, before anything is measured.

        Raises:
            SubjectError: It cannot be opened there. The message is one line.
        """
        self._ask("open", task, task.directory)

    def export(self, task: ExportTask, *, max_records: int = sys.maxsize) -> Mapping[str, Any]:
        """Export in every form, each with a new exporter."""
        return self._ask("export", task, task.directory, max_records=max_records)

    def export_records(
        self, task: ExportTask, *, max_records: int = sys.maxsize
    ) -> Mapping[str, Any]:
        """Export the records."""
        return self._ask("records", task, task.directory, max_records=max_records)

    def export_with_pause(
        self, task: ExportTask, pause: Callable[[], object], *, after: int = 1
    ) -> Mapping[str, Any]:
        """Export the records; the export there waits while `pause` runs here."""
        return self._ask("paused", task, task.directory, pause=pause, after=after)

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries, fetched rows and work of one export there."""
        return self._observe(task, work)

    def _observe(
        self, task: ExportTask, work: Iterable[str], *, in_packages: bool = False
    ) -> Observation:
        with self._folder(task) as folder:
            options = {"work": list(work), "in_packages": in_packages}
            answer = self._ask("observe", task, folder, **options)
            path = folder / exports.JSONL
            written = (folder / "record.json").read_text(encoding="ascii")
            record = Record.from_json(json.loads(written))
            if task.without_file:
                return observation_of(self.name, record, WrittenFile.none(answer["result"]))
            if not answer["result"]:
                _make_canonical(path)
            manifest = task.manifest_time(takes_clock=self.takes_clock)
            return observation_of(self.name, record, WrittenFile.at(path, manifest))

    def count_branches(self, task: ExportTask) -> int | None:
        """Count branches in the exporter's package and its base classes'; None without source."""
        seen = self._observe(task, (BRANCHES,), in_packages=True)
        return seen.activity.work[BRANCHES] or None

    def perform(self, script: Any, databases: Sequence[LandscapeDB], directory: Path) -> Any:
        """Perform a script of calls there."""
        answer = self.process.ask_script(script, databases, directory, seconds=self._seconds)
        return answer["outcomes"]

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one export in a new process, without its start."""
        return self.probe.time(task)

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record in a new process."""
        return self.probe.time_first_row(task)

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export in a new process."""
        return self.probe.measure_memory(task, seconds=self._seconds)

    def measure_held(self, task: ExportTask, *, tries: int) -> Mapping[str, Sequence[int]]:
        """Return the bytes that Python holds there."""
        with self._folder(task) as folder:
            return self._ask("held", task, folder, tries=tries)

    def sample_held(self, task: ExportTask) -> Mapping[str, int] | None:
        """Return the most that Python holds there, by samples."""
        with self._folder(task) as folder:
            peaks: Mapping[str, int] | None = self._ask("sampled", task, folder)["peaks"]
            return peaks

    def in_environment(self, variables: Mapping[str, str]) -> "InOwnProcess":
        """Return the exporter in a new process with these variables."""
        return InOwnProcess(replace(self.probe, environment=variables), self._seconds)

    def within(self, seconds: float) -> "InOwnProcess":
        """Return the exporter in the same process, with another limit for a pass."""
        return InOwnProcess(self.probe, seconds, self.process)

    @property
    def used_processes(self) -> bool:
        """Whether a process that it started has ended since `end_check`."""
        return self.process.used_processes

    @property
    def hangs(self) -> int:
        """How often it did not end a pass in time."""
        return self.process.hangs

    def end_check(self) -> tuple[str, ...]:
        """Return what it changed or left behind since the last call, in words."""
        return self.process.end_check()

    def close(self) -> None:
        """End its process, and all that it started."""
        self.process.close()

    @contextmanager
    def _folder(self, task: ExportTask) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="harness-probe-", dir=task.directory) as folder:
            yield Path(folder)

    def _ask(self, kind: str, task: ExportTask, folder: Path, **options: Any) -> Mapping[str, Any]:
        return self.process.ask(kind, task, folder, seconds=self._seconds, **options)


def _make_canonical(path: Path) -> None:
    """Rewrite a file of JSON lines as canonical JSON, as `write_jsonl` of `subject` writes it."""
    plain = path.with_suffix(".plain")
    path.rename(plain)
    with path.open("wb") as file:
        for record in read_records(plain):
            file.write(canonical(record) + b"\n")
