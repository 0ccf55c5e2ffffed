"""Feature, and the decorators that declare one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict, Unpack

from harness.generate.entities import Section
from harness.generate.pools import Pools


@dataclass(frozen=True)
class FirstIds:
    """Ids of the first node, token and node state of a run, as far as they are stored by now."""

    node_id: str
    token_id: str | None = None
    state_id: str | None = None


@dataclass(frozen=True)
class EditContext:
    """What an edit may use beyond the section that it changes."""

    pools: Pools
    earlier_token_id: str | None = None
    """A token of an earlier row of the same run."""
    other_run: FirstIds | None = None
    """Another run in the same database."""


Edit: TypeAlias = Callable[[Section, EditContext], None]
"""Changes a planned section in place. It leaves alone the sections that it does not concern."""
Rename: TypeAlias = Callable[[str], str]
"""Returns another id for an id. Different ids get different new ids."""
Reorder: TypeAlias = Callable[[list[Any]], None]
"""Changes the order of one table's entities in place, before they are inserted."""


class FeatureOptions(TypedDict, total=False):
    """The optional fields of Feature that a decorator takes."""

    needs: Mapping[str, int]
    excludes: frozenset[str]
    portable: bool
    corrupt: bool


@dataclass(frozen=True)
class Feature:
    """One special shape that the schema allows: how to produce it, and how to find it."""

    name: str
    summary: str
    evidence: str
    """SQL with the parameter run_id. It returns rows for exactly the runs that hold the feature."""
    edit: Edit | None = None
    rename: Rename | None = None
    reorder: Reorder | None = None
    needs: Mapping[str, int] = field(default_factory=dict)
    """The least value of each axis without which the feature cannot show."""
    excludes: frozenset[str] = frozenset()
    """The features that would hide this one."""
    portable: bool = True
    """Whether every backend can hold the feature with the same contents."""
    corrupt: bool = False
    """Whether an export has to refuse the run."""


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
    """Return the features without those that an earlier one hides, and without duplicates."""
    chosen: list[Feature] = []
    for each in features:
        if not any(each.name in other.excludes for other in chosen) and each not in chosen:
            chosen.append(each)
    return chosen


def _summary(act: Callable[..., object]) -> str:
    return (act.__doc__ or "").splitlines()[0].rstrip(".")


def is_renamed_id(column: str) -> bool:
    """Say whether `@renames_ids` applies to a column."""
    # A spec names its runs itself, and expand_group_id holds 32 characters only, which is the
    # length of a generated id.
    return column.endswith("_id") and column not in ("run_id", "expand_group_id")


NODE_STATES_OF_THE_RUN = (
    "FROM node_states s JOIN tokens t ON t.token_id = s.token_id "
    "JOIN rows r ON r.row_id = t.row_id WHERE r.run_id = :run_id AND "
)
"""SQL for evidence among node states. A condition on `s` follows."""
