"""Primary keys that have to be unique across a whole export, kept in a temporary file."""

import sqlite3
from types import TracebackType
from typing import Self

from elspeth.core.landscape.records import RECORD_TYPES, Record


class KeysSeen:
    """The primary keys of the records so far, on disk: memory does not grow with their number.

    SQLite keeps a database without a name in a temporary file that it removes from the directory
    at once, so that nothing is left behind whatever happens to the process.
    """

    def __init__(self) -> None:
        self._columns = {kind.name: kind.primary_key for kind in RECORD_TYPES}
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

    def add(self, kind: str, record: Record) -> bool:
        """Take in a record's primary key, and say whether it is new.

        Raises OSError when the temporary file cannot grow.
        """
        first, second = (*(record[name] for name in self._columns[kind]), "")[:2]
        try:
            inserted = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (kind, first, second)
            )
        except sqlite3.Error as error:
            raise OSError(f"The temporary file of primary keys: {error}") from error
        return inserted.rowcount == 1
