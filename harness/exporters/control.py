"""Control: the exporter that others are judged by, in a process of its own where a run is large.

It reads all of a run's rows at once, about 0.85 KB each. Comparing shall take the same memory
however large the run is.
"""

from pathlib import Path

from sqlalchemy import func, select

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB, rows_table
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, Subject, load_subject
from harness.exporters.subprocess_probe import Probe, subject_of

LARGE_ROWS = 20_000
"""From so many source rows on the control gets a process of its own."""


def control_for(db: LandscapeDB, run_id: str, *, clock: Clock, directory: Path) -> Subject:
    """The control for one run; a database in memory, which no other process sees, keeps it here."""
    in_run = select(func.count()).select_from(rows_table).where(rows_table.c.run_id == run_id)
    with db.connection() as connection:
        rows = connection.execute(in_run).scalar_one()
    control = load_subject(CONTROL)
    if rows < LARGE_ROWS or not _is_shared(db):
        return control
    # Told what to describe; the key to sign with is given later, to the exporter.
    task = ExportTask(db, run_id, b"", clock, directory)
    return subject_of(Probe(CONTROL, name=control.name), task)


def _is_shared(db: LandscapeDB) -> bool:
    url = db.engine.url
    return url.get_backend_name() != "sqlite" or url.database not in (None, "", ":memory:")
