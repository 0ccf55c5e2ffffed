"""RunSpec: a description of a generated run by its axes, its features and its seed.

To add an axis, write a field of RunSpec with `axis(...)` and read it in `plan.py` or `row_plan.py`.
Checks, JSON and Hypothesis strategies take it from the field.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Self

from harness.generate.features import FEATURES, Feature

# The column `runs.run_id` has 64 characters. Neighbours need the rest for their suffix.
MAX_RUN_ID_LENGTH = 48
"""The largest number of characters of a run id."""

# Far above any run that fits on a disk, and low enough for all times of a run to be dates.
MAX_COUNT = 1_000_000_000
"""The largest value of an axis."""

# With fewer rows, features that leave tokens out can leave out a whole kind of lineage.
ROWS_TO_TAKE_TURNS = 10
"""The least number of rows of a run whose rows fork, expand or join in turn."""


class ImpossibleSpecError(ValueError):
    """A spec describes a run that cannot exist. Nothing was written."""

    def __init__(self, message: str, *, field: str | None = None, least: int | None = None) -> None:
        """Keep the field of RunSpec to change and its least value, where they are known.

        Args:
            message: What is wrong, in the names of RunSpec's fields and features.
            field: The field of RunSpec that a caller has to change, or "preset".
            least: The least value of `field` without this error.
        """
        super().__init__(message)
        self.field = field
        self.least = least


@dataclass(frozen=True)
class Axis:
    """One dimension along which a run can grow, independently of the others.

    Attributes:
        name: The field of RunSpec.
        summary: The things that the axis counts.
        default: The value of a spec that does not name the axis.
        minimum: The least value.
        small: The largest value that property tests try.
        needs: The least values of other axes without which a value above the minimum has no effect.
    """

    name: str
    summary: str
    default: int
    minimum: int
    small: int
    needs: Mapping[str, int]


def axis(
    default: int,
    summary: str,
    *,
    minimum: int = 0,
    small: int = 3,
    needs: Mapping[str, int] = MappingProxyType({}),
) -> Any:
    """Declare an axis as a field of RunSpec.

    Args:
        default: The value of a spec that does not name the axis.
        summary: The things that the axis counts, as a noun phrase.
        minimum: The least value that is allowed.
        small: The largest value that property tests try.
        needs: The least values of other axes, by name, without which this axis has no effect.
    """
    metadata = {
        "default": default,
        "summary": summary,
        "minimum": minimum,
        "small": small,
        "needs": needs,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, repr=False)
class RunSpec:
    """Describes a run to generate. The same spec gives the same contents on every machine.

    Raises:
        ImpossibleSpecError: The fields describe a run that cannot exist. The message names the
            field.
    """

    run_id: str = "run"
    seed: int = 0
    rows: int = axis(2, "source rows", minimum=1, small=6)
    forks: int = axis(0, "tokens that each row forks into")
    expansions: int = axis(0, "tokens that each row expands into")
    joins: int = axis(0, "coalesced tokens of each row", small=2)
    parents: int = axis(1, "parents of each coalesced token")
    states: int = axis(1, "steps of each token, a node state each", small=4)
    retries: int = axis(0, "failed attempts among each token's steps", needs={"states": 1})
    routing_groups: int = axis(
        0, "routing groups of each token, on its states in turn", needs={"states": 1, "edges": 1}
    )
    routing_events: int = axis(
        1, "events of each routing group", minimum=1, needs={"routing_groups": 1}
    )
    calls: int = axis(0, "calls of each node state", needs={"states": 1})
    nodes: int = axis(3, "nodes", minimum=1, small=6)
    edges: int = axis(2, "edges")
    batches: int = axis(0, "batches")
    members: int = axis(0, "members of each batch", needs={"batches": 1})
    batch_retries: int = axis(
        0, "failed attempts of each batch before its last", small=2, needs={"batches": 1}
    )
    artifacts: int = axis(0, "artifacts", needs={"states": 1})
    neighbours: int = axis(0, "further runs in the same database, written first", small=2)
    neighbour_rows: int = axis(2, "source rows of each neighbour", minimum=1)
    lineage_in_turn: bool = False
    """Whether rows fork, expand or join in turn. Otherwise each row does all three."""
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        # JSON and callers give lists and sets. A frozenset keeps the spec hashable, and a frozen
        # dataclass allows no plain assignment.
        object.__setattr__(self, "features", feature_names(self.features))
        # Types and minimums come first, so that the later checks can compute with the values.
        _check_identity(self)
        for each in AXES.values():
            _check_axis(self, each)
        _check_lineage(self)
        for feature in self.active_features:
            _check_feature(self, feature)

    def __hash__(self) -> int:
        # Dozens of specs are the key of one database, and to hash every field takes ten times as
        # long. Equal specs have equal values here.
        return hash((self.run_id, self.seed, self.rows))

    @classmethod
    def typical(cls, rows: int = 2000, **changes: Any) -> Self:
        """Describe an ordinary run: 23 records a row, of them 2 tokens, 8 states and 8 calls.

        Args:
            rows: Source rows, at least ROWS_TO_TAKE_TURNS.
            **changes: Fields of RunSpec to change.

        Raises:
            ImpossibleSpecError: There are too few rows, or the changes describe a run that cannot
                exist.
        """
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
        """The axes above 0 that give each row further tokens, with their values."""
        axes = {"forks": self.forks, "expansions": self.expansions, "joins": self.joins}
        return {name: tokens for name, tokens in axes.items() if tokens}

    @property
    def tokens(self) -> int:
        """The number of tokens of the run, before features leave any out."""
        added = list(self.lineage.values())
        if not (added and self.lineage_in_turn):
            return self.rows * (1 + sum(added))
        # Row n takes the kind of lineage number n modulo the number of kinds.
        rounds, rest = divmod(self.rows, len(added))
        return self.rows + rounds * sum(added) + sum(added[:rest])

    @property
    def active_features(self) -> tuple[Feature, ...]:
        """The features of the spec, in the order in which they act."""
        return tuple(each for name, each in FEATURES.items() if name in self.features)

    @property
    def is_portable(self) -> bool:
        """Whether every backend can hold the run with the same contents."""
        return all(each.portable for each in self.active_features)

    @property
    def is_corrupt(self) -> bool:
        """Whether an export has to refuse the run."""
        return any(each.corrupt for each in self.active_features)

    def to_json(self) -> str:
        """Return the spec as JSON with every field, so that a later default changes nothing."""
        return json.dumps(asdict(self) | {"features": sorted(self.features)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Fields that are left out take their defaults.

        Raises:
            ImpossibleSpecError: The text is not a JSON object, has an unknown field, or describes
                a run that cannot exist.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ImpossibleSpecError(f"the spec is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise ImpossibleSpecError("the spec is not a JSON object")
        known = [each.name for each in fields(cls)]
        for name in content.keys() - set(known):
            raise ImpossibleSpecError(f"no field {name!r}{suggestion(name, known)}")
        return cls(**content)

    def __repr__(self) -> str:
        """Show only what differs from the defaults, so that a shrunk spec is short."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["features"] = sorted(self.features)
        shown = (
            f"{each.name}={values[each.name]!r}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        )
        return f"RunSpec({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the spec by `__repr__`. Hypothesis would print it field by field."""
        printer.text(repr(self))


AXES: Mapping[str, Axis] = MappingProxyType(
    {each.name: Axis(name=each.name, **each.metadata) for each in fields(RunSpec) if each.metadata}
)
"""The axes of RunSpec by name, in the order of its fields."""


def feature_names(features: object) -> frozenset[str]:
    """Check a list of feature names.

    Raises:
        ImpossibleSpecError: It is not a list of names, or a name is unknown.
    """
    if isinstance(features, str | Mapping) or not isinstance(features, Iterable):
        raise ImpossibleSpecError("features is not a list of names", field="features")
    names = list(features)
    for name in names:
        # JSON may give a list or an object, and a mapping takes neither as a key.
        if not isinstance(name, str) or name not in FEATURES:
            raise ImpossibleSpecError(
                f"no feature {name!r}{suggestion(str(name), FEATURES)}", field="features"
            )
    return frozenset(names)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known name, or all of them."""
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _check_identity(spec: RunSpec) -> None:
    _check_type("run_id", spec.run_id, str)
    _check_type("seed", spec.seed, int)
    _check_type("lineage_in_turn", spec.lineage_in_turn, bool)
    if not 0 < len(spec.run_id) <= MAX_RUN_ID_LENGTH:
        raise ImpossibleSpecError(
            f"run_id={spec.run_id!r}: not a text of 1 to {MAX_RUN_ID_LENGTH} characters",
            field="run_id",
        )
    try:
        spec.run_id.encode()
    except UnicodeEncodeError:
        # The shell passes bytes that are not UTF-8 as halves of surrogate pairs.
        raise ImpossibleSpecError(
            f"run_id={spec.run_id!r}: cannot be encoded as UTF-8", field="run_id"
        ) from None


def _check_type(name: str, value: object, kind: type) -> None:
    # isinstance would accept true as a number, because bool is a subclass of int.
    if type(value) is not kind:
        raise ImpossibleSpecError(f"{name}={value!r}: not of type {kind.__name__}", field=name)


def _check_axis(spec: RunSpec, checked: Axis) -> None:
    value = getattr(spec, checked.name)
    _check_type(checked.name, value, int)
    if value < checked.minimum:
        raise ImpossibleSpecError(
            f"{checked.name}={value}: {checked.summary}, at least {checked.minimum}",
            field=checked.name,
            least=checked.minimum,
        )
    if value > MAX_COUNT:
        raise ImpossibleSpecError(
            f"{checked.name}={value}: {checked.summary}, at most {MAX_COUNT:,}", field=checked.name
        )
    if value > checked.minimum:
        _check_needs(spec, f"{checked.name}={value}", checked.needs)


def _check_needs(spec: RunSpec, what: str, needs: Mapping[str, int]) -> None:
    for name, least in needs.items():
        value = getattr(spec, name)
        if value < least:
            raise ImpossibleSpecError(
                f"{what} needs {name} >= {least}, not {value}", field=name, least=least
            )


def _check_lineage(spec: RunSpec) -> None:
    if spec.lineage_in_turn:
        _check_needs(spec, "lineage_in_turn", {"rows": ROWS_TO_TAKE_TURNS})
    # In turn, a row that joins has only its first token, because it neither forks nor expands.
    joinable = 1 if spec.lineage_in_turn else 1 + spec.forks + spec.expansions
    if spec.joins and spec.parents > joinable:
        raise ImpossibleSpecError(
            f"parents={spec.parents}: more than the {joinable} tokens a row has to coalesce",
            field="parents",
        )
    if spec.members > spec.tokens:
        raise ImpossibleSpecError(
            f"members={spec.members}: more than the {spec.tokens} tokens of the run",
            field="members",
        )


def _check_feature(spec: RunSpec, feature: Feature) -> None:
    _check_needs(spec, feature.name, feature.needs)
    if clashing := feature.excludes & spec.features:
        raise ImpossibleSpecError(
            f"{feature.name} cannot be seen beside {min(clashing)}", field="features"
        )
