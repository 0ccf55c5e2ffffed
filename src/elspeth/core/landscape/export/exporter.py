"""RunExporter: export one run of an audit trail as records or as blocks of signed lines.

The main flow of an export: open a snapshot, send one ordered query for each table, merge the
results into emission order, check and encode the rows, sign, and end with a manifest.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Protocol

from sqlalchemy import Engine

from elspeth.core.landscape.export.columns import RecordBuilder
from elspeth.core.landscape.export.completeness import LeftOut, chosen_names
from elspeth.core.landscape.export.database_check import check_database
from elspeth.core.landscape.export.encoding import encode_record
from elspeth.core.landscape.export.merge import merge_records
from elspeth.core.landscape.export.orphans import AcceptOrphan, refuse_orphans
from elspeth.core.landscape.export.parallel import ParallelExport, ParallelExportError
from elspeth.core.landscape.export.record_types import TABLES, Record
from elspeth.core.landscape.export.signed_lines import (
    Block,
    Clock,
    RunningHash,
    Signer,
    add_manifest,
    read_blocks,
    record_blocks,
)
from elspeth.core.landscape.export.snapshot import ReadSnapshot, open_snapshot

_NOW_IN_UTC: Clock = partial(datetime.now, UTC)


class Database(Protocol):
    """An object with the engine of an audit trail's database, such as a LandscapeDB."""

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""


