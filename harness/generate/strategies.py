"""Hypothesis strategies: `run_specs` draws the specs of small runs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from harness.generate.features import FEATURES, Feature
from harness.generate.features.feature import compatible
from harness.generate.spec import (
    AXES,
    ROWS_TO_TAKE_TURNS,
    Axis,
    ImpossibleSpecError,
    RunSpec,
    feature_names,
)

SMALL_ROWS = AXES["rows"].small

_EIGHTHS = st.integers(1, 7)
"""The probability with which a spec takes a fitting feature, in eighths."""

_SPECS_FOR_ONE_LONELY = 25
"""The specs of which one, on average, has a certain feature that allows no other."""


@contextmanager
def tables_elsewhere() -> Iterator[None]:
    """Keep the tables of Hypothesis in a temporary folder inside the block.

    It writes tables of characters and constants, by default into the working directory of the user.
    """
    with TemporaryDirectory(prefix="harness-hypothesis-") as folder:
        set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            set_hypothesis_home_dir(None)


def run_specs(
    *,
    min_rows: int = 1,
    max_rows: int = SMALL_ROWS,
    features: Collection[str] | None = None,
    required: Collection[str] = (),
) -> st.SearchStrategy[RunSpec]:
    """Draw specs of small runs. They shrink to the defaults of RunSpec and to fewer features.

    Args:
        min_rows: The least number of source rows, at least 1.
        max_rows: The largest number of source rows.
        features: The names of features that a spec may have; default: all that SQLite can hold and
            an export has to contain.
        required: The names of features that every spec has.

    Raises:
        ImpossibleSpecError: A feature is unknown, a required one needs more than `max_rows` rows,
            or `min_rows` and `max_rows` are out of order.
    """
    if not 1 <= min_rows <= max_rows:
        raise ImpossibleSpecError(f"min_rows={min_rows}, max_rows={max_rows}: not 1 <= min <= max")
    required_features = [FEATURES[name] for name in sorted(feature_names(required))]
    for each in required_features:
        if _least_rows(each) > max_rows:
            raise ImpossibleSpecError(
                f"{each.name} needs rows >= {_least_rows(each)}, not {max_rows}"
            )
    exportable = [each.name for each in FEATURES.values() if not each.corrupt]
    offered = sorted(exportable if features is None else feature_names(features))
    return _run_specs(
        min_rows=min_rows,
        max_rows=max_rows,
        offered=[FEATURES[name] for name in offered if _least_rows(FEATURES[name]) <= max_rows],
        required=required_features,
    )


def _least_rows(feature: Feature) -> int:
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
        _raise_to(least, feature.needs)
    most = {"rows": max_rows}
    values: dict[str, Any] = {}
    sizes = draw(_bytes(len(AXES)))
    for each, byte in zip(AXES.values(), sizes, strict=True):
        choices = _small_values(each, least.get(each.name, each.minimum), most.get(each.name))
        values[each.name] = choices[byte % len(choices)]
    wanted = draw(_bytes(len(offered)))
    alone = _lonely(offered, sizes + wanted)
    for feature in alone:
        _raise_to(values, feature.needs)
    _supply_needs(values)
    in_turn = values["rows"] >= ROWS_TO_TAKE_TURNS and draw(st.booleans())
    _keep_possible(values, lineage_in_turn=in_turn)
    # A feature that does not fit is left out and raises no axis. So a shrinking axis can remove
    # features, and removing a feature changes no axis: Hypothesis shrinks both independently.
    # The probability is drawn as well, so that some specs have few features and others nearly all.
    chance = 32 * draw(_EIGHTHS)
    chances = list(zip(offered, wanted, strict=True))
    fitting = [
        each
        # Of features that hide each other, the one with the least byte wins.
        for each, byte in sorted(chances, key=lambda chosen: chosen[1])
        if byte + chance > 255 and _fits(each, values) and not each.alone
    ]
    features = compatible([*required, *alone, *fitting])
    return RunSpec(
        **values, lineage_in_turn=in_turn, features=frozenset(each.name for each in features)
    )


def _bytes(size: int) -> st.SearchStrategy[bytes]:
    """Draw many choices in one draw, one byte for a choice."""
    # Hypothesis often repeats the value of an earlier draw of the same kind. With one draw for a
    # choice, features came together or not at all, and a quarter of the specs were duplicates.
    return st.binary(min_size=size, max_size=size)


def _lonely(offered: Sequence[Feature], drawn: bytes) -> list[Feature]:
    """Return a feature that allows no other in a few specs; in most, and the simplest, nothing."""
    # By a checksum of all that was drawn, because Hypothesis does not draw evenly: a rare value of
    # one byte came once or never in 150 specs.
    lonely = [each for each in offered if each.alone]
    place = (crc32(drawn) - crc32(bytes(len(drawn)))) % _SPECS_FOR_ONE_LONELY
    return lonely[place - 1 : place] if place else []


def _fits(feature: Feature, values: Mapping[str, int]) -> bool:
    return all(values[name] >= least for name, least in feature.needs.items())


def _raise_to(values: dict[str, int], needs: Mapping[str, int]) -> None:
    for name, least in needs.items():
        values[name] = max(values.get(name, least), least)


def _small_values(axis: Axis, least: int, most: int | None) -> list[int]:
    """Return the small values of an axis. It shrinks to the first one, the default."""
    values = range(least, max(least, axis.small if most is None else most) + 1)
    default = min(max(axis.default, least), values[-1])
    return [default, *(value for value in values if value != default)]


def _supply_needs(values: dict[str, int]) -> None:
    """Raise the axes that other axes need."""
    # Backwards: an axis needs axes that come before it, or that have no needs.
    for each in reversed(tuple(AXES.values())):
        if values[each.name] > each.minimum:
            _raise_to(values, each.needs)


def _keep_possible(values: dict[str, Any], *, lineage_in_turn: bool) -> None:
    """Lower `parents` and `members` to the largest values that the other axes allow."""
    joinable = 1 if lineage_in_turn else 1 + values["forks"] + values["expansions"]
    values["parents"] = min(values["parents"], joinable)
    without_members = RunSpec(**values | {"members": 0}, lineage_in_turn=lineage_in_turn)
    values["members"] = min(values["members"], without_members.tokens)
