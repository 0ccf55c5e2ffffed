"""LandscapeExporter: export a run to a JSON Lines file or a directory of CSV files.

It joins the two parts of an export: `export` reads, encodes and signs, `output` writes and
publishes.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import orjson
from sqlalchemy import Float

from elspeth.core.compression import Compression
from elspeth.core.landscape.export.exporter import RunExporter
from elspeth.core.landscape.export.orphans import (
    AcceptOrphan,
    Orphan,
    searching_orphans_once,
)
from elspeth.core.landscape.export.parallel import ParallelExportError
from elspeth.core.landscape.export.record_types import Record
from elspeth.core.landscape.output.atomic import parts_folder_beside
from elspeth.core.landscape.output.publish import (
    Block,
    Progress,
    PublishedExport,
    closed_on_exit,
    publish_blocks,
    publish_csv,
)
from elspeth.core.landscape.schema import EXPORTED_TABLES

_FRACTIONS = {
    column.name
    for table in EXPORTED_TABLES
    for column in table.columns
    if isinstance(column.type, Float)
}
"""The fields that hold a float. No other column has one of these names."""

__all__ = [
    "AcceptOrphan",
    "LandscapeExporter",
    "Orphan",
    "ParallelExportError",
    "searching_orphans_once",
]


class LandscapeExporter(RunExporter):
    """Exports one run of an audit trail, as records or to files."""

    def write_jsonl(
        self,
        run_id: str,
        path: Path,
        sign: bool = False,
        *,
        jobs: int = 1,
        executor: Executor | None = None,
        progress: Progress | None = None,
        compression: Compression | None = None,
    ) -> PublishedExport:
        """Write the run to a JSON Lines file, which appears when it is complete.

        Args:
            run_id: The run.
            path: The file, replaced when it exists.
            sign: Add a signature to every record, and a signed manifest at the end.
            jobs: How many workers share the rows.
            executor: Runs the workers, which must see the database and the folder of the file;
                None starts new processes.
            progress: Called now and then with the number of records written so far.
            compression: Compresses the file; None leaves it as it is.

        Raises:
            ValueError: Signing lacks a key.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported, or a child has no parent.
            ParallelExportError: Workers cannot share this export, or not at this moment.
            WorkerDiedError: A worker's process has died.
            ExportTargetError: `path` cannot be a file.
            OSError: Writing fails.
        """
        # The folder of parts lies beside the file: on the same file system, and under its lock.
        blocks = self.export_blocks(
            run_id, sign, jobs=jobs, executor=executor, parts_folder=parts_folder_beside(path)
        )
        return publish_blocks(path, blocks, progress=progress, compression=compression)

    def write_csv(
        self,
        run_id: str,
        directory: Path,
        sign: bool = False,
        *,
        jobs: int = 1,
        progress: Progress | None = None,
    ) -> PublishedExport:
        """Write the run to a directory of CSV files, which appears when it is complete.

        There is one file for each record type.

        Args:
            run_id: The run.
            directory: The directory, replaced when it holds an earlier export.
            sign: Add a signature to every record, and a signed manifest at the end.
            jobs: How many workers share the rows.
            progress: Called now and then with the number of records written so far.

        Raises:
            ValueError: Signing lacks a key.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported, or a child has no parent.
            ParallelExportError: Workers cannot share this export, or not at this moment.
            WorkerDiedError: A worker's process has died.
            ExportTargetError: `directory` holds anything but an export.
            OSError: Writing fails.
        """
        if jobs == 1:
            records = self.export_checked(run_id, sign=sign)
        else:
            # The workers query, encode and sign; to read their lines again takes less than that.
            folder = parts_folder_beside(directory)
            blocks = self.export_blocks(run_id, sign, jobs=jobs, parts_folder=folder, for_csv=True)
            records = _records(blocks)
        return publish_csv(directory, records, progress=progress)


def _records(blocks: Iterator[Block]) -> Iterator[Record]:
    """Yield the records of lines, with the numbers that the database holds."""
    rest = b""
    with closed_on_exit(blocks) as source:
        for block in source:
            # Blocks of a worker's part are cut by size, in the middle of a line.
            *lines, rest = (rest + block.lines).split(b"\n")
            for line in lines:
                record: Record = orjson.loads(line)
                # Canonical JSON writes 5.0 as 5, and a CSV file holds 5.0.
                for name in _FRACTIONS & record.keys():
                    if record[name] is not None:
                        record[name] = float(record[name])
                yield record
