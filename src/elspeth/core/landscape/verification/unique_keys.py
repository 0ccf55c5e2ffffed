"""Finds a primary key that occurs twice anywhere in an export, in flat memory."""

import sqlite3
from types import TracebackType
from typing import Self

from elspeth.core.landscape.verification.defects import Record
from elspeth.core.landscape.verification.record_shapes import SHAPES


class UniqueKeys:
    """The primary keys of the records so far, in a temporary SQLite database on disk."""

    def __init__(self) -> None:
        # SQLite keeps a database without a name in a temporary file and unlinks the file at once,
        # so nothing stays behind even after SIGKILL. Durability is worthless here: no journal.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;"
            "CREATE TABLE seen (kind TEXT, first TEXT, second TEXT,"
            " PRIMARY KEY (kind, first, second)) WITHOUT ROWID; BEGIN"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, record_type: str, record: Record) -> bool:
        """Add the primary key of a record.

        Returns:
            Whether the key is new.

        Raises:
            OSError: the temporary file cannot grow.
        """
        key = (*(record[name] for name in SHAPES[record_type].primary_key), "")
        try:
            inserted = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (record_type, *key[:2])
            )
        except sqlite3.Error as error:
            raise OSError(f"The temporary file of primary keys: {error}") from error
        return inserted.rowcount == 1
