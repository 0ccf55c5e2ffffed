"""Values for a column: by its type, within what its CHECKs allow, and by what its name means.

The n-th value of a column is a function of n and of a generator of random numbers, so that the same
seed makes the same rows. Values that have to differ are made from n alone.
"""

import datetime as dt
import enum
import random
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, types
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from querygrowth.tables.condition_values import Bounds
from querygrowth.tables.text_values import soft_deletes, text_source
from querygrowth.tables.type_values import (
    BY_NAME,
    EPOCH,
    Make,
    in_class_of,
    largest_number,
    plain_type,
    unusual_values,
)

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
        seed: Selects the texts.

    Attributes:
        domain: All values of the column, where they can be listed; None otherwise.

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
        seed: int = 0,
    ) -> None:
        self._seed = seed
        self.name = name
        self._table = table
        self._bounds = bounds
        self._longest = longest
        self.domain: tuple[object, ...] | None = None
        self._decorated = isinstance(kind, TypeDecorator)
        self._stored = stored_form(kind, dialect)
        self._make = self._maker(kind, dialect)
        self._kind = plain_type(kind, dialect)

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
        pool = [each for each in unusual_values(self._kind) if self.fits(each)]
        if self._decorated or self.domain is not None or not pool:
            return self.value(chance.randrange(3), chance)
        return pool[chance.randrange(len(pool))]

    def fits(self, value: Any) -> bool:
        """Whether a value is within the length, range and precision of the column."""
        bounds = self._bounds
        if isinstance(value, str):
            most = _least(getattr(self._kind, "length", None), bounds.longest, self._longest)
            return bounds.shortest <= len(value) <= (len(value) if most is None else most)
        if isinstance(value, int | Decimal):
            number: Any = value
            largest = largest_number(self._kind)
            low = -largest if bounds.low is None else bounds.low
            high = largest if bounds.high is None else bounds.high
            return bool(max(low, -largest) <= number <= min(high, largest))
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
        if _OFF.match(self.name):
            return lambda _n, _chance: False
        if _ON.match(self.name):
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
        return text_source(self.name, self._bounds.shortest, most, self._seed)

    # --- types that convert values ----------------------------------------------------------------

    def _for_decorator(self, kind: TypeDecorator[Any], dialect: Dialect) -> Make:
        """Values of the first class that the type takes, stores, and gives back."""
        inner = plain_type(kind, dialect)
        chance = random.Random(0)  # noqa: S311 - test data
        reasons = []
        for candidate in self._candidates(kind, inner, dialect):
            try:
                make = candidate()
                for n in (0, 1):
                    _through(kind, dialect, make(n, chance), inner)
            except Exception as refused:  # the user's code refuses as it likes
                reasons.append(refused)
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
        for listed in _choices(kind):
            yield lambda listed=listed: self._listed(listed)  # type: ignore[misc]
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
        for sample in _SAMPLES:
            yield lambda sample=sample: lambda n, _chance: sample(n)  # type: ignore[misc]


_SAMPLES: tuple[Callable[[int], object], ...] = (
    lambda n: [f"text {n}"],
    lambda n: {f"text {n}"},
    lambda n: [],
    lambda n: {},
    lambda n: f"https://example.org/{n}",
    lambda n: f"user{n}@example.org",
    lambda n: f"+49301234{n:04}",
    lambda n: f"10.0.{n // 250 % 250}.{n % 250 + 1}",
    lambda n: f"#{n % 0xFFFFFF:06x}",
    lambda n: "UTC",
    lambda n: "en",
    lambda n: "EUR",
    lambda n: dt.timedelta(minutes=n),
    lambda n: str(uuid.UUID(int=n + 1, version=4)),
)


def _through(
    kind: TypeDecorator[Any], dialect: Dialect, value: object, inner: TypeEngine[Any]
) -> None:
    """Send a value through a type and back, as a database would.

    Raises:
        Exception: The type refuses the value, or gives back what the column cannot hold.
    """
    stored_by = stored_form(kind, dialect)
    if stored_by is not None:
        stored_by(value)
    sent: Any = value
    if type(kind).process_bind_param is not TypeDecorator.process_bind_param:
        sent = kind.process_bind_param(value, dialect)
    if sent is None:
        raise ValueError("it stores nothing")
    for classes, taken, name in _TAKEN:
        if isinstance(inner, classes) and not isinstance(sent, taken):
            raise ValueError(f"it stores {type(sent).__name__} as {name}")
    length = getattr(inner, "length", None)
    if isinstance(sent, str) and length is not None and len(sent) > length:
        raise ValueError("it stores more than the column holds")
    if type(kind).process_result_value is not TypeDecorator.process_result_value:
        # What a driver hands back for these is what it was sent. Other classes depend on it.
        known = isinstance(inner, types.String | types.Integer | types.LargeBinary)
        kind.process_result_value(sent if known else value, dialect)


_TAKEN: tuple[tuple[type, type | tuple[type, ...], str], ...] = (
    (types.String, (str, enum.Enum), "text"),
    (types.Integer, int, "a number"),
    (types.LargeBinary, (bytes, bytearray, memoryview), "bytes"),
)


def stored_form(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """What converts a value of a type to what the driver is sent; None if nothing does."""
    if not isinstance(kind, TypeDecorator | types.Enum):
        return None
    found: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return found


def _choices(kind: Any) -> Iterator[list[object]]:
    """The values that a type lists in one of its attributes, such as `choices` or an enum class."""
    for value in vars(kind).values():
        if isinstance(value, type) and issubclass(value, enum.Enum) and len(value):
            yield [*value]
            yield [each.value for each in value]
        elif isinstance(value, list | tuple) and value:
            pairs = all(isinstance(each, tuple) and len(each) == 2 for each in value)
            yield [each[0] for each in value] if pairs else [*value]


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
    ((types.LargeBinary,), ValueSource._binary),
    ((types.String,), ValueSource._text),
)
