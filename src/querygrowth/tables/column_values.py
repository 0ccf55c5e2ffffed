"""Values for a column: by its type, within what its CHECKs allow, and by what its name means.

The n-th value of a column is a function of n and of a generator of random numbers, so that the same
seed makes the same rows. Values that have to differ are made from n alone.
"""

import datetime as dt
import random
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, types
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.sqltypes import _Binary
from sqlalchemy.types import TypeDecorator, TypeEngine

from querygrowth.tables.annotated_values import annotated_enums, annotated_values
from querygrowth.tables.condition_values import Bounds
from querygrowth.tables.decorated_types import (
    SAMPLES,
    listed_choices,
    stored_form,
    through,
    values_in_code,
)
from querygrowth.tables.text_values import soft_deletes, text_source
from querygrowth.tables.type_values import (
    BY_NAME,
    EPOCH,
    Make,
    in_class_of,
    largest_number,
    plain_type,
)
from querygrowth.tables.unusual_values import json_objects, unusual_values, variants_of

_LATER = re.compile(r"(^|_)(end|ends|until|expir\w*|due|finish\w*|stop\w*|valid_to)(_|$)", re.I)
_OFF = re.compile(
    r"^(is_)?(deleted|archived|disabled|blocked|banned|locked|removed|revoked|expired|hidden|default)",
    re.I,
)
_ON = re.compile(r"^(is_)?(active|enabled|public|published|visible|confirmed|verified)", re.I)


class UnknownTypeError(Exception):
    """No value is known that a column's type takes."""


