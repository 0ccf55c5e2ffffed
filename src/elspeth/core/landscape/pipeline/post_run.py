"""Exports a run that has just ended, by its pipeline's settings, and records the outcome."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from elspeth.core.clock import Clock, utc_now
from elspeth.core.error_text import describe_failure, explain_failure
from elspeth.core.landscape import LandscapeExporter
from elspeth.core.landscape.attestation import Attester
from elspeth.core.landscape.counts import count_tables_in_snapshot
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.exporter import AcceptOrphan, Orphan
from elspeth.core.landscape.keys import signing_key
from elspeth.core.landscape.output.atomic import UnconfirmedExportError
from elspeth.core.landscape.output.publish import (
    Progress,
    PublishedExport,
    refuse_other_content,
)
from elspeth.core.landscape.pipeline.export_status import reconcile_pending
from elspeth.core.landscape.pipeline.status_writer import ExportStatusWriter
from elspeth.core.settings import ElspethSettings, export_destination


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
    accept_orphan: AcceptOrphan | None = None,
) -> PublishedExport | None:
    """Export a run by the settings of its pipeline.

    Exports that an earlier process left pending are reconciled first. The run's export_status goes
    from pending to completed, or to failed with the error, which is then raised again. The run's
    own status does not change.

    Args:
        db: the database that holds the run, open for writing; export_status is written here.
        run_id: the run.
        settings: the settings of its pipeline.
        environ: the environment of the signing key; by default that of the process.
        key_file: the file of the signing key, which takes precedence over the environment.
        clock: gives the times that are written.
        source: the database to read the run from; by default `db`, opened again for reading.
        jobs: the processes that share the export.
        progress: called with the number of records written so far.
        attest: writes an attestation beside the export before the status is completed.
        accept_orphan: called with every child without a parent that may belong to the run, which is
            then left out; None refuses such a run.

    Returns:
        The published export; None if the settings disable the export.

    Raises:
        SchemaMismatchError: the database holds something unknown that `landscape.export.leave_out`
            does not name.
        UnconfirmedExportError: the export is in place, but its status could not be recorded, its
            durability could not be confirmed, or it could not be attested. The run stays pending,
            for `reconcile_pending`.
    """
    export = settings.landscape.export
    if not export.enabled:
        return None
    environ = os.environ if environ is None else environ
    reconcile_pending(db, settings, environ, key_file=key_file, clock=clock, attest=attest)
    # Pending first: a process that is killed from here on leaves a trace to reconcile.
    status = ExportStatusWriter(db, run_id, clock)
    status.begin(export.format, export.sink)
    orphans = 0

    def accept(orphan: Orphan) -> None:
        nonlocal orphans
        orphans += 1
        if accept_orphan is not None:
            accept_orphan(orphan)

    try:
        path = export_destination(settings, export.sink, export.format)
        refuse_other_content(path, is_csv=export.format == "csv")
        key = signing_key(environ, key_file) if export.sign else None
        attestation = None if attest is None else attest.begin(path, export.leave_out)
        with _reading(db, source) as reading:
            accepting = None if accept_orphan is None else accept
            exporter = LandscapeExporter(
                reading, key, clock=clock, leave_out=export.leave_out, accept_orphan=accepting
            )
            if export.format == "json":
                published = exporter.write_jsonl(
                    run_id,
                    path,
                    sign=export.sign,
                    jobs=jobs,
                    progress=progress,
                    compression=export.compression,
                )
            else:
                published = exporter.write_csv(
                    run_id, path, sign=export.sign, jobs=jobs, progress=progress
                )
    except UnconfirmedExportError:
        # In place already, so not failed.
        raise
    # BaseException: an export that ends by a signal or a timeout has failed too.
    except BaseException as error:
        _record_failure(status, error)
        raise
    # The export is in place from here on, so an error leaves it pending, never failed. The status
    # comes last: a completed export has its attestation.
    if attestation is not None:
        tables = partial(count_tables_in_snapshot, db, run_id)
        attestation.attest(published.fingerprint, run_id, key, tables, orphans=orphans)
    _record_completion(status, published)
    return published


def _reading(db: LandscapeDB, source: LandscapeDB | None) -> AbstractContextManager[LandscapeDB]:
    if source is not None:
        return nullcontext(source)
    # An in-memory database belongs to its connection and cannot be opened a second time.
    if db.is_in_memory:
        return nullcontext(db)
    # Read-only, so that the export cannot change the run that it reads.
    return LandscapeDB(db.absolute_url, create_tables=False, read_only=True)


def _record_failure(status: ExportStatusWriter, failure: BaseException) -> None:
    """Record why the export failed."""
    try:
        status.fail(explain_failure(failure))
    except DBAPIError as error:
        # A note, because raising this error would hide why the export failed.
        failure.add_note(
            f"its export_status stays pending, because the failure could not be recorded: "
            f"{describe_failure(error)}"
        )


def _record_completion(status: ExportStatusWriter, published: PublishedExport) -> None:
    try:
        status.complete()
    except (DBAPIError, TimeoutError) as error:
        raise UnconfirmedExportError(
            f"{published.path} is complete and in place, but the run's export_status stays "
            f"pending: {describe_failure(error)}. `landscape reconcile` will settle it"
        ) from error
