"""LandscapeExporter: export a run to a JSON Lines file or a directory of CSV files.

It joins the two parts of an export: `export` reads, encodes and signs, `output` writes and
publishes.
"""

from concurrent.futures import Executor
from pathlib import Path

from elspeth.core.landscape.export.exporter import RunExporter
from elspeth.core.landscape.export.orphans import AcceptOrphan, Orphan
from elspeth.core.landscape.export.parallel import ParallelExportError
from elspeth.core.landscape.output.atomic import parts_folder_beside
from elspeth.core.landscape.output.publish import (
    Progress,
    PublishedExport,
    publish_blocks,
    publish_csv,
)

__all__ = ["AcceptOrphan", "LandscapeExporter", "Orphan", "ParallelExportError"]


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
        return publish_blocks(path, blocks, progress=progress)

    def write_csv(
        self, run_id: str, directory: Path, sign: bool = False, *, progress: Progress | None = None
    ) -> PublishedExport:
        """Write the run to a directory of CSV files, which appears when it is complete.

        There is one file for each record type.

        Args:
            run_id: The run.
            directory: The directory, replaced when it holds an earlier export.
            sign: Add a signature to every record, and a signed manifest at the end.
            progress: Called now and then with the number of records written so far.

        Raises:
            ValueError: Signing lacks a key.
            RunNotFoundError: There is no such run.
            CorruptAuditDataError: A stored value must not be exported, or a child has no parent.
            ExportTargetError: `directory` holds anything but an export.
            OSError: Writing fails.
        """
        records = self.export_checked(run_id, sign=sign)
        return publish_csv(directory, records, progress=progress)
