"""Feature: one corner that a run can be asked to reach, and the decorators that declare one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict, Unpack

from harness.generate.pools import Pools
from harness.generate.rows import Chapter


@dataclass(frozen=True)
class Landmarks:
    """Ids of a run's first node, token and state; only those that are stored by now."""

    node_id: str
    token_id: str | None = None
    state_id: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a chapter may refer to beyond itself."""

    pools: Pools
    earlier_token_id: str | None = None
    """A token of an earlier row of the same run."""
    elsewhere: Landmarks | None = None
    """Another run of the same database."""


Edit: TypeAlias = Callable[[Chapter, Surroundings], None]
"""Changes a planned chapter in place, and leaves alone the chapters it does not concern."""
Rename: TypeAlias = Callable[[str], str]
"""Gives an id another name; distinct ids get distinct names."""
Arrange: TypeAlias = Callable[[list[Any]], None]
"""Reorders the facts of one table before they are inserted in bulk."""


class Limits(TypedDict, total=False):
    """Where a feature can be had; see the fields of Feature."""

    needs: Mapping[str, int]
    excludes: frozenset[str]
    recorder: bool
    portable: bool
    corrupt: bool


@dataclass(frozen=True)
class Feature:
    """One corner of what the schema allows, and how to reach it and to see it."""

    name: str
    summary: str
    evidence: str
    """SQL with the parameter run_id that finds rows in exactly the runs that hold it."""
    edit: Edit | None = None
    rename: Rename | None = None
    arrange: Arrange | None = None
    needs: Mapping[str, int] = field(default_factory=dict)
    """The least value of each axis without which it cannot show."""
    excludes: frozenset[str] = frozenset()
    """Features it cannot be seen beside."""
    recorder: bool = True
    """Whether the recorder's public methods can write it."""
    portable: bool = True
    """Whether every backend can hold it, with the same contents."""
    corrupt: bool = False
    """Whether an export has to refuse the run."""


def edits(evidence: str, **limits: Unpack[Limits]) -> Callable[[Edit], Feature]:
    """Declare a feature that edits the chapters of a run."""
    return lambda act: Feature(act.__name__, _summary(act), evidence, edit=act, **limits)


def renames(evidence: str, **limits: Unpack[Limits]) -> Callable[[Rename], Feature]:
    """Declare a feature that renames every id, once all references are in place."""
    return lambda act: Feature(act.__name__, _summary(act), evidence, rename=act, **limits)


def arranges(evidence: str, **limits: Unpack[Limits]) -> Callable[[Arrange], Feature]:
    """Declare a feature of the order in which facts are inserted in bulk."""
    return lambda act: Feature(act.__name__, _summary(act), evidence, arrange=act, **limits)


def _summary(act: Callable[..., object]) -> str:
    return (act.__doc__ or "").splitlines()[0].rstrip(".")


NODE_STATES_OF_THE_RUN = (
    "FROM node_states s JOIN tokens t ON t.token_id = s.token_id "
    "JOIN rows r ON r.row_id = t.row_id WHERE r.run_id = :run_id AND "
)
"""The end of a query for evidence among node states; a condition on `s` follows."""
