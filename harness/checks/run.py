"""Run the checks that a candidate has to pass, one by one, on every backend."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from elspeth.cli.runtime import Terminated
from harness.checks.check import ALL_CHECKS, Check, CheckVerdict, Limits
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.known_growth import KnownGrowth
from harness.checks.setup import CheckSetup
from harness.checks.single_checks import CHECKS, Request
from harness.exporters.failure import (
    UNNAMED,
    BrokenRunnerError,
    ExportFailedError,
    NotCountedError,
)
from harness.exporters.measured import Measured, as_measured
from harness.exporters.subject import Subject, SubjectError
from querygrowth.verdict import CRASH, Outcome, Verdict


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
            request = Request(exporter, setup, backend, declared or Declared(), depth, growth)
            if exporter.hangs >= limits.hangs:
                # Every further check would take as long as its limit, and the outcome is known.
                why = f"not run: exports hung {exporter.hangs} times before"
                verdict = Verdict(exporter.name, Outcome.SKIPPED, _runs_to_its_end(check), why)
                yield CheckVerdict(check, backend, verdict)
                continue
            for found in _run_check(check, request):
                growth.add(found)
                yield found


# What another process sends cannot be counted, so that these checks say nothing about it.
_COUNTING = frozenset((Check.QUERIES, Check.SEARCH, Check.WORK))


def _run_check(check: Check, request: Request) -> Iterator[CheckVerdict]:
    """Run one check. An exporter that raises during a check has failed it."""
    candidate = request.candidate
    verdicts: list[Verdict] = []
    try:
        for verdict in CHECKS[check](request):
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
        verdict = replace(error.verdict, subject=named)
        if not isinstance(error, NotCountedError):
            verdict = replace(verdict, expected=_runs_to_its_end(check))
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
            seen=f"it {change} (seen during the check {check})",
            next_step="what an export opens it has to close, and what it changes to restore",
        )
        # A reader looks for the kind of fault. Which check first showed it is a matter of order.
        yield CheckVerdict(Check.SIDE_EFFECTS, request.backend, verdict)


def _runs_to_its_end(check: Check) -> str:
    return f"the check {check} runs to its end"


def _with_processes(verdicts: Sequence[Verdict], request: Request) -> Sequence[Verdict]:
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
