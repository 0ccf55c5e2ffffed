"""The folders in which a call script is performed, and the files that it leaves there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

TARGETS, TEMPORARY, WORKING = "targets", "temporary", "working"
"""The folders below the directory of a script: written files, TMPDIR and the current directory."""


@contextlib.contextmanager
def own_folders(directory: Path) -> Iterator[None]:
    """Make the three folders, and use one as TMPDIR and one as the current directory."""
    for name in (TARGETS, TEMPORARY, WORKING):
        (directory / name).mkdir()
    folder, environment, temporary = Path.cwd(), dict(os.environ), tempfile.tempdir
    umask = os.umask(0)
    os.umask(umask)
    os.environ["TMPDIR"] = str(directory / TEMPORARY)
    # `tempfile` reads the variable once, and keeps what it found.
    tempfile.tempdir = None
    os.chdir(directory / WORKING)
    try:
        yield
    finally:
        # All of it, because the exporter may have changed it too.
        os.chdir(folder)
        os.umask(umask)
        tempfile.tempdir = temporary
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


def files_in(folder: Path) -> Iterator[list[str]]:
    """Yield the name, the mode and the content of everything below a folder, in order.

    The mode is in octal digits. The content is a hash, `folder`, or `link to` and the text of a
    symbolic link, which is not followed.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = f"link to {path.readlink()}"
        elif path.is_dir():
            content = "folder"
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        yield [str(path.relative_to(folder)), f"{path.lstat().st_mode & 0o7777:o}", content]
