"""Strategies: run_specs(), with which Hypothesis searches the runs that a spec can describe."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from harness.generate.features import FEATURES, Feature
from harness.generate.spec import (
    AXES,
    ROWS_TO_TAKE_TURNS,
    Axis,
    ImpossibleSpecError,
    RunSpec,
    feature_names,
)

SMALL_ROWS = AXES["rows"].small

_EIGHTHS = st.integers(0, 7)
"""How many of the features that fit are taken."""


def run_specs(
    *,
    min_rows: int = 1,
    max_rows: int = SMALL_ROWS,
    features: Collection[str] | None = None,
    required: Collection[str] = (),
) -> st.SearchStrategy[RunSpec]:
    """Describe runs of so many rows with any of some features, and with all the required ones.

    Without `features`, any that SQLite can hold and an export has to carry. Specs shrink towards
    the defaults of RunSpec, axis by axis, and to fewer features.

    Raises ImpossibleSpecError for an unknown feature, for a required one that needs more than
    `max_rows`, and for rows in no order.
    """
    if not 1 <= min_rows <= max_rows:
        raise ImpossibleSpecError(f"min_rows={min_rows}, max_rows={max_rows}: not 1 <= min <= max")
    musts = [FEATURES[name] for name in sorted(feature_names(required))]
    for each in musts:
        if _rows(each) > max_rows:
            raise ImpossibleSpecError(f"{each.name} needs rows >= {_rows(each)}, not {max_rows}")
    exportable = [each.name for each in FEATURES.values() if not each.corrupt]
    offered = sorted(exportable if features is None else feature_names(features))
    return _run_specs(
        min_rows=min_rows,
        max_rows=max_rows,
        offered=[FEATURES[name] for name in offered if _rows(FEATURES[name]) <= max_rows],
        required=musts,
    )


def _rows(feature: Feature) -> int:
    return feature.needs.get("rows", 1)


@st.composite
def _run_specs(
    draw: st.DrawFn,
    *,
    min_rows: int,
    max_rows: int,
    offered: Sequence[Feature],
    required: Sequence[Feature],
) -> RunSpec:
    least = {"rows": min_rows}
    for feature in required:
        _raise(least, feature.needs)
    most = {"rows": max_rows}
    values: dict[str, Any] = {}
    for each, byte in zip(AXES.values(), draw(_bytes(len(AXES))), strict=True):
        choices = _values(each, least.get(each.name, each.minimum), most.get(each.name))
        values[each.name] = choices[byte % len(choices)]
    _supply_needs(values)
    in_turn = values["rows"] >= ROWS_TO_TAKE_TURNS and draw(st.booleans())
    _keep_possible(values, lineage_in_turn=in_turn)
    # Features that do not fit are left out instead of raising axes: an axis that shrinks may take
    # features away, and a feature that shrinks away leaves the axes as they are.
    surely = 32 * draw(_EIGHTHS)
    chances = zip(offered, draw(_bytes(len(offered))), strict=True)
    fitting = [each for each, byte in chances if byte + surely > 255 and _fits(each, values)]
    # Of two that hide each other, now the one wins and now the other.
    features = _compatible([*required, *(reversed(fitting) if draw(st.booleans()) else fitting)])
    return RunSpec(
        **values, lineage_in_turn=in_turn, features=frozenset(each.name for each in features)
    )


def _bytes(size: int) -> st.SearchStrategy[bytes]:
    """Draw many choices as one, a byte for each.

    Of several draws of one kind Hypothesis likes to make one equal to another; then features came
    together or not at all, and a quarter of the specs were ones that it had drawn before.
    """
    return st.binary(min_size=size, max_size=size)


def _fits(feature: Feature, values: Mapping[str, int]) -> bool:
    return all(values[name] >= least for name, least in feature.needs.items())


def _compatible(features: Collection[Feature]) -> list[Feature]:
    """Leave out each feature that one before it hides."""
    chosen: list[Feature] = []
    for each in features:
        if not any(each.name in other.excludes for other in chosen) and each not in chosen:
            chosen.append(each)
    return chosen


def _raise(values: dict[str, int], needs: Mapping[str, int]) -> None:
    for name, least in needs.items():
        values[name] = max(values.get(name, least), least)


def _values(axis: Axis, least: int, most: int | None) -> list[int]:
    """List the small values of an axis; the first, to which it shrinks, is the default."""
    values = range(least, max(least, axis.small if most is None else most) + 1)
    default = min(max(axis.default, least), values[-1])
    return [default, *(value for value in values if value != default)]


def _supply_needs(values: dict[str, int]) -> None:
    """Raise the axes that others need; no axis needs one that comes after it and needs more."""
    for each in reversed(tuple(AXES.values())):
        if values[each.name] > each.minimum:
            _raise(values, each.needs)


def _keep_possible(values: dict[str, Any], *, lineage_in_turn: bool) -> None:
    """Lower the axes that are bounded by what others make of the run."""
    joinable = 1 if lineage_in_turn else 1 + values["forks"] + values["expansions"]
    values["parents"] = min(values["parents"], joinable)
    without_members = RunSpec(**values | {"members": 0}, lineage_in_turn=lineage_in_turn)
    values["members"] = min(values["members"], without_members.tokens)
