"""Snapshot check: whether an export shows one state of a database that another process changes."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from elspeth.core.landscape import LandscapeDB
from harness.checks.concurrent_writer import Intruder
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import spool
from harness.compare.difference import Records
from harness.compare.exports import SIGNING_KEY, first_difference, fixed_clock
from harness.compare.manifest import Timeless
from harness.exporters.subject import Subject
from harness.generate.generator import generate_run
from harness.generate.presets import preset
from querygrowth.statements import StatementKind, kind_of
from querygrowth.verdict import Verdict, judge

_SPEC = preset("tiny", 4, run_id="snapshot")


def judge_snapshot(
    candidate: Subject, control: Subject, new_database: NewDatabase, directory: Path
) -> Verdict:
    """Have a second process commit before the candidate's second query, or after its first record.

    What it exports must equal what the control exported before it began.
    """
    with LandscapeDB(new_database()) as db:
        generate_run(db, _SPEC)
        expected = spool(_export(control, db), directory / "before")
        with Intruder(db.connection_string, _SPEC.run_id) as intruder:
            with _striking_at_second_query(db.engine, intruder):
                records = _striking_at_second_record(_export(candidate, db), intruder)
                found = spool(records, directory / "while")
            struck = intruder.struck
    sides: tuple[Records, Records] = (expected, found)
    if not candidate.takes_clock:
        sides = (Timeless(expected, SIGNING_KEY), Timeless(found, SIGNING_KEY))
    difference = first_difference(*sides)
    if not struck:
        seen = "vacuous: it came to no second query and no second record"
    elif difference:
        seen = f"not a snapshot: {difference.headline}"
    else:
        seen = "a snapshot, whoever writes meanwhile"
    return judge(
        candidate.name,
        struck and difference is None,
        expected="the state at the export's start, while a second process writes",
        seen=seen,
        evidence=difference.evidence if difference else (),
        next_step="one read transaction around all queries (on SQLite with an explicit BEGIN)",
    )


def _export(subject: Subject, db: LandscapeDB) -> Iterable[Mapping[str, Any]]:
    return subject.build(db, SIGNING_KEY, fixed_clock).export_run(_SPEC.run_id, sign=True)


def _striking_at_second_record(
    records: Iterable[Mapping[str, Any]], intruder: Intruder
) -> Iterator[Mapping[str, Any]]:
    for number, record in enumerate(records):
        if number == 1:
            intruder.strike()
        yield record


@contextmanager
def _striking_at_second_query(engine: Engine, intruder: Intruder) -> Iterator[None]:
    sent = count(1)

    def strike(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if kind_of(statement) is StatementKind.QUERY and next(sent) == 2:
            intruder.strike()

    event.listen(engine, "before_cursor_execute", strike)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", strike)
