"""Run the checks on mutants: the default checks first, and all of them on what those missed.

A mutant is checked up to its first failed verdict, in a process that it has for itself. Results are
appended to a file, so that a run can be resumed and shards can be joined.
"""

import hashlib
import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

from harness.checks.check import CheckVerdict
from harness.checks.depth import Depth
from harness.checks.selection import Selection, run_selection
from harness.checks.setup import CheckSetup, prepare_checks
from harness.exporters.failure import BrokenRunnerError
from harness.exporters.measured import InOwnProcess
from harness.exporters.subprocess_probe import Probe
from harness.mutants import Mutant, all_mutants, mutants_by_identifier
from harness.mutants.designs import DESIGN_OF, DESIGNS
from harness.mutants.equivalents import proof_of
from harness.mutants.fork_server import ForkServer
from harness.mutants.likely_checks import likely_first
from harness.mutants.result_file import (
    MutantResult,
    MutantSelectionError,
    RunDepth,
    known_results,
)
from harness.mutants.statements import statement_mutants
from querygrowth.verdict import Outcome

_DEPTHS: Mapping[RunDepth, Depth] = {"default": Depth.DEFAULT, "all": Depth.ALL}
# Long enough for the whole of a check's first line, short enough for a line of a terminal.
_LINE_CHARACTERS = 200


