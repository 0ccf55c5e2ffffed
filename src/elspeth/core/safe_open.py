"""Reads a small file that somebody else may have put there: regular, no link, of bounded size."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def opened_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading; OSError for anything but a regular one.

    A symbolic link is not followed, and a pipe not waited for.
    """
    descriptor = os.open(path, _READ)
    try:
        # Not left to open(): of a directory it would say so by the descriptor's number.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_small_file(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file; OSError as `opened_regular`, and for more bytes."""
    with opened_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes:,} bytes", str(path))
    return content
