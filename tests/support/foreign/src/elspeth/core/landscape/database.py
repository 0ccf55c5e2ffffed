"""The database of an audit trail."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event

from elspeth.core.landscape.schema import metadata


class LandscapeDB:
    """An audit trail. The constructor takes a URL alone, and always creates the tables."""

    def __init__(self, connection_string: str) -> None:
        """Open the database of a URL and create missing tables."""
        self.connection_string = connection_string
        self._engine: Engine | None = _engine_of(connection_string)
        metadata.create_all(self._engine)

    @classmethod
    def from_url(cls, url: str, *, create_tables: bool = True) -> Self:
        """Open the database of a URL, with or without creating its tables."""
        db = cls.__new__(cls)
        db.connection_string = url
        db._engine = _engine_of(url)
        if create_tables:
            metadata.create_all(db._engine)
        return db

    @classmethod
    def in_memory(cls) -> Self:
        """Open a new database in memory."""
        return cls("sqlite:///:memory:")

    @property
    def engine(self) -> Engine:
        """The engine, until the database is closed."""
        if self._engine is None:
            raise RuntimeError("Database not initialized")
        return self._engine

    def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Run one transaction."""
        with self.engine.begin() as connection:
            yield connection


def _engine_of(url: str) -> Engine:
    engine = create_engine(url)
    if url.startswith("sqlite"):

        @event.listens_for(engine, "connect")
        def set_up(connection: Any, _: object) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA foreign_keys=ON")

    return engine