@dataclass(frozen=True)
class MutantSelection:
    """The mutants to run.

    Attributes:
        operators: Names of operators; empty for all.
        designs: Names of designs; empty for all.
        sample: The number of mutants to draw; None for all.
        seed: Another seed draws another sample. A sample does not depend on the order of mutants.
        shard: The number of this shard and the number of shards; (1, 1) for all mutants.
        mutants: Identifiers; empty for all.
    """

    operators: tuple[str, ...] = ()
    designs: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    shard: tuple[int, int] = (1, 1)
    mutants: tuple[str, ...] = ()

    def of(self, mutants: Sequence[Mutant]) -> list[Mutant]:
        """Return the selected ones, in the order in which they are given.

        Raises:
            MutantSelectionError: A name is unknown, the shard does not exist, or nothing is left.
        """
        _refuse_unknown("operator", self.operators, {each.operator for each in mutants})
        _refuse_unknown("design", self.designs, {each.design for each in mutants})
        _refuse_unknown("mutant", self.mutants, {each.identifier for each in mutants})
        number, shards = self.shard
        if not 1 <= number <= shards:
            raise MutantSelectionError(f"there is no shard {number} of {shards}")
        chosen = [
            each
            for each in mutants
            if each.operator in (self.operators or (each.operator,))
            and each.design in (self.designs or (each.design,))
            and each.identifier in (self.mutants or (each.identifier,))
        ]
        if self.sample is not None:
            drawn = set(sorted(map(self._draw, chosen))[: self.sample])
            chosen = [each for each in chosen if self._draw(each) in drawn]
        # Every n-th: neighbours take similar times, so that shards do too.
        chosen = chosen[number - 1 :: shards]
        if not chosen:
            raise MutantSelectionError("the selection has no mutants")
        return chosen

    def _draw(self, mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{self.seed} {mutant.identifier}".encode()).digest()


def _refuse_unknown(what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, sorted(known), n=1, cutoff=0)
            raise MutantSelectionError(
                f"there is no {what} {name!r}; the nearest is {nearest[0]!r}"
            )


def run_mutants(
    selection: MutantSelection | None = None,
    *,
    every: bool = False,
    resume: Path | None = None,
    workers: int = 2,
    on_start: Callable[[int], None] = lambda number: None,
) -> Iterator[MutantResult]:
    """Check mutants, and yield a result as soon as it is known.

    Args:
        selection: The mutants; default: all.
        every: Whether all checks run on what the default missed.
        resume: A file that results are appended to. The results that it holds already are yielded
            first, and their mutants do not run again.
        workers: The number of processes that check mutants side by side.
        on_start: Called once, with the number of results to come.

    Raises:
        MutantSelectionError: Nothing is selected, or the file holds results of another source.
        BrokenRunnerError: A mutant could not be checked, because the harness failed. Names the
            mutant. The results before it stand.
    """
    chosen = (selection or MutantSelection()).of(all_mutants())
    depth: RunDepth = "all" if every else "default"
    known = known_results(resume, depth) if resume is not None else {}
    on_start(len(chosen))
    yield from (known[each.identifier] for each in chosen if each.identifier in known)
    remaining = [each for each in chosen if each.identifier not in known]
    with resume.open("a", encoding="utf-8") if resume else nullcontext() as file:
        for result in _results(remaining, depth, workers):
            if file is not None:
                # Flushed: a run of hours must not lose what it knows when it is ended.
                file.write(f"{result.model_dump_json()}\n")
                file.flush()
            yield result


def _results(mutants: Sequence[Mutant], depth: RunDepth, workers: int) -> Iterator[MutantResult]:
    tried = []
    for mutant in mutants:
        equivalent = _equivalent(mutant, depth)
        if equivalent is None:
            tried.append(mutant.identifier)
        else:
            yield equivalent
    with ExitStack() as stack:
        # The databases of all workers, removed also if a worker was killed.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-mutants-"))
        # spawn: a fork would copy open databases and locks into the worker.
        pool = ProcessPoolExecutor(
            max(1, min(workers, len(tried))),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare_worker,
            initargs=(folder,),
        )
        stack.callback(pool.shutdown, cancel_futures=True)
        futures = {pool.submit(check_mutant_here, each, depth): each for each in tried}
        for future in as_completed(futures):
            yield _result_of(future, futures[future])


def _result_of(future: Future[MutantResult], mutant: str) -> MutantResult:
    """Return the result; an error of the runner must not count as one that a check caught."""
    try:
        return future.result()
    except Exception as error:
        reason = str(error) if isinstance(error, BrokenRunnerError) else repr(error)
        raise BrokenRunnerError(
            f"{mutant} could not be checked: {reason}; this is a fault of the harness"
        ) from error


def _equivalent(mutant: Mutant, depth: RunDepth) -> MutantResult | None:
    # Proofs are about statements. Other operators generate nothing that is equivalent.
    proof = proof_of(mutant) if mutant.operator in _statement_operators() else None
    if proof is None:
        return None
    return MutantResult(
        mutant=mutant.identifier,
        operator=mutant.operator,
        description=mutant.description,
        outcome=Outcome.SKIPPED,
        depth=depth,
        proof=proof.reason,
    )


@cache
def _statement_operators() -> frozenset[str]:
    return frozenset(mutant.operator for each in DESIGNS for mutant in statement_mutants(each))


@dataclass(frozen=True)
class MutantChecks:
    """What mutants share: the databases and the control's exports, and the server of processes."""

    setup: CheckSetup
    server: ForkServer

    @classmethod
    @contextmanager
    def prepared(cls) -> "Iterator[MutantChecks]":
        """Prepare the checks, and remove all databases and files on exit."""
        with ForkServer() as server, prepare_checks(is_strict=True) as setup:
            yield cls(setup, server)


_prepared: list[MutantChecks] = []


def _prepare_worker(folder: str) -> None:
    """Prepare the checks in a worker, for all its mutants."""
    tempfile.tempdir = folder
    stack = ExitStack()
    _prepared.append(stack.enter_context(MutantChecks.prepared()))
    # A worker of a pool ends without the handlers of atexit.
    Finalize(None, stack.close, exitpriority=10)


def check_mutant_here(identifier: str, depth: RunDepth) -> MutantResult:
    """Check one mutant in a prepared worker; see `check_mutant`."""
    return check_mutant(mutants_by_identifier()[identifier], _prepared[0], depth)


def check_mutant(mutant: Mutant, checks: MutantChecks, depth: RunDepth) -> MutantResult:
    """Check a mutant by default and, if that misses it, with everything that `depth` includes.

    Args:
        mutant: The mutant. It runs in another process.
        checks: From `MutantChecks.prepared`.
        depth: The most to try.
    """
    started = _cpu_seconds() + checks.server.cpu_seconds
    declared = DESIGN_OF[mutant.design].declared
    found: CheckVerdict | None = None
    tried: RunDepth = "default"
    probe = Probe(mutant.reference)
    process = checks.server.process(probe)
    with InOwnProcess(probe, process=process) as candidate:
        for tried in _DEPTHS:
            selection = likely_first(Selection.of_depth(_DEPTHS[tried]), mutant)
            found = _gravest(run_selection(candidate, checks.setup, selection, declared=declared))
            if tried == depth or (found is not None and found.verdict.failed):
                break
    outcome = Outcome.FAILED
    if found is not None:
        outcome = Outcome.PASSED if found.verdict.failed else Outcome.INCONCLUSIVE
    return MutantResult(
        mutant=mutant.identifier,
        operator=mutant.operator,
        description=mutant.description,
        outcome=outcome,
        depth=tried,
        check=found.check if found and found.verdict.failed else "",
        line=str(found.verdict).splitlines()[0][:_LINE_CHARACTERS] if found else "",
        cpu_seconds=round(_cpu_seconds() + checks.server.cpu_seconds - started, 2),
    )


def _gravest(found: Iterator[CheckVerdict]) -> CheckVerdict | None:
    """Return the first failed verdict, or else one that could not judge; None if all passed."""
    undecided = None
    for each in found:
        if each.verdict.failed:
            return each
        if each.verdict.outcome is Outcome.INCONCLUSIVE:
            undecided = undecided or each
    return undecided


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has ended."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)
