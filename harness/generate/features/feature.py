"""The class Feature, and the decorators that declare a feature."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict, Unpack

from harness.generate.entities import Section
from harness.generate.sources import Pools


@dataclass(frozen=True)
class FirstIds:
    """The ids of the first node, edge, token and node state of a run.

    An id is None if its entity does not exist, or is stored later than the reference to it.
    """

    node_id: str
    edge_id: str | None = None
    token_id: str | None = None
    state_id: str | None = None


@dataclass(frozen=True)
class EditContext:
    """The values that an edit may use besides the section that it changes.

    Attributes:
        pools: The pools of values.
        seed: The seed of the run, where an edit that varies values starts.
        earlier_token_id: A token of an earlier row of the same run; None in the first row.
        other_run: Another run in the same database, if there is one.
        node_ids: All nodes of the run.
        recent_state_ids: The last node states of earlier sections.
    """

    pools: Pools
    seed: int = 0
    earlier_token_id: str | None = None
    other_run: FirstIds | None = None
    node_ids: Sequence[str] = ()
    recent_state_ids: Sequence[str] = ()


Edit: TypeAlias = Callable[[Section, EditContext], None]
"""Changes a planned section in place, or leaves it alone."""
Rename: TypeAlias = Callable[[str], str]
"""Returns the new id for an id. Different ids get different new ids."""
Reorder: TypeAlias = Callable[[list[Any]], None]
"""Changes the order of one table's entities in place, before they are inserted."""


class FeatureOptions(TypedDict, total=False):
    """The optional fields of Feature that a decorator takes."""

    needs: Mapping[str, int]
    excludes: frozenset[str]
    portable: bool
    corrupt: bool
    alone: bool
    in_presets: bool


@dataclass(frozen=True)
class Feature:
    """One special shape that the schema allows: how to produce it, and how to find it.

    Attributes:
        name: The name in specs.
        summary: One sentence, without its full stop.
        evidence: SQL with the parameter run_id. It returns rows for a run that has the feature, and
            none for other runs.
        edit: Changes the planned sections.
        rename: Changes every id.
        reorder: Changes the order of inserts.
        needs: The least values of axes with which the feature can show.
        excludes: The features that would hide this one, or that this one would hide.
        portable: Whether every backend can hold the feature with the same contents.
        corrupt: Whether an export has to refuse the run.
        alone: Whether the feature leaves too little of a run for any other feature to show.
        in_presets: Whether the preset `adversarial` and the golden runs have the feature. They
            were stored and reviewed, so a feature that is added later stays out of them.
    """

    name: str
    summary: str
    evidence: str
    edit: Edit | None = None
    rename: Rename | None = None
    reorder: Reorder | None = None
    needs: Mapping[str, int] = field(default_factory=dict)
    excludes: frozenset[str] = frozenset()
    portable: bool = True
    corrupt: bool = False
    alone: bool = False
    in_presets: bool = True

    def clashes_with(self, other: "Feature") -> bool:
        """Return whether one of two features would hide the other."""
        return other.name in self.excludes or self.name in other.excludes


def edits_sections(evidence: str, **options: Unpack[FeatureOptions]) -> Callable[[Edit], Feature]:
    """Declare a feature that changes the planned sections of a run.

    Args:
        evidence: SQL that finds the feature in a run, see `Feature.evidence`.
        **options: Fields of Feature.
    """
    return lambda act: Feature(act.__name__, _summary(act), evidence, edit=act, **options)


def renames_ids(evidence: str, **options: Unpack[FeatureOptions]) -> Callable[[Rename], Feature]:
    """Declare a feature that replaces every id, after all edits have set their references.

    Args:
        evidence: SQL that finds the feature in a run, see `Feature.evidence`.
        **options: Fields of Feature.
    """
    return lambda act: Feature(act.__name__, _summary(act), evidence, rename=act, **options)


def reorders_inserts(
    evidence: str, **options: Unpack[FeatureOptions]
) -> Callable[[Reorder], Feature]:
    """Declare a feature of the order in which the entities of a table are inserted.

    Args:
        evidence: SQL that finds the feature in a run, see `Feature.evidence`.
        **options: Fields of Feature.
    """
    return lambda act: Feature(act.__name__, _summary(act), evidence, reorder=act, **options)


def compatible(features: Iterable[Feature]) -> list[Feature]:
    """Return the features without duplicates and without those that an earlier one excludes."""
    chosen: list[Feature] = []
    for each in features:
        if not any(each.clashes_with(other) for other in chosen) and each not in chosen:
            chosen.append(each)
    return chosen


def _summary(act: Callable[..., object]) -> str:
    return (act.__doc__ or "").splitlines()[0].rstrip(".")


def is_renamed_id(column: str) -> bool:
    """Return whether `@renames_ids` applies to a column."""
    # A spec names its runs, and expand_group_id holds only 32 characters, which a generated id
    # fills.
    return column.endswith("_id") and column not in ("run_id", "expand_group_id")


NODE_STATES_OF_THE_RUN = (
    "FROM node_states s JOIN tokens t ON t.token_id = s.token_id "
    "JOIN rows r ON r.row_id = t.row_id WHERE r.run_id = :run_id AND "
)
"""SQL for evidence among node states. A condition on `s` follows."""
