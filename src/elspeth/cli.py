"""The `landscape` command: list the runs of an audit trail, export one, verify an export."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from elspeth.command import (
    ExitCode,
    OutputConsole,
    UsageError,
    one_line,
    reading_database,
    run_command,
)
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.doctor import examine
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.files import Progress as OnProgress
from elspeth.core.landscape.files import PublishedExport
from elspeth.core.landscape.keys import KEY_VARIABLE, signing_key
from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter
from elspeth.core.landscape.parallel import ParallelExportError
from elspeth.core.landscape.verification import verify as verify_export
from elspeth.progress import shown_progress

app = typer.Typer(
    help="The audit trail of pipeline runs: list, export, verify.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DatabaseUrl = Annotated[
    str, typer.Option("--db", metavar="URL", help="SQLAlchemy URL of the Landscape database.")
]

_PIPED_WIDTH = 1000


class ExportFormat(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    CSV = "csv"


class ExporterName(StrEnum):
    """Which exporter writes."""

    BATCHED = "batched"
    LEGACY = "legacy"


_EXPORTERS: Mapping[ExporterName, type[LandscapeExporter] | type[LegacyLandscapeExporter]] = {
    ExporterName.BATCHED: LandscapeExporter,
    ExporterName.LEGACY: LegacyLandscapeExporter,
}


@app.command()
def runs(db: DatabaseUrl) -> None:
    """List the runs of a database, newest first, with the number of records of each."""
    with reading_database(db) as landscape, landscape.connection() as connection:
        found = LandscapeRecorder(landscape).list_runs()
        counts = {run.run_id: count_records(connection, run.run_id) for run in found}
    table = Table(Column("run", overflow="fold"), "started", "status", box=None)
    for heading in ("rows", "tokens", "node states", "records"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in found:
        count = counts[run.run_id]
        table.add_row(
            Text(one_line(run.run_id)),
            f"{_in_utc(run.started_at):%Y-%m-%d %H:%M:%S}",
            run.status.value,
            *(f"{count[name]:,}" for name in ("row", "token", "node_state")),
            f"{sum(count.values()):,}",
        )
    _console().print(table if found else "No runs.")


@app.command()
def export(
    db: DatabaseUrl,
    run: Annotated[str, typer.Option(metavar="ID|latest", help="The run to export.")],
    output: Annotated[Path, typer.Option(metavar="PATH", help="The file, or CSV directory.")],
    format_: Annotated[ExportFormat, typer.Option("--format")] = ExportFormat.JSONL,
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign with the key in ELSPETH_SIGNING_KEY.")
    ] = False,
    exporter: Annotated[ExporterName, typer.Option()] = ExporterName.BATCHED,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share a JSON Lines export.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Export a run to a JSON Lines file or a directory of CSV files, put in place atomically."""
    key = signing_key(os.environ) if sign else None
    with reading_database(db) as landscape:
        run_id = _latest(landscape) if run == "latest" else _encodable(run)
        subject = _EXPORTERS[exporter](landscape, key)
        write = _writer(subject, format_, jobs)
        with _progress(landscape, run_id, quiet=quiet) as progress:
            published = write(run_id, output, sign=sign, progress=progress)
    _report(published, run_id)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A JSON Lines file, or a directory of CSV files.")],
    run: Annotated[str | None, typer.Option(metavar="ID", help="The run it has to be of.")] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="Look for repeated keys across the whole export.")
    ] = False,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Accept an export without signatures.")
    ] = False,
) -> int:
    """Check an export: its form, every signature, its order and its manifest; exit 1 if invalid."""
    needs_key = KEY_VARIABLE in os.environ or not allow_unsigned
    key = signing_key(os.environ) if needs_key else None
    found = verify_export(path, key, run_id=run, unique=unique, allow_unsigned=allow_unsigned)
    console = _console()
    for finding in found.findings:
        console.print(Text(one_line(f"{path}: {finding}")))
    if found.finding_count > len(found.findings):
        console.print(f"... and {found.finding_count - len(found.findings):,} more")
    if found.hint:
        console.print(found.hint)
    if not found.is_signed:
        console.print("unsigned: nothing shows who wrote it")
    console.print(f"{found.valid_count:,}/{found.record_count:,} valid")
    return ExitCode.FINE if found.ok else ExitCode.NOT_FINE


def main() -> NoReturn:
    """Run the `landscape` command."""
    run_command(app, "landscape", usage_errors=(ParallelExportError,))


@app.command()
def doctor(db: DatabaseUrl) -> int:
    """Say what would make exports of a database cheaper, and why; exit 1 if anything would."""
    with reading_database(db) as landscape:
        advice = examine(landscape)
    console = _console()
    for each in advice:
        console.print(Text(f"{each.problem}: {each.why}"))
        console.print(Text(f"    {each.statement};"))
    console.print("Nothing was changed." if advice else "Nothing to improve.")
    return ExitCode.NOT_FINE if advice else ExitCode.FINE


def _writer(
    subject: LandscapeExporter | LegacyLandscapeExporter, format_: ExportFormat, jobs: int
) -> Callable[..., PublishedExport]:
    if jobs == 1:
        return subject.write_jsonl if format_ is ExportFormat.JSONL else subject.write_csv
    if format_ is ExportFormat.JSONL and isinstance(subject, LandscapeExporter):
        return partial(subject.write_jsonl, jobs=jobs)
    raise UsageError("--jobs is for --format jsonl with --exporter batched; leave it out")


def _latest(landscape: LandscapeDB) -> str:
    found = LandscapeRecorder(landscape).list_runs()
    if not found:
        raise UsageError(f"There is no run in {landscape.masked_url}")
    return found[0].run_id


def _encodable(run_id: str) -> str:
    """Refuse an id that no database can be asked for: bytes of the command line, not UTF-8."""
    try:
        run_id.encode()
    except UnicodeEncodeError:
        raise RunNotFoundError(run_id) from None
    return run_id


def _in_utc(moment: datetime) -> datetime:
    # SQLite keeps UTC without saying so; PostgreSQL answers in the session's time zone.
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


@contextmanager
def _progress(landscape: LandscapeDB, run_id: str, *, quiet: bool) -> Iterator[OnProgress | None]:
    """Show how far an export is; when quiet do nothing, and ask the database nothing."""

    def records() -> int:
        with landscape.connection() as connection:
            return sum(count_records(connection, run_id).values())

    if quiet:
        yield None
        return
    with shown_progress(records) as progress:
        yield progress


def _report(published: PublishedExport, run_id: str) -> None:
    _console().print(
        Text(
            f"{one_line(run_id)}: {published.record_count:,} records, "
            f"{published.size_bytes:,} bytes in {one_line(str(published.path))}\n"
            f"sha256 {published.sha256}"
        )
    )


def _console() -> Console:
    """A console that never wraps or shortens what a script may read."""
    if sys.stdout.isatty():
        return OutputConsole(highlight=False)
    return OutputConsole(highlight=False, soft_wrap=True, width=_PIPED_WIDTH)
