"""Open files from untrusted places: regular files only, no links, of bounded size."""

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
    """Open a regular file for reading.

    A symbolic link is not followed, and a pipe does not block.

    Raises:
        OSError: The file cannot be opened, or is not a regular file.
    """
    descriptor = os.open(path, _READ)
    try:
        # open() would refuse a directory too, but name it by the number of the descriptor.
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
        most_bytes: The most that it may hold.

    Raises:
        OSError: The file cannot be read, is not a regular file, or holds more bytes.
    """
    with opened_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes:,} bytes", str(path))
    return content
