"""LandscapeWriter: the base class of the recorder, which stores a model in its table."""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Float,
    Integer,
    Table,
    insert,
    update,
)

from elspeth.contracts import errors
from elspeth.contracts.errors import RecordingError
from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.row_data import PayloadStore
from elspeth.core.landscape.store.reader import LandscapeReader
from elspeth.core.landscape.store.references import Reference, refuse_mixed_runs

Values: TypeAlias = dict[str, Any]


def uuid4_hex() -> str:
    """Return a random id of 32 lower-case hexadecimal digits."""
    return uuid.uuid4().hex


class LandscapeWriter(LandscapeReader):
    """Stores models.

    A method that stores raises RecordingError for a reference to another run, and for a value that
    no export could hold. An unknown parent or a used id raises sqlalchemy.exc.IntegrityError.
    """

    def __init__(
        self,
        db: LandscapeDB,
        *,
        payload_store: PayloadStore | None = None,
        clock: Clock = utc_now,
        new_id: Callable[[], str] = uuid4_hex,
    ) -> None:
        """Write to `db`.

        Args:
            db: The audit trail.
            payload_store: Holds the data of source rows that were recorded with a reference.
            clock: Read once for every model that is stored.
            new_id: Makes the ids that a method is not given.
        """
        super().__init__(db, payload_store=payload_store)
        self._clock = clock
        self._new_id = new_id

    def _insert(
        self,
        table: Table,
        model: object,
        *references: Reference,
        columns: Mapping[str, object] | None = None,
    ) -> None:
        """Store one model.

        Args:
            table: The table.
            model: The model.
            references: The entities that it refers to, all of one run.
            columns: Values of columns for which the model has no field.
        """
        with self._db.connection() as connection:
            self._refuse_mixed_runs(connection, references)
            connection.execute(insert(table), values_of(table, model) | dict(columns or {}))

    def _insert_all(
        self, models: Mapping[Table, Sequence[object]], references: Sequence[Reference]
    ) -> None:
        """Store models of several tables in one transaction, parents first."""
        with self._db.connection() as connection:
            self._refuse_mixed_runs(connection, references)
            insert_models(connection, models)

    def _update(self, table: Table, condition: ColumnElement[bool], values: Values) -> int:
        """Update rows and return how many there are."""
        refuse_unexportable(table, values)
        with self._db.connection() as connection:
            return connection.execute(update(table).where(condition).values(values)).rowcount

    def _refuse_mixed_runs(self, connection: Connection, references: Sequence[Reference]) -> None:
        # A method, so that a test can record what no pipeline of this project may: exporters have
        # to agree on the trails of other recorders too.
        refuse_mixed_runs(connection, references)


def insert_models(connection: Connection, models: Mapping[Table, Sequence[object]]) -> None:
    """Store models of several tables, parents first, with one statement a table."""
    for table, several in models.items():
        # An empty list of parameters would insert a row of defaults.
        if several:
            connection.execute(insert(table), [values_of(table, one) for one in several])


def values_of(table: Table, model: object) -> Values:
    """Return the fields of a model that are columns of a table, enum members as text.

    Raises:
        RecordingError: No export could hold a value.
    """
    # Models have fields that are stored under another name, such as a node's schema_fields.
    values = {
        name: value.value if isinstance(value, Enum) else value
        for name, value in vars(model).items()
        if name in table.columns
    }
    refuse_unexportable(table, values)
    return values


def refuse_unexportable(table: Table, values: Values) -> None:
    """Refuse values of which every later export would say that they are corrupt.

    Raises:
        RecordingError: A value has another type than its column, or is out of range.
    """
    # SQLite stores a value of any type in any column, so only this check refuses it in time.
    for name, value in values.items():
        problem = None if value is None else _problem(table.columns[name], value)
        if problem is not None:
            raise RecordingError(f"Cannot record {table.name}.{name}: {value!r} {problem}")


def _problem(column: Column[Any], value: object) -> str | None:
    match column.type:
        case Integer():
            # `type() is`, because bool is a subclass of int.
            if type(value) is not int:
                return errors.NOT_AN_INTEGER
            return errors.TOO_LARGE if abs(value) > errors.MAX_INTEGER else None
        case Float():
            if isinstance(value, bool) or not isinstance(value, int | float):
                return errors.NOT_A_NUMBER
            return None if _is_finite(value) else errors.NOT_FINITE
        case DateTime():
            return None if isinstance(value, datetime) else errors.NOT_A_TIMESTAMP
        case _ if not isinstance(value, str):
            return errors.NOT_TEXT
        case _:
            return None if _has_utf8(value) else errors.NOT_UTF8


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False  # An int past the largest float.


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_none(**columns: object) -> Values:
    """Return the columns that are not None. An UPDATE then leaves the others unchanged."""
    return {name: value for name, value in columns.items() if value is not None}


def refuse_not_finite(name: str, milliseconds: float | None) -> None:
    """Refuse a duration that is NaN or infinite.

    Args:
        name: The name of the argument, for the message.
        milliseconds: The duration, if there is one.

    Raises:
        ValueError: The duration is not finite.
    """
    # JSON has neither value, so no export could contain them. SQLite would store NaN as NULL, which
    # hides the error until the export.
    if isinstance(milliseconds, int | float) and not _is_finite(milliseconds):
        raise ValueError(f"{name} must be a finite number of milliseconds, not {milliseconds}")
