"""An exporter of this process: export, count and time it here."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Self

from elspeth.cli.runtime import Terminated
from elspeth.core.landscape import LandscapeDB
from harness.exporters.failure import ExportFailedError, refuse_replaced_hooks
from harness.exporters.observation import ExportTask, MemoryUse, Observation, observe_export
from harness.exporters.own_process import InOwnProcess
from harness.exporters.probe import call_script, exports, measures
from harness.exporters.probe.observation import (
    SourceFolders,
    frames_of_error,
    write_records_with_pause,
)
from harness.exporters.subject import Exporter, Subject, SubjectError
from harness.exporters.subprocess_probe import FIRST_ROW_TRIES, Probe
from querygrowth.counting.work import VM_STEPS, count_branches
from querygrowth.places.call_sites import CallSite


@dataclass(frozen=True)
class InThisProcess:
    """An exporter of this process. Hostile exporters are not survived here."""

    loaded: Subject

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def name(self) -> str:
        """The name of its class or function."""
        return self.loaded.name

    @property
    def is_here(self) -> bool:
        """Always true."""
        return True

    @property
    def takes_clock(self) -> bool:
        """Whether its class or function has a parameter `clock`."""
        return self.loaded.takes_clock

    @property
    def defined_at(self) -> CallSite | None:
        """The first line of its class or function."""
        place = exports.definition_of(self.loaded.factory, self.name)
        return CallSite(*place) if place else None

    def export(self, task: ExportTask, *, max_records: int = sys.maxsize) -> Mapping[str, Any]:
        """Export in every form, each with a new exporter."""
        return exports.write_forms(
            self._build(task),
            task.run_id,
            task.directory,
            sign=task.signing_key is not None,
            max_records=max_records,
        )

    def export_records(
        self, task: ExportTask, *, max_records: int = sys.maxsize
    ) -> Mapping[str, Any]:
        """Export the records."""
        return exports.write_records(
            self._build(task),
            task.run_id,
            task.directory / exports.RECORDS,
            sign=task.signing_key is not None,
            max_records=max_records,
        )

    def export_with_pause(
        self, task: ExportTask, pause: Callable[[], object], *, after: int = 1
    ) -> Mapping[str, Any]:
        """Export the records, and call `pause` in the thread of the export."""
        return write_records_with_pause(
            self._build(task),
            task.run_id,
            task.directory / exports.RECORDS,
            sign=task.signing_key is not None,
            engine=task.db.engine,
            pause=pause,
            after=after,
        )

    def observe(self, task: ExportTask, *, work: Iterable[str] = (VM_STEPS,)) -> Observation:
        """Count the queries, fetched rows and work of one export."""
        with self._errors_caught():
            return observe_export(self.loaded, task, work)

    def count_branches(self, task: ExportTask) -> int | None:
        """Count branches in the exporter's package and its base classes'; None without source."""
        # A separate pass: tracing Python makes an export many times slower.
        with (
            self._errors_caught(),
            count_branches(SourceFolders(self.loaded.factory)) as branches,
        ):
            task.perform(self.loaded)
        refuse_replaced_hooks(self.name, [branches.replaced] if branches.replaced else [])
        return branches.count or None

    def perform(self, script: Any, databases: Sequence[LandscapeDB], directory: Path) -> Any:
        """Perform a script of calls."""
        with self._errors_caught():
            return call_script.perform(script, self.loaded.factory, databases, directory)

    def time(self, task: ExportTask) -> float:
        """Return the seconds of one signed export to a file."""
        with self._errors_caught():
            return measures.seconds_of(lambda: task.perform(self.loaded))

    def time_first_row(self, task: ExportTask) -> float:
        """Return the seconds to the first `row` record: the median of a few exports."""

        def read() -> None:
            measures.read_to_first_row(self._build(task)(), task.run_id)

        with self._errors_caught():
            return median(measures.seconds_of(read) for _ in range(FIRST_ROW_TRIES))

    def measure_memory(self, task: ExportTask) -> MemoryUse:
        """Return the memory of one export, in a fresh process of this interpreter."""
        # This process has held other runs already, and its peak never falls.
        probe = Probe(self.loaded.reference, (self.loaded.import_root,))
        return probe.measure_memory(task)

    def measure_held(self, task: ExportTask, *, tries: int) -> Mapping[str, Sequence[int]]:
        """Return the bytes that Python holds here."""
        with self._errors_caught():
            return measures.held_bytes_of(
                lambda: task.perform(self.loaded),
                tries,
                lambda: measures.drop_connection(task.db.engine),
            )

    def sample_held(self, task: ExportTask) -> Mapping[str, int] | None:
        """Return the most that Python holds here, by samples."""
        with self._errors_caught():
            return measures.sampled_peaks_of(lambda: task.perform(self.loaded), task.db.engine)

    def in_environment(self, variables: Mapping[str, str]) -> InOwnProcess | None:
        """Return the exporter in a process with these variables; None without a reference."""
        if not self.loaded.reference:
            return None
        paths = (self.loaded.import_root,)
        return InOwnProcess(Probe(self.loaded.reference, paths, environment=variables))

    def within(self, seconds: float) -> Self:
        """Return the exporter as it is: nothing can stop it here."""
        return self

    @property
    def used_processes(self) -> bool:
        """Always false: it is not watched here."""
        return False

    @property
    def hangs(self) -> int:
        """Always 0: nothing can stop it here."""
        return 0

    def end_check(self) -> tuple[str, ...]:
        """Return nothing: it is not watched here."""
        return ()

    def close(self) -> None:
        """Do nothing."""

    def _build(self, task: ExportTask) -> Callable[[], Exporter]:
        return partial(self.loaded.build, task.db, task.signing_key, task.clock)

    @contextmanager
    def _errors_caught(self) -> Iterator[None]:
        """Raise the exporter's errors as ExportFailedError."""
        try:
            yield
        except (SubjectError, ExportFailedError):
            raise  # It is not an exporter at all, or failed in a separate process.
        except Terminated:
            raise  # SIGTERM to the harness says nothing about the exporter that ran just then.
        except (Exception, SystemExit) as error:  # The user's code may raise any.
            frames = frames_of_error(error, self.loaded.factory)
            seen = f"it raised {type(error).__name__}: {error}"
            raise ExportFailedError(self.name, seen, frames=frames) from error
