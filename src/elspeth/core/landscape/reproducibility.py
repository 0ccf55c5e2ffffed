"""How far a run can be reproduced, by the determinism of its nodes."""

from collections.abc import Iterable

from elspeth.contracts.enums import Determinism, ReproducibilityGrade
from elspeth.contracts.models import Node

__all__ = ["ReproducibilityGrade", "grade_of"]

_NOT_REPEATABLE = frozenset({Determinism.EXTERNAL_CALL, Determinism.NON_DETERMINISTIC})


def grade_of(nodes: Iterable[Node]) -> ReproducibilityGrade:
    """Return the grade of a run with these nodes.

    One node that calls another system, or gives another result each time, limits the run to a
    replay of what was recorded. A run without nodes is fully reproducible.
    """
    if any(node.determinism in _NOT_REPEATABLE for node in nodes):
        return ReproducibilityGrade.REPLAY_REPRODUCIBLE
    return ReproducibilityGrade.FULL_REPRODUCIBLE
