"""Reference runs: the databases that candidates are compared on, and the control's exports.

A run is generated and exported by the control when a case needs it for the first time. All
candidates share it, because an exporter only reads.
"""

import hmac
import shutil
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeAlias
from uuid import uuid4

from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from elspeth.core.clock import Clock
from elspeth.core.error_text import describe_failure
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.database import masked_url
from harness.checks.cases import Case
from harness.checks.cost_runs import CostRuns
from harness.checks.database_watch import DatabaseFileWatch, with_what_was_written
from harness.compare.capture import MAX_RECORDS, Capture, capture
from harness.compare.exports import SIGNING_KEY, Comparison, compare_captures, fixed_clock
from harness.compare.records import run_lookup
from harness.exporters.canonical_json import canonical
from harness.exporters.measured import InThisProcess, Measured
from harness.exporters.subject import Subject

_CONNECT_SECONDS = "10"

NewDatabase: TypeAlias = Callable[[], str]
"""Makes a database without runs, with or without tables, and returns its URL."""


@contextmanager
def sqlite_files(directory: Path) -> Iterator[NewDatabase]:
    """Make databases with all tables as files in a directory, which the caller removes."""
    numbers = count(1)
    template = directory / "template.db"

    def new() -> str:
        path = directory / f"scratch-{next(numbers)}.db"
        # A copy takes 2 ms, and creating the tables 20: a check uses about a hundred databases.
        if not template.exists():
            LandscapeDB(f"sqlite:///{template}").close()
        shutil.copyfile(template, path)
        return f"sqlite:///{path}"

    yield new


@contextmanager
def postgresql_databases(server: str, *, options: str = "") -> Iterator[NewDatabase]:
    """Create databases on a PostgreSQL server, and drop them on exit.

    Args:
        server: URL of a database on the server, with a role that may create databases.
        options: Text to add to the statements CREATE DATABASE.

    Raises:
        ConnectionError: The server cannot be reached; raised on entry, and names the server.
        sqlalchemy.exc.DBAPIError: A database cannot be created.
    """
    url = make_url(server).set(drivername="postgresql+psycopg")
    # Before any work: the first database may be needed minutes later.
    try:
        _execute(url, "SELECT 1")
    except DBAPIError as error:
        raise ConnectionError(f"{masked_url(server)}: {describe_failure(error)}") from error
    names: list[str] = []

    def new() -> str:
        name = f"harness_{uuid4().hex}"
        _execute(url, f"CREATE DATABASE {name} {options}")
        names.append(name)
        return url.set(database=name).render_as_string(hide_password=False)

    try:
        yield new
    finally:
        for name in names:
            # An exporter on trial may have left a connection open. FORCE ends it.
            _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: URL, statement: str) -> None:
    # PostgreSQL creates and drops no database inside a transaction.
    engine = create_engine(
        server.update_query_dict({"connect_timeout": _CONNECT_SECONDS, **server.query}),
        isolation_level="AUTOCOMMIT",
    )
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


_ENDLESS_FACTOR = 10
"""An export with this many times the control's records counts as endless."""


