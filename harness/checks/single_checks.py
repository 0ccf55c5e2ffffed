"""The checks one by one: what each asks of a candidate on one backend, and its verdicts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from harness.checks.calls import judge_calls
from harness.checks.cases import (
    BOTH_BACKENDS,
    IN_ENVIRONMENTS,
    Case,
    plan_cases,
    record_cases,
    small_run_cases,
    tie_cases,
)
from harness.checks.check import Check
from harness.checks.cost_runs import CostRuns
from harness.checks.costs import (
    failed_or_one_passed,
    judge_query_growth,
    judge_work,
    judge_work_of_large_runs,
    search_blow_up,
)
from harness.checks.database_errors import judge_database_errors
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.environments import (
    PROCESS_ENVIRONMENTS,
    judge_across_backends,
    judge_in_environment,
    judge_snapshot,
)
from harness.checks.form_costs import judge_form_costs
from harness.checks.gravity import graver, is_minor
from harness.checks.known_growth import KnownGrowth
from harness.checks.large_runs import judge_boundaries, judge_large_run
from harness.checks.memory import judge_leaks, judge_long_values, judge_memory
from harness.checks.record_counts import judge_huge_run, judge_variables
from harness.checks.reference_runs import ReferenceRuns
from harness.checks.setup import CheckSetup
from harness.checks.side_effects import judge_side_effects
from harness.checks.target_scripts import DISK_SCRIPTS
from harness.exporters.measured import Measured
from harness.exporters.subject import SubjectError
from querygrowth.reports import visible
from querygrowth.verdict import CRASH, Outcome, Verdict, judge

_LARGE_ROWS = 100


@dataclass(frozen=True)
class Request:
    """One candidate to check on one backend.

    Attributes:
        candidate: The exporter, with the limit of this check.
        setup: The environment.
        backend: The backend, a key of the environment's `runs`.
        declared: The costs that the candidate declares.
        depth: How much the check tries.
        growth: The growth that the check of queries found.
    """

    candidate: Measured
    setup: CheckSetup
    backend: str
    declared: Declared
    depth: Depth
    growth: KnownGrowth

    @property
    def runs(self) -> ReferenceRuns:
        """The reference runs of the backend."""
        return self.setup.runs[self.backend]

    @property
    def costs(self) -> tuple[Measured, CostRuns, Declared, Path]:
        """The arguments of a check of costs."""
        return self.candidate, self.runs.costs, self.declared, self.setup.directory

    def too_slow(self, expected: str) -> Sequence[Verdict]:
        """Return the verdict that stands for a check of large runs; empty if it can run."""
        if self.depth is Depth.ALL:
            return ()
        candidate, runs, _, directory = self.costs
        return self.growth.left_out(candidate, runs, directory, expected=expected)


def _check_records(request: Request) -> Iterator[Verdict]:
    cases = record_cases(request.backend)
    if request.depth is Depth.QUICK:
        # Small runs in one database: the first verdict takes half a second.
        small = small_run_cases(request.backend)
        yield _compare_cases(request, small, "small runs")
        cases = (each for each in cases if each not in small)
        # The control takes a second for the two largest runs, and two for all corruptions.
        cases = (each for each in cases if not each.corruption and each.spec.rows < _LARGE_ROWS)
    yield _compare_cases(request, cases, "runs with every feature")


def _check_plans(request: Request) -> Iterator[Verdict]:
    yield _compare_cases(request, plan_cases(request.backend), "changed query plans")
    yield _compare_cases(request, tie_cases(), "tied timestamps")


def _compare_cases(request: Request, cases: Iterable[Case], named: str) -> Verdict:
    """Compare case by case up to a grave difference; the verdict names the group of cases."""
    refusals: dict[tuple[str, str], None] = {}
    failed: Verdict | None = None
    for case in cases:
        comparison = request.runs.compare(request.candidate, case)
        if comparison.other_refusal:
            refusals[comparison.other_refusal] = None
        verdict = comparison.verdict()
        if verdict.failed:
            failed = graver(failed, verdict)
            if not is_minor(failed):
                break
    if failed is not None:
        return replace(failed, seen=f"{failed.seen} ({named})")
    # Once for all cases: another class of error, which callers catch like the control's.
    others = "".join(f"; {found} stands for {wanted}" for wanted, found in refusals)
    return judge(
        request.candidate.name,
        True,
        expected=f"the export of {request.setup.control.name}, to the byte",
        seen=f"the same exports to the byte: {named} ({request.backend}){others}",
    )


def _check_backends(request: Request) -> Iterator[Verdict]:
    # The setup has both databases, so this runs once, for the second backend.
    if "postgresql" not in request.setup.runs:
        yield Verdict(
            request.candidate.name,
            Outcome.SKIPPED,
            "the same records from SQLite and PostgreSQL",
            "not compared with PostgreSQL: there is no server",
            next_step="harness check --postgresql URL",
        )
    if request.backend == "postgresql":
        databases = {
            name: runs.database(BOTH_BACKENDS) for name, runs in request.setup.runs.items()
        }
        yield judge_across_backends(request.candidate, run_id=BOTH_BACKENDS.run_id, **databases)


def _check_calls(request: Request) -> Iterator[Verdict]:
    yield judge_calls(request.candidate, request.runs)


def _check_side_effects(request: Request) -> Iterator[Verdict]:
    yield judge_side_effects(request.candidate, request.runs)


def _check_errors(request: Request) -> Iterator[Verdict]:
    yield judge_database_errors(
        request.candidate,
        request.runs,
        request.depth,
        worker_processes=request.declared.worker_processes,
    )
    on_full_disk = judge_calls(request.candidate, request.runs, DISK_SCRIPTS)
    if on_full_disk.failed:
        yield on_full_disk


def _check_queries(request: Request) -> Iterator[Verdict]:
    verdicts = [*judge_query_growth(*request.costs), *judge_form_costs(*request.costs)]
    yield from failed_or_one_passed(
        verdicts,
        expected="queries, transactions and fetched rows as declared, at every scale",
        seen=f"the same queries at every scale ({request.backend})",
    )


# The next three checks and that of memory are the same on every backend, or need SQLite.


def _check_search(request: Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        # Not above: only this check needs Hypothesis, whose import takes 0.1 s.
        from harness.checks.byte_search import search_differences

        yield search_differences(
            request.candidate.name, lambda case: request.runs.compare(request.candidate, case)
        )
        yield search_blow_up(*request.costs)


def _check_size(request: Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        if left_out := request.too_slow("the same bytes and queries for runs of any size"):
            yield from left_out
            return
        # An error is graver than a statement that grows, and may have the same cause.
        yield judge_variables(*request.costs)
        yield from failed_or_one_passed(
            judge_large_run(*request.costs),
            expected="the same bytes and queries with more than 10,000 entities of all kinds",
            seen="the same bytes and queries past 10,000 entities of all kinds",
        )
        if request.depth is Depth.ALL:
            yield from failed_or_one_passed(
                judge_boundaries(*request.costs),
                expected="the same bytes and queries at every size of a table",
                seen="the same bytes and queries around the usual sizes, and past 20,000",
            )
            yield judge_huge_run(*request.costs)


def _check_work(request: Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        verdicts = [*judge_work(*request.costs)]
        if request.depth is Depth.ALL:
            verdicts += judge_work_of_large_runs(*request.costs)
        yield from failed_or_one_passed(
            request.growth.unrepeated(verdicts),
            expected="branches and machine steps that grow no faster than the records",
            seen="work in proportion to the records",
        )


def _check_snapshot(request: Request) -> Iterator[Verdict]:
    yield judge_snapshot(
        request.candidate, request.setup.control, request.runs.new_url, request.setup.directory
    )


def _check_processes(request: Request) -> Iterator[Verdict]:
    # The first finds what the second does, and local time and assertions besides.
    environments = PROCESS_ENVIRONMENTS[: None if request.depth is Depth.ALL else 1]
    for environment in environments:
        yield judge_in_environment(
            request.candidate,
            request.setup.control,
            request.runs.database(IN_ENVIRONMENTS),
            IN_ENVIRONMENTS.run_id,
            environment,
        )


def _check_memory(request: Request) -> Iterator[Verdict]:
    if request.backend != "sqlite":
        return
    candidate, expected = request.candidate, "an export in another process"
    try:
        left_out = request.too_slow("few bytes held by Python for each record")
        yield from left_out or judge_memory(*request.costs, request.depth)
        yield judge_long_values(*request.costs)
        yield judge_leaks(*request.costs)
    except SubjectError as error:
        # This process could load it, so the export itself has failed there.
        yield Verdict(candidate.name, Outcome.FAILED, expected, visible(str(error)), kind=CRASH)


CheckFunction: TypeAlias = Callable[[Request], Iterator[Verdict]]

CHECKS: Mapping[Check, CheckFunction] = MappingProxyType(
    {
        Check.RECORDS: _check_records,
        Check.PLAN: _check_plans,
        Check.BACKENDS: _check_backends,
        Check.SIDE_EFFECTS: _check_side_effects,
        Check.CALLS: _check_calls,
        Check.ERRORS: _check_errors,
        Check.QUERIES: _check_queries,
        Check.SEARCH: _check_search,
        Check.SIZE: _check_size,
        Check.WORK: _check_work,
        Check.SNAPSHOT: _check_snapshot,
        Check.PROCESS: _check_processes,
        Check.MEMORY: _check_memory,
    }
)
"""What each check does."""
