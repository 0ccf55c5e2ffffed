"""Search for the input that makes an action send the most queries beyond a contract.

Hypothesis generates the inputs and prefers those that send more queries. An input that breaks the
contract is shrunk to the smallest that still breaks it. This module needs the extra `search`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from hypothesis import HealthCheck, Phase, given, settings, target
from hypothesis.strategies import SearchStrategy

from querygrowth.contracts.contract import QueryContract, check_contract
from querygrowth.counting.activity import Activity
from querygrowth.verdict import Verdict

Example = TypeVar("Example")

# Phase.explain is left out, because it would run the action further after the smallest example is
# found, and its explanation is not used here.
_PHASES = (Phase.generate, Phase.target, Phase.shrink)


@dataclass(frozen=True)
class BlowUp(Generic[Example]):
    """The smallest input found that breaks the contract.

    Args:
        example: The input.
        activity: The activity of the action with it.
        excess: The number of queries beyond the contract.
        verdicts: The failed verdicts on the activity.
    """

    example: Example
    activity: Activity
    excess: int
    verdicts: tuple[Verdict, ...]

    def __str__(self) -> str:
        return "\n".join([f"found with {self.example!r}", *map(str, self.verdicts)])


class _Beyond(Exception):  # noqa: N818 - a signal to Hypothesis that never leaves this module
    """The contract was broken."""


def find_blow_up(
    strategy: SearchStrategy[Example],
    observe: Callable[[Example], Activity],
    contract: QueryContract,
    *,
    max_examples: int = 200,
    subject: str = "action",
) -> BlowUp[Example] | None:
    """Find the smallest example whose activity breaks a contract; None if the search finds none.

    The search is deterministic: the same strategy and limits find the same example.

    Args:
        strategy: Generates examples.
        observe: Runs the action on an example. Its result must depend on the example only, or
            Hypothesis cannot shrink the example.
        contract: The limits. `per_table` or `total` must be set.
        max_examples: The most examples to try before shrinking.
        subject: The name of the action in verdicts.

    Raises:
        ValueError: The contract sets no limit on queries, or is not a QueryContract.
    """
    check_contract(contract)
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
            # Hypothesis runs the smallest example last, to raise its error. So the last one kept is
            # the one to return.
            failed = tuple(found for found in contract.judge(activity, subject) if found.failed)
            smallest[:] = [BlowUp(example, activity, excess, failed)]
            raise _Beyond

    try:
        keeps_the_contract()
    except _Beyond:
        return smallest[0]
    return None
