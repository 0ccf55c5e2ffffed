"""The folder for the databases and files of one command or check."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder and remove it on exit.

    A file that an exporter protects, or writes to at that moment, stays there: that is no reason to
    lose the verdicts.
    """
    with tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
