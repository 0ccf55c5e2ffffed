"""Perform a call script: a sequence of calls on exporters, given as plain JSON values.

Scripts are performed here, in the process of the exporter, and judged elsewhere.

A script is an object with a list of `steps`. A step is an object whose `step` names one of
`STEPS`; the other keys are the arguments of that method. `perform` returns one outcome for every
step: an object of plain JSON values. Its common keys:

- `error`: null, or the exception that the call ended in: `classes` has the names of its class and
  of the base classes, the nearest first, and `message` its text.
- `missing`: the method that the exporter does not have. The step did nothing.
- `records`: the file in the directory with the records of this step, one JSON object a line. A str
  enum is written as its value, and another foreign value as `{"class": name, "repr": text}`.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from . import exports
from .call_places import PLACES, Text, limited_files
from .database import pool_state
from .database_fault import DatabaseFault
from .folders import TARGETS, TEMPORARY, WORKING, files_in, own_folders
from .key_traces import Overheard, overheard
from .process_state import end_if_forked, open_files, process_state, threads, threads_left
from .session import session_states

Script = Mapping[str, Any]
Outcome = dict[str, Any]

MAX_RECORDS = 1_000_000
"""An export with more records counts as endless."""

_FIRST_TIME = "2026-01-01T12:30:15.250000+00:00"


def perform(
    script: Script, factory: Callable[..., Any], databases: Sequence[Any], directory: Path
) -> list[Outcome]:
    """Perform all steps of a script, also after one that ended in an error.

    The current directory and TMPDIR are empty folders below `directory` in that time.

    Args:
        script: The script.
        factory: Makes an exporter: `(db, signing_key=None)`, and `clock` if it takes one.
        databases: The databases that steps refer to by their place.
        directory: An existing folder for records, written files and temporary files.

    Returns:
        One outcome a step.
    """
    directory = directory.resolve()
    with own_folders(directory), _Performer(factory, databases, directory) as performer:
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
        self._tick = timedelta()
        self._faults: list[DatabaseFault] = []
        self._number = 0
        self._pid = os.getpid()
        self._threads = threads()
        self._listening = ExitStack()
        self._overheard: Overheard | None = None

    def __enter__(self) -> _Performer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
        for fault in self._faults:
            fault.detach()

    def perform(self, number: int, step: Mapping[str, Any]) -> Outcome:
        """Perform one step. An exception of the exporter becomes part of its outcome."""
        self._number = number
        arguments = {name: value for name, value in step.items() if name != "step"}
        outcome: Outcome = {"error": None}
        try:
            outcome.update(STEPS[step["step"]](self, **arguments) or {})
            end_if_forked(self._pid)
        except Exception as error:
            end_if_forked(self._pid)
            if self._overheard is not None:
                self._overheard.add_error(error)
            classes = [each.__qualname__ for each in type(error).__mro__]
            outcome["error"] = {"classes": classes, "message": str(error)}
            # The records before an error are part of the outcome.
            outcome.update(self._spooled())
        return outcome

    def build(self, exporter: str, key: str | None = None, database: int = 0) -> Outcome:
        """Make an exporter under a name, with a signing key in hexadecimal digits."""
        takes_clock = exports.takes_clock(self._factory)
        # The clock is asked again at every call, so that a `clock` step changes it.
        options = {"clock": self._now} if takes_clock else {}
        signing_key = None if key is None else bytes.fromhex(key)
        by_place, by_name = exports.arguments_of(
            self._factory, self._databases[database], signing_key
        )
        self._exporters[exporter] = self._factory(*by_place, **by_name, **options)
        return {"takes_clock": takes_clock}

    def clock(self, time: str, tick: float = 0.0) -> None:
        """Set the clock of all exporters.

        Args:
            time: An ISO 8601 time, which the clock shows when it is read next.
            tick: The seconds by which every reading moves the clock on.
        """
        self._time, self._tick = datetime.fromisoformat(time), timedelta(seconds=tick)

    def _now(self) -> datetime:
        now, self._time = self._time, self._time + self._tick
        return now

    def export(
        self,
        exporter: str,
        run_id: str,
        sign: bool | None = None,
        positional: bool = False,
        consume: str = "one by one",
        subclass: bool = False,
        where: str = "here",
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
            where: "here"; "thread" for another thread; "event loop" for code that a running event
                loop calls.
        """
        run: str = Text(run_id) if subclass else run_id

        def export() -> None:
            records = self._call(self._exporters[exporter].export_run, run, sign, positional)
            if consume in ("list", "tuple"):
                held = islice(records, MAX_RECORDS + 1)
                records = list(held) if consume == "list" else tuple(held)
            self._spool(records, change=consume == "change")

        PLACES[where](export)
        return self._spooled()

    def open(self, iterator: str, exporter: str, run_id: str, sign: bool | None = None) -> None:
        """Start an export under a name, without reading a record."""
        records = self._call(self._exporters[exporter].export_run, run_id, sign, False)
        self._iterators[iterator] = iter(records)

    def read(self, iterator: str, count: int | None = None, where: str = "here") -> Outcome:
        """Write the next records of a started export, or all that remain.

        Args:
            iterator: The name of the started export.
            count: The number of records; None for all that remain.
            where: As for `export`.
        """
        PLACES[where](lambda: self._spool(islice(self._iterators[iterator], count)))
        return self._spooled()

    def close(self, iterator: str) -> None:
        """Close a started export, if its iterator can be closed, and forget it."""
        getattr(self._iterators.pop(iterator), "close", lambda: None)()

    def drop(self, iterators: Sequence[str] = (), exporters: Sequence[str] = ()) -> None:
        """Forget iterators and exporters without closing them."""
        for name in iterators:
            del self._iterators[name]
        for name in exporters:
            self._exporters.pop(name, None)

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
        relative: bool = False,
        most_bytes: int | None = None,
        where: str = "here",
    ) -> Outcome:
        """Write a file or a directory with the exporter's method, in the folder of targets.

        Args:
            exporter: The name of the exporter.
            run_id: The run.
            target: The path below the folder of targets.
            method: `write_jsonl` or `write_csv`.
            sign: The argument `sign`; None leaves it out.
            jobs: The argument `jobs`, for a method that takes it; others are called without.
            relative: Whether the path is relative to the folder of targets, which is the current
                directory during the call.
            most_bytes: The most bytes that a file can have during the call, as on a full disk.
            where: As for `export`.
        """
        function = getattr(self._exporters[exporter], method, None)
        if function is None:
            return {"missing": method}
        options: dict[str, Any] = {} if sign is None else {"sign": sign}
        takes_jobs = jobs is not None and exports.takes(function, "jobs")
        if takes_jobs:
            options["jobs"] = jobs
        targets = self._directory / TARGETS
        if relative:
            os.chdir(targets)
        try:
            with limited_files(most_bytes):
                path = Path(target) if relative else targets / target
                PLACES[where](lambda: function(run_id, path, **options))
        finally:
            if relative:
                os.chdir(self._directory / WORKING)
        return {"took_jobs": takes_jobs}

    def place(self, target: str, text: str, mode: int | None = None) -> None:
        """Put an old file below the folder of targets, with the usual mode or a given one."""
        path = self._directory / TARGETS / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
        if mode is not None:
            path.chmod(mode)

    def link(self, target: str, to: str, hard: bool = False) -> None:
        """Make a link below the folder of targets.

        Args:
            target: The new name.
            to: A symbolic link's text, or for a hard link the file, below the folder of targets.
            hard: Whether to make a hard link.
        """
        path = self._directory / TARGETS / target
        if hard:
            os.link(self._directory / TARGETS / to, path)
        else:
            path.symlink_to(to)

    def clear(self) -> None:
        """Remove everything below the folder of targets."""
        shutil.rmtree(self._directory / TARGETS)
        (self._directory / TARGETS).mkdir()

    def umask(self, mask: int) -> None:
        """Set the umask until the end of the script."""
        os.umask(mask)

    def files(self) -> Outcome:
        """List the files of the three folders: name, mode in octal digits, and hash.

        In place of the hash, `folder` marks a folder, and `link to` with its text a symbolic link.
        """
        if any((self._directory / TEMPORARY).iterdir()):
            gc.collect()  # A temporary folder of an object in a cycle goes with that object.
        return {
            folder: list(files_in(self._directory / folder))
            for folder in (TARGETS, TEMPORARY, WORKING)
        }

    def state(self) -> Outcome:
        """Describe what the process shares with the exporter, such as its umask and locale."""
        return {"state": process_state()}

    def listen(self) -> None:
        """Collect what is logged, printed, warned of and started from now on."""
        self._overheard = self._listening.enter_context(overheard())

    def overheard(self, key: str) -> Outcome:
        """Return the places of a key (hexadecimal digits) in what was collected since `listen`."""
        self._listening.close()
        found, self._overheard = self._overheard, None
        return {"traces": found.traces(bytes.fromhex(key), self._directory) if found else []}

    def connections(self, database: int = 0) -> Outcome:
        """Count the connections in use, and look for an open transaction, from another connection.

        `checked_out` is null for a pool that does not count, and `locked` for a database in memory.
        `listeners` counts those of the engine and its pool, `threads` those begun in the script,
        `open_files` lists the open files but those of databases.
        """
        return {
            **pool_state(self._databases[database].engine),
            "threads": len(threads_left(self._threads, daemons=True)),
            "open_files": open_files(str(each.engine.url.database) for each in self._databases),
        }

    def sessions(self, database: int = 0) -> Outcome:
        """Describe the sessions that the pool of a database gives out next."""
        return {"sessions": session_states(self._databases[database].engine)}

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
        self._faults = [DatabaseFault(self._databases[database].engine, query, row)]

    def change(self, statements: Sequence[str], database: int = 0) -> None:
        """Change a database by SQL, in a transaction on a connection that is then closed."""
        engine = self._databases[database].engine
        with engine.connect() as connection, connection.begin():
            for statement in statements:
                connection.exec_driver_sql(statement)

    def seen(self) -> Outcome:
        """Return what was sent since the last `fail` step, and whether its fault was raised.

        Each of `queries` has the `table` after FROM and the number of fetched `rows`; `past` is the
        number of those that the driver saw and SQLAlchemy did not.
        """
        (fault,) = self._faults
        seen = {"queries": fault.queries, "transactions": fault.transactions}
        return {**seen, "raised": fault.raised, "past": fault.past}

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
        with self._path.open("w", encoding="ascii") as file:
            for number, record in enumerate(records, start=1):
                exports.require_record(record, number)
                if number > MAX_RECORDS:
                    raise exports.RecordsError(f"more than {MAX_RECORDS:,} records")
                file.write(exports.encoded(record))
                if change and isinstance(record, dict):
                    # Not its ids: a correct exporter may look up the children of a record by them.
                    record["added by the consumer"] = record["signature"] = ""


STEPS: Mapping[str, Callable[..., Outcome | None]] = {
    name: getattr(_Performer, name)
    for name in (
        *("build", "clock", "export", "open", "read", "close", "drop", "group", "write", "place"),
        *("link", "clear", "umask", "files", "state", "connections", "listen", "overheard"),
        *("sessions", "fail", "seen", "change"),
    )
}
"""The steps of scripts by name."""
