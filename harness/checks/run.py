"""Checking: everything that is asked of a candidate, part by part, on each backend.

The parts come in an order in which the first that fails names what is wrong: bytes before costs,
queries before work, and work before a run so large that a quadratic exporter never ends.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from harness.checks.cases import BOTH_BACKENDS, TYPICAL, Case, plan_cases, record_cases, tie_cases
from harness.checks.costs import (
    Declared,
    judge_large_run,
    judge_memory,
    judge_query_growth,
    judge_work,
    search_blow_up,
)
from harness.checks.environments import SURROUNDINGS, judge_across, judge_in_surroundings
from harness.checks.reference_runs import ReferenceRuns, postgresql_databases, sqlite_files
from harness.checks.snapshot import judge_snapshot
from harness.exporters.subject import CONTROL, Subject, SubjectError, load_subject
from querygrowth.verdict import Outcome, Verdict, judge


class Part(StrEnum):
    """What is asked of a candidate, in the order of asking."""

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


ALL_PARTS = tuple(Part)
QUICK_PARTS = (Part.RECORDS, Part.PLAN, Part.QUERIES)


@dataclass(frozen=True)
class Finding:
    """One verdict, and the part and the backend that it comes from."""

    part: Part
    backend: str
    verdict: Verdict


@dataclass(frozen=True)
class Ground:
    """Where candidates are tried: reference runs by backend, PostgreSQL's only if there is one."""

    runs: Mapping[str, ReferenceRuns]
    control: Subject
    directory: Path


@contextmanager
def open_ground(
    *, postgresql: str | None = None, options: str = "", max_records: int | None = None
) -> Iterator[Ground]:
    """Prepare for any number of candidates, and remove every database and file on exit.

    `postgresql` is the URL of a server on which databases may be created, `options` what to add to
    each CREATE DATABASE. An export of more than `max_records` is taken for endless; the default
    goes by the control's.
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
        yield Ground(MappingProxyType(runs), control, directory)


def check_candidate(
    candidate: Subject,
    ground: Ground,
    *,
    parts: Sequence[Part] = ALL_PARTS,
    declared: Declared | None = None,
) -> list[Verdict]:
    """Return every verdict of the parts asked for, in their order.

    Raises SubjectError for a candidate that is no exporter at all.
    """
    return [each.verdict for each in findings(candidate, ground, parts=parts, declared=declared)]


def findings(
    candidate: Subject,
    ground: Ground,
    *,
    parts: Sequence[Part] = ALL_PARTS,
    declared: Declared | None = None,
) -> Iterator[Finding]:
    """Yield findings as they are reached, for who stops at the first failure."""
    for part in Part:
        if part not in parts:
            continue
        for backend in ground.runs:
            trial = _Trial(candidate, ground, backend, declared or Declared())
            for verdict in _asked(trial, part):
                yield Finding(part, backend, verdict)


@dataclass(frozen=True)
class _Trial:
    """One candidate on one backend."""

    candidate: Subject
    ground: Ground
    backend: str
    declared: Declared

    @property
    def runs(self) -> ReferenceRuns:
        return self.ground.runs[self.backend]


def _asked(trial: _Trial, part: Part) -> Iterator[Verdict]:
    """Ask one question; an exporter that breaks down over it has failed it."""
    try:
        yield from _QUESTIONS[part](trial)
    except SubjectError:
        raise
    except Exception as error:
        yield Verdict(
            trial.candidate.name,
            Outcome.FAILED,
            f"an answer about {part}",
            f"error: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            next_step=f"harness check --candidate ... --part {part}",
        )


def _about_records(trial: _Trial) -> Iterator[Verdict]:
    yield _compared(trial, record_cases(trial.backend))


def _about_plans(trial: _Trial) -> Iterator[Verdict]:
    yield _compared(trial, plan_cases(trial.backend))
    yield _compared(trial, tie_cases())


def _compared(trial: _Trial, cases: Iterable[Case]) -> Verdict:
    """Compare case by case up to the first difference."""
    name, expected = trial.candidate.name, f"the export of {trial.ground.control.name}, to the byte"
    verdicts = (trial.runs.compare(trial.candidate, case).verdict() for case in cases)
    first_failed = next((each for each in verdicts if each.failed), None)
    same = f"the same exports to the byte ({trial.backend})"
    return first_failed or judge(name, True, expected=expected, seen=same)


def _about_backends(trial: _Trial) -> Iterator[Verdict]:
    if trial.backend == "postgresql":
        databases = {name: runs.database(BOTH_BACKENDS) for name, runs in trial.ground.runs.items()}
        yield judge_across(trial.candidate, run_id=BOTH_BACKENDS.run_id, **databases)


def _about_queries(trial: _Trial) -> Iterator[Verdict]:
    verdicts = judge_query_growth(trial.candidate, trial.runs.new_url, trial.declared)
    yield from _failed_or_all_kept(verdicts, f"the same queries at every scale ({trial.backend})")


def _about_search(trial: _Trial) -> Iterator[Verdict]:
    if trial.backend == "sqlite":
        yield search_blow_up(trial.candidate, trial.runs.new_url, trial.declared)


def _about_size(trial: _Trial) -> Iterator[Verdict]:
    if trial.backend == "sqlite":
        yield judge_large_run(trial.candidate, trial.runs.new_url)


def _about_work(trial: _Trial) -> Iterator[Verdict]:
    if trial.backend == "sqlite":
        verdicts = judge_work(trial.candidate, trial.runs.new_url, trial.declared)
        yield from _failed_or_all_kept(verdicts, "work in proportion to the records")


def _about_snapshots(trial: _Trial) -> Iterator[Verdict]:
    yield judge_snapshot(
        trial.candidate, trial.ground.control, trial.runs.new_url, trial.ground.directory
    )


def _about_processes(trial: _Trial) -> Iterator[Verdict]:
    for surroundings in SURROUNDINGS:
        yield judge_in_surroundings(
            trial.candidate,
            trial.ground.control,
            trial.runs.database(TYPICAL),
            TYPICAL.run_id,
            trial.ground.directory,
            surroundings,
        )


def _about_memory(trial: _Trial) -> Iterator[Verdict]:
    if trial.backend == "sqlite":
        yield judge_memory(
            trial.candidate, trial.runs.new_url, trial.declared, trial.ground.directory
        )


def _failed_or_all_kept(verdicts: Sequence[Verdict], kept: str) -> Sequence[Verdict]:
    """Keep what failed; where nothing did, one verdict speaks for all."""
    passed = [replace(each, seen=kept, evidence=()) for each in verdicts if each.passed]
    return [each for each in verdicts if each.failed] or passed[:1]


_Question: TypeAlias = Callable[[_Trial], Iterator[Verdict]]
_QUESTIONS: Mapping[Part, _Question] = MappingProxyType(
    {
        Part.RECORDS: _about_records,
        Part.PLAN: _about_plans,
        Part.BACKENDS: _about_backends,
        Part.QUERIES: _about_queries,
        Part.SEARCH: _about_search,
        Part.SIZE: _about_size,
        Part.WORK: _about_work,
        Part.SNAPSHOT: _about_snapshots,
        Part.PROCESS: _about_processes,
        Part.MEMORY: _about_memory,
    }
)
