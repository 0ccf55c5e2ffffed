"""RunSpec: the axes of a generated run, its features, and its seed.

To add an axis, write a field of RunSpec with `axis(...)` and let `plan.py` read it: checks, JSON,
strategies, commands and coverage take it from the field.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Self

from harness.generate.features import FEATURES, Feature

MAX_RUN_ID_LENGTH = 48
"""Leaves room in the 64 characters of `runs.run_id` for the names of neighbouring runs."""

ROWS_TO_TAKE_TURNS = 10
"""Rows from which every kind of lineage occurs, also where features leave tokens out."""


class ImpossibleSpecError(ValueError):
    """A spec asks for a run that cannot be; nothing was written."""


@dataclass(frozen=True)
class Axis:
    """One dimension along which a run grows, independent of the others."""

    name: str
    summary: str
    default: int
    minimum: int
    small: int
    """The largest value that property tests try."""
    needs: Mapping[str, int]
    """The least value of other axes without which a value above the minimum means nothing."""
    is_shape: bool
    """Whether coverage counts the runs with a value above the minimum."""


def axis(
    default: int,
    summary: str,
    *,
    minimum: int = 0,
    small: int = 3,
    needs: Mapping[str, int] = MappingProxyType({}),
    is_shape: bool = True,
) -> Any:
    """Declare an axis as a field of RunSpec."""
    metadata = {
        "default": default,
        "summary": summary,
        "minimum": minimum,
        "small": small,
        "needs": needs,
        "is_shape": is_shape,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, repr=False)
class RunSpec:
    """What to generate: the same spec gives the same database contents, anywhere.

    Raises ImpossibleSpecError, naming the field, for a run that cannot be.
    """

    run_id: str = "run"
    seed: int = 0
    rows: int = axis(2, "source rows", minimum=1, small=6, is_shape=False)
    forks: int = axis(0, "tokens that each row forks into")
    expansions: int = axis(0, "tokens that each row expands into")
    joins: int = axis(0, "coalesced tokens of each row", small=2)
    parents: int = axis(1, "parents of each coalesced token", is_shape=False)
    states: int = axis(1, "steps of each token, a node state each", small=4)
    retries: int = axis(0, "failed attempts among each token's steps", needs={"states": 1})
    routing_groups: int = axis(
        0, "routing groups of each token, on its states in turn", needs={"states": 1, "edges": 1}
    )
    routing_events: int = axis(
        1, "events of each routing group", minimum=1, needs={"routing_groups": 1}
    )
    calls: int = axis(0, "calls of each node state", needs={"states": 1})
    nodes: int = axis(3, "nodes", minimum=1, small=6, is_shape=False)
    edges: int = axis(2, "edges")
    batches: int = axis(0, "batches")
    members: int = axis(0, "members of each batch", needs={"batches": 1})
    batch_retries: int = axis(
        0, "failed attempts of each batch before its last", small=2, needs={"batches": 1}
    )
    artifacts: int = axis(0, "artifacts", needs={"states": 1})
    neighbours: int = axis(0, "further runs in the same database, written first", small=2)
    neighbour_rows: int = axis(2, "source rows of each neighbour", minimum=1, is_shape=False)
    lineage_in_turn: bool = False
    """Rows fork, expand or join in turn; otherwise each row does all of it."""
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", feature_names(self.features))
        _check_identity(self)
        for along in AXES.values():
            _check_axis(self, along)
        _check_lineage(self)
        for feature in self.active_features:
            _check_feature(self, feature)

    @classmethod
    def typical(cls, rows: int = 2000, **changes: Any) -> Self:
        """Describe an ordinary run: 23 records a row, of them 2 tokens, 8 states and 8 calls."""
        usual: dict[str, Any] = {
            "forks": 1,
            "expansions": 1,
            "joins": 1,
            "lineage_in_turn": True,
            "states": 3,
            "retries": 1,
            "routing_groups": 1,
            "calls": 1,
            "nodes": 6,
            "edges": 5,
            "batches": max(1, rows // 100),
            "members": max(1, min(100, rows)),
            "artifacts": 3,
            "neighbours": 1,
            "features": {"open_states", "failed_states", "failed_states_with_output"},
        }
        return cls(rows=rows, **usual | changes)

    @property
    def lineage(self) -> Mapping[str, int]:
        """The axes that give each row further tokens, where they are not 0."""
        axes = {"forks": self.forks, "expansions": self.expansions, "joins": self.joins}
        return {name: tokens for name, tokens in axes.items() if tokens}

    @property
    def tokens(self) -> int:
        """How many tokens the run has, before features leave any out."""
        added = list(self.lineage.values())
        if not (added and self.lineage_in_turn):
            return self.rows * (1 + sum(added))
        rounds, rest = divmod(self.rows, len(added))
        return self.rows + rounds * sum(added) + sum(added[:rest])

    @property
    def active_features(self) -> tuple[Feature, ...]:
        """Its features in the order in which they act."""
        return tuple(each for name, each in FEATURES.items() if name in self.features)

    @property
    def shapes(self) -> frozenset[str]:
        """What coverage counts of it: its features, and the axes that it goes along."""
        grown = {each.name for each in AXES.values() if each.is_shape and self.grows(each)}
        return self.features | grown

    def grows(self, along: Axis) -> bool:
        """Say whether the run has more than the least of an axis."""
        value: int = getattr(self, along.name)
        return value > along.minimum

    @property
    def is_portable(self) -> bool:
        """Whether every backend can hold it, with the same contents."""
        return all(each.portable for each in self.active_features)

    @property
    def is_corrupt(self) -> bool:
        """Whether an export has to refuse it."""
        return any(each.corrupt for each in self.active_features)

    @property
    def recorder_can_write(self) -> bool:
        """Whether the recorder's public methods can write it."""
        return all(each.recorder for each in self.active_features)

    def to_json(self) -> str:
        """Write every field, so that a later default cannot change what the text means."""
        return json.dumps(asdict(self) | {"features": sorted(self.features)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; fields left out take their defaults."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ImpossibleSpecError(f"the spec is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise ImpossibleSpecError("the spec is not a JSON object")
        known = [each.name for each in fields(cls)]
        for name in content.keys() - set(known):
            raise ImpossibleSpecError(f"no field {name!r}{_suggestion(name, known)}")
        return cls(**content)

    def __repr__(self) -> str:
        """Show what differs from the defaults, so that a shrunk spec reads at a glance."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["features"] = sorted(self.features)
        shown = (
            f"{each.name}={values[each.name]!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"RunSpec({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Let Hypothesis show a failing spec so too."""
        printer.text(repr(self))


AXES: Mapping[str, Axis] = MappingProxyType(
    {each.name: Axis(name=each.name, **each.metadata) for each in fields(RunSpec) if each.metadata}
)
"""The axes of RunSpec by name, in the order of its fields."""


def feature_names(features: object) -> frozenset[str]:
    """Read a list of features; ImpossibleSpecError for anything else and for unknown names."""
    if isinstance(features, str | Mapping) or not isinstance(features, Iterable):
        raise ImpossibleSpecError("features is not a list of names")
    names = list(features)
    for name in names:
        if name not in FEATURES:
            raise ImpossibleSpecError(f"no feature {name!r}{_suggestion(str(name), FEATURES)}")
    return frozenset(names)


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _check_identity(spec: RunSpec) -> None:
    _check_type("run_id", spec.run_id, str)
    _check_type("seed", spec.seed, int)
    _check_type("lineage_in_turn", spec.lineage_in_turn, bool)
    if not 0 < len(spec.run_id) <= MAX_RUN_ID_LENGTH:
        raise ImpossibleSpecError(
            f"run_id={spec.run_id!r}: not a text of 1 to {MAX_RUN_ID_LENGTH} characters"
        )


def _check_type(name: str, value: object, kind: type) -> None:
    # Not isinstance: true is no number here, though it is an int in Python.
    if type(value) is not kind:
        raise ImpossibleSpecError(f"{name}={value!r}: not of type {kind.__name__}")


def _check_axis(spec: RunSpec, along: Axis) -> None:
    value = getattr(spec, along.name)
    _check_type(along.name, value, int)
    if value < along.minimum:
        raise ImpossibleSpecError(
            f"{along.name}={value}: {along.summary}, at least {along.minimum}"
        )
    if value > along.minimum:
        _check_needs(spec, f"{along.name}={value}", along.needs)


def _check_needs(spec: RunSpec, who: str, needs: Mapping[str, int]) -> None:
    for name, least in needs.items():
        if getattr(spec, name) < least:
            raise ImpossibleSpecError(f"{who} needs {name} >= {least}, not {getattr(spec, name)}")


def _check_lineage(spec: RunSpec) -> None:
    if spec.lineage_in_turn:
        _check_needs(spec, "lineage_in_turn", {"rows": ROWS_TO_TAKE_TURNS})
    joinable = 1 if spec.lineage_in_turn else 1 + spec.forks + spec.expansions
    if spec.joins and spec.parents > joinable:
        raise ImpossibleSpecError(
            f"parents={spec.parents}: more than the {joinable} tokens a row has to coalesce"
        )
    if spec.members > spec.tokens:
        raise ImpossibleSpecError(
            f"members={spec.members}: more than the {spec.tokens} tokens of the run"
        )


def _check_feature(spec: RunSpec, feature: Feature) -> None:
    _check_needs(spec, feature.name, feature.needs)
    if clashing := feature.excludes & spec.features:
        raise ImpossibleSpecError(f"{feature.name} cannot be seen beside {min(clashing)}")
