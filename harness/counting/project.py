"""Project: which source files are the user's own, not a library's or this package's."""

import sys
from pathlib import Path

import sqlalchemy

SQLALCHEMY_PATH = str(Path(sqlalchemy.__file__).parent)
THIS_PACKAGE_PATH = str(Path(__file__).parents[1])


class Project:
    """The files under a root, without any environment of libraries kept below it."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root.resolve()}/"
        libraries = {SQLALCHEMY_PATH, THIS_PACKAGE_PATH}
        libraries |= {p for p in (sys.prefix, sys.base_prefix) if p.startswith(self._root)}
        self._libraries = tuple(libraries)

    def contains(self, filename: str) -> bool:
        """Whether this is a file of the project; `filename` as code objects have it."""
        return (
            filename.startswith(self._root)
            and not filename.startswith(self._libraries)
            and "/site-packages/" not in filename
        )
