"""Perform a call script: a sequence of calls on exporters, given as plain JSON values.

It imports the standard library and SQLAlchemy only, so it runs under any interpreter that has the
exporter's dependencies, loaded by its path. It performs and reports; it does not judge.

A script is an object with a list of `steps`. A step is an object whose `step` names one of
`STEPS`; the other keys are the arguments of that method. `perform` returns one outcome for every
step: an object of plain JSON values. Its common keys:

- `error`: null, or the exception that the call ended in, as `type_name` and `message`.
- `missing`: the method that the exporter does not have. The step did nothing.
- `records`: the file in the directory with the records of this step, one JSON object a line. A str
  enum is written as its value, and another foreign value as `{"class": name, "repr": text}`.
"""

from __future__ import annotations

import contextlib
import decimal
import gc
import hashlib
import inspect
import json
import locale
import logging
import os
import re
import resource
import signal
import sqlite3
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

Script = Mapping[str, Any]
Outcome = dict[str, Any]

TARGETS, TEMPORARY, WORKING = "targets", "temporary", "working"
"""The folders below the directory of a script: written files, TMPDIR and the current directory."""

MAX_RECORDS = 1_000_000
"""An export with more records counts as endless."""

_FIRST_TIME = "2026-01-01T12:30:15.250000+00:00"
_QUERY_KEYWORDS = frozenset(("SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE"))
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 20, 0.05


def perform(
    script: Script, factory: Callable[..., Any], databases: Sequence[Any], directory: Path
) -> list[Outcome]:
    """Perform all steps of a script, also after one that ended in an error.

    The current directory and TMPDIR are empty folders below `directory` meanwhile.

    Args:
        script: The script.
        factory: Makes an exporter: `(db, signing_key=None)`, and `clock` if it takes one.
        databases: The databases that steps refer to by their place.
        directory: An existing folder for records, written files and temporary files.

    Returns:
        One outcome a step.
    """
    directory = directory.resolve()
    with _own_folders(directory), _Performer(factory, databases, directory) as performer:
        return [performer.perform(number, step) for number, step in enumerate(script["steps"])]


