"""Judge whether an export depends on its environment: process, backend, or concurrent writers.

No byte may depend on the hash seed, the locale or the time zone. Between SQLite and PostgreSQL only
the offset of timestamps differs: SQLite stores none, PostgreSQL returns one. The snapshot check has
another process write to the run during the export, which must not show.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from elspeth.core.landscape import LandscapeDB
from harness.checks.concurrent_writer import ConcurrentWriter
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import Refusal, Spool
from harness.compare.difference import SNAPSHOT, Difference
from harness.compare.exports import SIGNING_KEY, compare_exports, first_difference, fixed_clock
from harness.compare.records import WithoutTime
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask
from harness.exporters.probe.exports import RECORDS
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from harness.temporary_folder import temporary_folder
from querygrowth.verdict import Outcome, Verdict, judge


@dataclass(frozen=True)
class ProcessEnvironment:
    """Environment variables that no byte of an export may depend on."""

    name: str
    variables: Mapping[str, str]


PROCESS_ENVIRONMENTS = (
    ProcessEnvironment(
        "hash seed 2, St. John's, UTF-8 locale, no assertions",
        MappingProxyType(
            {
                "PYTHONHASHSEED": "2",
                # UTC-3:30, or -2:30 in summer: an offset that is not a whole hour.
                "TZ": "America/St_Johns",
                "PGTZ": "America/St_Johns",
                "LC_ALL": "C.UTF-8",
                # As python -O: without assertions, and what they do besides.
                "PYTHONOPTIMIZE": "1",
            }
        ),
    ),
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
)
"""The environments of the processes that a candidate exports from, one after the other."""

_TIMESTAMPS = frozenset(("started_at", "completed_at", "created_at"))
_SNAPSHOT_SPEC = preset("tiny", 4, run_id="snapshot")


def judge_in_environment(
    candidate: Measured,
    control: Measured,
    db: LandscapeDB,
    run_id: str,
    environment: ProcessEnvironment,
) -> Verdict:
    """Compare the candidate's export from a child process with the control's from this one.

    Args:
        candidate: The exporter to judge; skipped if it has no `module:attribute` to load it by.
        control: The exporter to compare with.
        db: A database that the child process can open by its URL.
        run_id: The run to export.
        environment: What differs in the child process.
    """
    expected = f"the same bytes in another process ({environment.name})"
    there = candidate.in_environment({**os.environ, **environment.variables})
    if there is None:
        why = "no other process: an exporter without module:attribute cannot be loaded there"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    with there:
        difference = compare_exports(
            db, run_id, candidate=there, control=control, signing_key=SIGNING_KEY
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
    subject: Measured, *, sqlite: LandscapeDB, postgresql: LandscapeDB, run_id: str
) -> Verdict:
    """Compare the exports of one run that both databases hold, without offsets from UTC.

    Args:
        subject: The exporter to judge.
        sqlite: The run on SQLite.
        postgresql: The same run on PostgreSQL.
        run_id: The run.
    """
    # Unsigned, because a signature covers timestamps with their offsets.
    with temporary_folder() as temporary:
        sides = []
        for db in (sqlite, postgresql):
            directory = temporary / db.engine.dialect.name
            directory.mkdir()
            task = ExportTask(db, run_id, None, fixed_clock, directory)
            _raise_error(subject, subject.export_records(task))
            sides.append(_without_offsets(Spool(directory / RECORDS)))
        difference = first_difference(*sides)
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
    candidate: Measured, control: Measured, new_database: NewDatabase, directory: Path
) -> Verdict:
    """Have a second process commit during the candidate's export, after its first query.

    The export must equal the control's export from before. An exporter that sends no query after
    the commit has read everything from one state, and passes as well. One that begins its snapshot
    after its first query, which only asks whether the run exists, may export the state after the
    commit: it is tried again with a commit after its next query.

    Args:
        candidate: The exporter to judge.
        control: The exporter to compare with.
        new_database: Makes the databases.
        directory: The folder for the records of the exports.
    """
    after = 1
    while (tried := _try_snapshot(candidate, control, new_database, directory, after)).is_later:
        after += 1
    difference = tried.difference
    if not tried.has_written:
        # Such an export has at most one record, and the run has more.
        seen = "vacuous: no second query and no second record"
    elif difference:
        seen = f"not a snapshot: {difference.headline}"
    elif not tried.queries_after:
        seen = "a snapshot: no query after the first record, so all was read from one state"
    else:
        seen = "a snapshot, while a second process wrote"
    return judge(
        candidate.name,
        tried.has_written and difference is None,
        expected="the state at the start of the export, while a second process writes",
        seen=seen,
        evidence=difference.evidence if difference else (),
        next_step="one read transaction around all queries (on SQLite with an explicit BEGIN)",
        kind=SNAPSHOT,
    )


@dataclass(frozen=True)
class _SnapshotTry:
    """One export during which a second process committed.

    Attributes:
        difference: The first difference from the state before the commit.
        has_written: Whether there was a commit.
        queries_after: The queries after it.
        is_later: Whether the export is that of the state after the commit, from which it sent
            further queries.
    """

    difference: Difference | None
    has_written: bool
    queries_after: int
    is_later: bool


def _try_snapshot(
    candidate: Measured, control: Measured, new_database: NewDatabase, directory: Path, after: int
) -> _SnapshotTry:
    """Export a run once, with a commit after a query of the export, counted from 1."""
    run_id = _SNAPSHOT_SPEC.run_id
    with LandscapeDB(new_database()) as db:
        generate_run(db, _SNAPSHOT_SPEC)
        task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)

        def folder(name: str) -> Path:
            (directory / name).mkdir(exist_ok=True)
            return directory / name

        def of_control(name: str) -> Path:
            _raise_error(control, control.export_records(replace(task, directory=folder(name))))
            return directory / name

        def compared(expected: Path) -> Difference | None:
            # Both sides, or neither: a manifest without its time is not that of a fixed clock.
            sides = (Spool(each / RECORDS) for each in (expected, directory / "during"))
            plain, other = (
                each if candidate.takes_clock else WithoutTime(each, SIGNING_KEY) for each in sides
            )
            return first_difference(plain, other)

        before = of_control("before")
        with ConcurrentWriter(db.connection_string, run_id) as writer:
            during = replace(task, directory=folder("during"))
            found = candidate.export_with_pause(during, writer.write, after=after)
            has_written = writer.has_written
        _raise_error(candidate, found)
        difference = compared(before)
        is_later = bool(
            difference
            and has_written
            and found["queries_after"]
            and compared(of_control("after")) is None
        )
    return _SnapshotTry(difference, has_written, found["queries_after"], is_later)


def _raise_error(exporter: Measured, found: Mapping[str, Any]) -> None:
    """Raise the error that the records of an export ended in."""
    if found["error"]:
        refusal = Refusal(**found["error"])
        raise ExportFailedError(exporter.name, f"it raised {refusal}")
