"""Run the checks that a candidate has to pass, one by one, on every backend."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from elspeth.cli.runtime import Terminated
from harness.checks.byte_search import search_differences
from harness.checks.calls import JOBS_SCRIPTS, SCRIPTS, judge_calls
from harness.checks.cases import (
    BOTH_BACKENDS,
    TYPICAL,
    Case,
    plan_cases,
    record_cases,
    small_run_cases,
    tie_cases,
)
from harness.checks.check import ALL_CHECKS, Check, CheckVerdict, Limits
from harness.checks.cost_runs import CostRuns
from harness.checks.costs import (
    failed_or_one_passed,
    judge_query_growth,
    judge_variables,
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
from harness.checks.gravity import graver, is_minor
from harness.checks.known_growth import KnownGrowth
from harness.checks.large_runs import judge_boundaries, judge_large_run
from harness.checks.memory import judge_leaks, judge_memory
from harness.checks.reference_runs import ReferenceRuns, postgresql_databases, sqlite_files
from harness.checks.side_effects import judge_side_effects
from harness.exporters.failure import UNNAMED, BrokenRunnerError, ExportFailedError
from harness.exporters.measured import InThisProcess, Measured, as_measured
from harness.exporters.subject import CONTROL, Subject, SubjectError, load_subject
from querygrowth.reports import visible
from querygrowth.verdict import CRASH, Outcome, Verdict, judge

_LARGE_ROWS = 100


@dataclass(frozen=True)
class CheckSetup:
    """The environment of checks: reference runs by backend, the control, and a folder for files.

    There are runs on PostgreSQL only if a server was named. If `is_strict`, an error that the
    candidate's process did not raise ends the checks, and is not a failure of the candidate.
    """

    runs: Mapping[str, ReferenceRuns]
    control: Measured
    directory: Path
    is_strict: bool = False


@contextmanager
def prepare_checks(
    *,
    postgresql: str | None = None,
    options: str = "",
    max_records: int | None = None,
    is_strict: bool = False,
) -> Iterator[CheckSetup]:
    """Prepare for checks of several candidates, and remove all databases and files on exit.

    Args:
        postgresql: URL of a server on which databases may be created. Without it, checks run on
            SQLite only.
        options: Text to add to the statements CREATE DATABASE.
        max_records: The records after which an export counts as endless. The default depends on the
            number of records that the control exports.
        is_strict: Whether an error of the harness raises BrokenRunnerError. For candidates of
            `in_own_process` only: a class of this process raises its errors here.
    """
    control = InThisProcess(load_subject(CONTROL))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-")))
        sources = {"sqlite": sqlite_files(directory)}
        if postgresql:
            sources["postgresql"] = postgresql_databases(postgresql, options=options)
        runs = {}
        for backend, source in sources.items():
            (directory / backend).mkdir()
            new_database = stack.enter_context(source)
            runs[backend] = stack.enter_context(
                ReferenceRuns(
                    new_database,
                    directory / backend,
                    control=control.loaded,
                    max_records=max_records,
                )
            )
        yield CheckSetup(MappingProxyType(runs), control, directory, is_strict)


def check_candidate(
    candidate: Subject | Measured,
    setup: CheckSetup,
    *,
    checks: Sequence[Check] = ALL_CHECKS,
    declared: Declared | None = None,
    depth: Depth = Depth.DEFAULT,
    limits: Limits | None = None,
) -> list[Verdict]:
    """Return the verdicts of the named checks, in the order of `Check`.

    Args:
        candidate: The exporter to check. A class of this process is checked here, and can end it;
            one of `in_own_process` cannot.
        setup: From `prepare_checks`.
        checks: The checks to run.
        declared: The costs that the candidate declares; default: those of a streaming exporter.
        depth: How much a check tries.
        limits: The seconds after which an export counts as hanging.

    Raises:
        SubjectError: The candidate cannot be used as an exporter.
    """
    found = run_checks(
        candidate, setup, checks=checks, declared=declared, depth=depth, limits=limits
    )
    return [each.verdict for each in found]


def run_checks(
    candidate: Subject | Measured,
    setup: CheckSetup,
    *,
    checks: Sequence[Check] = ALL_CHECKS,
    declared: Declared | None = None,
    depth: Depth = Depth.DEFAULT,
    limits: Limits | None = None,
    growth: KnownGrowth | None = None,
) -> Iterator[CheckVerdict]:
    """Yield a verdict as soon as it is known, so that a caller can stop at the first failure.

    Takes the arguments of `check_candidate`, and raises the same. `growth` is what earlier calls
    found about the candidate, and is added to.
    """
    limits = limits or Limits()
    growth = growth or KnownGrowth()
    for check in Check:
        if check not in checks:
            continue
        for backend in setup.runs:
            exporter = as_measured(candidate).within(limits.of(check))
            request = _Request(exporter, setup, backend, declared or Declared(), depth, growth)
            if exporter.hangs >= limits.hangs:
                # Every further check would take as long as its limit, and the outcome is known.
                why = f"not run: exports hung {exporter.hangs} times before"
                verdict = Verdict(exporter.name, Outcome.SKIPPED, _runs_to_its_end(check), why)
                yield CheckVerdict(check, backend, verdict)
                continue
            for found in _run_check(check, request):
                growth.add(found)
                yield found


@dataclass(frozen=True)
class _Request:
    """One candidate to check on one backend."""

    candidate: Measured
    setup: CheckSetup
    backend: str
    declared: Declared
    depth: Depth
    growth: KnownGrowth

    @property
    def runs(self) -> ReferenceRuns:
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


# What another process sends cannot be counted, so that these checks say nothing about it.
_COUNTING = frozenset((Check.QUERIES, Check.SEARCH, Check.WORK))


def _run_check(check: Check, request: _Request) -> Iterator[CheckVerdict]:
    """Run one check. An exporter that raises during a check has failed it."""
    candidate = request.candidate
    verdicts: list[Verdict] = []
    try:
        for verdict in _CHECKS[check](request):
            if check not in _COUNTING:
                yield CheckVerdict(check, request.backend, verdict)
            else:
                verdicts.append(verdict)
    except (SubjectError, BrokenRunnerError, Terminated):
        # Misuse, a fault of the harness, or SIGTERM, and no verdict: the command ends.
        raise
    except ExportFailedError as error:
        # A broken file does not say whose it is. The control writes to no descriptor of others.
        named = candidate.name if error.verdict.subject == UNNAMED else error.verdict.subject
        verdict = replace(error.verdict, subject=named, expected=_runs_to_its_end(check))
        yield CheckVerdict(check, request.backend, verdict)
    except (Exception, SystemExit) as error:
        # A signal ends the command by SystemExit. A candidate of another process cannot raise it.
        if isinstance(error, SystemExit) and not candidate.is_here:
            raise
        if request.setup.is_strict:
            reason = f"the check {check}: {type(error).__name__}: {error}"
            raise BrokenRunnerError(reason) from error
        verdict = Verdict(
            candidate.name,
            Outcome.FAILED,
            _runs_to_its_end(check),
            f"error: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step=f"harness check --candidate ... --part {check}",
            kind=CRASH,
        )
        yield CheckVerdict(check, request.backend, verdict)
    for verdict in _with_processes(verdicts, request):
        yield CheckVerdict(check, request.backend, verdict)
    damage = request.runs.damage()
    changes = (*damage, *candidate.end_check())
    if damage:
        candidate.close()  # It may hold a lock or a deleted file.
    for change in changes:
        verdict = Verdict(
            candidate.name,
            Outcome.FAILED,
            expected="an export that leaves its process and the database as they were",
            seen=f"it {change} (during the check {check})",
            next_step="what an export opens it has to close, and what it changes to restore",
        )
        yield CheckVerdict(check, request.backend, verdict)


def _runs_to_its_end(check: Check) -> str:
    return f"the check {check} runs to its end"


def _with_processes(verdicts: Sequence[Verdict], request: _Request) -> Sequence[Verdict]:
    """Replace verdicts on counts by the reason if other processes did a part of the export."""
    if not verdicts or not request.candidate.used_processes:
        return verdicts
    declared = request.declared.worker_processes
    return [
        Verdict(
            request.candidate.name,
            Outcome.SKIPPED if declared else Outcome.FAILED,
            expected=verdicts[0].expected,
            seen="not counted: other processes do a part of the export, and what they send cannot "
            "be counted",
            next_step="" if declared else "declare them with --worker-processes",
        )
    ]


def _check_records(request: _Request) -> Iterator[Verdict]:
    cases = record_cases(request.backend)
    if request.depth is Depth.QUICK:
        # Small runs in one database: the first verdict takes half a second.
        small = small_run_cases(request.backend)
        yield _compare_cases(request, small, "small runs")
        cases = (each for each in cases if each not in small)
        # The control takes a second for the two largest runs, and two for all corruptions.
        cases = (each for each in cases if not each.corruption and each.spec.rows < _LARGE_ROWS)
    yield _compare_cases(request, cases, "runs with every feature")


def _check_plans(request: _Request) -> Iterator[Verdict]:
    yield _compare_cases(request, plan_cases(request.backend), "changed query plans")
    yield _compare_cases(request, tie_cases(), "tied timestamps")


def _compare_cases(request: _Request, cases: Iterable[Case], named: str) -> Verdict:
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


def _check_backends(request: _Request) -> Iterator[Verdict]:
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


def _check_calls(request: _Request) -> Iterator[Verdict]:
    scripts = (*SCRIPTS, *(JOBS_SCRIPTS if request.depth is Depth.ALL else ()))
    yield judge_calls(request.candidate, request.runs, scripts)


def _check_side_effects(request: _Request) -> Iterator[Verdict]:
    yield judge_side_effects(request.candidate, request.runs)


def _check_errors(request: _Request) -> Iterator[Verdict]:
    yield judge_database_errors(
        request.candidate,
        request.runs,
        request.depth,
        worker_processes=request.declared.worker_processes,
    )


def _check_queries(request: _Request) -> Iterator[Verdict]:
    verdicts = judge_query_growth(*request.costs)
    yield from failed_or_one_passed(
        verdicts,
        expected="queries, transactions and fetched rows as declared, at every scale",
        seen=f"the same queries at every scale ({request.backend})",
    )


# The next three checks and that of memory are the same on every backend, or need SQLite.


def _check_search(request: _Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        yield search_differences(
            request.candidate.name, lambda case: request.runs.compare(request.candidate, case)
        )
        yield search_blow_up(*request.costs)


def _check_size(request: _Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        if left_out := request.too_slow("the same bytes and queries for runs of any size"):
            yield from left_out
            return
        # An error is graver than a statement that grows, and may have the same cause.
        yield judge_variables(*request.costs)
        yield from failed_or_one_passed(
            judge_large_run(*request.costs),
            expected="the same bytes and queries with more than 5,000 entities in every table",
            seen="the same bytes and queries past 5,000 entities in every table",
        )
        if request.depth is Depth.ALL:
            yield from failed_or_one_passed(
                judge_boundaries(*request.costs),
                expected="the same bytes and queries at every size of a table",
                seen="the same bytes and queries around the usual sizes, and past 20,000",
            )


def _check_work(request: _Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        verdicts = [*judge_work(*request.costs)]
        if request.depth is Depth.ALL:
            verdicts += judge_work_of_large_runs(*request.costs)
        yield from failed_or_one_passed(
            request.growth.unrepeated(verdicts),
            expected="branches and machine steps that grow no faster than the records",
            seen="work in proportion to the records",
        )


def _check_snapshot(request: _Request) -> Iterator[Verdict]:
    yield judge_snapshot(
        request.candidate, request.setup.control, request.runs.new_url, request.setup.directory
    )


def _check_processes(request: _Request) -> Iterator[Verdict]:
    for environment in PROCESS_ENVIRONMENTS:
        yield judge_in_environment(
            request.candidate,
            request.setup.control,
            request.runs.database(TYPICAL),
            TYPICAL.run_id,
            environment,
        )


def _check_memory(request: _Request) -> Iterator[Verdict]:
    if request.backend != "sqlite":
        return
    candidate, expected = request.candidate, "an export in another process"
    try:
        left_out = request.too_slow("few bytes held by Python for each record")
        yield from left_out or judge_memory(*request.costs)
        yield judge_leaks(*request.costs)
    except SubjectError as error:
        # This process could load it, so the export itself has failed there.
        yield Verdict(candidate.name, Outcome.FAILED, expected, visible(str(error)), kind=CRASH)


_CheckFunction: TypeAlias = Callable[[_Request], Iterator[Verdict]]
_CHECKS: Mapping[Check, _CheckFunction] = MappingProxyType(
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
