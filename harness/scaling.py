"""Scaling: measure how an action grows, and hold it to a contract. The one place both are called.

The command, the pytest plugin and tests of any project come through here.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.growing.activity import Action
from harness.growing.contracts import QueryContract
from harness.growing.growth import (
    DEFAULT_SCALES,
    Axes,
    AxisGrowth,
    GrowthReport,
    Populate,
    Scales,
    measure_growth,
)
from harness.growing.growth_verdicts import judge_growth
from harness.verdict import require

__all__ = [
    "DEFAULT_SCALES",
    "AxisGrowth",
    "GrowthReport",
    "assert_query_growth",
    "judge_growth",
    "measure_growth",
]


def assert_query_growth(
    action: Action,
    populate: Populate,
    *,
    axes: Axes,
    scales: Scales = DEFAULT_SCALES,
    contract: QueryContract | None = None,
    together: Sequence[int] = (),
    work: Iterable[str] = (),
    writes: bool = False,
    subject: str = "",
    project_root: Path | None = None,
) -> GrowthReport:
    """Measure as `measure_growth` does; VerdictError if growth breaks the contract.

    Without a contract, queries must be the same at every scale. The report is returned for
    further questions.
    """
    __tracebackhide__ = True  # in pytest, the failing line is the caller's
    report = measure_growth(
        action,
        populate,
        axes=axes,
        scales=scales,
        together=together,
        work=work,
        writes=writes,
        subject=subject,
        project_root=project_root,
    )
    require(judge_growth(report, contract))
    return report