class ValueSource:
    """Makes the values of one column.

    Args:
        table: The table's name, which may say what a name means.
        name: The column's name.
        kind: Its type.
        dialect: The dialect, for types that convert values.
        bounds: What its CHECKs demand.
        longest: The largest length of a text beside that of the type; None without one.
        listed: All values that the user's model takes; empty where it takes any.
        distinct: Whether values should differ from row to row, as in a unique key.
        seed: Selects the texts.

    Attributes:
        domain: All values of the column, where they can be listed; None otherwise.
        plain: The type without decorators and variants.

    Raises:
        UnknownTypeError: No value is known that the type takes.
    """

    def __init__(
        self,
        table: str,
        name: str,
        kind: TypeEngine[Any],
        dialect: Dialect,
        bounds: Bounds,
        longest: int | None = None,
        *,
        listed: Sequence[object] = (),
        distinct: bool = False,
        seed: int = 0,
    ) -> None:
        self._distinct = distinct
        self._seed = seed
        self.name = name
        self._table = table
        self._bounds = bounds
        self._longest = longest
        self.domain: tuple[object, ...] | None = None
        self.plain = plain_type(kind, dialect)
        self._type = kind
        self._dialect = dialect
        self._pool: list[object] | None = None
        self._stored = stored_form(kind, dialect)
        self._make = self._listed(listed) if listed else self._maker(kind, dialect)

    def value(self, n: int, chance: random.Random) -> object:
        """The n-th value, which may be the same as another one."""
        return self._make(n, chance)

    def stored(self, value: object) -> object:
        """A value as the driver sends it, which is what CHECKs speak of."""
        return value if value is None or self._stored is None else self._stored(value)

    def use_default(self, default: Callable[[], object]) -> None:
        """Take the user's default, unless it draws moments or keys, which the seed selects here."""
        try:
            sample = default()
        except Exception:  # the user's code, which may need a request or a session
            return
        if sample is None or isinstance(sample, uuid.UUID | dt.date | dt.time):
            return
        self.domain = None
        self._make = lambda _n, _chance: default()

    @property
    def is_left_empty(self) -> bool:
        """Whether a value would mean that the row counts as deleted."""
        return soft_deletes(self.name)

    def unusual(self, chance: random.Random) -> object:
        """A value that code often does not expect: ties, extremes, unusual texts."""
        if self._pool is None:
            self._pool = self.pool()
        return self._pool[chance.randrange(len(self._pool))]

    def pool(self, constants: Iterable[object] = ()) -> list[object]:
        """Few values, so that rows tie: what code compares with, then unusual ones.

        Args:
            constants: What the code compares with. Values of the column that are equal to one of
                them, or near it, come first.
        """
        if isinstance(self.plain, types.JSON):
            known = self.domain or unusual_values(self.plain)
            objects = json_objects(constants) if any(isinstance(one, dict) for one in known) else ()
            return [*objects, *known]
        if self.domain is not None:
            return list(self.domain)
        unusual = unusual_values(self.plain)
        bounds = [each for each in (self._bounds.low, self._bounds.high) if each is not None]
        near = [
            each
            for constant in (*constants, *bounds)
            for like in unusual[:1]
            for each in variants_of(constant, like)
        ]
        found = [each for each in (*near, *unusual) if self.accepts(each)]
        if not found:
            found = [self._make(n, random.Random(n)) for n in range(4)]  # noqa: S311 - test data
        return list({(type(each), repr(each)): each for each in found}.values())

    def accepts(self, value: object) -> bool:
        """Whether the column and its type take a value, as far as that can be told."""
        if not self.fits(value):
            return False
        if not isinstance(self._type, TypeDecorator):
            return True
        try:
            through(self._type, self._dialect, value, self.plain)
        except Exception:  # the user's code refuses as it likes
            return False
        return True

    def fits(self, value: Any) -> bool:
        """Whether a value is within the length, range and precision of the column."""
        bounds = self._bounds
        if isinstance(value, str):
            most = _least(getattr(self.plain, "length", None), bounds.longest, self._longest)
            return bounds.shortest <= len(value) <= (len(value) if most is None else most)
        if isinstance(value, int | float | Decimal):
            if value != value or value in (float("inf"), float("-inf")):
                return False
            number: Any = value
            scale = getattr(self.plain, "scale", None)
            if isinstance(value, Decimal) and scale is not None and round(value, scale) != value:
                return False
            largest = largest_number(self.plain)
            low = -largest if bounds.low is None else bounds.low
            high = largest if bounds.high is None else bounds.high
            return bool(max(low, -largest) <= number <= min(high, largest))
        if isinstance(value, bytes):
            most = _least(getattr(self.plain, "length", None), bounds.longest)
            return bounds.shortest <= len(value) <= (len(value) if most is None else most)
        return True

    # --- by type ----------------------------------------------------------------------------------

    def _maker(self, kind: TypeEngine[Any], dialect: Dialect) -> Make:
        if isinstance(kind, TypeDecorator):
            return self._for_decorator(kind, dialect)
        if self._bounds.choices and not isinstance(kind, types.Enum):
            return self._listed([in_class_of(kind, each) for each in self._bounds.choices])
        plain = plain_type(kind, dialect)
        made = BY_NAME.get(type(plain).__name__.lower())
        if made is not None:
            return made(plain, dialect)
        for classes, method in _MAKERS:
            if isinstance(plain, classes):
                return method(self, plain)
        raise UnknownTypeError(f"the type {kind!r} is not known")

    def _listed(self, values: Sequence[object]) -> Make:
        self.domain = tuple(values)
        return lambda n, _chance: values[n % len(values)]

    def _enum(self, kind: Any) -> Make:
        members = [*kind.enum_class] if kind.enum_class is not None else [*kind.enums]
        if self._bounds.choices and self._stored is not None:
            allowed = [each for each in members if self._stored(each) in self._bounds.choices]
            members = allowed or members
        if not members:
            raise UnknownTypeError("the enum has no values")
        return self._listed(members)

    def _boolean(self, _kind: Any) -> Make:
        if _OFF.match(self.name) and not self._distinct:
            return lambda _n, _chance: False
        if _ON.match(self.name) and not self._distinct:
            return lambda _n, _chance: True
        return self._listed([True, False])

    def _integer(self, kind: Any) -> Make:
        largest = largest_number(kind)
        low = 1 if self._bounds.low is None else int(self._bounds.low)
        high = largest if self._bounds.high is None else int(self._bounds.high)
        if self._bounds.low is None and high < low:
            low = high - 999
        if high - low < 1000:
            return self._listed(range(low, high + 1) or (low,))
        return lambda n, _chance: low + n % (high - low + 1)

    def _number(self, kind: Any) -> Make:
        if getattr(kind, "scale", None) == 0 and not isinstance(kind, types.Float):
            whole = self._integer(types.BigInteger() if (kind.precision or 18) > 9 else kind)
            return lambda n, chance: Decimal(str(whole(n, chance)))
        exact = not isinstance(kind, types.Float) or kind.asdecimal
        scale = kind.scale if getattr(kind, "scale", None) is not None else 2
        unit = Decimal(1).scaleb(-scale)
        most = Decimal(10) ** ((kind.precision or 12) - scale) - unit
        if isinstance(kind, types.Float):
            scale, unit, most = 2, Decimal("0.01"), Decimal(10**6)
        low = Decimal(str(0 if self._bounds.low is None else self._bounds.low))
        high = most if self._bounds.high is None else min(most, Decimal(str(self._bounds.high)))
        if self._bounds.low is None and high < low:
            low = high - 1000
        steps = int((high - low) / unit) or 1
        # A stride that has no divisor in common with the steps meets all of them.
        stride = next(each for each in (101, 103, 107, 1) if each == 1 or steps % each)
        stride = stride if steps > 10_000 else 1

        def make(n: int, _chance: random.Random) -> object:
            number = low + ((n + 1) * stride % (steps + 1)) * unit
            return number if exact else float(number)

        return make

    def _moment(self, kind: Any) -> Make:
        zone = bool(getattr(kind, "timezone", False))
        later = dt.timedelta(days=3650 if _LATER.search(self.name) else 0)

        def make(n: int, _chance: random.Random) -> object:
            moment = EPOCH + later + dt.timedelta(minutes=n)
            return moment if zone else moment.replace(tzinfo=None)

        return make

    def _date(self, _kind: Any) -> Make:
        later = dt.timedelta(days=3650 if _LATER.search(self.name) else 0)
        return lambda n, _chance: (EPOCH + later).date() + dt.timedelta(days=n % 500_000)

    def _time(self, _kind: Any) -> Make:
        return lambda n, _chance: (EPOCH + dt.timedelta(seconds=n % 86_400)).time()

    def _interval(self, _kind: Any) -> Make:
        return lambda n, _chance: dt.timedelta(minutes=n + 1)

    def _uuid(self, kind: Any) -> Make:
        as_object = getattr(kind, "as_uuid", True)

        def make(n: int, chance: random.Random) -> object:
            made = uuid.UUID(int=_bits(n, chance), version=4)
            return made if as_object else str(made)

        return make

    def _json(self, _kind: Any) -> Make:
        return lambda n, _chance: {"n": n}

    def _array(self, kind: Any) -> Make:
        inner = self._of_items(kind.item_type)
        depth = kind.dimensions or 1

        def make(n: int, chance: random.Random) -> object:
            value: object = [inner(n, chance)]
            for _ in range(depth - 1):
                value = [value]
            return value

        return make

    def _of_items(self, kind: TypeEngine[Any]) -> Make:
        return ValueSource(self._table, self.name, kind, _NO_DIALECT, Bounds(), None).value

    def _binary(self, kind: Any) -> Make:
        most = _least(kind.length, self._bounds.longest)

        def make(n: int, _chance: random.Random) -> object:
            return str(n).encode()[-most:] if most else str(n).encode()

        return make

    def _text(self, kind: Any) -> Make:
        most = _least(kind.length, self._bounds.longest, self._longest)
        return text_source(
            self.name, self._bounds.shortest, most, self._seed, distinct=self._distinct
        )

    # --- types that convert values ----------------------------------------------------------------

    def _for_decorator(self, kind: TypeDecorator[Any], dialect: Dialect) -> Make:
        """Values of the first class that the type takes, stores, and gives back."""
        inner = plain_type(kind, dialect)
        chance = random.Random(0)  # noqa: S311 - test data
        reasons: list[str] = []
        for candidate in self._candidates(kind, inner, dialect):
            try:
                make = candidate()
                for n in (0, 1):
                    through(kind, dialect, make(n, chance), inner)
            except Exception as refused:  # the user's code refuses as it likes
                reasons += str(refused).splitlines()[:1]  # an assertion may say nothing
            else:
                return make
            self.domain = None
        raise UnknownTypeError(
            f"the type {type(kind).__name__} refuses every value that was tried"
            + (f": {reasons[0]}" if reasons else "")
        )

    def _candidates(
        self, kind: Any, inner: TypeEngine[Any], dialect: Dialect
    ) -> Iterator[Callable[[], Make]]:
        for listed in (*listed_choices(kind), *annotated_enums(kind)):
            yield lambda listed=listed: self._listed(listed)  # type: ignore[misc]
        for make in annotated_values(kind):
            yield lambda make=make: lambda n, _chance: make(n)  # type: ignore[misc]
        yield lambda: self._maker(inner, dialect)
        for other in (
            types.Uuid(),
            types.DateTime(timezone=True),
            types.DateTime(),
            types.JSON(),
            types.Integer(),
            types.Boolean(),
            types.Numeric(),
            types.LargeBinary(),
        ):
            yield lambda other=other: self._maker(other, dialect)  # type: ignore[misc]
        for sample in SAMPLES:
            yield lambda sample=sample: lambda n, _chance: sample(n)  # type: ignore[misc]
        yield lambda: self._listed(values_in_code(kind, dialect, inner))
        # What the type makes of a stored value is what it takes.
        for sample in SAMPLES:
            yield lambda sample=sample: (  # type: ignore[misc]
                lambda n, _chance: kind.process_result_value(sample(n), dialect)
            )


def _bits(n: int, chance: random.Random) -> int:
    return (chance.getrandbits(64) << 64) | (n & (2**62 - 1))


def _least(*lengths: int | None) -> int | None:
    return min((each for each in lengths if each is not None), default=None)


_NO_DIALECT: Dialect = DefaultDialect()

_MAKERS: tuple[tuple[tuple[type, ...], Callable[[ValueSource, Any], Make]], ...] = (
    ((types.Enum,), ValueSource._enum),
    ((types.Boolean,), ValueSource._boolean),
    ((types.Interval,), ValueSource._interval),
    ((types.DateTime,), ValueSource._moment),
    ((types.Date,), ValueSource._date),
    ((types.Time,), ValueSource._time),
    ((types.Uuid,), ValueSource._uuid),
    ((types.JSON,), ValueSource._json),
    ((types.ARRAY,), ValueSource._array),
    ((types.Integer,), ValueSource._integer),
    ((types.Numeric, types.Float), ValueSource._number),
    ((types.LargeBinary, types.BINARY, types.VARBINARY, _Binary), ValueSource._binary),
    ((types.String,), ValueSource._text),
)
