"""Records runs to export, and lays the trails of them."""

from pathlib import Path

from fault_table import Tally
from sample_run import record_sample_run
from servers import execute
from sqlalchemy import make_url
from survival import Trail

from elspeth.core.landscape import LandscapeDB, LandscapeRecorder


def laid_with_many_rows(folder: Path, url: str, export_format: str, tally: Tally) -> Trail:
    """Add rows to the sample run on PostgreSQL, so many that it takes several fetches."""
    execute(
        make_url(url),
        "INSERT INTO rows (row_id, run_id, source_node_id, row_index, source_data_hash, created_at)"
        " SELECT 'row ' || n, 'run-1', (SELECT min(node_id) FROM nodes), n, 'h', '2026-01-01Z'"
        " FROM generate_series(100, 3100) AS n",
    )
    trail = Trail.laid(folder, url, export_format, tally)
    trail.put_old_export()
    return trail


def record(url: str) -> None:
    """Record the sample run in a new or empty database."""
    with LandscapeDB(url) as db:
        record_sample_run(LandscapeRecorder(db))
