"""Scratch: databases of the harness's own, made where asked and removed afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from sqlalchemy import URL, create_engine, make_url, text

NewDatabase: TypeAlias = Callable[[], str]
"""Returns the URL of one more empty database."""


@contextmanager
def sqlite_files(directory: Path) -> Iterator[NewDatabase]:
    """Make databases as files in a directory, which is left for its owner to remove."""
    numbers = count(1)
    yield lambda: f"sqlite:///{directory / f'scratch-{next(numbers)}.db'}"


@contextmanager
def postgresql_databases(server: str, *, options: str = "") -> Iterator[NewDatabase]:
    """Create databases on a PostgreSQL server, and drop them on exit.

    `server` is the URL of any database there, of a role that may create more; `options` is added
    to each CREATE DATABASE. Raises sqlalchemy.exc.DBAPIError when one cannot be created.
    """
    url = make_url(server).set(drivername="postgresql+psycopg")
    names: list[str] = []

    def new() -> str:
        name = f"harness_{uuid4().hex}"
        _execute(url, f"CREATE DATABASE {name} {options}")
        names.append(name)
        return url.set(database=name).render_as_string(hide_password=False)

    try:
        yield new
    finally:
        for name in names:
            _execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
