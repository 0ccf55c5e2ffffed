"""Capture an export on disk: its records, its JSON Lines and CSV files, and its errors.

A comparison reads captures only. The two exporters then need not run at the same time (a database
in memory allows one transaction), records can be read twice, and memory does not grow with the run.
"""

import filecmp
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.output.publish import CSV_NAMES, publish_csv, publish_jsonl
from harness.exporters.canonical_json import canonical
from harness.exporters.failure import read_records
from harness.exporters.manifest_time import ManifestTime, digest_lines
from harness.exporters.measured import Measured, as_measured
from harness.exporters.observation import ExportTask
from harness.exporters.probe.exports import CSV, JSONL, RECORDS, error_of, write_lines
from harness.exporters.subject import Subject

MAX_RECORDS = 10_000_000
"""An export with more records counts as endless."""

STALE = "left by an earlier export\r\n"
"""The content of all files in the CSV directory before the export, which has to replace them."""


@dataclass(frozen=True)
class Refusal:
    """The exception that an export ended in.

    Without the name of a class the message alone says why the export was stopped.

    Attributes:
        type_name: The name of its class.
        message: Its text.
        classes: The names of its class and of the base classes.
    """

    type_name: str
    message: str
    classes: Sequence[str] = field(default=(), compare=False)

    def __str__(self) -> str:
        message = self.message.splitlines()[0] if self.message else ""
        return f"{self.type_name}: {message}" if self.type_name else message

    def is_caught_like(self, control: "Refusal") -> bool:
        """Whether a caller who catches ValueError catches this one where it catches the control's.

        That is the class that exporters promise. An error of the control's class has to be equal.
        """
        return self.type_name != control.type_name and all(
            "ValueError" in each.classes for each in (self, control)
        )


@dataclass(frozen=True)
class Spool:
    """Records in a file. Every iteration reads the file from the start.

    Text, integers, floats, booleans and null are read as they were, a str enum as its value, and a
    value of any other class as `{"class": name, "repr": text}`.
    """

    path: Path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return read_records(self.path)

    def is_like(self, other: "Spool") -> bool:
        """Whether both files have the same bytes, and so the same records."""
        return filecmp.cmp(self.path, other.path, shallow=False)


@dataclass(frozen=True)
class Capture:
    """The captured export of one subject.

    Attributes:
        subject: The subject's name.
        fixed_clock: Whether the capture set the time in the manifest, so that whole files can be
            compared.
        directory: The folder of the files.
        record_count: The number of records that `export_run` yielded.
        error: The error that `export_run` ended in. The records before it are kept.
        jsonl_error: The error that writing the JSON Lines file ended in.
        csv_error: The error that writing the CSV files ended in.
        manifest: Sets the time of its manifest aside in the hash, if the capture did not set it.
    """

    subject: str
    fixed_clock: bool
    directory: Path
    record_count: int
    error: Refusal | None
    jsonl_error: Refusal | None
    csv_error: Refusal | None
    manifest: ManifestTime | None = None

    @property
    def records(self) -> Spool:
        """The records that `export_run` yielded before its end or its error."""
        return Spool(self.directory / RECORDS)

    @property
    def jsonl(self) -> Path:
        """The JSON Lines file; absent when writing it was refused."""
        return self.directory / JSONL

    @property
    def csv(self) -> Path:
        """The directory of CSV files."""
        return self.directory / CSV

    @property
    def sha256(self) -> str | None:
        """The hash of the JSON Lines file in hexadecimal digits; None if it does not exist."""
        return digest_lines(self.jsonl, self.manifest)[0] if self.jsonl.exists() else None


def capture(
    exporter: Subject | Measured,
    db: LandscapeDB,
    run_id: str,
    *,
    signing_key: bytes | None,
    clock: Clock,
    directory: Path,
    max_records: int = MAX_RECORDS,
) -> Capture:
    """Export a run in every form.

    An exception of the exporter is part of the capture. So is an export that is stopped because it
    yields objects that are no records, or does not end.

    Args:
        exporter: The exporter.
        db: The database with the run.
        run_id: The run to export.
        signing_key: The key to sign with; None for an unsigned export.
        clock: The exporter's clock, if it takes one.
        directory: The folder to write into. It must not exist.
        max_records: The records after which the export counts as endless.

    Raises:
        SubjectError: The object cannot be called as an exporter.
        ExportFailedError: The exporter's process did not survive the export.
    """
    directory.mkdir(parents=True)
    # An exporter has to replace the directory of an earlier export as a whole: a file that it left
    # there would belong to another run.
    stale = directory / CSV
    stale.mkdir()
    for name in CSV_NAMES:
        (stale / name).write_bytes(STALE.encode())
    exporter = as_measured(exporter)
    task = ExportTask(db, run_id, signing_key, clock, directory)
    found = exporter.export(task, max_records=max_records)
    records, error = Spool(directory / RECORDS), found["error"]

    # The files of an exporter that does not write them are made here, from its records.
    def jsonl() -> None:
        publish_jsonl(directory / JSONL, (canonical(each) + b"\n" for each in records))

    def csv() -> None:
        publish_csv(directory / CSV, records)

    def error_of_form(form: str, write: Callable[[], None]) -> Refusal | None:
        own = found[f"{form}_error"]
        if own or found[f"writes_{form}"]:
            return _refusal(own)
        return _refusal(error or error_of(write))

    return Capture(
        subject=exporter.name,
        fixed_clock=exporter.takes_clock,
        directory=directory,
        record_count=found["record_count"],
        error=_refusal(error),
        jsonl_error=error_of_form("jsonl", jsonl),
        csv_error=error_of_form("csv", csv),
        manifest=task.manifest_time(takes_clock=exporter.takes_clock),
    )


def spool(records: Iterable[Mapping[str, Any]], path: Path) -> Spool:
    """Write records to a file. An exception of their iterator is raised after the last record."""
    write_lines(records, path)
    return Spool(path)


def same_refusal(control: Refusal | None, candidate: Refusal | None) -> bool:
    """Whether two exports ended alike: without an error, or in errors that callers catch alike."""
    if control is None or candidate is None:
        return control is candidate
    return control == candidate or candidate.is_caught_like(control)


def _refusal(error: Mapping[str, Any] | None) -> Refusal | None:
    return None if error is None else Refusal(**error)
