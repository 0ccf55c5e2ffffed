"""The control: the exporter that others are judged by, in another process if the run is large.

It holds all rows of a run, about 0.85 KB for a row. In another process that memory is given back,
and a comparison takes the same memory for a run of any size.
"""

from pathlib import Path

from sqlalchemy import func, select

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB, rows_table
from harness.exporters.observation import ExportTask
from harness.exporters.subject import CONTROL, Subject, load_subject
from harness.exporters.subprocess_probe import Probe, subject_of

LARGE_ROWS = 20_000
"""Source rows from which on the control runs in another process."""


def control_for(db: LandscapeDB, run_id: str, *, clock: Clock, directory: Path) -> Subject:
    """The control for one run; in this process for a database in memory, which no other sees."""
    in_run = select(func.count()).select_from(rows_table).where(rows_table.c.run_id == run_id)
    with db.connection() as connection:
        rows = connection.execute(in_run).scalar_one()
    control = load_subject(CONTROL)
    if rows < LARGE_ROWS or not _is_shared(db):
        return control
    # Only to describe the exporter; the signing key comes later, with the export.
    task = ExportTask(db, run_id, b"", clock, directory)
    return subject_of(Probe(CONTROL, name=control.name), task)


def _is_shared(db: LandscapeDB) -> bool:
    url = db.engine.url
    return url.get_backend_name() != "sqlite" or url.database not in (None, "", ":memory:")
