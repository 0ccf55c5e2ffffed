"""Golden exports: stored table contents, and the signed export of every run in them.

A comparison of two exporters misses an error that both make, for example after an update of a
library. A golden export shows it: its files were written once and reviewed. Beside the tables, the
folder of a run holds the JSON Lines file and the CSV files, or the refusal.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, literal_column, select

from elspeth.core.landscape import LandscapeDB, runs_table
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness import packaged
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import Capture, Refusal, capture
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.compare.files import first_difference_in_files
from harness.exporters.subject import Subject
from harness.generate.features import FEATURES
from harness.generate.features.feature import compatible
from harness.generate.generator import generate_run
from harness.generate.plan import NEIGHBOUR
from harness.generate.presets import preset
from harness.generate.spec import RunSpec
from querygrowth.verdict import Verdict, judge

_TABLES, _JSONL, _CSV, _REFUSAL = "tables.jsonl", "export.jsonl", "csv", "refusal.txt"
# SQLite's form of a timestamp. PostgreSQL reads it correctly in a session whose time zone is UTC.
_TIMESTAMP = "%Y-%m-%d %H:%M:%S.%f"


class GoldenError(ValueError):
    """There are no golden exports in the folder."""


@dataclass(frozen=True)
class GoldenChange:
    """A golden export that an update replaces: its name, and the first difference."""

    name: str
    difference: str


def dump_tables(db: LandscapeDB, path: Path) -> None:
    """Write every row of every exported table to a file, as JSON Lines in ASCII.

    A line `{"table": name, "columns": names}` starts a table. The lines of its rows follow, arrays
    of values. Infinity is written as Python's `json` writes it.
    """
    with db.connection() as connection, path.open("w", encoding="ascii", newline="\n") as file:
        for table in EXPORTED_TABLES:
            opening = {"table": table.name, "columns": table.columns.keys()}
            for line in (opening, *_rows(connection, table)):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")


def restore_tables(db: LandscapeDB, path: Path) -> None:
    """Insert the rows of a file into empty tables. Columns that it does not name stay NULL."""
    # The driver's connection: SQLAlchemy's types would refuse the bad values of golden runs.
    connection = db.engine.raw_connection()
    is_sqlite = db.engine.dialect.name == "sqlite"
    try:
        cursor = connection.cursor()
        # Foreign keys: the rows were valid when they were dumped. Timestamps were dumped in UTC.
        cursor.execute("PRAGMA foreign_keys = OFF" if is_sqlite else "SET TIME ZONE 'UTC'")
        statement = ""
        with path.open(encoding="ascii") as file:
            for line in map(json.loads, file):
                if isinstance(line, dict):
                    statement = _insert(line["table"], line["columns"], "?" if is_sqlite else "%s")
                else:
                    cursor.execute(statement, line)
        connection.commit()
        # Do not return a connection with these settings to the pool.
        connection.invalidate()
    finally:
        connection.close()


def _rows(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """Read a table's rows in their physical order."""
    # Restoring repeats that order. The golden run with shuffled insertion depends on it.
    place = "rowid" if connection.dialect.name == "sqlite" else "ctid"
    for row in connection.execute(select(table).order_by(literal_column(place))):
        yield [_as_text(value) for value in row]


