"""LandscapeExporter: a run as signed records, from one ordered query per table."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from types import MappingProxyType

from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.export.columns import RecordBuilder
from elspeth.core.landscape.export.encoding import encode_line, encode_record
from elspeth.core.landscape.export.integrity import refuse_orphans
from elspeth.core.landscape.export.merge import merged
from elspeth.core.landscape.export.parallel import ParallelExport, ParallelExportError
from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.export.signed_lines import (
    Block,
    RunningHash,
    Signer,
    closed_by_manifest,
    read_blocks,
)
from elspeth.core.landscape.output.publish import (
    Progress,
    PublishedExport,
    let_go_of,
    publish_blocks,
    publish_csv,
    publish_jsonl,
)


class LandscapeExporter:
    """Exports one run of an audit trail: exactly twelve queries in one snapshot, memory flat.

    `signing_key` is needed to sign; `clock` gives the manifest's `exported_at`. The same
    database, key and clock give the same bytes.
    """

    def __init__(
        self,
        db: LandscapeDB,
        signing_key: bytes | None = None,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._signing_key = signing_key
        self._signer = None if signing_key is None else Signer(signing_key)
        self._clock = clock

    def export_run(self, run_id: str, sign: bool = False) -> Iterator[Record]:
        """Yield the run's records in emission order; signed, each ends with its signature.

        A signed export closes with a manifest. Raises ValueError at the first `next()` when
        signing lacks a key or the run is unknown, and CorruptAuditDataError where the stored data
        may not be exported.
        """
        self._check_key(sign)
        records = self._iter_records(run_id)
        yield from self._signed(records, run_id) if sign else records

    def export_run_grouped(self, run_id: str, sign: bool = False) -> dict[str, list[Record]]:
        """Return the records by type, types in order of first appearance. Holds the whole run."""
        grouped: dict[str, list[Record]] = {}
        for record in self.export_run(run_id, sign=sign):
            grouped.setdefault(record["record_type"], []).append(record)
        return grouped

    def write_jsonl(
        self,
        run_id: str,
        path: Path,
        sign: bool = False,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> PublishedExport:
        """Write the run to a JSON Lines file: one canonical record a line, published whole.

        Besides the twelve queries of an export it sends one that looks for children without a
        parent, in the whole database, and raises CorruptAuditDataError when there are any.

        With several `jobs` as many workers read a part of the rows each, for the same bytes: new
        processes, or those of an `executor`, which must see the database and the file's folder.
        They send one query per table and part. Raises ParallelExportError where that is
        impossible, and WorkerDiedError when a worker is lost.
        """
        self._check_key(sign)
        if self._changes_records():
            _refuse_sharing(jobs, executor)
            lines = map(encode_line, self.export_run(run_id, sign=sign))
            return publish_jsonl(path, lines, progress=progress)
        if jobs == 1 and executor is None:
            blocks = self._read_blocks(run_id, sign)
        else:
            key = self._signing_key if sign else None
            blocks = ParallelExport(self._db, run_id, jobs, key, executor).blocks(path)
        if sign and self._signer is not None:
            blocks = closed_by_manifest(blocks, run_id, self._signer, self._clock)
        return publish_blocks(path, blocks, progress=progress)

    def write_csv(
        self,
        run_id: str,
        directory: Path,
        sign: bool = False,
        *,
        progress: Progress | None = None,
    ) -> PublishedExport:
        """Write the run to a directory: one CSV file per record type, published whole.

        Sends the queries of `write_jsonl` with one job.
        """
        self._check_key(sign)
        if self._changes_records():
            records = self.export_run(run_id, sign=sign)
        else:
            read = self._read_records(run_id, whole=True)
            records = self._signed(read, run_id) if sign else read
        return publish_csv(directory, records, progress=progress)

    def _iter_records(self, run_id: str) -> Iterator[Record]:
        return self._read_records(run_id)

    def _read_records(self, run_id: str, *, whole: bool = False) -> Iterator[Record]:
        """Read the unsigned records; when asked, make sure that no orphan is left out."""
        with self._db.read_snapshot() as snapshot:
            if whole:
                refuse_orphans(snapshot.connection)
            yield from merged(snapshot, run_id, lambda kind: RecordBuilder(kind, run_id).build)

    def _signed(self, records: Iterator[Record], run_id: str) -> Iterator[Record]:
        running = RunningHash()
        with let_go_of(records) as source:
            for record in source:
                signature = self._sign_record(record)
                record["signature"] = signature
                running.add(signature)
                yield record
        manifest = running.manifest(run_id, self._clock)
        manifest["signature"] = self._sign_record(manifest)
        yield manifest

    def _sign_record(self, record: Record) -> str:
        if self._signer is None:
            raise ValueError("Signing key not configured")
        return self._signer.sign(encode_record(record))

    def _check_key(self, sign: bool) -> None:
        if sign and self._signer is None:
            raise ValueError("A signed export was asked for, but no signing_key provided")

    def _read_blocks(self, run_id: str, sign: bool) -> Iterator[Block]:
        with self._db.read_snapshot() as snapshot:
            refuse_orphans(snapshot.connection)
            yield from read_blocks(snapshot, run_id, self._signer if sign else None)

    def _changes_records(self) -> bool:
        """Whether a subclass or an instance replaces a method of the dict interface.

        It is then written from its dicts, so that a changed exporter can never write the
        unchanged one's bytes.
        """
        return any(
            name in vars(self) or getattr(type(self), name) is not method
            for name, method in _DICT_METHODS.items()
        )


def _refuse_sharing(jobs: int, executor: Executor | None) -> None:
    if jobs != 1 or executor is not None:
        raise ParallelExportError(
            "An exporter whose methods are replaced is written from its own records, in one "
            "process: use one job"
        )


_DICT_METHODS: Mapping[str, object] = MappingProxyType(
    {
        name: getattr(LandscapeExporter, name)
        for name in ("export_run", "_iter_records", "_sign_record")
    }
)
"""As defined above: a method put onto the class later counts as replaced too."""
