"""Settles exports that were left pending: by a killed process, or a database that was locked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import select

from elspeth.contracts.enums import ExportStatus
from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.attestation import Attester
from elspeth.core.landscape.counts import count_records, tables_of
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.keys import SigningKeyError, signing_key
from elspeth.core.landscape.output.atomic import (
    UnconfirmedExportError,
    is_being_written,
    recover_directory,
    sync_directory,
)
from elspeth.core.landscape.pipeline.export_status import ExportStatusRecord
from elspeth.core.landscape.schema import runs_table
from elspeth.core.landscape.verification.verify import verify
from elspeth.core.settings import ElspethSettings, export_target


@dataclass(frozen=True)
class Settled:
    """What became of one pending export, and why; PENDING when it was left alone."""

    run_id: str
    status: ExportStatus
    reason: str


def settle_pending(
    db: LandscapeDB,
    settings: ElspethSettings,
    environ: Mapping[str, str],
    *,
    key_file: Path | None = None,
    clock: Clock = utc_now,
    attest: Attester | None = None,
) -> Sequence[Settled]:
    """Look at the target of every run whose export is pending, and record what is found there.

    An export that verifies, is of that run and holds as many records as the database becomes
    completed, any other failed. What a living process is writing, or cannot be judged with these
    settings, stays pending. `attest` attests what was cut off before that.

    Raises sqlalchemy.exc.DBAPIError when the database fails.
    """
    with db.connection() as connection:
        runs = runs_table.c
        pending = connection.execute(
            select(runs.run_id, runs.export_sink, runs.export_format)
            .where(runs.export_status == ExportStatus.PENDING.value)
            .order_by(runs.started_at, runs.run_id)
        ).all()
    judge = _Judge(db, settings, environ, key_file, attest)
    return [_record(judge.judge(*run), db, clock) for run in pending]


@dataclass(frozen=True)
class _Judge:
    db: LandscapeDB
    settings: ElspethSettings
    environ: Mapping[str, str]
    key_file: Path | None
    attest: Attester | None

    def judge(self, run_id: str, sink: str | None, export_format: str) -> Settled:
        try:
            path = export_target(self.settings, sink, export_format)
            if is_being_written(path):
                return Settled(run_id, ExportStatus.PENDING, f"{path} is being written just now")
            return self._judge_at(path, run_id)
        except (SigningKeyError, ValueError, UnconfirmedExportError) as error:
            return Settled(run_id, ExportStatus.PENDING, f"cannot be judged: {error}")
        except FileNotFoundError:
            return Settled(run_id, ExportStatus.FAILED, f"cut off: there is nothing at {path}")
        except OSError as error:
            return Settled(run_id, ExportStatus.PENDING, f"{path}: {error.strerror}")

    def _judge_at(self, path: Path, run_id: str) -> Settled:
        signed = self.settings.landscape.export.sign
        key = signing_key(self.environ, self.key_file) if signed else None
        recover_directory(path)
        found = verify(path, key, run_id=run_id, allow_unsigned=not signed)
        if not found.ok:
            what = found.findings[0] if found.findings else "nothing"
            return Settled(run_id, ExportStatus.FAILED, f"cut off: {path} does not verify: {what}")
        with self.db.connection() as connection:
            stored = sum(count_records(connection, run_id).values())
        exported = found.record_count - found.is_signed
        if exported != stored:
            reason = f"cut off: {path} holds {exported:,} records, the database {stored:,}"
            return Settled(run_id, ExportStatus.FAILED, reason)
        sync_directory(path.parent)
        if self.attest is not None:
            tables = partial(tables_of, self.db, run_id)
            self.attest.begin(path).attest_what_is_there(run_id, key, tables)
        return Settled(run_id, ExportStatus.COMPLETED, f"{path} verifies")


def _record(settled: Settled, db: LandscapeDB, clock: Clock) -> Settled:
    if settled.status is ExportStatus.PENDING:
        return settled
    failure = settled.reason if settled.status is ExportStatus.FAILED else None
    if ExportStatusRecord(db, settled.run_id, clock).settle(settled.status, failure):
        return settled
    return Settled(settled.run_id, ExportStatus.PENDING, "another process has settled it meanwhile")
