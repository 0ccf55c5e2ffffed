"""The databases of cost checks: runs of many sizes, generated once and shared by all candidates.

Several runs of different sizes are stored in one database, because a database costs more than a
small run.
"""

import sqlite3
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from elspeth.core.landscape import LandscapeDB
from harness.generate.generator import GeneratedRun, generate_run
from harness.generate.spec import RunSpec

Value = TypeVar("Value")


@dataclass(frozen=True)
class StoredRuns:
    """Runs in one database, by their ids."""

    db: LandscapeDB
    runs: dict[str, GeneratedRun]


class CostRuns:
    """Keeps databases and what was computed from them until exit.

    A database that a candidate has changed or removed is generated again when it is needed next. On
    PostgreSQL a change is not noticed.

    Args:
        new_database: Returns the URL of a new, empty database.
    """

    def __init__(self, new_database: Callable[[], str]) -> None:
        self.new_url = new_database
        self._open = ExitStack()
        self._stored: dict[tuple[RunSpec, ...], tuple[StoredRuns, _ChangeDetector]] = {}
        self._kept: dict[Hashable, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all databases."""
        self._open.close()

    def stored(self, specs: Sequence[RunSpec]) -> StoredRuns:
        """Return a database with the runs of these specs, written in this order."""
        key = tuple(specs)
        known = self._stored.get(key)
        if known is None or known[1].changed():
            db = self._open.enter_context(LandscapeDB(self.new_url()))
            runs = {spec.run_id: generate_run(db, spec) for spec in key}
            # After the generation: another connection would keep the journal mode from changing.
            detector = self._open.enter_context(closing(_ChangeDetector(db)))
            known = self._stored[key] = (StoredRuns(db, runs), detector)
        return known[0]

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, which is made when it is needed first."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("Value", self._kept[key])


class _ChangeDetector:
    """Tells whether an SQLite database was changed since this object was made."""

    def __init__(self, db: LandscapeDB) -> None:
        url = db.engine.url
        self._connection: sqlite3.Connection | None = None
        if url.get_backend_name() == "sqlite" and url.database:
            self._path = Path(url.database)
            self._connection = sqlite3.connect(self._path)
            self._version = self._data_version()

    def _data_version(self) -> int | None:
        # SQLite changes it when another connection commits a change.
        if self._connection is None:
            return None
        with suppress(sqlite3.Error):
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version
        return None

    def changed(self) -> bool:
        """Whether the database was changed, removed, or cannot be read."""
        if self._connection is None:
            return False
        return not self._path.exists() or self._data_version() != self._version

    def close(self) -> None:
        """Close the connection that watches the database."""
        if self._connection is not None:
            self._connection.close()