class _Performer:
    """The exporters, iterators and faults of one script. Its public methods are the steps."""

    def __init__(
        self, factory: Callable[..., Any], databases: Sequence[Any], directory: Path
    ) -> None:
        self._factory = factory
        self._databases = databases
        self._directory = directory
        self._exporters: dict[str, Any] = {}
        self._iterators: dict[str, Iterator[Any]] = {}
        self._time = datetime.fromisoformat(_FIRST_TIME)
        self._faults: list[_Fault] = []
        self._number = 0

    def __enter__(self) -> _Performer:
        return self

    def __exit__(self, *_: object) -> None:
        for fault in self._faults:
            fault.detach()

    def perform(self, number: int, step: Mapping[str, Any]) -> Outcome:
        """Perform one step. An exception of the exporter becomes part of its outcome."""
        self._number = number
        arguments = {name: value for name, value in step.items() if name != "step"}
        outcome: Outcome = {"error": None}
        try:
            outcome.update(STEPS[step["step"]](self, **arguments) or {})
        except Exception as error:
            outcome["error"] = {"type_name": type(error).__qualname__, "message": str(error)}
            # The records before an error are part of the outcome.
            outcome.update(self._spooled())
        return outcome

    def build(self, exporter: str, key: str | None = None, database: int = 0) -> Outcome:
        """Make an exporter under a name, with a signing key in hexadecimal digits."""
        takes_clock = _takes(self._factory, "clock")
        # The clock is asked again at every call, so that a `clock` step changes it.
        options = {"clock": lambda: self._time} if takes_clock else {}
        signing_key = None if key is None else bytes.fromhex(key)
        self._exporters[exporter] = self._factory(self._databases[database], signing_key, **options)
        return {"takes_clock": takes_clock}

    def clock(self, time: str) -> None:
        """Set the clock of all exporters to an ISO 8601 time."""
        self._time = datetime.fromisoformat(time)

    def export(
        self,
        exporter: str,
        run_id: str,
        sign: bool | None = None,
        positional: bool = False,
        consume: str = "one by one",
        subclass: bool = False,
    ) -> Outcome:
        """Export a run and write its records.

        Args:
            exporter: The name of the exporter.
            run_id: The run.
            sign: The argument `sign`; None leaves it out.
            positional: Whether `sign` is passed by its position.
            consume: "one by one"; "list" or "tuple" for all at once before the first is written;
                "change" to change every record after it is written.
            subclass: Whether the run id is passed as an instance of a subclass of str.
        """
        run: str = _Text(run_id) if subclass else run_id
        records = self._call(self._exporters[exporter].export_run, run, sign, positional)
        if consume in ("list", "tuple"):
            held = islice(records, MAX_RECORDS + 1)
            records = list(held) if consume == "list" else tuple(held)
        self._spool(records, change=consume == "change")
        return self._spooled()

    def open(self, iterator: str, exporter: str, run_id: str, sign: bool | None = None) -> None:
        """Start an export under a name, without reading a record."""
        records = self._call(self._exporters[exporter].export_run, run_id, sign, False)
        self._iterators[iterator] = iter(records)

    def read(self, iterator: str, count: int | None = None) -> Outcome:
        """Write the next records of a started export, or all that remain."""
        self._spool(islice(self._iterators[iterator], count))
        return self._spooled()

    def close(self, iterator: str) -> None:
        """Close a started export, if its iterator can be closed, and forget it."""
        getattr(self._iterators.pop(iterator), "close", lambda: None)()

    def drop(self, iterators: Sequence[str] = (), exporters: Sequence[str] = ()) -> None:
        """Forget iterators and exporters without closing them, and collect garbage."""
        for name in iterators:
            del self._iterators[name]
        for name in exporters:
            self._exporters.pop(name, None)
        gc.collect()

    def group(self, exporter: str, run_id: str, sign: bool | None = None) -> Outcome:
        """Export a run grouped by record type.

        The outcome's `groups` lists the types in the order of the mapping, with their numbers of
        records; the records are written in that order.
        """
        method = getattr(self._exporters[exporter], "export_run_grouped", None)
        if method is None:
            return {"missing": "export_run_grouped"}
        grouped = self._call(method, run_id, sign, False)
        groups = {str(kind): list(records) for kind, records in grouped.items()}
        self._spool(record for records in groups.values() for record in records)
        counts = [[kind, len(records)] for kind, records in groups.items()]
        return {"groups": counts, **self._spooled()}

    def write(
        self,
        exporter: str,
        run_id: str,
        target: str,
        method: str = "write_jsonl",
        sign: bool | None = None,
        jobs: int | None = None,
    ) -> Outcome:
        """Write a file or a directory with the exporter's method, in the folder of targets.

        Args:
            exporter: The name of the exporter.
            run_id: The run.
            target: The path below the folder of targets.
            method: `write_jsonl` or `write_csv`.
            sign: The argument `sign`; None leaves it out.
            jobs: The argument `jobs`, for a method that takes it; others are called without.
        """
        function = getattr(self._exporters[exporter], method, None)
        if function is None:
            return {"missing": method}
        options: dict[str, Any] = {} if sign is None else {"sign": sign}
        takes_jobs = jobs is not None and _takes(function, "jobs")
        if takes_jobs:
            options["jobs"] = jobs
        function(run_id, self._directory / TARGETS / target, **options)
        return {"took_jobs": takes_jobs}

    def place(self, target: str, text: str, mode: int | None = None) -> None:
        """Put an old file below the folder of targets, with the usual mode or a given one."""
        path = self._directory / TARGETS / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        if mode is not None:
            path.chmod(mode)

    def files(self) -> Outcome:
        """List the files of the three folders: name, mode in octal digits, and hash."""
        return {
            folder: list(_listed(self._directory / folder))
            for folder in (TARGETS, TEMPORARY, WORKING)
        }

    def state(self) -> Outcome:
        """Describe what the process shares with the exporter, such as its umask and locale."""
        return {"state": process_state()}

    def connections(self, database: int = 0) -> Outcome:
        """Count the connections in use, and look for an open transaction, from another connection.

        `checked_out` is null for a pool that does not count, and `locked` for a database in memory.
        """
        # A generator that was dropped in a cycle would keep its connection until a collection.
        gc.collect()
        engine = self._databases[database].engine
        checked_out = getattr(engine.pool, "checkedout", None)
        return {
            "checked_out": None if checked_out is None else checked_out(),
            "locked": _has_open_transaction(engine),
        }

    def fail(self, query: int | None = None, row: int | None = None, database: int = 0) -> None:
        """Have the database fail once from now on, or only count its queries.

        Args:
            query: The query that fails, counted from 1; None for none.
            row: The row of its result at which it fails, counted from 1. One more than it has:
                after the last. None: it fails when it is sent.
            database: The database.
        """
        for earlier in self._faults:
            earlier.detach()
        self._faults = [_Fault(self._databases[database].engine, query, row)]

    def seen(self) -> Outcome:
        """Return the queries since the last `fail` step, and whether the fault was raised.

        Each of `queries` has the `table` after FROM and the number of fetched `rows`.
        """
        (fault,) = self._faults
        return {"queries": fault.queries, "raised": fault.raised}

    def _call(
        self, method: Callable[..., Any], run_id: str, sign: bool | None, positional: bool
    ) -> Any:
        if sign is None:
            return method(run_id)
        return method(run_id, sign) if positional else method(run_id, sign=sign)

    @property
    def _path(self) -> Path:
        return self._directory / f"records-{self._number}"

    def _spooled(self) -> Outcome:
        return {"records": self._path.name} if self._path.exists() else {}

    def _spool(self, records: Iterable[Any], *, change: bool = False) -> None:
        # JSON keeps what a comparison must see: the order of keys, and 1 apart from 1.0 and True.
        with self._path.open("w", encoding="ascii") as file:
            for number, record in enumerate(records, start=1):
                if not isinstance(record, Mapping) or not all(type(key) is str for key in record):
                    raise TypeError(f"record {number} is not a dict with text keys: {record!r:.60}")
                if number > MAX_RECORDS:
                    raise OverflowError(f"more than {MAX_RECORDS:,} records")
                file.write(json.dumps(dict(record), default=_foreign))
                file.write("\n")
                if change and isinstance(record, dict):
                    record["changed by the consumer"] = True
                    record["signature"] = ""


