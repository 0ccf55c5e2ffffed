"""Settles the export_status of exports that were cut off.

A killed process or a locked database leaves an export pending. `reconcile_pending` looks at what
is in place and records the outcome.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import select

from elspeth.contracts.enums import ExportStatus
from elspeth.contracts.errors import CorruptAuditDataError, not_a_member
from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.attestation import Attester
from elspeth.core.landscape.counts import (
    count_orphans_of_run,
    count_records,
    count_tables_in_snapshot,
)
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.keys import Keyring, SigningKeyError, signing_key
from elspeth.core.landscape.output.atomic import (
    UnconfirmedExportError,
    is_being_written,
    recover_directory,
    remove_left_lock,
    sync_directory,
)
from elspeth.core.landscape.pipeline.status_writer import ExportStatusWriter
from elspeth.core.landscape.schema import runs_table
from elspeth.core.landscape.verification.verify import Reason, Verification, verify
from elspeth.core.settings import ElspethSettings, export_destination

_OF_ANOTHER_FORM = frozenset({Reason.UNKNOWN_TYPE, Reason.FIELDS})
"""Defects of an export that another version of an exporter wrote, complete or not."""
_FORMATS = ("json", "csv")
_LONGEST_LINE_BYTES = 2**31


@dataclass(frozen=True)
class ReconciledExport:
    """The new status of a pending export, and the reason; PENDING if it was not changed."""

    run_id: str
    status: ExportStatus
    reason: str


def refuse_unknown_status(db: LandscapeDB) -> None:
    """Refuse a database with an export_status that names no status: it may be a pending export.

    Raises:
        CorruptAuditDataError: there is such a run; the error names the first one.
    """
    known = [status.value for status in ExportStatus]
    runs = runs_table.c
    statement = select(runs.run_id, runs.export_status).where(runs.export_status.not_in(known))
    with db.read_snapshot() as snapshot:
        found = snapshot.connection.execute(statement.order_by(runs.run_id).limit(1)).first()
    if found is not None:
        problem = not_a_member(found.export_status, ExportStatus.__name__)
        raise CorruptAuditDataError("runs", {"run_id": found.run_id}, "export_status", problem)


def pending_exports(db: LandscapeDB) -> Sequence[tuple[str, str | None, str]]:
    """Return run, sink and format of every export whose status is pending, by start of the run."""
    runs = runs_table.c
    statement = (
        select(runs.run_id, runs.export_sink, runs.export_format)
        .where(runs.export_status == ExportStatus.PENDING.value)
        .order_by(runs.started_at, runs.run_id)
    )
    # A snapshot has no time limit of a role, like that of an export.
    with db.read_snapshot() as snapshot:
        return [tuple(row) for row in snapshot.connection.execute(statement)]


def reconcile_pending(
    db: LandscapeDB,
    settings: ElspethSettings,
    environ: Mapping[str, str],
    *,
    key_file: Path | None = None,
    keyring: Keyring | None = None,
    clock: Clock = utc_now,
    attest: Attester | None = None,
) -> Sequence[ReconciledExport]:
    """Verify the target of every run whose export is pending, and record the outcome.

    An export becomes completed if it verifies, is of that run and holds as many records as the
    database, otherwise failed. It stays pending while another process writes it, and if it cannot
    be judged: by these settings, with this key, in this database, or because another version of an
    exporter wrote it.

    Args:
        db: the database of the runs, open for writing.
        settings: the settings of their pipeline.
        environ: the environment of the signing key.
        key_file: the file of the signing key, which takes precedence over the environment.
        keyring: keys of which one may have signed an export, in place of the signing key.
        clock: gives the times that are written.
        attest: attests an export that was cut off between publication and attestation.

    Raises:
        sqlalchemy.exc.DBAPIError: the database fails.
    """
    pending = pending_exports(db)
    judge = _Judge(db, settings, environ, key_file, keyring, attest)
    return [_record(judge.judge(*run), db, clock) for run in pending]


@dataclass(frozen=True)
class _Judge:
    db: LandscapeDB
    settings: ElspethSettings
    environ: Mapping[str, str]
    key_file: Path | None
    keyring: Keyring | None
    attest: Attester | None
    # By target and its identity. All runs of one sink name the same target, so that it would be
    # read once for each of them; an export of another run is none of theirs.
    verified: dict[tuple[Path, tuple[int, ...]], Verification] = field(default_factory=dict)

    def judge(self, run_id: str, sink: str | None, export_format: str) -> ReconciledExport:
        """Judge the export of one run by its target; only a clear result ends `pending`."""
        try:
            if export_format not in _FORMATS:
                raise ValueError(f"its export_format {export_format!r} is unknown")
            path = export_destination(self.settings, sink, export_format)
            # Its lock says so. Its process records the outcome when it ends.
            if is_being_written(path):
                reason = f"{path} is being written just now"
                return ReconciledExport(run_id, ExportStatus.PENDING, reason)
            return self._judge_at(path, run_id)
        # A missing key or other settings say nothing about the export, so it is not failed.
        except (SigningKeyError, ValueError, UnconfirmedExportError) as error:
            return ReconciledExport(run_id, ExportStatus.PENDING, f"cannot be judged: {error}")
        except FileNotFoundError:
            reason = f"cut off: there is nothing at {path}"
            return ReconciledExport(run_id, ExportStatus.FAILED, reason)
        except OSError as error:
            return ReconciledExport(run_id, ExportStatus.PENDING, f"{path}: {error.strerror}")

    def _judge_at(self, path: Path, run_id: str) -> ReconciledExport:
        leave_out = self.settings.landscape.export.leave_out
        is_signed = self.settings.landscape.export.sign
        key = (self.keyring or signing_key(self.environ, self.key_file)) if is_signed else None
        # A kill between the two renames of a directory leaves the previous export under its hidden
        # name, and nothing at the target.
        recover_directory(path)
        before = _identity(path)
        # No export is one. Reading a pipe would wait for a writer, and a device may have no end.
        if not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path} is neither a file nor a directory; remove it")
        found = self.verified.get((path, before))
        if found is None:
            # A count of records says nothing of what this version does not know.
            self.db.check_schema(leave_out)
            found = verify(
                path,
                key,
                allow_unsigned=not is_signed,
                # The exporter writes lines of any length, and a limit must not fail its export.
                max_line_bytes=_LONGEST_LINE_BYTES,
            )
            self.verified[path, before] = found
        verification = found.as_of_run(run_id)
        # The lock is not held while an export is read: that may take minutes, and would turn
        # another export away.
        if is_being_written(path) or _identity(path) != before:
            raise ValueError(f"{path} was replaced while it was verified")
        if doubt := _doubt(verification, ",".join(sorted(set(leave_out)))):
            raise ValueError(f"{path}: {doubt}")
        if not verification.ok:
            first = verification.defects[0]
            reason = f"cut off: {path} does not verify: {first}"
            return ReconciledExport(run_id, ExportStatus.FAILED, reason)
        # An unsigned export has no manifest, so only the count shows that its end is missing.
        with self.db.read_snapshot() as snapshot:
            stored = sum(count_records(snapshot.connection, run_id).values())
        # A signed export holds one record more than the database: its manifest.
        exported = verification.record_count - verification.is_signed
        if exported != stored:
            reason = f"cut off: {path} holds {exported:,} records, the database {stored:,}"
            return ReconciledExport(run_id, ExportStatus.FAILED, reason)
        # The process that wrote it may have ended before its rename was durable, and before it
        # removed its lock.
        remove_left_lock(path)
        sync_directory(path.parent)
        if self.attest is not None:
            tables = partial(count_tables_in_snapshot, self.db, run_id)
            orphans = count_orphans_of_run(self.db, run_id, leave_out)
            pending = self.attest.begin(path, leave_out)
            pending.attest_existing(run_id, key, tables, orphans=orphans)
        return ReconciledExport(run_id, ExportStatus.COMPLETED, f"{path} verifies")


def _identity(path: Path) -> tuple[int, ...]:
    """Return numbers that another export at the same place does not have."""
    status = path.lstat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _doubt(verification: Verification, left_out: str) -> str | None:
    """Return why an export is not judged; None when its verification is a judgement."""
    if verification.every_signature_is_bad:
        return (
            "no signature fits the key, which is probably another one; name earlier keys with "
            "--keyring"
        )
    for defect in verification.defects:
        if defect.reason in _OF_ANOTHER_FORM:
            return f"another version of the exporter may have written it: {defect}"
    if verification.manifest is not None and verification.left_out != left_out:
        return (
            f"it leaves out {verification.left_out or 'nothing'!r} on request, and the settings "
            f"name {left_out or 'nothing'!r}"
        )
    return None


def _record(reconciled: ReconciledExport, db: LandscapeDB, clock: Clock) -> ReconciledExport:
    if reconciled.status is ExportStatus.PENDING:
        return reconciled
    failure = reconciled.reason if reconciled.status is ExportStatus.FAILED else None
    writer = ExportStatusWriter(db, reconciled.run_id, clock)
    if writer.resolve_pending(reconciled.status, failure):
        return reconciled
    reason = "another process has settled it meanwhile"
    return ReconciledExport(reconciled.run_id, ExportStatus.PENDING, reason)
