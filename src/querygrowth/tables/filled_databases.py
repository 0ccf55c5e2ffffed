"""Growth without a `populate`: databases whose tables are filled, with the tables as axes."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Engine, MetaData, Table, create_engine
from sqlalchemy.exc import CompileError

from querygrowth.axes import BASE_SIZE
from querygrowth.tables.fill import fill_tables
from querygrowth.tables.fill_plan import ALL_OTHERS
from querygrowth.tables.table_rules import full_name
from querygrowth.tables.user_tables import user_tables

NewDatabase = Callable[[], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class FilledAxes:
    """What a growth measurement needs of a schema.

    Attributes:
        populate: Called with the rows of every axis; a context manager that yields an engine on a
            new database with these rows.
        axes: The tables to grow with their base sizes.
    """

    populate: Callable[..., AbstractContextManager[Engine]]
    axes: Mapping[str, int]


def filled_axes(
    models: object,
    *,
    new_database: NewDatabase | None = None,
    overrides: Mapping[Any, object] | None = None,
    seed: int | random.Random = 0,
) -> FilledAxes:
    """Make axes of tables, and a `populate` that fills them.

    A table that grows alone has the others at their base size, so that its rows share their
    parents. Where its keys need more parents, as an association does, the parents grow with it.

    Args:
        models: The tables to grow: models, a declarative base, MetaData or Table objects.
        new_database: Makes an empty database that has the tables: a function that returns a context
            manager with an engine. By default a new SQLite file.
        overrides: The values of columns; see `fill_tables`.
        seed: Selects the values.

    Raises:
        ValueError: `models` names no table, or tables by name alone, or SQLite cannot have them.
    """
    user = user_tables(models)
    if user.is_empty or user.names:
        raise ValueError(
            "growth over filled tables needs models, a declarative base, MetaData or Table objects"
        )
    axes = dict.fromkeys((full_name(key) for key in user.asked), BASE_SIZE)
    tables = [user.known[key] for key in user.asked]
    make = new_database or (lambda: _sqlite_file(tables))

    @contextmanager
    def populate(**sizes: int) -> Iterator[Engine]:
        # A table at its base size is not named, so that it may grow with what needs more parents.
        grown = {table: size for table, size in sizes.items() if size != BASE_SIZE}
        with make() as engine:
            fill_tables(
                engine,
                models,
                rows={ALL_OTHERS: BASE_SIZE, **grown},
                overrides=overrides,
                seed=seed,
            )
            yield engine

    return FilledAxes(populate, axes)


@contextmanager
def _sqlite_file(tables: list[Table]) -> Iterator[Engine]:
    # A file, because every thread that connects has to see the same rows.
    with TemporaryDirectory(prefix="querygrowth-") as directory:
        engine = create_engine(f"sqlite:///{Path(directory) / 'filled.db'}")
        try:
            for metadata in _metadata_of(tables):
                metadata.create_all(engine)
            yield engine
        except CompileError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"SQLite cannot have these tables ({reason}): give new_database, a function that "
                "returns a context manager with an engine on an empty database that has them"
            ) from error
        finally:
            engine.dispose()


def _metadata_of(tables: list[Table]) -> list[MetaData]:
    return list({id(table.metadata): table.metadata for table in tables}.values())
