"""A script that counts, times or weighs an export in the exporter's own environment.

It imports the standard library and SQLAlchemy only, so it runs under any interpreter that has the
exporter's dependencies: `PYTHON probe_script.py < request.json`. `subprocess_probe` writes the
request, and reads `answer.json` from the directory that the request names.

The request is an object with `subject` and `database` (module:attribute; `database` may be empty),
`paths` (to import from first), `url`, `run_id`, `key` (hex; null for an unsigned export), `clock`
(an ISO time), `task` (one of TASKS), `tries` and `directory`. The task `locate` takes `subject`,
`paths` and `directory` only.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

# Python puts the script's folder first on the path; its modules must not shadow the exporter's.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]

LANDSCAPE = "elspeth.core.landscape.database:LandscapeDB"
WARMUPS = 1
# The first export imports modules and compiles statements, which later ones find done.


class Database:
    """Passed to an exporter whose environment has no database class: an engine and connections."""

    def __init__(self, url: str) -> None:
        """Open the database of a URL."""
        from sqlalchemy import create_engine

        self.connection_string = url
        self.engine = create_engine(url)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Run one transaction."""
        with self.engine.begin() as connection:
            yield connection


class Subject:
    """The exporter of one request."""

    def __init__(self, request: dict[str, Any]) -> None:
        """Import the exporter and open the database."""
        key = request["key"]
        self.key = None if key is None else bytes.fromhex(key)
        sys.path[:0] = request["paths"]
        self.request = request
        self.directory = Path(request["directory"])
        self.factory = load(request["subject"])
        self.db = open_database(request["database"], request["url"])

    def exporter(self) -> Any:
        """Make an exporter; one that takes a clock gets the fixed one."""
        moment = datetime.fromisoformat(self.request["clock"])
        options = {"clock": lambda: moment} if takes_clock(self.factory) else {}
        return self.factory(self.db, self.key, **options)

    def records(self) -> Any:
        """Start an export and return its records."""
        return self.exporter().export_run(self.request["run_id"], sign=self.key is not None)

    def write(self) -> None:
        """Write a file with the exporter's method, or else its records as plain JSON."""
        path = self.directory / "export.jsonl"
        exporter = self.exporter()
        if hasattr(exporter, "write_jsonl"):
            exporter.write_jsonl(self.request["run_id"], path, sign=self.key is not None)
        else:
            write_lines(self.records(), path)


def describe(subject: Subject) -> dict[str, Any]:
    """Describe the exporter's methods, and the versions of its environment."""
    import sqlalchemy

    exporter = subject.exporter()
    return {
        "python": sys.version.split()[0],
        "sqlalchemy": sqlalchemy.__version__,
        "takes_clock": takes_clock(subject.factory),
        "writes_jsonl": hasattr(exporter, "write_jsonl"),
        "writes_csv": hasattr(exporter, "write_csv"),
    }


def export_records(subject: Subject) -> dict[str, Any]:
    """Write the records into a file, up to the error that they end in."""
    path = subject.directory / "records"
    path.touch()
    return {"error": error_of(lambda: write_lines(subject.records(), path))}


def export_jsonl(subject: Subject) -> dict[str, Any]:
    """Export to a JSON Lines file."""
    # The error is part of the answer, not a failure of the probe: both exporters may raise it.
    return {"error": error_of(subject.write)}


def export_csv(subject: Subject) -> dict[str, Any]:
    """Export to a directory of CSV files."""

    def write() -> None:
        run_id, directory = subject.request["run_id"], subject.directory / "csv"
        subject.exporter().write_csv(run_id, directory, sign=subject.key is not None)

    return {"error": error_of(write)}


def count(subject: Subject) -> dict[str, Any]:
    """Count the statements and transactions of one export to a file, and the lines behind them."""
    from sqlalchemy import event

    statements: Counter[Any] = Counter()
    begun: Counter[str] = Counter()

    def executed(*event_arguments: Any) -> None:
        statements[(event_arguments[2], call_site(subject.request["paths"]))] += 1

    def begin(_connection: Any) -> None:
        begun["transactions"] += 1

    # Only counters in the listeners: the harness classifies the statements afterwards.
    engine = subject.db.engine
    event.listen(engine, "before_cursor_execute", executed)
    event.listen(engine, "begin", begin)
    subject.write()
    return {
        "dialect": engine.dialect.name,
        "transactions": begun["transactions"],
        "statements": [
            {"sql": sql, "count": number, "site": site}
            for (sql, site), number in statements.items()
        ],
    }


