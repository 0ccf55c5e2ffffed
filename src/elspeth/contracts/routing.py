"""RoutingSpec: one edge that a gate chose, and how the token takes it."""

from dataclasses import dataclass

from elspeth.contracts.enums import RoutingMode


@dataclass(frozen=True)
class RoutingSpec:
    """One route of a decision; several of them make a fork."""

    edge_id: str
    mode: RoutingMode
