"""Golden exports: stored table contents with their signed output, which both exporters are held to.

They catch what the control and the candidate get wrong together, a change of library included.
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

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness import packaged
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import Capture, Refusal, capture
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.compare.files import first_difference_in_files
from harness.exporters.subject import Subject
from harness.generate.features import FEATURES
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from harness.generate.spec import RunSpec
from querygrowth.verdict import Verdict, judge

# Stored tables: all that a database's exported tables hold, as text lines, and back.


_MOMENT = "%Y-%m-%d %H:%M:%S.%f"
"""How SQLite stores a timestamp, in UTC; PostgreSQL reads it in a session whose zone is UTC."""


def dump_tables(db: LandscapeDB, path: Path) -> None:
    """Write every row of every exported table to a file, as JSON lines of ASCII.

    A line `{"table": name, "columns": names}` opens a table, and an array of values follows for
    each of its rows. Infinity stands as Python writes it.
    """
    with db.connection() as connection, path.open("w", encoding="ascii", newline="\n") as file:
        for table in EXPORTED_TABLES:
            opening = {"table": table.name, "columns": table.columns.keys()}
            for line in (opening, *_rows(connection, table)):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")


def restore_tables(db: LandscapeDB, path: Path) -> None:
    """Insert what a file holds into empty tables; columns it does not name stay NULL."""
    connection = db.engine.raw_connection()
    is_sqlite = db.engine.dialect.name == "sqlite"
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = OFF" if is_sqlite else "SET TIME ZONE 'UTC'")
        statement = ""
        with path.open(encoding="ascii") as file:
            for line in map(json.loads, file):
                if isinstance(line, dict):
                    statement = _insert(line["table"], line["columns"], "?" if is_sqlite else "%s")
                else:
                    cursor.execute(statement, line)
        connection.commit()
        connection.invalidate()  # with the settings above
    finally:
        connection.close()


def _rows(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """Read a table's rows in the order in which they lie on disk."""
    place = "rowid" if connection.dialect.name == "sqlite" else "ctid"
    for row in connection.execute(select(table).order_by(literal_column(place))):
        yield [_as_text(value) for value in row]


def _as_text(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return (value.astimezone(UTC) if value.tzinfo else value).strftime(_MOMENT)


def _insert(table: str, columns: Sequence[str], placeholder: str) -> str:
    values = ", ".join([placeholder] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})"  # noqa: S608 - our names


_TABLES, _JSONL, _CSV, _REFUSAL = "tables.jsonl", "export.jsonl", "csv", "refusal.txt"


class GoldenError(ValueError):
    """There are no golden exports where they were looked for."""


@dataclass(frozen=True)
class Change:
    """A golden file that an update would change: its name, and how it would."""

    file: str
    words: str


def golden_specs(backend: str) -> tuple[RunSpec, ...]:
    """The runs that a backend's golden database is made of, together of every feature it holds."""
    held = [each for each in FEATURES.values() if backend == "sqlite" or each.portable]
    sound = [each.name for each in held if not each.corrupt]
    specs: list[RunSpec] = []
    while left := [name for name in sound if not any(name in each.features for each in specs)]:
        specs.append(_small(f"golden_{len(specs) + 1}", _compatible(left)))
    corrupt = [each.name for each in held if each.corrupt]
    return (*specs, *(_small(f"golden_{name}", {name}) for name in corrupt))


def check_golden(
    subject: Subject, backend: str, new_database: NewDatabase, *, golden: Path = packaged.GOLDEN
) -> Iterator[Verdict]:
    """Judge an exporter by every golden run of a backend.

    Raises GoldenError when there is none: nothing to compare is no pass.
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
) -> list[Change]:
    """Tell what exporting the golden runs again would change; change it only with `write`.

    The stored contents stay what they are. Where a backend has none, its database is generated.
    """
    if write and not (golden / backend / _TABLES).exists():
        _store_new(backend, new_database, golden)
    changes: list[Change] = []
    with _restored(backend, new_database, golden) as db:
        for directory in _runs(golden / backend):
            with _exported(subject, db, directory.name) as found:
                verdict = _judge(found, directory, f"{backend}/{directory.name}")
                if verdict.failed:
                    changes.append(Change(f"{backend}/{directory.name}", str(verdict)))
                    if write:
                        _write(found, directory)
    return changes


@contextmanager
def _restored(backend: str, new_database: NewDatabase, golden: Path) -> Iterator[LandscapeDB]:
    tables = golden / backend / _TABLES
    if not tables.exists() or not _runs(golden / backend):
        raise GoldenError(f"no golden exports in {golden / backend}: harness golden --update --yes")
    with LandscapeDB(new_database()) as db:
        restore_tables(db, tables)
        yield db


def _runs(directory: Path) -> list[Path]:
    return sorted(each for each in directory.iterdir() if each.is_dir())


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
    """Replace a golden export by what was exported now."""
    shutil.rmtree(directory)
    directory.mkdir()
    if found.error:
        (directory / _REFUSAL).write_text(_refusal_text(found.error), encoding="utf-8")
    else:
        shutil.copy(found.jsonl, directory / _JSONL)
        shutil.copytree(found.csv, directory / _CSV)


def _store_new(backend: str, new_database: NewDatabase, golden: Path) -> None:
    """Generate a backend's golden database, with a place for the export of each of its runs."""
    with LandscapeDB(new_database()) as db:
        for spec in golden_specs(backend):
            generate_run(db, spec)
            (golden / backend / spec.run_id).mkdir(parents=True, exist_ok=True)
        dump_tables(db, golden / backend / _TABLES)


def _compatible(names: list[str]) -> set[str]:
    """Take the features in their order, each unless one before it hides it."""
    chosen: set[str] = set()
    for name in names:
        if not FEATURES[name].excludes & chosen:
            chosen.add(name)
    return chosen


def _small(run_id: str, features: set[str]) -> RunSpec:
    """Describe a run with a little of everything, as large as the features need and no larger."""
    tiny = preset("tiny", neighbours=0)
    needed = {"neighbours": 0}
    for name in features:
        for axis, least in FEATURES[name].needs.items():
            needed[axis] = max(least, needed.get(axis, getattr(tiny, axis)))
    return preset("tiny", **needed, run_id=run_id, features=frozenset(features))
