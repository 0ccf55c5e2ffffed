"""Safe reading of files from untrusted places: regular files only, no links, limited size."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

# O_NOFOLLOW refuses a symbolic link in the call that opens the file; a check before it could be
# overtaken. O_NONBLOCK: opening a named pipe would otherwise wait for a writer.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def opened_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading, without following a symbolic link.

    Raises:
        OSError: The file cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, _READ)
    try:
        # fdopen() would refuse a directory too, but its error would name a descriptor, not a path.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_small_file(path: Path, most_bytes: int) -> bytes:
    """Return the content of a small file.

    Args:
        path: The file.
        most_bytes: The largest allowed size.

    Raises:
        OSError: The file cannot be read, is not a regular file, or holds more bytes.
    """
    with opened_regular(path) as file:
        # Read, not fstat: a file can grow between the two, and files in /proc report size 0.
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes:,} bytes", str(path))
    return content
