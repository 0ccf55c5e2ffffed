"""Snapshot check: an export shows one state, while another process writes to the run."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from elspeth.core.landscape import LandscapeDB
from harness.checks.concurrent_writer import ConcurrentWriter
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import spool
from harness.compare.exports import SIGNING_KEY, first_difference, fixed_clock
from harness.compare.manifest import WithoutTime
from harness.compare.record_types import Records
from harness.exporters.subject import Subject
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.statements import StatementKind, kind_of
from querygrowth.verdict import Verdict, judge

_SPEC = preset("tiny", 4, run_id="snapshot")


def judge_snapshot(
    candidate: Subject, control: Subject, new_database: NewDatabase, directory: Path
) -> Verdict:
    """Have a second process commit during the candidate's export.

    It commits before the candidate's second query or after its first record, whichever comes
    first. The export must equal the control's export from before.

    Args:
        candidate: The exporter to judge.
        control: The exporter to compare with.
        new_database: Makes the database.
        directory: Where the records of both exports are kept.
    """
    with LandscapeDB(new_database()) as db:
        generate_run(db, _SPEC)
        expected = spool(_export(control, db), directory / "before")
        with ConcurrentWriter(db.connection_string, _SPEC.run_id) as writer:
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
    return subject.build(db, SIGNING_KEY, fixed_clock).export_run(_SPEC.run_id, sign=True)


def _writing_after_first_record(
    records: Iterable[Mapping[str, Any]], writer: ConcurrentWriter
) -> Iterator[Mapping[str, Any]]:
    # An exporter that reads everything in one query gets no second one.
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
