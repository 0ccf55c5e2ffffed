"""`landscape runs`: lists the runs of a database."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.text import Text

from elspeth.cli.options import DatabaseUrl, Json, database_url
from elspeth.cli.runtime import reading_database
from elspeth.core.error_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from elspeth.cli.reports import RunEntry
    from elspeth.core.landscape.database import LandscapeDB, SchemaMismatchError

EXAMPLES = ("landscape runs --db sqlite:///audit.db", "landscape runs --json")


def runs(db: DatabaseUrl = None, json: Json = False) -> None:
    """List the runs of a database, newest first, with the number of records of each."""
    from elspeth.cli.console import output_console, print_json, warn
    from elspeth.cli.reports import RunEntry, RunsReport
    from elspeth.core.landscape.counts import count_records
    from elspeth.core.landscape.recorder import LandscapeRecorder

    with reading_database(database_url(db)) as landscape, landscape.connection() as connection:
        found = LandscapeRecorder(landscape).list_runs()
        counts = {run.run_id: count_records(connection, run.run_id) for run in found}
        mismatch = _schema_mismatch(landscape)
    entries = tuple(
        RunEntry(
            run_id=run.run_id,
            started_at=_in_utc(run.started_at).isoformat(),
            status=run.status.value,
            export_status=run.export_status and run.export_status.value,
            rows=counts[run.run_id]["row"],
            tokens=counts[run.run_id]["token"],
            node_states=counts[run.run_id]["node_state"],
            records=sum(counts[run.run_id].values()),
        )
        for run in found
    )
    warning = None if mismatch is None else str(mismatch)
    if json:
        print_json(RunsReport(outcome="passed", exit_code=0, runs=entries, warning=warning))
    else:
        output_console().print(_table(entries) if entries else _NO_RUNS)
    if warning is not None:
        warn(warning)


_NO_RUNS = "No runs."


def _table(entries: "Sequence[RunEntry]") -> "Table":
    from rich.table import Column, Table

    # Folded, because rich cuts a long text by default, and --run does not accept a cut id.
    table = Table(Column("run", overflow="fold"), "started", "status", box=None)
    for heading in ("rows", "tokens", "node states", "records"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in entries:
        table.add_row(
            Text(one_line(run.run_id)),
            f"{datetime.fromisoformat(run.started_at):%Y-%m-%d %H:%M:%S}",
            run.status,
            *(f"{count:,}" for count in (run.rows, run.tokens, run.node_states, run.records)),
        )
    return table


def _in_utc(moment: datetime) -> datetime:
    # SQLite returns UTC without an offset; PostgreSQL returns the time zone of the session.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _schema_mismatch(landscape: "LandscapeDB") -> "SchemaMismatchError | None":
    """Return why an export that leaves out nothing would be refused; None if it would not."""
    from elspeth.core.landscape.database import SchemaMismatchError

    try:
        landscape.check_schema()
    except SchemaMismatchError as error:
        return error
    return None
