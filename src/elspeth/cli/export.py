"""Exports a run to a path, to standard output, or by the settings of a pipeline."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from elspeth.cli.databases import reading_database, recording_database
from elspeth.cli.formats import ExporterName, ExportFormat
from elspeth.cli.progress import show_progress
from elspeth.cli.run_choice import chosen_run, has_run
from elspeth.cli.runtime import UsageError, stop_on_signals
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.compression import Compression, require
from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LegacyLandscapeExporter,
)
from elspeth.core.landscape.counts import count_tables_in_snapshot
from elspeth.core.landscape.exporter import Orphan
from elspeth.core.landscape.output.publish import (
    Block,
    PublishedExport,
    in_blocks,
    refuse_other_content,
    write_blocks,
)
from elspeth.core.landscape.output.spreadsheet import (
    formula_cells,
    spreadsheet_copy_of,
    write_spreadsheet_copy,
)

# Imported by an export that needs them: their models of pydantic take as long to build as all else
# that a small export imports.
if TYPE_CHECKING:
    from elspeth.core.landscape.attestation import Attestation, Attester
    from elspeth.core.landscape.attestation.create import PendingAttestation
    from elspeth.core.settings import ElspethSettings

_MOST_ORPHANS_SHOWN = 20


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
    attestation: "Attestation | None" = None
    formula_cells: Mapping[str, int] = field(default_factory=dict)
    """By file: the number of texts that a spreadsheet would run as formulas."""
    spreadsheet_copy: Path | None = None
    left_out: Sequence[str] = ()
    orphans: AcceptedOrphans = field(default_factory=AcceptedOrphans)

    def lines(self) -> Iterator[str]:
        """Yield the lines of a successful export: size, digest, attestation and copy."""
        published = self.published
        size = f"{published.record_count:,} records, {published.size_bytes:,} bytes"
        compression = published.compression
        compressed = "" if compression is None else f", compressed with {compression.value},"
        yield f"{self.run_id}: {size}{compressed} in {published.path}"
        of_what = "" if compression is None else " of the uncompressed bytes"
        yield f"sha256 {published.sha256}{of_what}"
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
class ExportForm:
    """How runs are exported to paths: format, exporter, keys, and what is left out."""

    format: ExportFormat = ExportFormat.JSONL
    exporter: ExporterName = ExporterName.BATCHED
    signing_key: bytes | None = field(default=None, repr=False)
    attester: "Attester | None" = None
    leave_out: Sequence[str] = ()
    compression: Compression | None = None

    def refuse_impossible(self, options: ExportOptions) -> None:
        """Refuse options that contradict each other, before any work.

        Raises:
            UsageError: There are such options.
            CompressionUnavailableError: The package of the compression is missing.
        """
        if options.spreadsheet_safe and self.format is not ExportFormat.CSV:
            raise UsageError("--spreadsheet-safe is for format csv; leave it out")
        if options.accept_orphans and self.exporter is not ExporterName.BATCHED:
            raise UsageError("--accept-orphans is for --exporter batched; leave it out")
        if options.jobs != 1 and self.exporter is not ExporterName.BATCHED:
            raise UsageError("--jobs is for --exporter batched; leave it out")
        if self.compression is None:
            return
        if self.format is not ExportFormat.JSONL:
            raise UsageError("--compress is for format jsonl; leave it out")
        require(self.compression)

    def prepare(self, path: Path, options: ExportOptions) -> "PendingAttestation | None":
        """Refuse a target that cannot be written, and begin the attestation of its export."""
        is_csv = self.format is ExportFormat.CSV
        if options.spreadsheet_safe:
            spreadsheet_copy_of(path)
        refuse_other_content(path, is_csv=is_csv)
        # Before the export: a chain that cannot be continued must not cost an export first.
        return None if self.attester is None else self.attester.begin(path, self.leave_out)

    def write(
        self,
        db: LandscapeDB,
        run_id: str,
        path: Path,
        options: ExportOptions,
        attestation: "PendingAttestation | None",
    ) -> ExportResult:
        """Export a run to a path, and attest it if `prepare` has begun an attestation."""
        orphans = AcceptedOrphans()
        exporter = self.exporter_of(db, options, orphans)
        with show_progress(db, run_id, quiet=options.quiet) as progress:
            sign = self.signing_key is not None
            write = self._writer(exporter, options.jobs)
            published = write(run_id, path, sign=sign, progress=progress)
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

    def exporter_of(
        self, db: LandscapeDB, options: ExportOptions, orphans: AcceptedOrphans
    ) -> LandscapeExporter | LegacyLandscapeExporter:
        """Return the exporter; accepted orphans are added to `orphans`."""
        if self.exporter is ExporterName.LEGACY:
            return LegacyLandscapeExporter(db, self.signing_key, leave_out=self.leave_out)
        accept = orphans.add if options.accept_orphans else None
        return LandscapeExporter(
            db, self.signing_key, leave_out=self.leave_out, accept_orphan=accept
        )

    def _writer(
        self, exporter: LandscapeExporter | LegacyLandscapeExporter, jobs: int
    ) -> Callable[..., PublishedExport]:
        if self.format is ExportFormat.CSV:
            write: Callable[..., PublishedExport] = exporter.write_csv
        else:
            write = partial(exporter.write_jsonl, compression=self.compression)
        # The control has no jobs.
        return write if jobs == 1 else partial(write, jobs=jobs)


@dataclass(frozen=True)
class PathExport:
    """An export to a named path: opens the database only for reading and records no status."""

    database_url: str
    path: Path
    form: ExportForm

    def export(self, run: str, options: ExportOptions) -> ExportResult:
        """Export the run of this id, or the latest run for "latest"."""
        attestation = self.form.prepare(self.path, options)
        with (
            stop_on_signals(timeout_seconds=options.timeout_seconds) as opened,
            reading_database(self.database_url, opened, leave_out=self.form.leave_out) as db,
        ):
            return self.form.write(db, chosen_run(run, db), self.path, options, attestation)


@dataclass(frozen=True)
class StreamExport:
    """An export to standard output: what a reader gets before an error is not a whole export."""

    database_url: str
    form: ExportForm

    def export(self, run: str, options: ExportOptions) -> ExportResult:
        """Export the run of this id, or the latest run for "latest"."""
        form = self.form
        if form.compression is not None and sys.stdout.isatty():
            raise UsageError("--compress to a terminal: redirect standard output, or name a file")
        with (
            stop_on_signals(timeout_seconds=options.timeout_seconds) as opened,
            reading_database(self.database_url, opened, leave_out=form.leave_out) as db,
        ):
            run_id = chosen_run(run, db)
            orphans = AcceptedOrphans()
            blocks = self._blocks(form.exporter_of(db, options, orphans), run_id, options.jobs)
            with show_progress(db, run_id, quiet=options.quiet) as progress:
                output = cast("IO[bytes]", _StandardOutput())
                published = write_blocks(
                    output, blocks, progress=progress, compression=form.compression
                )
                # Before the result is told: the reader may have gone.
                output.flush()
        left_out = sorted(set(form.leave_out))
        return ExportResult(run_id, published, left_out=left_out, orphans=orphans)

    def _blocks(
        self, exporter: LandscapeExporter | LegacyLandscapeExporter, run_id: str, jobs: int
    ) -> Iterator[Block]:
        sign = self.form.signing_key is not None
        if isinstance(exporter, LegacyLandscapeExporter):
            return in_blocks(exporter.export_lines(run_id, sign))
        return exporter.export_blocks(run_id, sign, jobs=jobs)


class _StandardOutput:
    """Standard output for bytes, whose errors name it."""

    def write(self, content: bytes) -> int:
        return int(self._named(sys.stdout.buffer.write, content))

    def flush(self) -> None:
        self._named(sys.stdout.buffer.flush)

    def _named(self, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            # OSError chooses its subclass by the number, so a closed pipe stays one.
            raise OSError(error.errno, error.strerror, "standard output") from error


@dataclass(frozen=True)
class ConfiguredExport:
    """An export by a pipeline's settings, recorded in the run's export_status."""

    settings: "ElspethSettings"
    key_file: Path | None
    attester: "Attester | None" = None

    def export(self, run: str, options: ExportOptions) -> ExportResult:
        """Export the run of this id, or the latest run for "latest"."""
        from elspeth.core.landscape.attestation import attestation_path, read_attestation
        from elspeth.core.landscape.pipeline.post_run import export_after_run
        from elspeth.core.settings import export_destination

        export = self.settings.landscape.export
        if not export.enabled:
            raise UsageError("The settings ask for no export: landscape.export.enabled is false")
        path = export_destination(self.settings, export.sink, export.format)
        _refuse_impossible_copy(options, path, is_csv=export.format == "csv")
        if export.compression is not None:
            # Before any work: a missing package would fail the export of the run.
            require(export.compression)
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
            with show_progress(source, run_id, quiet=options.quiet) as progress:
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
    attested: "Attestation | None",
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


def _refuse_unknown_run(run_id: str, db: LandscapeDB) -> None:
    # The run is not loaded here: if it holds corrupt values, the export itself has to fail, so
    # that export_status records why.
    if not has_run(run_id, db):
        raise RunNotFoundError(run_id)
