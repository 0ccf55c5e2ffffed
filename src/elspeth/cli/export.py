"""What `landscape export` does: to a path that is named, or as the settings of a pipeline say."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import literal, select

from elspeth.cli.progress import shown_progress
from elspeth.cli.runtime import UsageError, reading_database, recording_database, stoppable
from elspeth.contracts.errors import RunNotFoundError
from elspeth.core.landscape import LandscapeDB, LandscapeRecorder
from elspeth.core.landscape.attestation import Attester, Sidecar, read_sidecar, sidecar_of
from elspeth.core.landscape.counts import count_records, tables_of
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter
from elspeth.core.landscape.output.publish import Progress as OnProgress
from elspeth.core.landscape.output.publish import PublishedExport
from elspeth.core.landscape.output.spreadsheet import (
    formula_cells,
    spreadsheet_copy_of,
    write_spreadsheet_copy,
)
from elspeth.core.landscape.pipeline.post_run import export_after_run
from elspeth.core.landscape.schema import runs_table
from elspeth.core.settings import ElspethSettings, export_target


class ExportFormat(StrEnum):
    """What an export is written as."""

    JSONL = "jsonl"
    CSV = "csv"


class ExporterName(StrEnum):
    """Which exporter writes."""

    BATCHED = "batched"
    LEGACY = "legacy"


_EXPORTERS: Mapping[ExporterName, type[LandscapeExporter] | type[LegacyLandscapeExporter]] = (
    MappingProxyType(
        {ExporterName.BATCHED: LandscapeExporter, ExporterName.LEGACY: LegacyLandscapeExporter}
    )
)


@dataclass(frozen=True)
class Manner:
    """How an export is carried out, whatever it writes and wherever."""

    jobs: int = 1
    seconds: float | None = None
    """After which it gives up."""
    quiet: bool = False
    spreadsheet_safe: bool = False
    """Whether a CSV export gets a copy beside it that a spreadsheet may open."""


@dataclass(frozen=True)
class Exported:
    """A run that was exported, and what was published of it."""

    run_id: str
    published: PublishedExport
    attestation: Sidecar | None = None
    formula_cells: Mapping[str, int] = field(default_factory=dict)
    """By file: how many texts a spreadsheet would take for a formula."""
    spreadsheet_copy: Path | None = None

    def lines(self) -> Iterator[str]:
        """Say what there is now, and where."""
        published = self.published
        size = f"{published.record_count:,} records, {published.size_bytes:,} bytes"
        yield f"{self.run_id}: {size} in {published.path}"
        yield f"sha256 {published.sha256}"
        if self.attestation is not None:
            number = self.attestation.predicate.sequence
            yield f"attested as number {number} in {self.attestation.path}"
        if self.spreadsheet_copy is not None:
            yield f"copy for spreadsheets in {self.spreadsheet_copy}"

    @property
    def warning(self) -> str | None:
        """What to beware of, and what to do instead."""
        if not self.formula_cells or self.spreadsheet_copy is not None:
            return None
        counts = ", ".join(f"{count:,} in {name}" for name, count in self.formula_cells.items())
        return (
            f"{self.published.path}: cells that a spreadsheet would run as formulas: {counts}; "
            "open a copy made with --spreadsheet-safe instead"
        )


@dataclass(frozen=True)
class NamedTarget:
    """An export to a path; nothing is recorded of it, and the database is opened for reading."""

    database_url: str
    path: Path
    format: ExportFormat
    exporter: ExporterName
    signing_key: bytes | None
    attester: Attester | None = None

    def export(self, run: str, manner: Manner) -> Exported:
        """Export the run of that id, or the latest."""
        _refuse_copy_in_vain(manner, self.path, is_csv=self.format is ExportFormat.CSV)
        attestation = None if self.attester is None else self.attester.begin(self.path)
        with (
            stoppable(seconds=manner.seconds) as opened,
            reading_database(self.database_url, opened) as db,
        ):
            run_id = _chosen(run, db)
            write = self._writer(_EXPORTERS[self.exporter](db, self.signing_key), manner.jobs)
            with _progress(db, run_id, quiet=manner.quiet) as progress:
                sign = self.signing_key is not None
                published = write(run_id, self.path, sign=sign, progress=progress)
            attested = (
                None
                if attestation is None
                else attestation.attest(
                    published.fingerprint, run_id, self.signing_key, partial(tables_of, db, run_id)
                )
            )
            return _exported(run_id, published, attested, manner)

    def _writer(
        self, subject: LandscapeExporter | LegacyLandscapeExporter, jobs: int
    ) -> Callable[..., PublishedExport]:
        is_jsonl = self.format is ExportFormat.JSONL
        if jobs == 1:
            return subject.write_jsonl if is_jsonl else subject.write_csv
        if is_jsonl and isinstance(subject, LandscapeExporter):
            return partial(subject.write_jsonl, jobs=jobs)
        raise UsageError("--jobs is for --format jsonl with --exporter batched; leave it out")


@dataclass(frozen=True)
class ConfiguredTarget:
    """An export as a pipeline's settings say, of which the run's export_status tells."""

    settings: ElspethSettings
    key_file: Path | None
    attester: Attester | None = None

    def export(self, run: str, manner: Manner) -> Exported:
        """Export the run of that id, or the latest."""
        export = self.settings.landscape.export
        if not export.enabled:
            raise UsageError("The settings ask for no export: landscape.export.enabled is false")
        if manner.jobs != 1 and export.format != "json":
            raise UsageError("--jobs is for format json; leave it out")
        path = export_target(self.settings, export.sink, export.format)
        _refuse_copy_in_vain(manner, path, is_csv=export.format == "csv")
        url = self.settings.landscape.url
        with (
            stoppable(seconds=manner.seconds) as opened,
            reading_database(url, opened) as source,
            recording_database(url, opened) as db,
        ):
            run_id = _existing(_chosen(run, source), source)
            with _progress(source, run_id, quiet=manner.quiet) as progress:
                published = export_after_run(
                    db,
                    run_id,
                    self.settings,
                    key_file=self.key_file,
                    source=source,
                    jobs=manner.jobs,
                    progress=progress,
                    attest=self.attester,
                )
            if published is None:
                raise AssertionError("an enabled export publishes or raises")
            attested = None
            if self.attester is not None:
                attested = read_sidecar(sidecar_of(path), (self.attester.sealer,))
            return _exported(run_id, published, attested, manner)


def _refuse_copy_in_vain(manner: Manner, path: Path, *, is_csv: bool) -> None:
    """Refuse, before any work, a copy for spreadsheets that there cannot be."""
    if not manner.spreadsheet_safe:
        return
    if not is_csv:
        raise UsageError("--spreadsheet-safe is for format csv; leave it out")
    spreadsheet_copy_of(path)


def _exported(
    run_id: str, published: PublishedExport, attested: Sidecar | None, manner: Manner
) -> Exported:
    """Look at what a spreadsheet would make of an export, and make the copy that is asked for."""
    path = published.path
    cells = formula_cells(path) if path.is_dir() else {}
    copy = write_spreadsheet_copy(path) if manner.spreadsheet_safe else None
    return Exported(run_id, published, attested, cells, copy)


def _chosen(run: str, db: LandscapeDB) -> str:
    if run != "latest":
        return _encodable(run)
    found = LandscapeRecorder(db).list_runs()
    if not found:
        raise UsageError(f"There is no run in {db.masked_url}")
    return found[0].run_id


def _encodable(run_id: str) -> str:
    """Refuse an id that no database can be asked for: bytes of the command line, not UTF-8."""
    try:
        run_id.encode()
    except UnicodeEncodeError:
        raise RunNotFoundError(run_id) from None
    return run_id


def _existing(run_id: str, db: LandscapeDB) -> str:
    # Not loaded: when it holds what may not be exported, the export has to fail of that, on record.
    with db.connection() as connection:
        found = connection.execute(select(literal(1)).where(runs_table.c.run_id == run_id)).first()
    if found is None:
        raise RunNotFoundError(run_id)
    return run_id


@contextmanager
def _progress(db: LandscapeDB, run_id: str, *, quiet: bool) -> Iterator[OnProgress | None]:
    """Show how far an export is; when quiet do nothing, and ask the database nothing."""

    def records() -> int:
        with db.connection() as connection:
            return sum(count_records(connection, run_id).values())

    if quiet:
        yield None
        return
    with shown_progress(records) as progress:
        yield progress
