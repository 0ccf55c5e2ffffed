"""Run the checks that a candidate has to pass, one by one, on every backend."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from harness.checks.byte_search import search_differences
from harness.checks.cases import BOTH_BACKENDS, TYPICAL, Case, plan_cases, record_cases, tie_cases
from harness.checks.costs import (
    Declared,
    judge_large_run,
    judge_memory,
    judge_query_growth,
    judge_work,
    search_blow_up,
)
from harness.checks.environments import (
    PROCESS_ENVIRONMENTS,
    judge_across_backends,
    judge_in_environment,
    judge_snapshot,
)
from harness.checks.reference_runs import ReferenceRuns, postgresql_databases, sqlite_files
from harness.exporters.subject import CONTROL, Subject, SubjectError, load_subject
from querygrowth.verdict import Outcome, Verdict, judge


# The order matters, because the first failure has to name the cause: bytes before costs, queries
# before work, and work before a run so large that a quadratic exporter would not end.
class Check(StrEnum):
    """The checks, in the order in which they run."""

    RECORDS = "records"
    PLAN = "plan"
    BACKENDS = "backends"
    QUERIES = "queries"
    SEARCH = "search"
    WORK = "work"
    SIZE = "size"
    SNAPSHOT = "snapshot"
    PROCESS = "process"
    MEMORY = "memory"


ALL_CHECKS = tuple(Check)
QUICK_CHECKS = (Check.RECORDS, Check.PLAN, Check.QUERIES)


@dataclass(frozen=True)
class CheckVerdict:
    """A verdict, with its check and its backend."""

    check: Check
    backend: str
    verdict: Verdict


@dataclass(frozen=True)
class CheckSetup:
    """The environment of checks: reference runs by backend, the control, and a folder for files.

    There are runs on PostgreSQL only if a server was named.
    """

    runs: Mapping[str, ReferenceRuns]
    control: Subject
    directory: Path


@contextmanager
def prepare_checks(
    *, postgresql: str | None = None, options: str = "", max_records: int | None = None
) -> Iterator[CheckSetup]:
    """Prepare for checks of several candidates, and remove all databases and files on exit.

    Args:
        postgresql: URL of a server on which databases may be created. Without it, checks run on
            SQLite only.
        options: Text to add to the statements CREATE DATABASE.
        max_records: The records after which an export counts as endless. The default depends on the
            number of records that the control exports.
    """
    control = load_subject(CONTROL)
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
                    new_database, directory / backend, control=control, max_records=max_records
                )
            )
        yield CheckSetup(MappingProxyType(runs), control, directory)


def check_candidate(
    candidate: Subject,
    setup: CheckSetup,
    *,
    checks: Sequence[Check] = ALL_CHECKS,
    declared: Declared | None = None,
) -> list[Verdict]:
    """Return the verdicts of the named checks, in the order of `Check`.

    Args:
        candidate: The exporter to check.
        setup: From `prepare_checks`.
        checks: The checks to run.
        declared: The costs that the candidate declares; default: those of a streaming exporter.

    Raises:
        SubjectError: The candidate cannot be used as an exporter.
    """
    found = run_checks(candidate, setup, checks=checks, declared=declared)
    return [each.verdict for each in found]


def run_checks(
    candidate: Subject,
    setup: CheckSetup,
    *,
    checks: Sequence[Check] = ALL_CHECKS,
    declared: Declared | None = None,
) -> Iterator[CheckVerdict]:
    """Yield a verdict as soon as it is known, so that a caller can stop at the first failure.

    Takes the arguments of `check_candidate`, and raises the same.
    """
    for check in Check:
        if check not in checks:
            continue
        for backend in setup.runs:
            request = _Request(candidate, setup, backend, declared or Declared())
            for verdict in _run_check(check, request):
                yield CheckVerdict(check, backend, verdict)


@dataclass(frozen=True)
class _Request:
    """One candidate to check on one backend."""

    candidate: Subject
    setup: CheckSetup
    backend: str
    declared: Declared

    @property
    def runs(self) -> ReferenceRuns:
        return self.setup.runs[self.backend]


def _run_check(check: Check, request: _Request) -> Iterator[Verdict]:
    """Run one check. An exporter that raises during a check has failed it."""
    try:
        yield from _CHECKS[check](request)
    except SubjectError:
        # Misuse and no verdict: the command ends with exit code 2.
        raise
    except Exception as error:
        yield Verdict(
            request.candidate.name,
            Outcome.FAILED,
            f"the check {check} runs to its end",
            f"error: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step=f"harness check --candidate ... --check {check}",
        )


def _check_records(request: _Request) -> Iterator[Verdict]:
    yield _compare_cases(request, record_cases(request.backend), "runs with every feature")


def _check_plans(request: _Request) -> Iterator[Verdict]:
    yield _compare_cases(request, plan_cases(request.backend), "changed query plans")
    yield _compare_cases(request, tie_cases(), "tied timestamps")


def _compare_cases(request: _Request, cases: Iterable[Case], named: str) -> Verdict:
    """Compare case by case up to the first difference; the verdict names the group of cases."""
    verdicts = (request.runs.compare(request.candidate, case).verdict() for case in cases)
    first_failed = next((each for each in verdicts if each.failed), None)
    if first_failed is not None:
        return replace(first_failed, seen=f"{first_failed.seen} ({named})")
    return judge(
        request.candidate.name,
        True,
        expected=f"the export of {request.setup.control.name}, to the byte",
        seen=f"the same exports to the byte: {named} ({request.backend})",
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


def _check_queries(request: _Request) -> Iterator[Verdict]:
    verdicts = judge_query_growth(request.candidate, request.runs.new_url, request.declared)
    yield from _failed_or_one_passed(
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
        yield search_blow_up(request.candidate, request.runs.new_url, request.declared)


def _check_size(request: _Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        yield judge_large_run(request.candidate, request.runs.new_url)


def _check_work(request: _Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        verdicts = judge_work(request.candidate, request.runs.new_url, request.declared)
        yield from _failed_or_one_passed(
            verdicts,
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
            request.setup.directory,
            environment,
        )


def _check_memory(request: _Request) -> Iterator[Verdict]:
    if request.backend == "sqlite":
        yield judge_memory(
            request.candidate, request.runs.new_url, request.declared, request.setup.directory
        )


def _failed_or_one_passed(
    verdicts: Sequence[Verdict], *, expected: str, seen: str
) -> Sequence[Verdict]:
    """Return the failed verdicts; if there are none, one verdict that passed, for all of them.

    Without any that passed, return all: a check that decided nothing has to say so.
    """
    failed = [each for each in verdicts if each.failed]
    passed = [each for each in verdicts if each.passed]
    # Its own expectation would be that of one axis, and not of the sentence.
    one = [replace(each, expected=expected, seen=seen, evidence=()) for each in passed[:1]]
    return failed or one or verdicts


_CheckFunction: TypeAlias = Callable[[_Request], Iterator[Verdict]]
_CHECKS: Mapping[Check, _CheckFunction] = MappingProxyType(
    {
        Check.RECORDS: _check_records,
        Check.PLAN: _check_plans,
        Check.BACKENDS: _check_backends,
        Check.QUERIES: _check_queries,
        Check.SEARCH: _check_search,
        Check.SIZE: _check_size,
        Check.WORK: _check_work,
        Check.SNAPSHOT: _check_snapshot,
        Check.PROCESS: _check_processes,
        Check.MEMORY: _check_memory,
    }
)