def _as_text(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return (value.astimezone(UTC) if value.tzinfo else value).strftime(_TIMESTAMP)


def _insert(table: str, columns: Sequence[str], placeholder: str) -> str:
    values = ", ".join([placeholder] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - our names


def golden_specs(backend: str) -> tuple[RunSpec, ...]:
    """Return the specs of a backend's golden runs, which hold all features of presets."""
    held = [
        each
        for each in FEATURES.values()
        if each.in_presets and (backend == "sqlite" or each.portable)
    ]
    left = [each for each in held if not each.corrupt]
    specs: list[RunSpec] = []
    while left:
        chosen = compatible(left)
        specs.append(_small(f"golden_{len(specs) + 1}", {each.name for each in chosen}))
        left = [each for each in left if each not in chosen]
    # An export stops at the first bad value, so a corrupt feature has a run for itself.
    corrupt = [each.name for each in held if each.corrupt]
    return (*specs, *(_small(f"golden_{name}", {name}) for name in corrupt))


def check_golden(
    subject: Subject, backend: str, new_database: NewDatabase, *, golden: Path = packaged.GOLDEN
) -> Iterator[Verdict]:
    """Judge an exporter by every golden run of a backend.

    Args:
        subject: The exporter to judge.
        backend: "sqlite" or "postgresql".
        new_database: Makes the database that the tables are restored into.
        golden: The folder that holds the folders of the backends.

    Raises:
        GoldenError: There is no golden run.
    """
    with _restored(backend, new_database, golden) as db:
        for directory in _runs(golden / backend):
            with _exported(subject, db, directory.name) as found:
                yield _judge(found, directory, f"{backend}/{directory.name}")


def update_golden(
    subject: Subject,
    backend: str,
    new_database: NewDatabase,
    *,
    golden: Path = packaged.GOLDEN,
    write: bool,
) -> list[GoldenChange]:
    """Export the golden runs again, and return the golden exports that differ from the new ones.

    Stored tables are never changed. If a backend has none, they are generated.

    Args:
        subject: The exporter to write with.
        backend: "sqlite" or "postgresql".
        new_database: Makes the database that the tables are restored into.
        golden: The folder that holds the folders of the backends.
        write: Whether to replace the golden exports that differ.
    """
    if write and not (golden / backend / _TABLES).exists():
        _store_new(backend, new_database, golden)
    changes: list[GoldenChange] = []
    with _restored(backend, new_database, golden) as db:
        for directory in _runs(golden / backend):
            with _exported(subject, db, directory.name) as found:
                verdict = _judge(found, directory, f"{backend}/{directory.name}")
                if verdict.failed:
                    changes.append(GoldenChange(f"{backend}/{directory.name}", str(verdict)))
                    if write:
                        _write(found, directory)
    return changes


@contextmanager
def _restored(backend: str, new_database: NewDatabase, golden: Path) -> Iterator[LandscapeDB]:
    tables = golden / backend / _TABLES
    # An error and no empty list of verdicts: nothing to compare must not count as passed.
    if not tables.exists() or not _runs(golden / backend):
        raise GoldenError(f"no golden exports in {golden / backend}: harness golden --update --yes")
    with LandscapeDB(new_database()) as db:
        restore_tables(db, tables)
        yield db


def _runs(directory: Path) -> list[Path]:
    """Return the folders of a backend's golden runs, also those that are missing."""
    folders = {each for each in directory.iterdir() if each.is_dir()}
    # The stored tables say which exports have to be there: a removed folder must not pass.
    return sorted(folders | {directory / run_id for run_id in _stored_runs(directory / _TABLES)})


def _stored_runs(tables: Path) -> Iterator[str]:
    """Yield the ids of the runs in a file of stored tables, without their neighbours."""
    place = None
    with tables.open(encoding="ascii") as file:
        for line in map(json.loads, file):
            if isinstance(line, dict):
                is_runs = line["table"] == runs_table.name
                place = line["columns"].index(runs_table.c.run_id.name) if is_runs else None
            elif place is not None and NEIGHBOUR not in line[place]:
                yield line[place]


@contextmanager
def _exported(subject: Subject, db: LandscapeDB, run_id: str) -> Iterator[Capture]:
    with tempfile.TemporaryDirectory(prefix="harness-golden-") as directory:
        yield capture(
            subject,
            db,
            run_id,
            signing_key=SIGNING_KEY,
            clock=fixed_clock,
            directory=Path(directory, "export"),
        )


def _judge(found: Capture, directory: Path, name: str) -> Verdict:
    refusal = directory / _REFUSAL
    if not refusal.exists() and not (directory / _JSONL).exists():
        return judge(
            found.subject,
            False,
            expected=f"the golden export {name}, to the byte",
            seen=f"{name}: there is no golden export of this stored run in {directory}",
            next_step="restore the folder, or write it: harness golden --update --yes",
        )
    if refusal.exists() or found.error:
        expected = refusal.read_text(encoding="utf-8") if refusal.exists() else "no error\n"
        seen = _refusal_text(found.error)
        return judge(
            found.subject,
            seen == expected,
            expected=expected.strip(),
            seen=f"{name}: {seen.strip()}",
        )
    golden = Capture("golden", True, directory, 0, None, None, None)
    difference = first_difference_in_files(golden, found, SIGNING_KEY)
    return judge(
        found.subject,
        difference is None,
        expected=f"the golden export {name}, to the byte",
        seen=f"{name}: {difference.headline if difference else 'the golden export to the byte'}",
        evidence=difference.evidence if difference else (),
        next_step="what changed: the exporter, a library, or the golden files?",
    )


def _refusal_text(error: Refusal | None) -> str:
    return f"{error or 'no error'}\n"


def _write(found: Capture, directory: Path) -> None:
    """Replace a golden export by a new one."""
    # Removed first, because a refusal has other files than an export.
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    if found.error:
        (directory / _REFUSAL).write_text(_refusal_text(found.error), encoding="utf-8")
    else:
        shutil.copy(found.jsonl, directory / _JSONL)
        shutil.copytree(found.csv, directory / _CSV)


def _store_new(backend: str, new_database: NewDatabase, golden: Path) -> None:
    """Generate a backend's golden tables."""
    (golden / backend).mkdir(parents=True, exist_ok=True)
    with LandscapeDB(new_database()) as db:
        for spec in golden_specs(backend):
            generate_run(db, spec)
        dump_tables(db, golden / backend / _TABLES)


def _small(run_id: str, features: set[str]) -> RunSpec:
    """Return the smallest spec with one or two of everything and the features."""
    tiny = preset("tiny", neighbours=0)
    needed = {"neighbours": 0}
    for name in features:
        for axis, least in FEATURES[name].needs.items():
            needed[axis] = max(least, needed.get(axis, getattr(tiny, axis)))
    return preset("tiny", **needed, run_id=run_id, features=frozenset(features))
