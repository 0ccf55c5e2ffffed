"""How another process opens a database: its URL, and the settings of its connections."""

import sqlite3
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event

from elspeth.core.landscape import LandscapeDB


@dataclass
class _ConnectionSettings:
    on_connect: list[str] = field(default_factory=list)
    variables: int | None = None


# By database and not as an argument: a setting belongs to every use of the database, here and in
# the processes of exporters, and a use that forgot it would judge other query plans.
_SETTINGS: MutableMapping[LandscapeDB, _ConnectionSettings] = WeakKeyDictionary()


def execute_on_connect(db: LandscapeDB, statement: str) -> None:
    """Execute a statement on every connection to an SQLite database, in every process."""
    _SETTINGS.setdefault(db, _ConnectionSettings()).on_connect.append(statement)

    @event.listens_for(db.engine, "connect")
    def execute(driver_connection: sqlite3.Connection, _: object) -> None:
        driver_connection.execute(statement)

    # The setting belongs to a connection, and those in the pool were opened without it.
    db.engine.dispose()


def limit_variables(db: LandscapeDB, variables: int) -> None:
    """Set SQLite's limit of variables in a statement on every connection, in every process."""
    _SETTINGS.setdefault(db, _ConnectionSettings()).variables = variables

    @event.listens_for(db.engine, "connect")
    def limit(driver_connection: sqlite3.Connection, _: object) -> None:
        driver_connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, variables)

    db.engine.dispose()


def access_of(db: LandscapeDB) -> dict[str, Any]:
    """Return what another process needs to open a database, as JSON values.

    Raises:
        ValueError: The database is in memory, where no other process can open it.
    """
    settings = _SETTINGS.get(db, _ConnectionSettings())
    return {
        "url": db.absolute_url,
        "read_only": _is_read_only(db),
        "on_connect": settings.on_connect,
        "variables": settings.variables,
    }


def _is_read_only(db: LandscapeDB) -> bool:
    if db.engine.dialect.name == "sqlite":
        return db.engine.url.query.get("mode") == "ro"
    with db.connection() as connection:
        setting = connection.exec_driver_sql("SHOW default_transaction_read_only").scalar()
    return setting == "on"
