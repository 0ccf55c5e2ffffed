"""LandscapeWriter: the base class of the recorder, which stores a model in its table."""

import math
import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Table, insert, update

from elspeth.core.clock import Clock, utc_now
from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.store.reader import LandscapeReader

Values: TypeAlias = dict[str, Any]


def uuid4_hex() -> str:
    """Return a random id of 32 lower-case hexadecimal digits."""
    return uuid.uuid4().hex


class LandscapeWriter(LandscapeReader):
    """Stores models. An unknown parent or a used id raises sqlalchemy.exc.IntegrityError."""

    def __init__(
        self,
        db: LandscapeDB,
        *,
        payload_store: object = None,
        clock: Clock = utc_now,
        new_id: Callable[[], str] = uuid4_hex,
    ) -> None:
        """Write to `db`.

        Args:
            db: The audit trail.
            payload_store: Kept as an attribute and not used.
            clock: Read once for every model that is stored.
            new_id: Makes the ids that a method is not given.
        """
        super().__init__(db, payload_store=payload_store)
        self._clock = clock
        self._new_id = new_id

    def _insert(self, table: Table, model: object, **columns: object) -> None:
        """Store one model, and values of columns for which it has no field."""
        with self._db.connection() as connection:
            connection.execute(insert(table), values_of(table, model) | columns)

    def _insert_all(self, models: dict[Table, Sequence[object]]) -> None:
        """Store models of several tables in one transaction, parents first."""
        # One statement a table; an empty list of parameters would insert a row of defaults.
        with self._db.connection() as connection:
            for table, several in models.items():
                if several:
                    connection.execute(insert(table), [values_of(table, one) for one in several])

    def _update(self, table: Table, condition: ColumnElement[bool], values: Values) -> None:
        with self._db.connection() as connection:
            connection.execute(update(table).where(condition).values(values))


def values_of(table: Table, model: object) -> Values:
    """Return the fields of a model that are columns of a table, enum members as text."""
    # Models have fields that are stored under another name, such as a node's schema_fields.
    return {
        name: value.value if isinstance(value, Enum) else value
        for name, value in vars(model).items()
        if name in table.columns
    }


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
    if milliseconds is not None and not math.isfinite(milliseconds):
        raise ValueError(f"{name} must be a finite number of milliseconds, not {milliseconds}")