class ReferenceRuns:
    """The stored runs of one backend, by case, kept until exit.

    Args:
        new_database: Makes a database for a run.
        directory: The folder for exports.
        control: The exporter to compare with.
        max_records: The records after which a candidate's export counts as endless; default: ten
            times the control's number plus 1,000.
    """

    def __init__(
        self,
        new_database: NewDatabase,
        directory: Path,
        *,
        control: Subject | InThisProcess,
        max_records: int | None = None,
    ) -> None:
        loaded = control.loaded if isinstance(control, InThisProcess) else control
        self.new_url = new_database
        self.costs = CostRuns(new_database, DatabaseFileWatch)
        self._directory = directory
        self.plain_control = InThisProcess(loaded)
        self._replayed = InThisProcess(replace(loaded, factory=_replaying(loaded.factory)))
        self._max_records = max_records
        self._numbers = count(1)
        self._databases: dict[object, LandscapeDB] = {}
        self._watches: dict[object, tuple[Case, DatabaseFileWatch]] = {}
        self._captures: dict[Case, Capture] = {}
        self._kept: dict[Hashable, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.costs.close()
        self._open.close()

    @property
    def replayed_control(self) -> Measured:
        """The exporter to compare with, which reads a run only once. Another is `plain_control`."""
        return self._replayed

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` returned for this key at the first call, such as control outcomes."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def new_directory(self) -> Path:
        """Make an empty folder. Its content stays until the folder of all exports is removed."""
        directory = self._directory / f"calls-{next(self._numbers)}"
        directory.mkdir()
        return directory

    def database(self, case: Case) -> LandscapeDB:
        """Return the database of a case. No later case changes it."""
        if case.stored not in self._databases:
            db = self._open.enter_context(LandscapeDB(self.new_url()))
            case.store(db)
            self._databases[case.stored] = db
            # After the run is stored: what another connection changes from now on is damage.
            self._watches[case.stored] = (case, self._open.enter_context(DatabaseFileWatch(db)))
        return self._databases[case.stored]

    def damage(self) -> tuple[str, ...]:
        """Return what was done to the databases since the last call, in words.

        A changed or deleted database is not used again: its run is generated again. A write lock is
        reported, and has to be released by ending the process that holds it.
        """
        found = dict.fromkeys(self.costs.damage())
        for identity, (case, watch) in list(self._watches.items()):
            if harm := watch.harm():
                db = self._databases[identity]
                found[with_what_was_written(harm, db, self.new_url, case.store)] = None
            if watch.is_changed:
                # Left open until exit, because a comparison may still hold it.
                del self._databases[identity], self._watches[identity]
        return tuple(found)

    def control(self, case: Case) -> Capture:
        """Return the control's export of a case, always under the usual query plans."""
        # The expected export must not depend on the plan change under test.
        case = case.without_plan_change
        if case not in self._captures:
            self._captures[case] = self._capture(self._replayed, case, MAX_RECORDS)
        return self._captures[case]

    def compare(self, candidate: Subject | Measured, case: Case) -> Comparison:
        """Export a case with a candidate, and compare the export with the control's."""
        control = self.control(case)
        limit = self._max_records or _ENDLESS_FACTOR * (control.record_count + 100)
        found = self._capture(candidate, case, limit)
        try:
            return compare_captures(
                control,
                found,
                run_id=case.name,
                signing_key=_key(case),
                run_of=run_lookup(self.database(case)),
            )
        finally:
            shutil.rmtree(found.directory)

    def _capture(self, exporter: Subject | Measured, case: Case, max_records: int) -> Capture:
        return capture(
            exporter,
            self.database(case),
            case.run_id,
            signing_key=_key(case),
            clock=fixed_clock,
            directory=self._directory / f"export-{next(self._numbers)}",
            max_records=max_records,
        )


def _replaying(control: Any) -> Any:
    """Return a subclass of the control that reads a run and signs a record only once.

    It groups and writes like the control, and ends in the same error after the same records. A run
    is exported in every form, by a hundred scripts, and signed or not. The control needs a query
    for every entity: this takes a quarter of the time. Records are encoded by `canonical`, which
    takes a tenth of the time of the control's library. Other exporters are returned unchanged.
    """
    if not (hasattr(control, "_iter_records") and hasattr(control, "_sign_record")):
        return control
    read_before: dict[object, tuple[list[dict[str, Any]], Exception | None]] = {}
    signed_before: dict[object, str] = {}

    def read(records: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], Exception | None]:
        found: list[dict[str, Any]] = []
        try:
            found.extend(records)
        except Exception as error:
            return found, error
        return found, None

    class Replaying(control):  # type: ignore[misc]  # the base class comes in as an argument
        def __init__(self, db: LandscapeDB, signing_key: bytes | None, *, clock: Clock) -> None:
            super().__init__(db, signing_key, clock=clock)
            self._url = db.connection_string
            # The record that was yielded last, its source and its place in the run.
            self._last: tuple[object, object, object] = (None, None, None)

        def _iter_records(self, run_id: str) -> Iterator[dict[str, Any]]:
            key = (self._url, run_id)
            if key not in read_before:
                with _one_connection(self._db):
                    read_before[key] = read(super()._iter_records(run_id))
            records, error = read_before[key]
            for number, record in enumerate(records):
                yielded = dict(record)
                self._last = (yielded, record, (key, number, self._signing_key))
                yield yielded
            if error is not None:
                raise error.with_traceback(None)

        def _sign_record(self, record: dict[str, Any]) -> str:
            yielded, source, place = self._last
            if record is not yielded or record != source:
                signature: str = super()._sign_record(record)
                return signature
            if place not in signed_before and self._signing_key is not None:
                found = hmac.digest(self._signing_key, canonical(record), "sha256")
                signed_before[place] = found.hex()
            return signed_before.get(place) or super()._sign_record(record)

        def export_lines(self, run_id: str, sign: bool = False) -> Iterator[bytes]:
            return (canonical(each) + b"\n" for each in self.export_run(run_id, sign=sign))

    return Replaying


@contextmanager
def _one_connection(db: LandscapeDB) -> Iterator[None]:
    """Give all transactions of a database one connection, in this thread.

    The control opens a transaction for each of thousands of queries, which takes a third of its
    time. It only reads, so that one transaction shows it the same.
    """
    usual, opened = db.connection, list[Connection]()
    with ExitStack() as transaction:

        def shared() -> AbstractContextManager[Connection]:
            # Not earlier: the control checks the schema as its first transaction begins.
            if not opened:
                opened.append(transaction.enter_context(usual()))
            return nullcontext(opened[0])

        vars(db)["connection"] = shared
        try:
            yield
        finally:
            del vars(db)["connection"]


def _key(case: Case) -> bytes | None:
    return SIGNING_KEY if case.signed else None
