"""`landscape export`: exports a run to a path, or by the settings of a pipeline; shows progress."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text
from sqlalchemy import literal, select

from elspeth.cli.formats import ExporterName, ExportFormat
from elspeth.cli.runtime import (
    UsageError,
    reading_database,
    recording_database,
    stop_on_signals,
)
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LandscapeRecorder,
    LegacyLandscapeExporter,
)
from elspeth.core.landscape.attestation import (
    Attestation,
    Attester,
    attestation_path,
    read_attestation,
)
from elspeth.core.landscape.counts import count_records, count_tables_in_snapshot
from elspeth.core.landscape.exporter import Orphan
from elspeth.core.landscape.output.publish import Progress as OnProgress
from elspeth.core.landscape.output.publish import PublishedExport, refuse_other_content
from elspeth.core.landscape.output.spreadsheet import (
    formula_cells,
    spreadsheet_copy_of,
    write_spreadsheet_copy,
)
from elspeth.core.landscape.pipeline.post_run import export_after_run
from elspeth.core.landscape.schema import runs_table
from elspeth.core.settings import ElspethSettings, export_destination

# Few enough lines for the log of a scheduled job; an export of 46,000 records takes 0.4 s.
SECONDS_BETWEEN_LINES = 10.0
_MOST_ORPHANS_SHOWN = 20

_RUN_CALLED_LATEST = "id:latest"

SecondsClock = Callable[[], float]
"""Returns seconds since a fixed moment."""


_EXPORTERS: Mapping[ExporterName, type[LandscapeExporter] | type[LegacyLandscapeExporter]] = (
    MappingProxyType(
        {ExporterName.BATCHED: LandscapeExporter, ExporterName.LEGACY: LegacyLandscapeExporter}
    )
)


@dataclass(frozen=True)
class ExportOptions:
    """Options that apply to exports by path and by settings."""

    jobs: int = 1
    timeout_seconds: float | None = None
    quiet: bool = False
    spreadsheet_safe: bool = False
    """Whether a CSV export gets a copy beside it that a spreadsheet may open."""
    accept_orphans: bool = False
    """Whether children without a parent are left out and reported, instead of refused."""


@dataclass
class AcceptedOrphans:
    """The orphans that an export has left out: their number, and the first ones."""

    count: int = 0
    first: list[Orphan] = field(default_factory=list)

    def add(self, orphan: Orphan) -> None:
        """Count an orphan."""
        self.count += 1
        if len(self.first) < _MOST_ORPHANS_SHOWN:
            self.first.append(orphan)

    def lines(self) -> Iterator[str]:
        """Yield the lines to print about them."""
        if self.count:
            yield f"left out, because their parents are missing: {self.count:,}"
        yield from (f"  {orphan}" for orphan in self.first)
        if self.count > len(self.first):
            yield f"  ... and {self.count - len(self.first):,} more, which `landscape doctor` lists"


@dataclass(frozen=True)
class ExportResult:
    """The exported run, the published file or directory, and the lines to print about them."""

    run_id: str
    published: PublishedExport
    attestation: Attestation | None = None
    formula_cells: Mapping[str, int] = field(default_factory=dict)
    """By file: the number of texts that a spreadsheet would run as formulas."""
    spreadsheet_copy: Path | None = None
    left_out: Sequence[str] = ()
    orphans: AcceptedOrphans = field(default_factory=AcceptedOrphans)

    def lines(self) -> Iterator[str]:
        """Yield the lines of a successful export: size, digest, attestation and copy."""
        published = self.published
        size = f"{published.record_count:,} records, {published.size_bytes:,} bytes"
        yield f"{self.run_id}: {size} in {published.path}"
        yield f"sha256 {published.sha256}"
        if published.long_line_bytes:
            needed = published.long_line_bytes
            yield (
                f"its longest line has {needed:,} bytes; to verify it: --max-line-bytes {needed}"
            )
        if self.left_out:
            yield f"left out on request: {', '.join(self.left_out)}"
        yield from self.orphans.lines()
        if self.attestation is not None:
            number = self.attestation.predicate.sequence
            yield f"attested as number {number} in {self.attestation.path}"
        if self.spreadsheet_copy is not None:
            yield f"copy for spreadsheets in {self.spreadsheet_copy}"

    @property
    def warning(self) -> str | None:
        """A warning about formulas, and the option that avoids them; None without formulas."""
        if not self.formula_cells or self.spreadsheet_copy is not None:
            return None
        counts = ", ".join(f"{count:,} in {name}" for name, count in self.formula_cells.items())
        return (
            f"{self.published.path}: cells that a spreadsheet would run as formulas: {counts}; "
            "open a copy made with --spreadsheet-safe instead"
        )


@dataclass(frozen=True)
class PathExport:
    """An export to a named path: opens the database only for reading and records no status."""

    database_url: str
    path: Path
    format: ExportFormat
    exporter: ExporterName
    signing_key: bytes | None
    attester: Attester | None = None
    leave_out: Sequence[str] = ()

    def export(self, run: str, options: ExportOptions) -> ExportResult:
        """Export the run of this id, or the latest run for "latest"."""
        is_csv = self.format is ExportFormat.CSV
        _refuse_impossible_copy(options, self.path, is_csv=is_csv)
        refuse_other_content(self.path, is_csv=is_csv)
        # Before the export: a chain that cannot be continued must not cost an export first.
        attestation = (
            None if self.attester is None else self.attester.begin(self.path, self.leave_out)
        )
        with (
            stop_on_signals(timeout_seconds=options.timeout_seconds) as opened,
            reading_database(self.database_url, opened, leave_out=self.leave_out) as db,
        ):
            run_id = chosen_run(run, db)
            orphans = AcceptedOrphans()
            exporter = self._chosen_exporter(db, options, orphans)
            write = self._writer(exporter, options.jobs)
            with _show_progress(db, run_id, quiet=options.quiet) as progress:
                sign = self.signing_key is not None
                published = write(run_id, self.path, sign=sign, progress=progress)
            attested = (
                None
                if attestation is None
                else attestation.attest(
                    published.fingerprint,
                    run_id,
                    self.signing_key,
                    partial(count_tables_in_snapshot, db, run_id),
                    orphans=orphans.count,
                )
            )
            return _result(run_id, published, attested, options, self.leave_out, orphans)

    def _chosen_exporter(
        self, db: LandscapeDB, options: ExportOptions, orphans: AcceptedOrphans
    ) -> LandscapeExporter | LegacyLandscapeExporter:
        if self.exporter is ExporterName.BATCHED:
            accept = orphans.add if options.accept_orphans else None
            return LandscapeExporter(
                db, self.signing_key, leave_out=self.leave_out, accept_orphan=accept
            )
        if options.accept_orphans:
            raise UsageError("--accept-orphans is for --exporter batched; leave it out")
        return LegacyLandscapeExporter(db, self.signing_key, leave_out=self.leave_out)

    def _writer(
        self, exporter: LandscapeExporter | LegacyLandscapeExporter, jobs: int
    ) -> Callable[..., PublishedExport]:
        is_jsonl = self.format is ExportFormat.JSONL
        if jobs == 1:
            return exporter.write_jsonl if is_jsonl else exporter.write_csv
        if is_jsonl and isinstance(exporter, LandscapeExporter):
            return partial(exporter.write_jsonl, jobs=jobs)
        raise UsageError("--jobs is for --format jsonl with --exporter batched; leave it out")


@dataclass(frozen=True)
class ConfiguredExport:
    """An export by a pipeline's settings, recorded in the run's export_status."""

    settings: ElspethSettings
    key_file: Path | None
    attester: Attester | None = None

    def export(self, run: str, options: ExportOptions) -> ExportResult:
        """Export the run of this id, or the latest run for "latest"."""
        export = self.settings.landscape.export
        if not export.enabled:
            raise UsageError("The settings ask for no export: landscape.export.enabled is false")
        if options.jobs != 1 and export.format != "json":
            raise UsageError("--jobs is for format json; leave it out")
        path = export_destination(self.settings, export.sink, export.format)
        _refuse_impossible_copy(options, path, is_csv=export.format == "csv")
        url = self.settings.landscape.url
        # The run is read on a connection that cannot write: an export changes only the status.
        with (
            stop_on_signals(timeout_seconds=options.timeout_seconds) as opened,
            reading_database(url, opened, leave_out=export.leave_out) as source,
            recording_database(url, opened) as db,
        ):
            run_id = chosen_run(run, source)
            _refuse_unknown_run(run_id, source)
            orphans = AcceptedOrphans()
            with _show_progress(source, run_id, quiet=options.quiet) as progress:
                published = export_after_run(
                    db,
                    run_id,
                    self.settings,
                    key_file=self.key_file,
                    source=source,
                    jobs=options.jobs,
                    progress=progress,
                    attest=self.attester,
                    accept_orphan=orphans.add if options.accept_orphans else None,
                )
            if published is None:
                raise AssertionError("an enabled export publishes or raises")
            attested = None
            if self.attester is not None:
                attested = read_attestation(attestation_path(path), (self.attester.signer,))
            return _result(run_id, published, attested, options, export.leave_out, orphans)


def _refuse_impossible_copy(options: ExportOptions, path: Path, *, is_csv: bool) -> None:
    """Refuse a copy for spreadsheets that cannot be made, before any work is done."""
    if not options.spreadsheet_safe:
        return
    if not is_csv:
        raise UsageError("--spreadsheet-safe is for format csv; leave it out")
    spreadsheet_copy_of(path)


def _result(
    run_id: str,
    published: PublishedExport,
    attested: Attestation | None,
    options: ExportOptions,
    leave_out: Sequence[str],
    orphans: AcceptedOrphans,
) -> ExportResult:
    """Count formula cells, write the requested copy, and build the result."""
    path = published.path
    # Only CSV: a spreadsheet does not open JSON Lines.
    cells = formula_cells(path) if path.is_dir() else {}
    copy = write_spreadsheet_copy(path) if options.spreadsheet_safe else None
    left_out = sorted(set(leave_out))
    return ExportResult(run_id, published, attested, cells, copy, left_out, orphans)


def chosen_run(run: str, db: LandscapeDB) -> str:
    """Return the id of the run that an option names: itself, or the latest run for "latest".

    "id:latest" is the run with the id "latest", unless a run has that longer text as its id.

    Raises:
        RunNotFoundError: The id is not text that a query can hold.
        UsageError: "latest", and the database holds no runs, or an older run with that id.
    """
    if run == _RUN_CALLED_LATEST:
        return run if _has_run(run, db) else "latest"
    if run != "latest":
        # Python turns command-line bytes that are not UTF-8 into surrogates, which no driver can
        # encode for a query.
        try:
            run.encode()
        except UnicodeEncodeError:
            raise RunNotFoundError(run) from None
        return run
    found = LandscapeRecorder(db).list_runs(limit=1)
    if not found:
        raise UsageError(f"{db.masked_url} holds no runs")
    newest = found[0].run_id
    if newest != run and _has_run(run, db):
        raise UsageError(
            f"--run latest: an older run has the id 'latest'; write {_RUN_CALLED_LATEST} for it, "
            f"or the id of the newest, {newest!r}"
        )
    return newest


def _refuse_unknown_run(run_id: str, db: LandscapeDB) -> None:
    # The run is not loaded here: if it holds corrupt values, the export itself has to fail, so
    # that export_status records why.
    if not _has_run(run_id, db):
        raise RunNotFoundError(run_id)


def _has_run(run_id: str, db: LandscapeDB) -> bool:
    with db.connection() as connection:
        found = connection.execute(select(literal(1)).where(runs_table.c.run_id == run_id)).first()
    return found is not None


@contextmanager
def _show_progress(db: LandscapeDB, run_id: str, *, quiet: bool) -> Iterator[OnProgress | None]:
    """Show on stderr the records written, their total and rate, and the time left.

    Yields the callback of an exporter. When quiet, yields None and sends no query for the total.
    """
    if quiet:
        yield None
        return
    with db.connection() as connection:
        total = sum(count_records(connection, run_id).values())
    if not sys.stderr.isatty():
        yield write_progress_lines(
            total, Console(stderr=True, highlight=False, soft_wrap=True).print
        )
        return
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("records", total=total)
        # A run that is written to meanwhile may yield more records than were counted.
        yield lambda done: bar.update(task, completed=min(done, total))


def write_progress_lines(
    total: int, write: Callable[[str], None], clock: SecondsClock = monotonic
) -> OnProgress:
    """Return a callback that writes a line at most every ten seconds.

    A shorter export writes no line.

    Args:
        total: the expected number of records.
        write: writes one line.
        clock: gives the time in seconds.
    """
    started = last = clock()

    def write_line(done: int) -> None:
        nonlocal last
        now = clock()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - started)
            left = max(total - done, 0) / rate if rate else 0.0
            write(f"{done:,} of {total:,} records, {rate:,.0f} a second, {left:,.0f} s left")

    return write_line


class _Rate(ProgressColumn):
    """Records per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
