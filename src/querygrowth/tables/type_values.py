"""What is known of column types: their plain form, their limits, and values of rarer ones."""

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, types
from sqlalchemy.types import TypeDecorator, TypeEngine

# The n-th moment is n minutes after this one, so that rows have a total order by time.
EPOCH = dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)
LARGEST_INTEGER = 2**31 - 1

Make = Callable[[int, random.Random], object]
"""Makes the value of the n-th row."""


def plain_type(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """A type without decorators, domains and variants of other databases."""
    if isinstance(kind, TypeDecorator):
        found = kind.load_dialect_impl(dialect)
        return plain_type(found, dialect) if found is not kind else found
    variant = kind._variant_mapping.get(dialect.name) if kind._variant_mapping else None
    if variant is not None:
        return plain_type(variant, dialect)
    data_type = getattr(kind, "data_type", None)  # a domain of PostgreSQL
    return plain_type(data_type, dialect) if isinstance(data_type, TypeEngine) else kind


def in_class_of(kind: TypeEngine[Any], value: object) -> object:
    """A constant of a CHECK in the class that a type takes."""
    if isinstance(kind, types.Boolean):
        return bool(value)
    if isinstance(kind, types.Float) and isinstance(value, Decimal | int) and not kind.asdecimal:
        return float(value)
    if isinstance(kind, types.Date) and isinstance(value, str):
        return dt.date.fromisoformat(value)
    if isinstance(kind, types.DateTime) and isinstance(value, str):
        return dt.datetime.fromisoformat(value)
    return value


def largest_number(kind: TypeEngine[Any]) -> int:
    """The largest number that a type of numbers can hold, or is used with here."""
    name = type(kind).__name__.upper()
    if name == "TINYINT":
        return 127
    if name == "YEAR":
        return 2155
    if isinstance(kind, types.SmallInteger):
        return 2**15 - 1
    if name == "MEDIUMINT":
        return 2**23 - 1
    if isinstance(kind, types.BigInteger):
        return 2**53
    if isinstance(kind, types.Numeric | types.Float) and kind.precision:
        return int(10 ** (kind.precision - (kind.scale or 0))) - 1
    return LARGEST_INTEGER


def _ranged(make: Callable[[int], tuple[object, object]]) -> Callable[[Any, Dialect], Make]:
    def build(_kind: Any, _dialect: Dialect) -> Make:
        from sqlalchemy.dialects.postgresql import Range

        return lambda n, _chance: Range(*make(n))

    return build


def _each(make: Callable[[int], object]) -> Callable[[Any, Dialect], Make]:
    return lambda _kind, _dialect: lambda n, _chance: make(n)


def _day(n: int) -> dt.date:
    return EPOCH.date() + dt.timedelta(days=n)


def _bit_source(length: int, dialect: Dialect) -> Make:
    if dialect.name == "postgresql":
        return lambda n, _chance: f"{n % 2**length:0{length}b}"
    return lambda n, _chance: n % 2**length


# By the name of the class, because most belong to one database and a few to packages of others.
BY_NAME: dict[str, Callable[[Any, Dialect], Make]] = {
    "inet": _each(lambda n: f"10.{n // 65536 % 256}.{n // 256 % 256}.{n % 256}"),
    "cidr": _each(lambda n: f"10.{n // 256 % 256}.{n % 256}.0/24"),
    "macaddr": _each(
        lambda n: f"08:00:2b:{n // 65536 % 256:02x}:{n // 256 % 256:02x}:{n % 256:02x}"
    ),
    "macaddr8": _each(
        lambda n: f"08:00:2b:01:02:{n // 65536 % 256:02x}:{n // 256 % 256:02x}:{n % 256:02x}"
    ),
    "money": _each(lambda n: f"{n}.50"),
    "oid": _each(lambda n: n + 1),
    "bit": lambda kind, dialect: _bit_source(min(kind.length or 1, 62), dialect),
    "tsvector": _each(lambda n: f"word{n}"),
    "tsquery": _each(lambda n: f"word{n}"),
    "hstore": _each(lambda n: {"n": str(n)}),
    "interval": _each(lambda n: dt.timedelta(minutes=n + 1)),
    "ltree": _each(lambda n: f"top.n{n}"),
    "int4range": _ranged(lambda n: (n * 10, n * 10 + 5)),
    "int8range": _ranged(lambda n: (n * 10, n * 10 + 5)),
    "numrange": _ranged(lambda n: (Decimal(n * 10), Decimal(n * 10 + 5))),
    "daterange": _ranged(lambda n: (_day(n * 2), _day(n * 2 + 1))),
    "tsrange": _ranged(
        lambda n: tuple(  # type: ignore[arg-type, return-value]
            dt.datetime.combine(_day(n * 2 + each), dt.time()) for each in (0, 1)
        )
    ),
    "tstzrange": _ranged(
        lambda n: (EPOCH + dt.timedelta(days=n * 2), EPOCH + dt.timedelta(days=n * 2 + 1))
    ),
    "vector": lambda kind, _dialect: (
        lambda n, _chance: [float(n)] * (getattr(kind, "dim", None) or 1)
    ),
    "set": lambda kind, _dialect: lambda n, _chance: {kind.values[n % len(kind.values)]},
    "year": _each(lambda n: 1970 + n % 150),
}
