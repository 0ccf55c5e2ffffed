"""Check the axes and scales of a growth measurement, and plan the sizes to try."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

# At 2 and 20, a loop shows. 501 is one more than a usual chunk of an IN list, and than the parents
# whose children selectinload fetches with one query, so that a second chunk shows too.
DEFAULT_SCALES = (2, 20, 501)
BASE_SIZE = 2
LEAST_SCALES = 3
# Where all axes grow at once, the rows grow with their product. That is kept below this number,
# about the rows of a single axis at 501.
_PRODUCT = 2000
_LEAST_TOGETHER = 4

Populate = Callable[..., object]
Axes = Mapping[str, int] | Sequence[str]
Scales = Sequence[int] | Mapping[str, Sequence[int]]
Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """The sizes to try.

    Attributes:
        base: The base size of every axis.
        scales: The sizes to try on each axis, with the others at their base sizes.
        together: The sizes to try on all axes at once; empty for none.
    """

    base: Sizes
    scales: Mapping[str, tuple[int, ...]]
    together: tuple[int, ...]


def plan(
    axes: Axes,
    scales: Scales,
    together: Sequence[int] | None,
    action: Callable[..., object],
    populate: Populate,
) -> Plan:
    """Check the arguments of a measurement, and plan its sizes.

    Args:
        axes: The axes with their base sizes, or only their names.
        scales: The sizes to try, for all axes or by axis.
        together: The sizes to try on all axes at once. None chooses them if there is more than one
            axis.
        action: Has to take what `populate` returns.
        populate: Has to take the axes as keyword arguments.

    Raises:
        ValueError: An argument is wrong; see `measure_growth`.
    """
    check_list("axes", axes, 'axes=["orders"]')
    if not isinstance(axes, Mapping) and len(names := [*axes]) > len({*map(repr, names)}):
        raise ValueError(f"axes names an axis twice: {', '.join(map(str, names))}")
    base = dict(axes) if isinstance(axes, Mapping) else dict.fromkeys(axes, BASE_SIZE)
    _check_axes(base, action, populate)
    for axis, size in base.items():
        _check_sizes(f"the base size of {axis}", [size])
    planned = _planned_scales(base, scales)
    for axis, tried in planned.items():
        _check_scales(axis, tried)
    if together is None:
        return Plan(base, planned, _sizes_together([*planned.values()]))
    check_list("together", together, "together=(2, 20, 60)")
    if together:
        _check_scales("together", tuple(together))
    return Plan(base, planned, tuple(together))


def _planned_scales(base: Sizes, scales: Scales) -> dict[str, tuple[int, ...]]:
    check_list("scales", scales, "scales=(2, 20, 501)")
    if not isinstance(scales, Mapping):
        return {axis: tuple(scales) for axis in base}
    for axis, tried in scales.items():
        check_list(f"scales[{axis!r}]", tried, "(2, 20, 501)")
    unknown = [axis for axis in scales if axis not in base]
    if unknown:
        raise ValueError(f"no such axis: {', '.join(unknown)}; there are {', '.join(base)}")
    return {axis: tuple(scales.get(axis, DEFAULT_SCALES)) for axis in base}


def _sizes_together(scales: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Three sizes for all axes at once, small enough for the product of the axes."""
    if len(scales) < 2:
        return ()
    limit = max(_LEAST_TOGETHER, int(_PRODUCT ** (1 / len(scales)) + 1e-9))
    if len(set(scales)) == 1 and scales[0][-1] <= limit:
        return scales[0]
    largest = min(limit, min(tried[-1] for tried in scales))
    smallest = max(1, min(tried[0] for tried in scales))
    # Scales that start high leave no room below the limit.
    if smallest * 2 > largest:
        smallest = min(BASE_SIZE, max(1, largest // 2))
    middle = max(smallest + 1, isqrt(smallest * largest))
    return (smallest, middle, max(largest, middle + 1))


def name_together(axes: Sequence[str]) -> str:
    """The name of axes that grow at once: "orders and customers together"."""
    return f"{', '.join(axes[:-1])} and {axes[-1]} together"


def check_list(name: str, value: object, example: str) -> None:
    """Refuse a value that is no list of values.

    Raises:
        ValueError: `value` is a string, or cannot be iterated over.
    """
    # A string is iterable too. Its characters would be taken for names.
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f"{name} must be a list, such as {example}, got {value!r}")


def check_rising(axis: str, scales: tuple[int, ...]) -> None:
    """Refuse scales that do not increase.

    Raises:
        ValueError: A scale is not larger than the one before.
    """
    if any(after <= before for before, after in pairwise(scales)):
        raise ValueError(f"{axis}: scales must increase, got {list(scales)}")


def _check_scales(axis: str, scales: tuple[int, ...]) -> None:
    _check_sizes(axis, scales)
    # Two counts fit a line, a step and a curve alike. A third count decides between them.
    if len(scales) < LEAST_SCALES:
        raise ValueError(f"{axis}: at least three scales are needed, got {list(scales)}")
    check_rising(axis, scales)


def _check_sizes(name: str, sizes: Sequence[object]) -> None:
    for size in sizes:
        if not isinstance(size, int) or isinstance(size, bool):
            raise ValueError(f"{name}: a size must be a whole number, got {size!r}")
        if size < 0:
            raise ValueError(f"{name}: a size cannot be negative, got {size}")


def _check_axes(base: Sizes, action: Callable[..., object], populate: Populate) -> None:
    if not base:
        raise ValueError("at least one axis is needed to grow along")
    for axis in base:
        if not isinstance(axis, str):
            raise ValueError(f"axes must be names, such as axes=['orders'], got {axis!r}")
    # Checked before anything runs, because a population at the largest scale may take long.
    for name, function in (("the action", action), ("populate", populate)):
        if not callable(function):
            raise ValueError(
                f"{name} must be a function, got {type(function).__name__}: pass the function "
                "without calling it"
            )
    mismatch = _mismatch(populate, **base)
    if mismatch and not _mismatch(action, **base) and not _mismatch(populate, None):
        raise ValueError(
            f"populate does not take the axes {', '.join(base)}, but the action does: the order is "
            "query_growth(action, populate)"
        )
    if mismatch:
        raise ValueError(
            f"populate does not take the axes {', '.join(base)} as keyword arguments: {mismatch}"
        )
    if mismatch := _mismatch(action, None):
        raise ValueError(f"the action must take one argument, what populate returns: {mismatch}")


def _mismatch(function: Callable[..., object], /, *arguments: object, **named: object) -> str:
    """Why a function does not take these arguments; empty if it does."""
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError as mismatch:
        return str(mismatch)
    except ValueError:  # functions written in C may have no signature
        return ""
    return ""


def next_size(scales: Sequence[int]) -> int:
    """A further size: in the middle of a wide gap, else twice the largest."""
    gaps = [(high / max(low, 1), low, high) for low, high in pairwise(scales)]
    ratio, low, high = max(gaps)
    middle = isqrt(max(low, 1) * high)
    # Sizes between those tried are cheaper than larger ones, so wide gaps are filled first.
    if ratio > 6 and low < middle < high:
        return middle
    return scales[-1] * 2
