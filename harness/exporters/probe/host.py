"""Answer requests about one exporter, in the exporter's own process, one after the other.

A request and its answer are lines of JSON on two pipes that belong to the harness. The exporter
prints to standard output and error, which the harness reads elsewhere. `TASKS` lists the requests.
Every one but `load` names the databases and a directory for files; those that export one run also
name it, the key and the clock. An answer holds one of

- `answer`: what the task returned;
- `raised`: the exporter's error, with the lines of its source;
- `refused`: the object is no exporter;
- `pause`: the export has come to a point where the harness acts before it goes on.

Before the first request it sends `started`.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from . import call_script, exports, measures
from .database import (
    ANOTHER_OPENER,
    LANDSCAPE,
    DatabaseWatch,
    close_database,
    open_database,
)
from .exports import one_line
from .imports import load_factory, load_package, require_sqlalchemy
from .process_state import (
    changed_settings,
    children_faults,
    end_if_forked,
    process_state,
    threads,
    threads_left,
    watch_forks,
)

LOST_PIPES = 86
"""The exit status when the exporter has closed the descriptors of the pipes."""


class Pipes:
    """The two pipes of the harness, which no program that the exporter starts inherits."""

    def __init__(self, requests: int, answers: int) -> None:
        """Take over two descriptors."""
        # Their numbers are those of the harness's process, and high if it has many files open. An
        # exporter that uses descriptors which are not its own must not do another harm then.
        requests, answers = _lowest(requests), _lowest(answers)
        self._requests = os.fdopen(requests, encoding="utf-8")
        self._answers = answers
        self._pid = os.getpid()

    def read(self) -> dict[str, Any] | None:
        """Return the next request; None at the end."""
        try:
            line = self._requests.readline()
        except OSError:
            os._exit(LOST_PIPES)
        return json.loads(line) if line else None

    def write(self, answer: dict[str, Any]) -> None:
        """Send one line."""
        end_if_forked(self._pid)  # It must not answer in the place of this process.
        data = f"{json.dumps(answer)}\n".encode()
        try:
            while data:
                data = data[os.write(self._answers, data) :]
        except OSError:
            os._exit(LOST_PIPES)


def _lowest(descriptor: int) -> int:
    """Move a descriptor to the lowest free number, which no program inherits."""
    moved = os.dup(descriptor)
    os.close(descriptor)
    return moved


class Host:
    """One exporter, its database, and the tasks that are done with them."""

    def __init__(self, pipes: Pipes) -> None:
        """Wait for the request `load`, which names the exporter."""
        self._pipes = pipes
        self.factory: Any = None
        self._source: Any = None
        self.name = ""
        self._accesses: list[dict[str, Any]] = []
        self._watches: list[DatabaseWatch] = []
        self._request: dict[str, Any] = {}
        self._querygrowth = Path()
        self._modules = 0
        self._forks = watch_forks()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Perform one task, and say what the exporter left changed."""
        if request["task"] == "load":
            answer = self._answer_of(lambda: self.load(request))
            self._collect()
            return answer
        self._request = request
        before, known, faults = process_state(), threads(), children_faults()
        task = TASKS[request["task"]]
        answer = self._answer_of(lambda: task(self))
        # Exporters and generators that the task dropped are in reference cycles at times.
        self._collect()
        answer["changes"] = [
            *(f"changed the {each}" for each in changed_settings(before, process_state())),
            *_threads_in_words(threads_left(known)),
            *self._forks.changes(),
            *(change for each in self._watches for change in each.changes()),
        ]
        answer["used_processes"] = children_faults() > faults
        return answer

    def _collect(self) -> None:
        """Collect garbage, without a look at what modules hold."""
        gc.collect()
        # Modules hold 200,000 objects, and a collection that visits them takes 50 ms: for 250
        # requests that is a quarter of the time of all checks.
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            gc.freeze()

    def _answer_of(self, task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        # The message of an error could raise another one, as could SystemExit with any argument.
        try:
            return {"answer": task()}
        except exports.NotAnExporterError as error:
            broken = isinstance(error, exports.BrokenImportError)
            return {"refused": " ".join(str(error).split()), "broken_import": broken}
        except BaseException as error:
            frames = [
                [each.path, each.line, each.function]
                for each in self._observation().frames_of_error(error, self._source)
            ]
            return {"raised": one_line(error, named=True), "frames": frames}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Import the exporter, and describe it and its environment."""
        sys.path[:] = [*request["paths"], *(request["path"] or sys.path), *request["last_paths"]]
        self._querygrowth = Path(request["querygrowth"])
        if request["where"]:
            require_sqlalchemy(request["where"])

        def give_up(message: str) -> None:
            self._pipes.write({"refused": message, "broken_import": True})
            os._exit(0)  # The import goes on in the main thread, and nothing else can end it.

        module, self.factory = load_factory(
            request["subject"],
            request["paths"],
            where=request["where"],
            seconds=request["seconds"],
            give_up=give_up,
        )
        self._source = self.factory
        self.name = request["name"]
        file = getattr(module, "__file__", None)
        return {
            "python": sys.version.split()[0],
            "takes_clock": exports.takes_clock(self.factory),
            "file": file and str(Path(file).absolute()),
            "defined_at": exports.definition_of(self.factory, self.name),
        }

    @property
    def db(self) -> Any:
        """The first database of the request."""
        return self.databases[0]

    @property
    def databases(self) -> list[Any]:
        """The databases of the request; they stay open until others are asked for."""
        accesses = self._request["databases"]
        if accesses != self._accesses:
            self.close()
            # One by one, so that those before one that cannot be opened are closed later.
            for access in accesses:
                self._watches.append(DatabaseWatch(open_database(access)))
            self._accesses = accesses
        return [each.db for each in self._watches]

    def close(self) -> None:
        """Close the databases."""
        for each in self._watches:
            close_database(each.db)
        self._watches, self._accesses = [], []

    def build(self) -> Any:
        """Make an exporter; one that takes a clock gets a fixed one."""
        moment = datetime.fromisoformat(self._request["clock"])
        made = exports.build_exporter(self.name, self.factory, self.db, self._key, lambda: moment)
        # The loops are in the class, and a function that makes an object of it is elsewhere.
        if not isinstance(self.factory, type) and exports.definition_of(type(made), ""):
            self._source = type(made)
        return made

    @property
    def _key(self) -> bytes | None:
        key = self._request["key"]
        return None if key is None else bytes.fromhex(key)

    @property
    def _directory(self) -> Path:
        return Path(self._request["directory"])

    def open(self) -> dict[str, Any]:
        """Open the databases, before anything is measured."""
        opener = self._request["databases"][0]["opener"] or LANDSCAPE
        try:
            return {"databases": len(self.databases)}
        except exports.NotAnExporterError:
            raise
        except Exception as error:  # Their class may refuse a database by any error.
            raise exports.NotAnExporterError(
                f"{opener} cannot open a database of the harness: {one_line(error, named=True)}; "
                f"{ANOTHER_OPENER}"
            ) from error

    def export(self) -> dict[str, Any]:
        """Export in every form."""
        return exports.write_forms(
            self.build,
            self._request["run_id"],
            self._directory,
            sign=self._key is not None,
            max_records=self._request["max_records"],
        )

    def export_records(self) -> dict[str, Any]:
        """Export the records, and pause once for the harness if it asked for that."""
        return exports.write_records(
            self.build,
            self._request["run_id"],
            self._directory / exports.RECORDS,
            sign=self._key is not None,
            max_records=self._request["max_records"],
        )

    def export_with_pause(self) -> dict[str, Any]:
        """Export the records, and have the harness act when a query has been executed."""

        def pause() -> None:
            self._pipes.write({"pause": True})
            self._pipes.read()

        found: dict[str, Any] = self._observation().write_records_with_pause(
            self.build,
            self._request["run_id"],
            self._directory / exports.RECORDS,
            sign=self._key is not None,
            engine=self.db.engine,
            pause=pause,
            after=self._request["after"],
        )
        return found

    def write_file(self) -> bool:
        """Write a file with the exporter's method, or else its records as plain JSON.

        Returns:
            Whether a method of the exporter wrote it.
        """
        path = self._directory / exports.JSONL
        exporter, run_id, sign = self.build(), self._request["run_id"], self._key is not None
        writes = hasattr(exporter, "write_jsonl")
        if writes:
            exporter.write_jsonl(run_id, path, sign=sign)
        else:
            exports.write_lines(exporter.export_run(run_id, sign=sign), path)
        return writes

    def count_records(self) -> int:
        """Read the records of an export and return their number."""
        records = self.build().export_run(self._request["run_id"], sign=self._key is not None)
        return exports.count_records(records)

    def observe(self) -> dict[str, Any]:
        """Export with all counters, to a file or to no place, and write the record of it.

        Returns:
            `result`: whether a method of the exporter wrote the file, or the number of records.
        """
        self.build()  # So that the source is known of what a function makes.
        record = self._observation().observe(
            self.count_records if self._request["without_file"] else self.write_file,
            self.db.engine,
            self._source,
            self._request["work"],
            in_packages=self._request["in_packages"],
        )
        path = self._directory / "record.json"
        path.write_text(json.dumps(record.to_json()), encoding="ascii")
        return {"result": record.result}

    def perform(self) -> dict[str, Any]:
        """Perform a script of calls."""
        found = call_script.perform(
            self._request["script"], self.factory, self.databases, self._directory
        )
        return {"outcomes": found}

    def time_exports(self) -> dict[str, Any]:
        """Time exports to a file, after a warm-up."""
        return measures.times_after_warm_up(self.write_file, self._request["tries"])

    def time_first_row(self) -> dict[str, Any]:
        """Time from the start of an export to its first `row` record, after a warm-up."""

        def read() -> None:
            run_id, sign = self._request["run_id"], self._key is not None
            measures.read_to_first_row(self.build(), run_id, sign=sign)

        return measures.times_after_warm_up(read, self._request["tries"])

    def measure_memory(self) -> dict[str, Any]:
        """Measure the resident memory before one export, and at its highest."""
        # An exporter may import modules when it is made: that is not memory of the export.
        self.build()
        return measures.memory_of(self.write_file)

    def sample_held(self) -> dict[str, Any]:
        """Sample what Python holds during one export."""
        self.build()
        return {"peaks": measures.sampled_peaks_of(self.write_file, self.db.engine)}

    def measure_held(self) -> dict[str, Any]:
        """Measure what Python's allocator holds during and after several exports."""
        self.build()
        return measures.held_bytes_of(
            self.write_file,
            self._request["tries"],
            lambda: measures.drop_connection(self.db.engine),
        )

    def _observation(self) -> Any:
        """Import what needs querygrowth, which is then loaded from the harness's folder."""
        if "querygrowth" not in sys.modules:
            load_package("querygrowth", self._querygrowth)
        return importlib.import_module(f"{__package__}.observation")


TASKS: dict[str, Callable[[Host], dict[str, Any]]] = {
    "open": Host.open,
    "export": Host.export,
    "records": Host.export_records,
    "paused": Host.export_with_pause,
    "observe": Host.observe,
    "script": Host.perform,
    "time": Host.time_exports,
    "first_row": Host.time_first_row,
    "memory": Host.measure_memory,
    "held": Host.measure_held,
    "sampled": Host.sample_held,
}


def run(requests: int, answers: int) -> None:
    """Answer requests until the harness closes its end.

    Args:
        requests: The descriptor that the requests come from.
        answers: The descriptor that the answers go to.
    """
    # A command that a shell starts in the background ignores interrupts, and so would this process.
    # An exporter that ignores them for good would then change nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipes = Pipes(requests, answers)
    # Before anything of the exporter is imported: the interpreter did not cause what ends later.
    pipes.write({"started": True})
    host = Host(pipes)
    while (request := pipes.read()) is not None:
        pipes.write(host.answer(request))
    # A normal exit waits for threads and runs the exporter's exit handlers. Only the helper
    # processes of multiprocessing need it.
    if "multiprocessing.util" not in sys.modules:
        os._exit(0)


def _threads_in_words(names: list[str]) -> list[str]:
    if not names:
        return []
    counted = f"{len(names)} thread{'s' if len(names) != 1 else ''}"
    return [f"left {counted} behind: {', '.join(dict.fromkeys(names[:3]))}"]
