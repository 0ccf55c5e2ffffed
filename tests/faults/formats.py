"""Parametrizes a test over faults, each with one of the export formats in turn."""

from collections.abc import Callable, Iterable
from itertools import cycle

import pytest
from _pytest.mark.structures import ParameterSet

FORMATS = ("json", "csv")
"""The export formats that settings can name."""


def in_turn(
    names: str | tuple[str, ...],
    cases: Iterable[object],
    ids: Iterable[str] | Callable[[object], str] | None = None,
) -> pytest.MarkDecorator:
    """Parametrize a test like `pytest.mark.parametrize`, and give every case one export format.

    Each kind of fault meets both formats. A product of faults and formats would be twice as many
    tests, and a single fault does not depend on the format.
    """
    sets = [
        case
        if isinstance(case, ParameterSet)
        else pytest.param(*(case if isinstance(names, tuple) else (case,)))  # type: ignore[misc]
        for case in cases
    ]
    if callable(ids):
        shown = ["-".join(map(ids, case.values)) for case in sets]
    elif ids is not None:
        shown = list(ids)
    else:
        shown = [str(case.id or "-".join(map(_short, case.values))) for case in sets]
    return pytest.mark.parametrize(
        ("export_format", *((names,) if isinstance(names, str) else names)),
        [
            pytest.param(export_format, *case.values, id=f"{export_format}-{text}")
            for export_format, case, text in zip(cycle(FORMATS), sets, shown, strict=False)
        ],
    )


def _short(value: object) -> str:
    return str(getattr(value, "__name__", value))
