"""Exports several runs into a folder, each published whole; what is there already is skipped."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from elspeth.cli.databases import reading_database
from elspeth.cli.export import ExportForm, ExportOptions, ExportResult
from elspeth.cli.formats import ExportFormat
from elspeth.cli.run_choice import Selection, StoredRun
from elspeth.cli.runtime import (
    CommandTimeoutError,
    ExitCode,
    UsageError,
    exit_code_of,
    stop_on_signals,
)
from elspeth.contracts.enums import RunStatus
from elspeth.core.error_text import explain_failure
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.attestation import attestation_path, check_attestation
from elspeth.core.landscape.counts import count_records
from elspeth.core.landscape.exporter import searching_orphans_once
from elspeth.core.landscape.output.lock import (
    ExportInProgressError,
    remove_left_lock,
    target_lock,
)
from elspeth.core.landscape.output.publish import CSV_NAMES
from elspeth.core.landscape.verification.read import read_records
from elspeth.core.landscape.verification.record_shapes import MANIFEST
from elspeth.core.landscape.verification.verify import verify

# Room for the suffixes of a compressed file and of its attestation, within 255 bytes.
_LONGEST_NAME = 200
_DIGITS = 32
# No export has this name: those of files have a suffix, and a text with a blank is escaped.
_LOCK_NAME = "several exports"


class FolderInUseError(ExportInProgressError):
    """Another process exports several runs to the same folder."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of the export of one run."""

    run_id: str
    path: Path
    code: ExitCode = ExitCode.PASSED
    result: ExportResult | None = None
    """None where nothing was exported."""
    reason: str | None = None
    """Why the run was not exported."""

    @property
    def outcome(self) -> str:
        """Passed, skipped, failed or inconclusive."""
        if self.code is ExitCode.PASSED:
            return "passed" if self.result is not None else "skipped"
        return "inconclusive" if self.code is ExitCode.UNCONFIRMED else "failed"


@dataclass(frozen=True)
class SeveralExports:
    """Exports of several runs from one database into one folder."""

    database_url: str
    folder: Path
    form: ExportForm
    selection: Selection

    def export(
        self, options: ExportOptions, report: Callable[[RunOutcome], None]
    ) -> list[RunOutcome]:
        """Export the chosen runs, oldest first.

        An error ends the export of its run, and not that of the others.

        Args:
            options: as for one run. The time limit is for all of them together.
            report: called after every run.

        Raises:
            UsageError: the database holds no runs, or the folder cannot hold exports.
            CommandTimeoutError: time is over.
            FolderInUseError: another process exports several runs to the folder.
        """
        self._refuse_unusable_folder()
        outcomes = []
        with (
            stop_on_signals(timeout_seconds=options.timeout_seconds) as opened,
            reading_database(self.database_url, opened, leave_out=self.form.leave_out) as db,
            searching_orphans_once(),
            ExitStack() as resources,
        ):
            # Taken once, and only if there is something to export: a folder in which all is there
            # may be on read-only media.
            lock = cache(lambda: resources.enter_context(self._locked()))
            runs = self.selection.runs(db)
            # Not before the choice: a wrong question leaves nothing behind.
            self.folder.mkdir(exist_ok=True)
            for run in runs:
                outcomes.append(self._export_one(db, run, options, lock))
                report(outcomes[-1])
            # Held here if anything was exported, and removed at the end of this block.
            remove_left_lock(self.folder / _LOCK_NAME)
        return outcomes

    def path_of(self, run_id: str) -> Path:
        """Return the path of a run's export: its id, with what a file name cannot hold escaped."""
        # A name that begins with a dot is hidden; one percent sign alone stands for no text.
        name = quote(run_id, safe="", errors="surrogatepass") or "%"
        if name.startswith("."):
            name = f"%2E{name[1:]}"
        if len(name) > _LONGEST_NAME:
            digest = sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
            name = f"{name[: _LONGEST_NAME - _DIGITS - 1]}~{digest}"
        if self.form.format is ExportFormat.CSV:
            return self.folder / name
        compression = self.form.compression
        return self.folder / f"{name}.jsonl{'' if compression is None else compression.suffix}"

    def _refuse_unusable_folder(self) -> None:
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--output {folder} is a file; name a folder for the exports")
        if any((folder / name).exists() for name in CSV_NAMES):
            raise UsageError(f"--output {folder} is an export; name a folder for several of them")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from exporting several runs to the folder.

        Without it two of them would replace each other's exports, and one would find the other's
        attestation beside its own export.
        """
        with ExitStack() as lock:
            try:
                lock.enter_context(target_lock(self.folder / _LOCK_NAME))
            except ExportInProgressError:
                raise FolderInUseError(
                    errno.EBUSY,
                    "another process is exporting several runs to it; wait for that, or choose "
                    "another folder",
                    str(self.folder),
                ) from None
            yield

    def _export_one(
        self, db: LandscapeDB, run: StoredRun, options: ExportOptions, lock: Callable[[], None]
    ) -> RunOutcome:
        path = self.path_of(run.run_id)
        try:
            if self._is_there(db, run, path):
                for written in (path, attestation_path(path)):
                    remove_left_lock(written)
                reason = f"{path} is there and verifies"
                return RunOutcome(run.run_id, path, reason=reason)
            lock()
            attestation = self.form.prepare(path, options)
            result = self.form.write(db, run.run_id, path, options, attestation)
        except (CommandTimeoutError, FolderInUseError):
            raise
        except Exception as error:
            code = exit_code_of(error)
            if code is None:
                raise
            return RunOutcome(run.run_id, path, code, reason=explain_failure(error))
        return RunOutcome(run.run_id, path, result=result)

    def _is_there(self, db: LandscapeDB, run: StoredRun, path: Path) -> bool:
        """Whether the path holds an export of the run as it is stored now."""
        # A run that goes on may change without a change of its counts.
        if run.status == RunStatus.RUNNING.value or not path.exists() or path.is_symlink():
            return False
        key = self.form.signing_key
        try:
            found = verify(path, key, run_id=run.run_id, allow_unsigned=key is None)
            if not found.ok or found.is_signed != (key is not None):
                return False
            # An unsigned export has no manifest that names what it leaves out.
            if found.left_out != ",".join(sorted(set(self.form.leave_out if key else ()))):
                return False
            first = next(read_records(path), None)
            attester = self.form.attester
            if attester is not None:
                keys = (attester.signer, *attester.earlier_keys)
                if not check_attestation(path, keys, found).ok:
                    return False
        # What cannot be read, or is signed and should not be, is exported again or refused there.
        except (OSError, ValueError):
            return False
        with db.connection() as connection:
            stored = count_records(connection, run.run_id)
        held = {name: found.counts.get(name, 0) for name in stored}
        is_same = first is not None and first.record.get("status") == run.status
        return is_same and held == dict(stored) and not set(found.counts) - {*stored, MANIFEST}
