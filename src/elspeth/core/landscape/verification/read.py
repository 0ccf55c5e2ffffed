"""Reads the records of an export in any form, without verifying signatures or order."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from elspeth.core.compression import DamagedCompressionError, decompressed
from elspeth.core.landscape.verification.csv_files import read_csv
from elspeth.core.landscape.verification.defects import (
    MAX_LINE_BYTES,
    Defect,
    ParsedLine,
    Reason,
)
from elspeth.core.landscape.verification.jsonl import read_jsonl
from elspeth.core.landscape.verification.original_json import Form, form_of, read_original


def opened(path: Path, resources: ExitStack) -> tuple[Form, io.BufferedReader | None]:
    """Return the form of an export, and its uncompressed content; None for a directory.

    Args:
        path: The export.
        resources: Closes the file.

    Raises:
        OSError: The file cannot be read.
        CompressionUnavailableError: The package of its compression is missing.
    """
    if path.is_dir():
        return Form.CSV, None
    file = resources.enter_context(path.open("rb"))
    _refuse_device(file)
    content = resources.enter_context(decompressed(file))
    try:
        return form_of(content), content
    except DamagedCompressionError:
        # Reported where the lines are read, which raises it again.
        return Form.CANONICAL, content


def _refuse_device(file: io.BufferedReader) -> None:
    """Refuse a device such as /dev/zero, whose one line has no end. A terminal is read like a pipe.

    Raises:
        OSError: It is one.
    """
    status = os.fstat(file.fileno())
    is_device = stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)
    if is_device and not file.isatty() and status.st_rdev != Path(os.devnull).stat().st_rdev:
        raise OSError(errno.EINVAL, "is a device; name a file or a pipe", str(file.name))


def _lines(
    path: Path, form: Form, content: io.BufferedReader | None, max_line_bytes: int
) -> Iterator[ParsedLine]:
    """Return the lines of an export, as `opened` has opened it."""
    if content is None:
        return read_csv(path, max_line_bytes)
    if form.is_original:
        return read_original(content, form, max_line_bytes)
    return read_jsonl(content, max_line_bytes)


def read_records(path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[ParsedLine]:
    """Yield the lines of an export in order of emission: a record, or what is wrong with the line.

    Args:
        path: A file, compressed or not, or a directory of CSV files.
        max_line_bytes: The length of the longest line that is read.

    Raises:
        OSError: Something cannot be read.
        CompressionUnavailableError: The package of its compression is missing.
    """
    with ExitStack() as resources:
        form, content = opened(path, resources)
        number = 0
        try:
            for line in _lines(path, form, content, max_line_bytes):
                number += 1
                yield line
        except DamagedCompressionError as error:
            damage = Defect(Reason.CORRUPT_COMPRESSION, str(error), number + 1)
            yield ParsedLine(number + 1, (damage,))
