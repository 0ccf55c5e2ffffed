"""Search for blow-ups: let Hypothesis look for the input that sends most queries beyond a contract.

`target()` drives generation towards more queries; what is found is shrunk to the smallest input
that still breaks the contract.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hypothesis import HealthCheck, Phase, given, settings, target
from hypothesis.strategies import SearchStrategy

from querygrowth.activity import Activity
from querygrowth.contract import QueryContract
from querygrowth.verdict import Verdict

Example = TypeVar("Example")

_PHASES = (Phase.generate, Phase.target, Phase.shrink)


@dataclass(frozen=True)
class BlowUp(Generic[Example]):
    """The smallest input found that breaks the contract, and what it caused."""

    example: Example
    activity: Activity
    excess: int
    verdicts: tuple[Verdict, ...]

    def __str__(self) -> str:
        return "\n".join([f"found with {self.example!r}", *map(str, self.verdicts)])


class _Beyond(Exception):  # noqa: N818 - a signal to Hypothesis, never seen outside
    """The contract was broken."""


def find_blow_up(
    strategy: SearchStrategy[Example],
    observe: Callable[[Example], Activity],
    contract: QueryContract,
    *,
    max_examples: int = 200,
    subject: str = "action",
) -> BlowUp[Example] | None:
    """The smallest example whose activity exceeds `contract`; None if none was found.

    `observe` must be repeatable: what it does may depend on its argument only. The search itself
    is, too: the same strategy and limits find the same example.
    """
    if contract.per_table is None and contract.total is None:
        raise ValueError("a search needs a limit to exceed: set per_table or total")
    smallest: list[BlowUp[Example]] = []

    @settings(
        max_examples=max_examples,
        phases=_PHASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keeps_the_contract(example: Example) -> None:
        activity = observe(example)
        excess = contract.excess(activity)
        target(float(excess), label="queries beyond the contract")
        if excess:
            verdicts = tuple(each for each in contract.judge(activity, subject) if each.failed)
            smallest[:] = [BlowUp(example, activity, excess, verdicts)]
            raise _Beyond

    try:
        keeps_the_contract()
    except _Beyond:
        return smallest[0]
    return None
