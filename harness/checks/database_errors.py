"""Judge an export in whose middle the database fails once, at one query or at one row.

The export has to end in an error, or else to be complete. What it gave before has to be right, an
old file has to stay, and the next export of the same object has to be right again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from harness.checks.depth import Depth
from harness.checks.reference_runs import ReferenceRuns
from harness.checks.script_runs import (
    CONNECTIONS,
    FILES,
    KEY,
    SEEN,
    ScriptRuns,
    build,
    export,
    place,
    write_csv,
    write_jsonl,
)
from harness.compare.call_outcomes import (
    CallScript,
    Performance,
    Step,
    difference_in_records,
    error_text,
)
from harness.compare.difference import same_record
from harness.compare.records import MANIFEST, WithoutTime, label
from harness.exporters.measured import Measured
from harness.exporters.probe.call_script import Outcome
from harness.exporters.probe.folders import TARGETS, TEMPORARY
from querygrowth.verdict import Outcome as VerdictOutcome
from querygrowth.verdict import Verdict, judge

MAX_QUERIES = {Depth.QUICK: 3, Depth.DEFAULT: 40, Depth.ALL: 200}
"""The number of queries of one export at which the database fails, by depth."""

_FAULTS_OF_ONE_OBJECT = 6
_OLD = "an earlier export\n"
_NOTHING: Step = {"step": "fail"}
"""From here on no query fails."""
_GOOD = CallScript("an export without a fault", (build(), export(sign=True), export()))
_EXPECTED = "an error, and no false export, when the database fails during an export"
_NEXT_STEP = "handlers of exceptions around queries: which errors do they catch, and what follows?"


@dataclass(frozen=True)
class Fault:
    """A query of an export that fails: when it is sent, or at a row of its result.

    Attributes:
        query: The query, counted from 1.
        row: The row, counted from 1; None: the query fails when it is sent.
        table: The table that the query reads.
    """

    query: int
    row: int | None
    table: str

    @property
    def step(self) -> Step:
        """The step of a script that prepares this fault."""
        return {"step": "fail", "query": self.query, "row": self.row}

    def __str__(self) -> str:
        where = "" if self.row is None else f"row {self.row} of "
        return f"{where}query {self.query}{f' ({self.table})' if self.table else ''}"


def judge_database_errors(
    candidate: Measured,
    runs: ReferenceRuns,
    depth: Depth = Depth.DEFAULT,
    *,
    worker_processes: bool = False,
) -> Verdict:
    """Have the database fail once in every export, at another query each time.

    Args:
        candidate: The exporter to judge.
        runs: The runs of one backend.
        depth: How many queries and rows fail.
        worker_processes: Whether the candidate declares that other processes send its queries.
    """
    script_runs = ScriptRuns(runs)
    counted = _count(candidate, script_runs)
    if not counted["records"]:
        return Verdict(
            candidate.name,
            VerdictOutcome.SKIPPED if worker_processes else VerdictOutcome.INCONCLUSIVE,
            _EXPECTED,
            "no query could fail: the declared worker processes send all of them"
            if worker_processes
            else "no query was seen on the engine that the exporter was given, so none could fail",
            next_step=""
            if worker_processes
            else "the engine of the exporter: queries of other engines and of other processes "
            "are not seen",
        )
    tried = 0
    forms: list[_Records | _Files] = [_Records(candidate, script_runs)]
    forms += _files(candidate, script_runs, counted)
    for judged in forms:
        faults = list(faults_in(counted[judged.name], depth))
        tried += len(faults)
        for fault, failure in judged.failures(faults):
            return judge(
                candidate.name,
                False,
                expected=_EXPECTED,
                seen=f"{failure[0]}: the database failed at {fault} of an export to {judged.name}",
                evidence=failure[1:],
                next_step=_NEXT_STEP,
            )
    return judge(
        candidate.name,
        True,
        expected=_EXPECTED,
        seen=f"no false export after {tried} errors of the database",
    )


def faults_in(queries: Sequence[Outcome], depth: Depth = Depth.DEFAULT) -> Iterator[Fault]:
    """Yield the faults to try in an export.

    Args:
        queries: The queries of the export, with their tables and numbers of rows.
        depth: How many: up to MAX_QUERIES queries, spread over all of them.
    """
    step = max(1, -(-len(queries) // MAX_QUERIES[depth]))
    for number, query in enumerate(queries, start=1):
        if (number - 1) % step and number != len(queries):
            continue
        yield Fault(number, None, query["table"])
        # In the middle: after records were written, and past the first chunk if there is a second.
        middle, end = query["rows"] // 2 + 1, query["rows"] + 1
        every = (1, middle, end) if depth is Depth.ALL else (middle,)
        yield from (Fault(number, row, query["table"]) for row in dict.fromkeys(every))


def _count(candidate: Measured, script_runs: ScriptRuns) -> dict[str, Sequence[Outcome]]:
    """Return the queries of one export without a fault, by the form of the export."""
    steps = (
        build(),
        *(_NOTHING, export(sign=True), SEEN),
        *(_NOTHING, write_jsonl("export.jsonl"), SEEN),
        *(_NOTHING, write_csv("csv"), SEEN),
    )
    with script_runs.performed(candidate, CallScript("queries counted", steps)) as performance:
        records, jsonl, csv = (
            found.get("queries", ())
            for step, found in zip(steps, performance.outcomes, strict=True)
            if step is SEEN
        )
    return {"records": records, "JSON Lines": jsonl, "CSV": csv}


class _Records:
    """Faults during `export_run`."""

    name = "records"

    def __init__(self, candidate: Measured, script_runs: ScriptRuns) -> None:
        self._candidate = candidate
        self._script_runs = script_runs
        self._good = script_runs.control(_GOOD)

    def failures(self, faults: Sequence[Fault]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
        """Yield the faults after which an export was wrong, and the reasons."""
        for few in _groups(faults):
            yield from self._failures_in(few)

    def _failures_in(self, faults: Sequence[Fault]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
        # One object for several faults: each export shows what the error before it has left. A
        # later export may send fewer queries: a fault that did not come must not come in the next.
        each = (
            (fault.step, export(sign=True), SEEN, _NOTHING, CONNECTIONS, export())
            for fault in faults
        )
        script = CallScript("faults", (CONNECTIONS, build(), *chain.from_iterable(each)))
        with self._script_runs.performed(self._candidate, script) as performance:
            for number, fault in enumerate(faults):
                failure = self._failure(performance, 2 + 6 * number)
                if failure:
                    yield fault, failure

    def _failure(self, performance: Performance, first: int) -> tuple[str, ...]:
        _, exported, seen, _, connections, after = performance.outcomes[first : first + 6]
        if seen.get("raised"):
            failure = self._in_failed_export(performance, first + 1, exported)
            if failure:
                return failure
        difference = difference_in_records(self._good, performance, (2, first + 5), KEY)
        if after["error"] or difference:
            reason = difference.headline if difference else error_text(after)
            evidence = difference.evidence if difference else ()
            return f"the next export of the object is wrong ({reason})", *evidence
        return _connections_left(performance.outcomes[0], connections)

    def _in_failed_export(
        self, performance: Performance, number: int, exported: Outcome
    ) -> tuple[str, ...]:
        if performance.content(number) == self._good.content(1):
            return ()  # Complete: it was sent again, or was not needed.
        good, found = self._good.records(1), performance.records(number)
        if not performance.takes_clock:
            key = bytes.fromhex(KEY)
            good, found = WithoutTime(good, key), WithoutTime(found, key)
        expected = iter(good)
        for count, record in enumerate(found, start=1):
            wanted = next(expected, None)
            if wanted is None or not same_record(wanted, record):
                ending = error_text(exported) if exported["error"] else "the export ended well"
                what = "a signed manifest over" if record["record_type"] == MANIFEST else "among"
                return (
                    f"{what} records that are not those of the run",
                    f"record {count}: {label(record)}",
                    ending,
                )
        missing = sum(1 for _ in expected)
        if missing and exported["error"] is None:
            return (f"no error, and {missing} records missing",)
        return ()


@dataclass(frozen=True)
class _Files:
    """Faults while a file or a directory is written, in the place of an old one."""

    name: str
    write: Step
    old: str
    candidate: Measured
    script_runs: ScriptRuns

    def failures(self, faults: Sequence[Fault]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
        """Yield the faults after which a file was wrong, and the reasons."""
        for few in _groups(faults):
            yield from self._failures_in(few)

    def _failures_in(self, faults: Sequence[Fault]) -> Iterator[tuple[Fault, tuple[str, ...]]]:
        clear: Step = {"step": "clear"}
        restored = (clear, place(self.old, _OLD))
        good = CallScript("one file", (*restored, FILES, build(), self.write, FILES))
        each = ((*restored, fault.step, self.write, SEEN, FILES) for fault in faults)
        script = CallScript(
            "faults", (CONNECTIONS, build(), *chain.from_iterable(each), CONNECTIONS)
        )
        with (
            self.script_runs.performed(self.candidate, good) as usual,
            self.script_runs.performed(self.candidate, script) as performance,
        ):
            old, new = usual.outcomes[2][TARGETS], usual.outcomes[5][TARGETS]
            for number, fault in enumerate(faults):
                failure = self._failure(performance, 2 + 6 * number, old, new)
                if failure:
                    yield fault, failure
            left = _connections_left(performance.outcomes[0], performance.outcomes[-1])
            if left:
                yield faults[-1], left

    def _failure(
        self, performance: Performance, first: int, old: Sequence[object], new: Sequence[object]
    ) -> tuple[str, ...]:
        written, seen, files = performance.outcomes[first + 3 : first + 6]
        if not seen.get("raised") or (written["error"] is None and files[TARGETS] == new):
            return ()
        if written["error"] is None:
            return ("no error, and a file that is not complete",)
        if files[TARGETS] != old:
            names = ", ".join(name for name, *_ in files[TARGETS])
            return ("an old file replaced or a file left after an error", f"found {names}")
        if files[TEMPORARY]:
            return ("files left in TMPDIR after an error",)
        return ()


def _files(
    candidate: Measured, script_runs: ScriptRuns, counted: dict[str, Sequence[Outcome]]
) -> list[_Files]:
    forms = (
        _Files("JSON Lines", write_jsonl("old.jsonl"), "old.jsonl", candidate, script_runs),
        _Files("CSV", write_csv("old_csv"), "old_csv/run.csv", candidate, script_runs),
    )
    # No query: the exporter has no such method.
    return [each for each in forms if counted[each.name]]


def _groups(faults: Sequence[Fault]) -> Iterator[Sequence[Fault]]:
    # A pool holds 15 connections, and waits for half a minute when they are used up: a group of
    # faults must be judged before an exporter that loses one with every error has lost them all.
    for start in range(0, len(faults), _FAULTS_OF_ONE_OBJECT):
        yield faults[start : start + _FAULTS_OF_ONE_OBJECT]


def _connections_left(before: Outcome, after: Outcome) -> tuple[str, ...]:
    if (after.get("checked_out") or 0) > (before.get("checked_out") or 0):
        return (f"{after['checked_out']} connections not given back to the pool after an error",)
    if after.get("locked") and not before.get("locked"):
        return ("a transaction left open after an error",)
    return ()