def time_exports(subject: Subject) -> dict[str, Any]:
    """Time exports to a file, after a warm-up, without listeners."""
    for _ in range(WARMUPS):
        subject.write()
    seconds, cpu_seconds, core_waits = [], [], []
    for _ in range(subject.request["tries"]):
        # The collection of garbage would count as CPU time of the export.
        gc.collect()
        started = time.perf_counter(), cpu_time(), waited_for_a_core()
        subject.write()
        seconds.append(time.perf_counter() - started[0])
        cpu_seconds.append(cpu_time() - started[1])
        core_waits.append(waited_for_a_core() - started[2])
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "core_waits": core_waits}


def time_first_row(subject: Subject) -> dict[str, Any]:
    """Time from the start of an export to its first `row` record, after a warm-up."""

    def read() -> None:
        records = iter(subject.records())
        next((each for each in records if each["record_type"] == "row"), None)
        if hasattr(records, "close"):
            records.close()

    for _ in range(WARMUPS):
        read()
    return {"seconds": [seconds_of(read) for _ in range(subject.request["tries"])]}


def measure_memory(subject: Subject) -> dict[str, Any]:
    """Measure the resident memory before one export, and at its highest."""
    # An exporter may import modules when it is made: that is not memory of the export.
    subject.exporter()
    start = resident_bytes("VmRSS")
    subject.write()
    return {"start_bytes": start, "peak_bytes": resident_bytes("VmHWM")}


def locate(request: dict[str, Any]) -> dict[str, Any]:
    """Import the exporter, and return the real path of its module's file."""
    sys.path[:0] = request["paths"]
    load(request["subject"])
    file = getattr(sys.modules[request["subject"].partition(":")[0]], "__file__", None)
    return {"file": file and str(Path(file).resolve())}


TASKS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "describe": describe,
    "records": export_records,
    "jsonl": export_jsonl,
    "csv": export_csv,
    "count": count,
    "time": time_exports,
    "first_row": time_first_row,
    "memory": measure_memory,
}


def load(reference: str) -> Any:
    """Import what `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def open_database(reference: str, url: str) -> Any:
    """Open the database with the named class, the Landscape's class, or a plain one."""
    if reference:
        return load(reference)(url)
    try:
        landscape = load(LANDSCAPE)
    except ImportError:
        return Database(url)
    return landscape(url, create_tables=False)


def takes_clock(factory: Callable[..., Any]) -> bool:
    """Whether it takes a clock, so that the time in its manifest can be fixed."""
    try:
        return "clock" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def write_lines(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write records as JSON, one a line, up to the first error."""
    # Not canonical JSON: the harness parses the lines and compares records, field by field.
    with path.open("w", encoding="ascii") as file:
        for record in records:
            file.write(json.dumps(dict(record), default=foreign))
            file.write("\n")


def foreign(value: object) -> dict[str, str]:
    """Represent a value that JSON cannot hold."""
    return {"class": type(value).__qualname__, "repr": repr(value)}


def error_of(action: Callable[[], object]) -> dict[str, str] | None:
    """Perform an action and return the error that it raises, if any."""
    try:
        action()
    except Exception as error:
        return {"type_name": type(error).__qualname__, "message": str(error)}
    return None


def seconds_of(action: Callable[[], object]) -> float:
    """Perform an action and return its seconds."""
    # Otherwise the collection of earlier garbage could fall into the measured time.
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def cpu_time() -> float:
    """Return the CPU seconds of this process and of the finished ones that it started."""
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def waited_for_a_core() -> float:
    """Return the seconds that the main thread could run and had no core; 0 where unknown."""
    # Linux counts them in nanoseconds, in the second field.
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def call_site(paths: list[str]) -> tuple[str, int, str] | None:
    """The nearest frame in a file under the paths given: (file, line, function), or None."""
    # Two frames up: past this function and the listener that calls it.
    frame: Any = sys._getframe(2)
    roots = tuple(f"{Path(path).resolve()}/" for path in paths)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(roots) and "/site-packages/" not in code.co_filename:
            return code.co_filename, frame.f_lineno, getattr(code, "co_qualname", code.co_name)
        frame = frame.f_back
    return None


def resident_bytes(field: str) -> int:
    """Read a field of Linux's /proc/self/status, in bytes."""
    # `getrusage` reports a maximum that includes the process before `exec`: the harness.
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"/proc/self/status has no {field}")


def main() -> None:
    """Answer one request from standard input."""
    request = json.load(sys.stdin)
    # The only task without a database and a run: it comes before there are any.
    locates = request["task"] == "locate"
    answer = locate(request) if locates else TASKS[request["task"]](Subject(request))
    Path(request["directory"], "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