class RunExporter:
    """Exports one run with twelve queries in one snapshot; memory does not grow with the run.

    The same database, key and clock give the same bytes. A subclass may override `export_run`,
    `_iter_records` or `_sign_record`: files are then written from its records.
    """

    def __init__(
        self,
        db: Database,
        signing_key: bytes | None = None,
        *,
        clock: Clock = _NOW_IN_UTC,
        leave_out: Iterable[str] = (),
        accept_orphan: AcceptOrphan | None = None,
    ) -> None:
        """Export from `db`.

        Args:
            db: The audit trail.
            signing_key: Needed to sign.
            clock: Gives the manifest's `exported_at`.
            leave_out: Names of what a newer audit trail holds besides and this export leaves out:
                unknown tables, `table.column`, and `user_version=N`. The manifest states them.
            accept_orphan: Called with every child without a parent that may belong to the run,
                which is then left out; None refuses such a run. Records that `export_run` yields
                are not checked for them.
        """
        self._db = db
        self._signing_key = signing_key
        self._signer = None if signing_key is None else Signer(signing_key)
        self._clock = clock
        self._leave_out = chosen_names(leave_out)
        self._accept_orphan = accept_orphan

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[Record]:
        """Yield the run's records in emission order.

        Args:
            run_id: The run.
            sign: Add a signature to every record, and a signed manifest at the end.

        Raises:
            ValueError: Signing lacks a key. This and every other error comes at a `next()`.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported.
            SchemaMismatchError: The database holds more than an export reads.
            LeaveOutError: A name of `leave_out` is not that of anything unknown.
        """
        # As in the original exporter, errors come at the first next(), and a missing key is
        # reported before an unknown run.
        self._check_key(sign)
        records = self._iter_records(run_id)
        yield from self._signed(records, run_id) if sign else records

    def export_run_grouped(self, run_id: str, sign: bool = False) -> dict[str, list[Record]]:
        """Return the records by type, in order of first appearance.

        The whole run is held in memory.

        Args:
            run_id: The run.
            sign: As for `export_run`, which says what is raised too.
        """
        grouped: dict[str, list[Record]] = {}
        for record in self.export_run(run_id, sign=sign):
            grouped.setdefault(record["record_type"], []).append(record)
        return grouped

    def export_blocks(
        self,
        run_id: str,
        sign: bool = False,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        parts_folder: AbstractContextManager[Path] | None = None,
        for_csv: bool = False,
    ) -> Iterator[Block]:
        """Return the run as blocks of JSON Lines: one canonical record a line.

        Besides the twelve queries it sends one that looks for orphans in the whole database. With
        several jobs, workers send one query a table and part, and the bytes are the same.

        Args:
            run_id: The run.
            sign: Add a signature to every record, and a signed manifest at the end.
            jobs: How many workers share the rows.
            executor: Runs the workers, which must see the database and the folder of the parts;
                None starts new processes.
            parts_folder: Opens an empty folder for the workers' output; None makes a temporary one.
            for_csv: Write -0.0 as it is, where canonical JSON writes 0. For several jobs.

        Raises:
            ValueError: Signing lacks a key. Raised at once, like a wrong number of jobs.
            ParallelExportError: Workers cannot share this export, or not at this moment.
            WorkerDiedError: A worker's process has died.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported, or a child has no parent.
            SchemaMismatchError, LeaveOutError: As in `export_run`.
        """
        self._check_key(sign)
        if self._is_overridden():
            if jobs != 1 or executor is not None:
                raise ParallelExportError(
                    "An exporter whose methods are replaced is written from its own records, in "
                    "one process: use one job"
                )
            return self._blocks_of_records(run_id, sign)
        if jobs == 1 and executor is None:
            blocks = self._blocks_of_rows(run_id, sign)
        else:
            key = self._signing_key if sign else None
            shared = ParallelExport(
                self._db.engine,
                run_id,
                jobs,
                key,
                executor,
                leave_out=self._leave_out,
                accept_orphan=self._accept_orphan,
                for_csv=for_csv,
            )
            blocks = shared.blocks(parts_folder or _temporary_folder())
        if sign and self._signer is not None:
            return add_manifest(blocks, run_id, self._signer, self._clock, self._leave_out)
        return blocks

    def export_checked(self, run_id: str, sign: bool = False) -> Iterator[Record]:
        """Return the records of `export_run`, after the check for orphans of `export_blocks`.

        Args:
            run_id: The run.
            sign: As for `export_run`.

        Raises:
            ValueError: Signing lacks a key. Raised at once.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported, or a child has no parent.
        """
        self._check_key(sign)
        if self._is_overridden():
            return self.export_run(run_id, sign=sign)
        records = self._read_records(run_id, check_orphans=True)
        return self._signed(records, run_id) if sign else records

    def open_snapshot(self) -> AbstractContextManager[ReadSnapshot]:
        """Open the snapshot from which an export reads."""
        return open_snapshot(self._db.engine, TABLES)

    def _iter_records(self, run_id: str) -> Iterator[Record]:
        return self._read_records(run_id)

    def _read_records(self, run_id: str, *, check_orphans: bool = False) -> Iterator[Record]:
        with self.open_snapshot() as snapshot:
            left_out = self._check_database(snapshot, run_id)
            if check_orphans:
                refuse_orphans(snapshot.connection, run_id, left_out, self._accept_orphan)
            yield from merge_records(
                snapshot, run_id, lambda kind: RecordBuilder(kind, run_id).build
            )

    def _signed(self, records: Iterator[Record], run_id: str) -> Iterator[Record]:
        running = RunningHash()
        # Signed before the record is yielded, and hashed in emission order: the manifest then
        # covers exactly the records that the consumer has received.
        with _closed_on_exit(records):
            for record in records:
                signature = self._sign_record(record)
                record["signature"] = signature
                running.add(signature)
                yield record
        manifest = running.manifest(run_id, self._clock, self._leave_out)
        manifest["signature"] = self._sign_record(manifest)
        yield manifest

    def _sign_record(self, record: Record) -> str:
        if self._signer is None:
            raise ValueError("Signing key not configured")
        return self._signer.sign(encode_record(record))

    def _check_database(self, snapshot: ReadSnapshot, run_id: str) -> LeftOut:
        # In the snapshot: a migration that commits before it is seen, a later one does not matter.
        return check_database(snapshot.connection, run_id, self._leave_out)

    def _check_key(self, sign: bool) -> None:
        if sign and self._signer is None:
            raise ValueError("A signed export needs a key, but no signing_key provided")

    def _blocks_of_rows(self, run_id: str, sign: bool) -> Iterator[Block]:
        with self.open_snapshot() as snapshot:
            # First, and in the same snapshot: nothing is written for a run that would lack records.
            left_out = self._check_database(snapshot, run_id)
            refuse_orphans(snapshot.connection, run_id, left_out, self._accept_orphan)
            yield from read_blocks(snapshot, run_id, self._signer if sign else None)

    def _blocks_of_records(self, run_id: str, sign: bool) -> Iterator[Block]:
        records = self.export_run(run_id, sign=sign)
        with _closed_on_exit(records):
            yield from record_blocks(records)

    def _is_overridden(self) -> bool:
        """Whether a subclass or an instance replaces a method that makes records."""
        # Files of such an exporter are written from its records. The fast path reads rows instead,
        # and would write the bytes of this class.
        return any(
            name in vars(self) or getattr(type(self), name) is not method
            for name, method in _RECORD_METHODS.items()
        )


# The methods as defined above, kept here so that a method set on the class later counts as
# replaced.
_RECORD_METHODS: Mapping[str, object] = MappingProxyType(
    {name: getattr(RunExporter, name) for name in ("export_run", "_iter_records", "_sign_record")}
)


@contextmanager
def _closed_on_exit(records: Iterator[Record]) -> Iterator[None]:
    """Close a generator on exit, so that its snapshot ends at once."""
    # Garbage collection would end it too, but not while an error is held, whose traceback refers to
    # the generator. An overriding method may return an iterator without `close`.
    with ExitStack() as on_exit:
        on_exit.callback(getattr(records, "close", lambda: None))
        yield


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="landscape-export-") as name:
        yield Path(name)
