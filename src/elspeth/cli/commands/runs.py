"""`landscape runs`: lists the runs of a database."""

from typing import TYPE_CHECKING

from elspeth.cli.databases import reading_database
from elspeth.cli.options import DatabaseUrl, Json, database_url

if TYPE_CHECKING:
    from elspeth.cli.reports import RunEntry
    from elspeth.cli.runs import ListedRun
    from elspeth.core.landscape.database import LandscapeDB, SchemaMismatchError

_NO_RUNS = "No runs yet: a pipeline that records to this database adds them."
EXAMPLES = ("landscape runs --db sqlite:///audit.db", "landscape runs --json")


def runs(db: DatabaseUrl = None, json: Json = False) -> None:
    """List the runs of a database, newest first.

    With the number of their records, and the status of exports by settings.
    """
    from elspeth.cli.console import output_console, print_json, warn
    from elspeth.cli.runs import lines_of, list_runs, table_of

    with reading_database(database_url(db)) as landscape:
        listed = list_runs(landscape)
        mismatch = _schema_mismatch(landscape)
    warning = None if mismatch is None else str(mismatch)
    if json:
        from elspeth.cli.reports import RunsReport

        entries = tuple(map(_entry, listed))
        print_json(RunsReport(outcome="passed", exit_code=0, runs=entries, warning=warning))
    else:
        console = output_console()
        if not listed:
            console.print(_NO_RUNS)
        elif console.is_terminal:
            console.print(table_of(listed))
        else:
            console.out("\n".join(lines_of(listed)), highlight=False)
    if warning is not None:
        warn(warning)


def _entry(listed: "ListedRun") -> "RunEntry":
    from elspeth.cli.reports import RunEntry
    from elspeth.cli.runs import in_utc

    run = listed.run
    return RunEntry(
        run_id=run.run_id,
        started_at=in_utc(run.started_at).isoformat(),
        status=run.status.value,
        export_status=None if run.export_status is None else run.export_status.value,
        rows=listed.records.get("row", 0),
        tokens=listed.records.get("token", 0),
        node_states=listed.records.get("node_state", 0),
        records=listed.record_count,
    )


def _schema_mismatch(landscape: "LandscapeDB") -> "SchemaMismatchError | None":
    """Return why an export that leaves out nothing would be refused; None if it would not."""
    from elspeth.core.landscape.database import SchemaMismatchError

    try:
        landscape.check_schema()
    except SchemaMismatchError as error:
        return error
    return None
