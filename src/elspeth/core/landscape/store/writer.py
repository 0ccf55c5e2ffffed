"""What every kind of writing shares: the clock, the ids, and a model into its table."""

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
    """Make a random id: 32 lower-case hex digits."""
    return uuid.uuid4().hex


class LandscapeWriter(LandscapeReader):
    """Stores models; unknown parents and taken ids raise sqlalchemy.exc.IntegrityError."""

    def __init__(
        self,
        db: LandscapeDB,
        *,
        payload_store: object = None,
        clock: Clock = utc_now,
        new_id: Callable[[], str] = uuid4_hex,
    ) -> None:
        """Write to `db`, with one clock reading for each record and an id where none is given."""
        super().__init__(db, payload_store=payload_store)
        self._clock = clock
        self._new_id = new_id

    def _insert(self, table: Table, model: object, **columns: object) -> None:
        """Store one model, with the columns that it has no field for."""
        with self._db.connection() as connection:
            connection.execute(insert(table), values_of(table, model) | columns)

    def _insert_all(self, models: dict[Table, Sequence[object]]) -> None:
        """Store models of several tables in one transaction, parents first."""
        with self._db.connection() as connection:
            for table, several in models.items():
                if several:
                    connection.execute(insert(table), [values_of(table, one) for one in several])

    def _update(self, table: Table, same: ColumnElement[bool], values: Values) -> None:
        with self._db.connection() as connection:
            connection.execute(update(table).where(same).values(values))


def values_of(table: Table, model: object) -> Values:
    """Return the values of a model's fields that are columns, enum members as their text."""
    return {
        name: value.value if isinstance(value, Enum) else value
        for name, value in vars(model).items()
        if name in table.columns
    }


def given(**columns: object) -> Values:
    """Keep what the caller gave: a column left None stays as it is stored."""
    return {name: value for name, value in columns.items() if value is not None}


def refuse_not_finite(name: str, milliseconds: float | None) -> None:
    """Refuse a duration that SQLite would store as NULL, or that no export could carry."""
    if milliseconds is not None and not math.isfinite(milliseconds):
        raise ValueError(f"{name} must be a finite number of milliseconds, not {milliseconds}")