STEPS: Mapping[str, Callable[..., Outcome | None]] = {
    "build": _Performer.build,
    "clock": _Performer.clock,
    "export": _Performer.export,
    "open": _Performer.open,
    "read": _Performer.read,
    "close": _Performer.close,
    "drop": _Performer.drop,
    "group": _Performer.group,
    "write": _Performer.write,
    "place": _Performer.place,
    "files": _Performer.files,
    "state": _Performer.state,
    "connections": _Performer.connections,
    "fail": _Performer.fail,
    "seen": _Performer.seen,
}
"""The steps of scripts by name."""


class _Text(str):
    """A run id that is a str, but not of the class str."""

    __slots__ = ()


class _Fault:
    """Counts the queries of an engine, and raises the driver's OperationalError at one of them."""

    def __init__(self, engine: Any, query: int | None, row: int | None) -> None:
        from sqlalchemy import event

        self.queries: list[dict[str, Any]] = []
        self.raised = False
        self._query, self._row = query, row
        self._error = engine.dialect.dbapi.OperationalError
        # `do_execute` stands in the place of the driver: SQLAlchemy wraps the error like a real
        # one, and rolls back alike.
        listeners = (
            ("do_execute", self._execute),
            ("do_execute_no_params", self._execute),
            ("after_cursor_execute", self._executed),
        )
        for name, listener in listeners:
            event.listen(engine, name, listener)
        self._remove = [(engine, name, listener) for name, listener in listeners]

    def detach(self) -> None:
        """Remove the listeners."""
        from sqlalchemy import event

        for registration in self._remove:
            event.remove(*registration)
        self._remove = []

    def fetched(self, query: int, rows: int, *, more: bool) -> None:
        """Count rows that leave the cursor of a query, and fail instead if the row is among them.

        Args:
            query: The query, counted from 1.
            rows: The number of rows.
            more: Whether the fetch found a row, so that it was not the end of the result.
        """
        seen = self.queries[query - 1]
        reached = seen["rows"] + (rows if more else 1)
        if query == self._query and self._row is not None and seen["rows"] < self._row <= reached:
            self._raise()
        seen["rows"] += rows

    def _execute(self, _cursor: Any, statement: str, *_: Any) -> None:
        if _first_word(statement) not in _QUERY_KEYWORDS:
            return
        table = re.search(r"\bFROM\s+\"?(\w+)", statement, re.IGNORECASE)
        self.queries.append({"table": table[1] if table else "", "rows": 0})
        if len(self.queries) == self._query and self._row is None:
            self._raise()

    def _executed(
        self, _connection: Any, cursor: Any, statement: str, _parameters: Any, context: Any, _: bool
    ) -> None:
        is_query = _first_word(statement) in _QUERY_KEYWORDS and self.queries
        if is_query and context is not None and cursor.description is not None:
            context.cursor = _FailingCursor(context.cursor, self, len(self.queries))

    def _raise(self) -> None:
        if not self.raised:
            self.raised = True
            raise self._error("disk I/O error (raised by the harness)")


