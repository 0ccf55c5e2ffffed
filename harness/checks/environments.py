"""Judge whether an export depends on its environment: process, backend, or concurrent writers.

No byte may depend on the hash seed, the locale or the time zone. Between SQLite and PostgreSQL only
the offset of timestamps differs: SQLite stores none, PostgreSQL returns one. The snapshot check has
another process write to the run during the export, which must not show.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Engine, event

from elspeth.core.landscape import LandscapeDB
from harness.checks.concurrent_writer import ConcurrentWriter
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import spool
from harness.compare.exports import SIGNING_KEY, compare_exports, first_difference, fixed_clock
from harness.compare.records import Records, WithoutTime
from harness.exporters.observation import ExportTask
from harness.exporters.subject import Subject
from harness.exporters.subprocess_probe import Probe, subject_of
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.statements import StatementKind, kind_of
from querygrowth.verdict import Outcome, Verdict, judge


@dataclass(frozen=True)
class ProcessEnvironment:
    """Environment variables that no byte of an export may depend on."""

    name: str
    variables: Mapping[str, str]


PROCESS_ENVIRONMENTS = (
    ProcessEnvironment(
        "hash seed 1, Kiritimati, C locale",
        MappingProxyType(
            {
                "PYTHONHASHSEED": "1",
                # UTC+14: nearly every timestamp falls on another date.
                "TZ": "Pacific/Kiritimati",
                # The time zone of a session on PostgreSQL.
                "PGTZ": "Pacific/Kiritimati",
                "LC_ALL": "C",
                # Without these two Python replaces the C locale by a UTF-8 one (PEP 538, PEP 540).
                "PYTHONUTF8": "0",
                "PYTHONCOERCECLOCALE": "0",
            }
        ),
    ),
    ProcessEnvironment(
        "hash seed 2, St. John's, UTF-8 locale",
        MappingProxyType(
            {
                "PYTHONHASHSEED": "2",
                # UTC-3:30, or -2:30 in summer: an offset that is not a whole hour.
                "TZ": "America/St_Johns",
                "PGTZ": "America/St_Johns",
                "LC_ALL": "C.UTF-8",
            }
        ),
    ),
)
"""The environments of the processes that a candidate exports from, one after the other."""

_TIMESTAMPS = frozenset(("started_at", "completed_at", "created_at"))
_SNAPSHOT_SPEC = preset("tiny", 4, run_id="snapshot")


def judge_in_environment(
    candidate: Subject,
    control: Subject,
    db: LandscapeDB,
    run_id: str,
    directory: Path,
    environment: ProcessEnvironment,
) -> Verdict:
    """Compare the candidate's export from a child process with the control's from this one.

    Args:
        candidate: The exporter to judge; skipped if it has no `module:attribute` to load it by.
        control: The exporter to compare with.
        db: A database that the child process can open by its URL.
        run_id: The run to export.
        directory: The folder for the files of the child process.
        environment: What differs in the child process.
    """
    expected = f"the same bytes in another process ({environment.name})"
    if not candidate.reference:
        why = "no other process: an exporter without module:attribute cannot be loaded there"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    variables = {**os.environ, **environment.variables}
    probe = Probe(candidate.reference, paths=(candidate.import_root,), environment=variables)
    task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)
    difference = compare_exports(
        db, run_id, candidate=subject_of(probe, task), control=control, signing_key=SIGNING_KEY
    ).difference
    seen = f"{difference.headline}," if difference else "the same export"
    return judge(
        candidate.name,
        difference is None,
        expected=expected,
        seen=f"{seen} in another process ({environment.name})",
        evidence=difference.evidence if difference else (),
        next_step="sets and hashes of text, local time, the locale's encoding",
    )


def judge_across_backends(
    subject: Subject, *, sqlite: LandscapeDB, postgresql: LandscapeDB, run_id: str
) -> Verdict:
    """Compare the exports of one run that both databases hold, without offsets from UTC.

    Args:
        subject: The exporter to judge.
        sqlite: The run on SQLite.
        postgresql: The same run on PostgreSQL.
        run_id: The run.
    """
    # Unsigned, because a signature covers timestamps with their offsets.
    difference = first_difference(
        *(
            _without_offsets(subject.build(db, None, fixed_clock).export_run(run_id))
            for db in (sqlite, postgresql)
        )
    )
    return judge(
        subject.name,
        difference is None,
        expected="the same records from SQLite and PostgreSQL, except for offsets from UTC",
        seen=f"{difference.headline}, between SQLite (expected) and PostgreSQL (found)"
        if difference
        else f"the same records from SQLite and PostgreSQL ({run_id})",
        evidence=difference.evidence if difference else (),
        next_step=difference.hint if difference else "",
    )


def _without_offsets(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield {
            name: value.removesuffix("+00:00")
            if name in _TIMESTAMPS and isinstance(value, str)
            else value
            for name, value in record.items()
        }


def judge_snapshot(
    candidate: Subject, control: Subject, new_database: NewDatabase, directory: Path
) -> Verdict:
    """Have a second process commit during the candidate's export.

    The export must equal the control's export from before.

    Args:
        candidate: The exporter to judge.
        control: The exporter to compare with.
        new_database: Makes the database.
        directory: The folder for the records of both exports.
    """
    with LandscapeDB(new_database()) as db:
        generate_run(db, _SNAPSHOT_SPEC)
        expected = spool(_export(control, db), directory / "before")
        with ConcurrentWriter(db.connection_string, _SNAPSHOT_SPEC.run_id) as writer:
            # It commits before the candidate's second query or after its first record, at the
            # earlier of the two. Before the first query a snapshot has not begun, and a later state
            # would be right.
            with _writing_before_second_query(db.engine, writer):
                records = _writing_after_first_record(_export(candidate, db), writer)
                found = spool(records, directory / "while")
            has_written = writer.has_written
    sides: tuple[Records, Records] = (expected, found)
    if not candidate.takes_clock:
        sides = (WithoutTime(expected, SIGNING_KEY), WithoutTime(found, SIGNING_KEY))
    difference = first_difference(*sides)
    if not has_written:
        seen = "vacuous: no second query and no second record"
    elif difference:
        seen = f"not a snapshot: {difference.headline}"
    else:
        seen = "a snapshot, while a second process wrote"
    return judge(
        candidate.name,
        has_written and difference is None,
        expected="the state at the start of the export, while a second process writes",
        seen=seen,
        evidence=difference.evidence if difference else (),
        next_step="one read transaction around all queries (on SQLite with an explicit BEGIN)",
    )


def _export(subject: Subject, db: LandscapeDB) -> Iterable[Mapping[str, Any]]:
    exporter = subject.build(db, SIGNING_KEY, fixed_clock)
    return exporter.export_run(_SNAPSHOT_SPEC.run_id, sign=True)


def _writing_after_first_record(
    records: Iterable[Mapping[str, Any]], writer: ConcurrentWriter
) -> Iterator[Mapping[str, Any]]:
    # An exporter that reads everything in one query sends no second one.
    for number, record in enumerate(records):
        if number == 1:
            writer.write()
        yield record


@contextmanager
def _writing_before_second_query(engine: Engine, writer: ConcurrentWriter) -> Iterator[None]:
    sent = count(1)

    def write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if kind_of(statement) is StatementKind.QUERY and next(sent) == 2:
            writer.write()

    event.listen(engine, "before_cursor_execute", write)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", write)
