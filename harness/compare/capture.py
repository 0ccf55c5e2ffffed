"""Capture an export on disk: its records, its JSON Lines and CSV files, and its errors.

A comparison reads captures only. The two exporters then need not run at the same time (a database
in memory allows one transaction), records can be read twice, and memory does not grow with the run.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elspeth.core.clock import Clock
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.output.publish import CSV_NAMES
from harness.exporters.subject import Exporter, Subject, SubjectError, write_csv, write_jsonl

MAX_RECORDS = 10_000_000
"""An export with more records counts as endless."""

STALE = "left by an earlier export\r\n"
"""The content of all files in the CSV directory before the export, which has to replace them."""


_RECORDS, _JSONL, _CSV = "records", "export.jsonl", "csv"


@dataclass(frozen=True)
class Refusal:
    """The exception that an export ended in."""

    type_name: str
    message: str

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message.splitlines()[0] if self.message else ''}"


@dataclass(frozen=True)
class Spool:
    """Records in a file. Every iteration reads the file from the start.

    Text, integers, floats, booleans and null are read as they were, a str enum as its value, and a
    value of any other class as `{"class": name, "repr": text}`.
    """

    path: Path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="ascii") as file:
            yield from map(json.loads, file)


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
    """

    subject: str
    fixed_clock: bool
    directory: Path
    record_count: int
    error: Refusal | None
    jsonl_error: Refusal | None
    csv_error: Refusal | None

    @property
    def records(self) -> Spool:
        """The records that `export_run` yielded before its end or its error."""
        return Spool(self.directory / _RECORDS)

    @property
    def jsonl(self) -> Path:
        """The JSON Lines file; absent when writing it was refused."""
        return self.directory / _JSONL

    @property
    def csv(self) -> Path:
        """The directory of CSV files."""
        return self.directory / _CSV

    @property
    def sha256(self) -> str | None:
        """The hash of the JSON Lines file in hexadecimal digits; None if it does not exist."""
        if not self.jsonl.exists():
            return None
        with self.jsonl.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def capture(
    subject: Subject,
    db: LandscapeDB,
    run_id: str,
    *,
    signing_key: bytes | None,
    clock: Clock,
    directory: Path,
    max_records: int = MAX_RECORDS,
) -> Capture:
    """Export a run in every form.

    An exception of the exporter is part of the capture.

    Args:
        subject: The exporter.
        db: The database with the run.
        run_id: The run to export.
        signing_key: The key to sign with; None for an unsigned export.
        clock: The exporter's clock, if it takes one.
        directory: The folder to write into. It must not exist.
        max_records: The records after which the export counts as endless.

    Raises:
        SubjectError: The subject cannot be used as an exporter: it cannot be called as one, yields
            records that are not dicts, or does not end.
    """
    directory.mkdir(parents=True)
    # An exporter has to replace the directory of an earlier export as a whole: a file that it left
    # there would belong to another run.
    stale = directory / _CSV
    stale.mkdir()
    for name in CSV_NAMES:
        (stale / name).write_text(STALE, encoding="ascii", newline="")
    sign = signing_key is not None

    # A new exporter for every form, because one may keep state from one call to the next.
    def exporter() -> Exporter:
        return _build(subject, db, signing_key, clock)

    counted = _Counted(subject.name, max_records)

    def records() -> None:
        # An exporter that raises before its first record has exported none: an empty file.
        (directory / _RECORDS).touch()
        spool(counted(exporter().export_run(run_id, sign=sign)), directory / _RECORDS)

    def jsonl() -> None:
        write_jsonl(exporter(), run_id, directory / _JSONL, sign=sign)

    def csv() -> None:
        write_csv(exporter(), run_id, directory / _CSV, sign=sign)

    return Capture(
        subject=subject.name,
        fixed_clock=subject.takes_clock,
        directory=directory,
        # The count is read after this call, which counts.
        error=_refusal(records),
        record_count=counted.count,
        jsonl_error=_refusal(jsonl),
        csv_error=_refusal(csv),
    )


def spool(records: Iterable[Mapping[str, Any]], path: Path) -> Spool:
    """Write records to a file. An exception of their iterator is raised after the last record."""
    # JSON keeps what a comparison must see: the order of keys, and 1 apart from 1.0 and True.
    with path.open("w", encoding="ascii") as file:
        for record in records:
            file.write(json.dumps(dict(record), default=_foreign))
            file.write("\n")
    return Spool(path)


class _Counted:
    """Counts records as they are yielded, and raises SubjectError for an object that is none."""

    def __init__(self, subject: str, max_records: int) -> None:
        self._subject = subject
        self._max_records = max_records
        self.count = 0

    def __call__(self, records: Iterable[object]) -> Iterator[Mapping[str, Any]]:
        for record in records:
            if not isinstance(record, Mapping) or not all(type(key) is str for key in record):
                raise SubjectError(
                    f"{self._subject}: record {self.count + 1} is not a dict with text keys, "
                    f"but {_shortened(record)}"
                )
            if self.count == self._max_records:
                raise SubjectError(
                    f"{self._subject} yields more than {self._max_records:,} records: "
                    "raise the limit of harness check --max-records if the run is that large"
                )
            self.count += 1
            yield record


def _build(subject: Subject, db: LandscapeDB, signing_key: bytes | None, clock: Clock) -> Exporter:
    options = {"clock": clock} if subject.takes_clock else {}
    _require_call(subject.name, subject.factory, db, signing_key, **options)
    exporter = subject.build(db, signing_key, clock)
    _require_call(f"{subject.name}.export_run", exporter.export_run, "run", sign=True)
    return exporter


def _require_call(
    name: str, function: Callable[..., object], *args: object, **options: object
) -> None:
    # Before the call: a TypeError from the exporter's own code is part of its capture instead.
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # A builtin without a signature: the call shows it.
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise SubjectError(f"{name}{signature} cannot be called as an exporter: {error}") from None


def _refusal(export: Callable[[], None]) -> Refusal | None:
    try:
        export()
    except SubjectError:
        raise
    except Exception as error:
        return Refusal(type(error).__qualname__, str(error))
    return None


def _foreign(value: object) -> dict[str, str]:
    return {"class": type(value).__qualname__, "repr": repr(value)}


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
