"""The probe: a script that exports, counts or times an exporter in its own environment.

It needs the standard library and SQLAlchemy only, so it runs under any interpreter that has the
exporter's dependencies: `PYTHON probe_script.py < request.json`. `subprocess_probe` writes the
request and reads `answer.json` from the directory that it names.

The request: `subject` and `database` (module:attribute each; `database` may be empty), `paths` to
import from first, `url`, `run_id`, `key` (hex; null for an unsigned export), `clock` (ISO time),
`task` (one of TASKS), `tries`, `directory`.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

# The script's own folder holds modules of the harness, which must not be found by their bare names.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]

LANDSCAPE = "elspeth.core.landscape.database:LandscapeDB"
WARMUPS = 1


class Database:
    """What an exporter is given where its environment has no database class: engine, connection."""

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


class Trial:
    """One exporter of one request: builds it as often as needed, and has it export."""

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
        """Make an exporter; the clock is passed to one that takes it."""
        moment = datetime.fromisoformat(self.request["clock"])
        options = {"clock": lambda: moment} if takes_clock(self.factory) else {}
        return self.factory(self.db, self.key, **options)

    def records(self) -> Any:
        """Start an export and return its records."""
        return self.exporter().export_run(self.request["run_id"], sign=self.key is not None)

    def write(self) -> None:
        """Have it write a file, or write its records for it, as plain JSON."""
        path = self.directory / "export.jsonl"
        exporter = self.exporter()
        if hasattr(exporter, "write_jsonl"):
            exporter.write_jsonl(self.request["run_id"], path, sign=self.key is not None)
        else:
            write_lines(self.records(), path)


def describe(trial: Trial) -> dict[str, Any]:
    """Tell what the exporter offers, and what it runs on."""
    import sqlalchemy

    exporter = trial.exporter()
    return {
        "python": sys.version.split()[0],
        "sqlalchemy": sqlalchemy.__version__,
        "takes_clock": takes_clock(trial.factory),
        "writes_jsonl": hasattr(exporter, "write_jsonl"),
        "writes_csv": hasattr(exporter, "write_csv"),
    }


def export_records(trial: Trial) -> dict[str, Any]:
    """Keep the records in a file, up to the error they end in."""
    path = trial.directory / "records"
    path.touch()
    return {"error": error_of(lambda: write_lines(trial.records(), path))}


def export_jsonl(trial: Trial) -> dict[str, Any]:
    """Have the exporter write its JSON Lines file."""
    return {"error": error_of(trial.write)}


def export_csv(trial: Trial) -> dict[str, Any]:
    """Have the exporter write its directory of CSV files."""

    def write() -> None:
        run_id, directory = trial.request["run_id"], trial.directory / "csv"
        trial.exporter().write_csv(run_id, directory, sign=trial.key is not None)

    return {"error": error_of(write)}


def count(trial: Trial) -> dict[str, Any]:
    """Count the statements and transactions of one export to a file, and where they come from."""
    from sqlalchemy import event

    statements: Counter[Any] = Counter()
    begun: Counter[str] = Counter()

    def executed(*event_arguments: Any) -> None:
        statements[(event_arguments[2], call_site(trial.request["paths"]))] += 1

    def begin(_connection: Any) -> None:
        begun["transactions"] += 1

    engine = trial.db.engine
    event.listen(engine, "before_cursor_execute", executed)
    event.listen(engine, "begin", begin)
    trial.write()
    return {
        "dialect": engine.dialect.name,
        "transactions": begun["transactions"],
        "statements": [
            {"sql": sql, "count": number, "site": site}
            for (sql, site), number in statements.items()
        ],
    }


def time_exports(trial: Trial) -> dict[str, Any]:
    """Time exports to a file, after a warm-up, with nothing listening."""
    for _ in range(WARMUPS):
        trial.write()
    return {"seconds": [seconds_of(trial.write) for _ in range(trial.request["tries"])]}


def time_first_row(trial: Trial) -> dict[str, Any]:
    """Time the wait for the first `row` record, after a warm-up."""

    def read() -> None:
        records = iter(trial.records())
        next((each for each in records if each["record_type"] == "row"), None)
        if hasattr(records, "close"):
            records.close()

    for _ in range(WARMUPS):
        read()
    return {"seconds": [seconds_of(read) for _ in range(trial.request["tries"])]}


def measure_memory(trial: Trial) -> dict[str, Any]:
    """Tell the resident memory before one export, and at its highest."""
    trial.exporter()
    start = resident_bytes("VmRSS")
    trial.write()
    return {"start_bytes": start, "peak_bytes": resident_bytes("VmHWM")}


TASKS: dict[str, Callable[[Trial], dict[str, Any]]] = {
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
    """Open the database with the class named, the Landscape's own, or a plain one."""
    if reference:
        return load(reference)(url)
    try:
        landscape = load(LANDSCAPE)
    except ImportError:
        return Database(url)
    return landscape(url, create_tables=False)


def takes_clock(factory: Callable[..., Any]) -> bool:
    """Whether the time in its manifest can be fixed."""
    try:
        return "clock" in inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return False


def write_lines(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write records as JSON, one a line, as far as they go."""
    with path.open("w", encoding="ascii") as file:
        for record in records:
            file.write(json.dumps(dict(record), default=foreign))
            file.write("\n")


def foreign(value: object) -> dict[str, str]:
    """Show a value that JSON has no form for."""
    return {"class": type(value).__qualname__, "repr": repr(value)}


def error_of(action: Callable[[], object]) -> dict[str, str] | None:
    """Perform an action and tell the error it ends in; None without one."""
    try:
        action()
    except Exception as error:
        return {"type_name": type(error).__qualname__, "message": str(error)}
    return None


def seconds_of(action: Callable[[], object]) -> float:
    """Time an action."""
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def call_site(paths: list[str]) -> tuple[str, int, str] | None:
    """The nearest frame in a file under the paths given: (file, line, function), or None."""
    frame: Any = sys._getframe(2)
    roots = tuple(f"{Path(path).resolve()}/" for path in paths)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(roots) and "/site-packages/" not in code.co_filename:
            return code.co_filename, frame.f_lineno, getattr(code, "co_qualname", code.co_name)
        frame = frame.f_back
    return None


def resident_bytes(field: str) -> int:
    """Read a field of Linux's /proc/self/status; getrusage's maximum would outlive exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"/proc/self/status has no {field}")


def main() -> None:
    """Answer one request from standard input."""
    request = json.load(sys.stdin)
    answer = TASKS[request["task"]](Trial(request))
    Path(request["directory"], "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