class _FailingCursor:
    """A DBAPI cursor whose rows pass through a `_Fault`."""

    __slots__ = ("_cursor", "_fault", "_query")

    def __init__(self, cursor: Any, fault: _Fault, query: int) -> None:
        for name, value in (("_cursor", cursor), ("_fault", fault), ("_query", query)):
            object.__setattr__(self, name, value)

    def fetchone(self) -> Any:
        row = self._cursor.fetchone()
        self._fault.fetched(self._query, int(row is not None), more=row is not None)
        return row

    def fetchmany(self, *size: int) -> Any:
        rows = self._cursor.fetchmany(*size)
        self._fault.fetched(self._query, len(rows), more=bool(rows))
        return rows

    def fetchall(self) -> Any:
        rows = self._cursor.fetchall()
        self._fault.fetched(self._query, len(rows), more=bool(rows))
        self._fault.fetched(self._query, 0, more=False)
        return rows

    def __iter__(self) -> Iterator[Any]:
        for row in self._cursor:
            self._fault.fetched(self._query, 1, more=True)
            yield row
        self._fault.fetched(self._query, 0, more=False)

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)


def process_state() -> dict[str, Any]:
    """Describe the settings of this process that an export must leave as they were, by name."""
    umask = os.umask(0)
    os.umask(umask)
    limits = ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_CORE")
    return {
        # As hashes: a variable may hold a password, and outcomes are written to files.
        "environment": {
            name: _digest(value.encode("utf-8", "surrogateescape"))
            for name, value in os.environ.items()
        },
        "current directory": str(Path.cwd()),
        "umask": f"{umask:04o}",
        "locale": locale.setlocale(locale.LC_ALL),
        "time zone": list(time.tzname),
        "signal handlers": {
            str(each): repr(signal.getsignal(each)) for each in sorted(signal.valid_signals())
        },
        # A library that is imported during an export may add filters for messages of its modules.
        "warnings filters": [
            [each[0], str(each[2])]
            for each in warnings.filters
            if each[1] is None and each[3] is None
        ],
        "logging": [logging.root.level, logging.root.manager.disable, len(logging.root.handlers)],
        "garbage collection": [gc.isenabled(), *gc.get_threshold()],
        "recursion limit": sys.getrecursionlimit(),
        "standard streams": [id(sys.stdin), id(sys.stdout), id(sys.stderr)],
        "exception hook": repr(sys.excepthook),
        "decimal context": repr(decimal.getcontext()),
        "resource limits": [list(resource.getrlimit(getattr(resource, each))) for each in limits],
    }


@contextlib.contextmanager
def _own_folders(directory: Path) -> Iterator[None]:
    """Make the three folders, and use one as TMPDIR and one as the current directory."""
    for name in (TARGETS, TEMPORARY, WORKING):
        (directory / name).mkdir()
    before, variable, cached = Path.cwd(), os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = str(directory / TEMPORARY)
    # `tempfile` reads the variable once, and keeps what it found.
    tempfile.tempdir = None
    os.chdir(directory / WORKING)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = cached
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable


def _has_open_transaction(engine: Any) -> bool | None:
    """Whether another connection holds a transaction; None if that cannot be seen."""
    if engine.dialect.name == "sqlite":
        path = engine.url.database
        if path in (None, "", ":memory:"):
            return None
        return not _becomes_true(lambda: _can_be_locked(path))
    from sqlalchemy import create_engine, pool, text

    idle = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
    )
    watcher = create_engine(engine.url, poolclass=pool.NullPool)
    with watcher.connect() as connection:
        return not _becomes_true(lambda: connection.execute(idle).scalar() == 0)


def _becomes_true(condition: Callable[[], bool]) -> bool:
    # A thread of the exporter may still be ending its transaction.
    for _ in range(_LOCK_TRIES):
        if condition():
            return True
        time.sleep(_LOCK_PAUSE_SECONDS)
    return False


def _can_be_locked(path: str) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True


def _listed(folder: Path) -> Iterator[list[str]]:
    for path in sorted(folder.rglob("*")):
        content = "folder" if path.is_dir() else _digest(path.read_bytes())
        yield [str(path.relative_to(folder)), f"{path.lstat().st_mode & 0o7777:o}", content]


def _takes(function: Callable[..., Any], parameter: str) -> bool:
    try:
        return parameter in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False  # Some callables that are written in C have no signature.


def _first_word(statement: str) -> str:
    return statement.lstrip(" \t\r\n(").partition(" ")[0].partition("\n")[0].upper()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _foreign(value: object) -> dict[str, str]:
    return {"class": type(value).__qualname__, "repr": repr(value)}
