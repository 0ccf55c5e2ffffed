"""The export that follows a pipeline run: settings -> export -> export_status."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from elspeth.core.clock import Clock, utc_now
from elspeth.core.error_text import describe_failure, explain_failure
from elspeth.core.landscape.attestation import Attester
from elspeth.core.landscape.counts import tables_of
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import LandscapeExporter
from elspeth.core.landscape.keys import signing_key
from elspeth.core.landscape.output.atomic import UnconfirmedExportError
from elspeth.core.landscape.output.publish import Progress, PublishedExport
from elspeth.core.landscape.pipeline.export_status import ExportStatusRecord
from elspeth.core.landscape.pipeline.reconcile import settle_pending
from elspeth.core.settings import ElspethSettings, export_target


def export_after_run(
    db: LandscapeDB,
    run_id: str,
    settings: ElspethSettings,
    *,
    environ: Mapping[str, str] | None = None,
    key_file: Path | None = None,
    clock: Clock = utc_now,
    source: LandscapeDB | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    attest: Attester | None = None,
) -> PublishedExport | None:
    """Export a run that has just ended as its settings say; None when they ask for no export.

    The run's export_status, written to `db`, goes from pending to completed, or to failed with the
    error, which is then raised again; the run's own status stays as it is. The run is read from
    `source`: by default from `db`, opened once more for reading only. Runs that an earlier export
    left pending are settled first. The signing key is read from `key_file`, or else from
    `environ` (default: the process's), now and not when settings are loaded. `attest` writes an
    attestation beside the export, before its status is completed.

    Raises UnconfirmedExportError when the export is in place, but its status could not be recorded
    or its durability not be made sure of, or it could not be attested: the run stays pending, for
    `settle_pending` to settle.
    """
    export = settings.landscape.export
    if not export.enabled:
        return None
    environ = os.environ if environ is None else environ
    settle_pending(db, settings, environ, key_file=key_file, clock=clock, attest=attest)
    status = ExportStatusRecord(db, run_id, clock)
    status.begin(export.format, export.sink)
    try:
        path = export_target(settings, export.sink, export.format)
        key = signing_key(environ, key_file) if export.sign else None
        attestation = None if attest is None else attest.begin(path)
        with _reading(db, source) as reading:
            exporter = LandscapeExporter(reading, key, clock=clock)
            if export.format == "json":
                published = exporter.write_jsonl(
                    run_id, path, sign=export.sign, jobs=jobs, progress=progress
                )
            else:
                published = exporter.write_csv(run_id, path, sign=export.sign, progress=progress)
    except UnconfirmedExportError:
        raise
    except BaseException as error:
        _record_failure(status, error)
        raise
    # From here on an export is in place: what ends this process leaves it pending, not failed.
    if attestation is not None:
        tables = partial(tables_of, db, run_id)
        attestation.attest(published.fingerprint, run_id, key, tables)
    _record_completion(status, published)
    return published


def _reading(db: LandscapeDB, source: LandscapeDB | None) -> AbstractContextManager[LandscapeDB]:
    if source is not None:
        return nullcontext(source)
    if db.is_in_memory:
        return nullcontext(db)
    return LandscapeDB(db.absolute_url, create_tables=False, read_only=True)


def _record_failure(status: ExportStatusRecord, failure: BaseException) -> None:
    """Record why there is no export; what prevents that must not hide the reason."""
    try:
        status.fail(explain_failure(failure))
    except DBAPIError as error:
        failure.add_note(
            f"its export_status stays pending, for it could not be recorded: "
            f"{describe_failure(error)}"
        )


def _record_completion(status: ExportStatusRecord, published: PublishedExport) -> None:
    try:
        status.complete()
    except (DBAPIError, TimeoutError) as error:
        raise UnconfirmedExportError(
            f"{published.path} is complete and in place, but the run's export_status stays "
            f"pending: {describe_failure(error)}. `landscape reconcile` will settle it"
        ) from error
