"""Reference runs: what candidates are tried on, each with the control's export, made once."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias
from uuid import uuid4

from sqlalchemy import URL, create_engine, make_url, text

from elspeth.core.landscape import LandscapeDB
from harness.checks.cases import Case
from harness.compare.capture import MAX_RECORDS, Capture, capture
from harness.compare.exports import SIGNING_KEY, Comparison, compare_captures, fixed_clock
from harness.compare.ownership import owner_in
from harness.exporters.subject import Subject
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

# Scratch: databases of the harness's own, made where asked and removed afterwards.


NewDatabase: TypeAlias = Callable[[], str]
"""Returns the URL of one more empty database."""


@contextmanager
def sqlite_files(directory: Path) -> Iterator[NewDatabase]:
    """Make databases as files in a directory, which is left for its owner to remove."""
    numbers = count(1)
    yield lambda: f"sqlite:///{directory / f'scratch-{next(numbers)}.db'}"


@contextmanager
def postgresql_databases(server: str, *, options: str = "") -> Iterator[NewDatabase]:
    """Create databases on a PostgreSQL server, and drop them on exit.

    `server` is the URL of any database there, of a role that may create more; `options` is added
    to each CREATE DATABASE. Raises sqlalchemy.exc.DBAPIError when one cannot be created.
    """
    url = make_url(server).set(drivername="postgresql+psycopg")
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
            _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


_ENOUGH = 10
"""An export of so many times the control's records is taken for one that never ends."""


class ReferenceRuns:
    """Generates the run of a case when it is first asked for, and keeps it while it is open.

    One of these serves any number of candidates: they only read.
    """

    def __init__(
        self,
        new_database: NewDatabase,
        directory: Path,
        *,
        control: Subject,
        max_records: int | None = None,
    ) -> None:
        self.new_url = new_database
        self._directory = directory
        self._control = control
        self._max_records = max_records
        self._numbers = count(1)
        self._databases: dict[object, LandscapeDB] = {}
        self._captures: dict[Case, Capture] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def database(self, case: Case) -> LandscapeDB:
        """The database of a case, in which nobody writes any more."""
        spec, run_id = case.spec, case.spec.run_id
        identity = (spec, case.corruption, case.shake.name)
        if identity not in self._databases:
            db = self._open.enter_context(LandscapeDB(self.new_url()))
            generate_run(db, _shaken(spec, case))
            if case.corruption:
                case.corruption.plant(db, run_id)
            if case.shake.act:
                case.shake.act(db)
            self._databases[identity] = db
        return self._databases[identity]

    def control(self, case: Case) -> Capture:
        """The control's export of a case, taken where nobody changed the plan."""
        case = case.undisturbed
        if case not in self._captures:
            self._captures[case] = self._capture(self._control, case, MAX_RECORDS)
        return self._captures[case]

    def compare(self, candidate: Subject, case: Case) -> Comparison:
        """Export a case with a candidate, and compare that with the control's export."""
        control = self.control(case)
        limit = self._max_records or _ENOUGH * (control.record_count + 100)
        found = self._capture(candidate, case, limit)
        try:
            return compare_captures(
                control,
                found,
                run_id=case.name,
                signing_key=_key(case),
                owner=owner_in(self.database(case)),
            )
        finally:
            shutil.rmtree(found.directory)

    def _capture(self, subject: Subject, case: Case, max_records: int) -> Capture:
        return capture(
            subject,
            self.database(case),
            case.run_id,
            signing_key=_key(case),
            clock=fixed_clock,
            directory=self._directory / f"export-{next(self._numbers)}",
            max_records=max_records,
        )


def _key(case: Case) -> bytes | None:
    return SIGNING_KEY if case.signed else None


def _shaken(spec: RunSpec, case: Case) -> RunSpec:
    feature = case.shake.feature
    return replace(spec, features=spec.features | {feature}) if feature else spec
