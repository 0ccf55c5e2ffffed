"""Judge what a candidate's exports cost as runs grow: queries, fetched rows, and work.

Axes grow one at a time and together, and so do entities of every kind and the other runs in the
database. `large_runs` judges large runs, and `memory` judges memory.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import metadata
from harness.checks.cost_runs import CostRuns, everything
from harness.checks.declared import Declared, with_options
from harness.checks.joint_growth import (
    SpecsBySize,
    axes_together,
    kinds_of_entities,
    references_to_all,
)
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask
from harness.generate.spec import RunSpec
from harness.generate.unexported import RowsForEach
from querygrowth.counting.activity import Activity
from querygrowth.counting.work import BRANCHES, VM_STEPS
from querygrowth.growth.report import GrowthReport
from querygrowth.growth.verdicts import judge_growth
from querygrowth.verdict import Verdict, judge

_BASE = RunSpec(
    run_id="growth",
    forks=1,
    retries=1,
    routing_groups=1,
    calls=1,
    batches=1,
    members=2,
    artifacts=2,
)
_AXES = (
    "rows",
    "states",
    "retries",
    "routing_groups",
    "routing_events",
    "calls",
    "nodes",
    "edges",
    "batches",
    "batch_retries",
    "artifacts",
    "forks",
    "expansions",
    "joins",
    "members",
    "parents",
)
"""The axes along which runs grow."""

# Lists of ids hold rows or their children, and are usually 500 long: the second query comes at 501
# rows. Along the other axes a loop shows at any size; their sizes past 5,000 are in `large_runs`.
_FEW, _MANY = (3, 20, 100), (2, 20, 501)
# Small, because counting branches makes an export about 20 times slower. Three times the size in
# the last step: the slope of a quadratic count then rises by far more than that of a sort.
_WORK_SCALES, _ROW_WORK_SCALES = (10, 40), (8, 24, 72)

_LARGE_WORK_SCALES = (100, 400, 1_600)

# The rows, nodes, edges, batches and artifacts of the other runs. The other tables follow the rows.
_OTHER_RUNS = (10, 100, 1000)
_INTERLEAVED = frozenset(("interleaved_ids", "times_of_every_kind", "integers_of_every_kind"))
# One small run beside so many entities of the large one.
_ENTITIES_PER_SMALL_RUN = 16

# A run with many tokens in one row, and little below them: there are as many at every size.
_FEW_STATES = {"rows": 1, "retries": 0, "routing_groups": 0, "calls": 0}

# Machine steps on the same run. A planner that knows the sizes of tables may take another way.
_STEPS_TOLERATED = 1.1

_TABLE_READ = re.compile(r"\b(?:from|join|into|update)\s+(?:only\s+)?([\w.\"]+)", re.IGNORECASE)
_FIRST_QUESTIONS = re.compile(r"select (?:pg_catalog\.version|current_schema)\(\)")

_EXAMPLES = 60


def judge_query_growth(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge queries, transactions and fetched rows as runs and the runs beside them grow.

    Runs grow along one axis, along all axes below one parent, and in entities of every kind.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the written exports.

    Returns:
        The verdicts of all axes, failed ones first.
    """
    scales = dict.fromkeys(_AXES, _FEW) | {"rows": _MANY}
    axes = dict(_along_axes(candidate, runs, scales, (), directory))
    axes["rows of other runs"] = _beside_other_runs(candidate, runs, (), directory)
    axes["rows that no export holds"] = {
        size: _observe(candidate, runs.stored([_BASE], change).db, _BASE.run_id, (), directory)
        for size, change in ((size, RowsForEach(size)) for size in _FEW)
    }
    together: dict[str, Mapping[int, Activity]] = {}
    dialect = runs.stored([_BASE]).db.engine.dialect.name
    for specs in (axes_together(), kinds_of_entities(on_sqlite=dialect == "sqlite")):
        together |= _along(candidate, runs, specs, (), directory)
    single, several = (
        judge_growth(GrowthReport.of_axes(candidate.name, each), declared.contract)
        for each in (axes, together)
    )
    # What grows along one axis grows along several too: it is reported for single axes only.
    failed = [each for each in single if each.failed]
    sites = {each.site for each in failed if each.site}
    broken = {each.expected for each in failed if not each.site}
    more = [
        each
        for each in several
        if each.failed and each.site not in sites and (each.site or each.expected not in broken)
    ]
    failed = [with_options(each, declared) for each in (*failed, *more)]
    return *failed, *(each for each in (*single, *several) if not each.failed)


def judge_work(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge whether the work of the database and of Python grows in proportion to the records.

    Beside other runs the machine steps of the database must stay the same. Those are the steps of
    `export_run`: the file methods of an exporter may look for orphans in the whole database.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the written exports.

    Returns:
        The verdicts on work and on everything else that growth is judged by.
    """
    work = (BRANCHES, VM_STEPS)
    # The smallest size is that of the base, whose export all axes share: what an export takes
    # beside its records is most of the work of a small run.
    scales = {axis: (getattr(_BASE, axis), *_WORK_SCALES) for axis in _AXES[1:]}
    # Rows in a database for each size: in a shared one, a scan of a whole table for every row takes
    # the same steps for a row of a small run and of a large one.
    rows = {size: _spec_of("rows", size, _ROW_WORK_SCALES[-1]) for size in _ROW_WORK_SCALES}
    axes = {
        "rows": {
            size: _observe(candidate, runs.stored([spec]).db, spec.run_id, work, directory)
            for size, spec in rows.items()
        },
        **dict(_along_axes(candidate, runs, scales, work, directory)),
        **dict(_along(candidate, runs, references_to_all(), work, directory)),
    }
    verdicts = judge_growth(GrowthReport.of_axes(candidate.name, axes), declared.contract)
    beside = _beside_other_runs(candidate, runs, (VM_STEPS,), directory)
    # Growth within the run first: what grows there is seen beside other runs as well.
    return (*verdicts, *_judge_steps_beside(candidate.name, beside))


def judge_work_of_large_runs(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge whether work grows in proportion in runs with hundreds of entities of every table.

    A search through a list takes few branches. Among those of the records, it shows from a few
    hundred entities on.

    Takes and returns the same as `judge_work`.
    """
    specs = {size: everything(size, run_id=f"work-{size}") for size in _LARGE_WORK_SCALES}
    stored = runs.stored([*specs.values()])
    axis = {
        size: _observe(candidate, stored.db, spec.run_id, (BRANCHES,), directory)
        for size, spec in specs.items()
    }
    axes = {"entities of every table": axis}
    return judge_growth(GrowthReport.of_axes(candidate.name, axes), declared.contract)


def _along_axes(
    candidate: Measured,
    runs: CostRuns,
    scales: Mapping[str, Sequence[int]],
    work: Sequence[str],
    directory: Path,
) -> Iterator[tuple[str, Mapping[int, Activity]]]:
    """Yield the activities along each axis."""
    specs = {
        axis: {size: _spec_of(axis, size, max(scales[axis])) for size in scales[axis]}
        for axis in scales
    }
    yield from _along(candidate, runs, specs, work, directory)


def _along(
    candidate: Measured,
    runs: CostRuns,
    specs: Mapping[str, SpecsBySize],
    work: Sequence[str],
    directory: Path,
) -> Iterator[tuple[str, Mapping[int, Activity]]]:
    """Yield the activities for runs of rising sizes, by axis. All runs are in one database."""
    every = dict.fromkeys(spec for sizes in specs.values() for spec in sizes.values())
    stored = runs.stored([*every])
    if work and every:
        # A further connection of the pool reads the schema once, which would be the work of the
        # smallest run alone.
        _observe(candidate, stored.db, next(iter(every)).run_id, (), directory)
    # Axes may share a run.
    seen: dict[RunSpec, Activity] = {}
    for axis, sizes in specs.items():
        for spec in sizes.values():
            if spec not in seen:
                seen[spec] = _observe(candidate, stored.db, spec.run_id, work, directory)
        yield axis, {size: seen[spec] for size, spec in sizes.items()}


def _spec_of(axis: str, size: int, largest: int) -> RunSpec:
    if axis not in ("rows", "members", "parents") and size == getattr(_BASE, axis):
        return _BASE
    changes = {axis: size}
    if axis == "rows":
        # Their children grow along other axes, and together with them in other runs.
        changes |= {"forks": 0, "retries": 0}
    elif axis == "members":  # Members of a batch are tokens of the run,
        changes |= _FEW_STATES | {"forks": largest}
    elif axis == "parents":  # and parents are tokens of the row.
        changes |= _FEW_STATES | {"forks": largest, "joins": 1}
    return replace(_BASE, run_id=f"{axis}-{size}", **changes)  # type: ignore[arg-type]


def _beside_other_runs(
    candidate: Measured, runs: CostRuns, work: Sequence[str], directory: Path
) -> Mapping[int, Activity]:
    """Return the activities for the same run beside more and larger runs, in every table.

    Ids, times and integers of the other runs lie between those of the run.
    """
    run = everything(10, run_id=_BASE.run_id, features=_INTERLEAVED)
    others = {
        size: (
            RunSpec(
                run_id="small",
                rows=1,
                neighbours=size // _ENTITIES_PER_SMALL_RUN,
                neighbour_rows=1,
            ),
            everything(size, run_id="other", features=_INTERLEAVED),
        )
        for size in _OTHER_RUNS
    }
    return {
        size: _observe(candidate, runs.stored([*other, run]).db, run.run_id, work, directory)
        for size, other in others.items()
    }


def _judge_steps_beside(name: str, beside: Mapping[int, Activity]) -> Iterator[Verdict]:
    steps = {size: act.work[VM_STEPS] for size, act in beside.items() if VM_STEPS in act.work}
    if not steps:
        return
    least, most = min(steps.values()), max(steps.values())
    grew = most > least * _STEPS_TOLERATED
    yield judge(
        name,
        not grew,
        expected="the same machine steps for a run, however large the other runs are",
        seen="vm_steps grew with the rows of other runs"
        if grew
        else "vm_steps constant beside other runs",
        evidence=[f"rows of other runs  {size}  {count} vm_steps" for size, count in steps.items()],
        next_step="a condition on the run that no index supports, or a missing one",
    )


def search_blow_up(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Verdict:
    """Search small runs of all kinds for one that takes more queries than the smallest run.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the written exports.
    """

    # Not above: Hypothesis takes 0.1 s to import.
    from harness.generate.strategies import run_specs, tables_elsewhere
    from querygrowth.search import find_blow_up

    def observed(spec: RunSpec) -> Activity:
        return _observe(candidate, runs.stored([spec]).db, spec.run_id, (), directory)

    contract = replace(declared.contract, total=observed(RunSpec()).queries)
    with tables_elsewhere():
        found = find_blow_up(
            run_specs(max_rows=4),
            observed,
            contract,
            max_examples=_EXAMPLES,
            subject=candidate.name,
        )
    if found is None:
        return judge(
            candidate.name,
            True,
            expected=f"at most {contract.total} queries for any run",
            seen=f"no run found that takes more than {contract.total} queries",
        )
    return judge(
        candidate.name,
        False,
        expected=f"at most {contract.total} queries, as for {RunSpec()!r}",
        seen=f"queries grew: {found.activity.queries} for {found.example!r}",
        evidence=("the smallest such run that a search found", *found.verdicts[0].evidence),
        next_step="what this run has that the smallest lacks",
        site=found.verdicts[0].site,
    )


def _observe(
    candidate: Measured, db: LandscapeDB, run_id: str, work: Sequence[str], directory: Path
) -> Activity:
    task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory, without_file=True)
    activity = candidate.observe(task, work=work).activity
    if activity.bypassed:
        counted = tuple(sql for sql in activity.bypassed if not reads_catalog(sql))
        activity = replace(activity, bypassed=counted)
    if activity.written:
        tables = ", ".join(activity.written)
        raise ExportFailedError(candidate.name, f"it wrote to {tables} but should only read")
    return activity


def reads_catalog(sql: str) -> bool:
    """Return whether a statement reads only the catalog of PostgreSQL.

    On SQLite the schema is read by PRAGMA, which is not counted. SQLAlchemy asks for the version
    and the schema at the first connection, and announces neither.

    Args:
        sql: A statement without its values.
    """
    tables = _TABLE_READ.findall(sql)
    if not metadata.tables.keys().isdisjoint(re.findall(r"\w+", sql.lower())):
        return False  # also as one of several tables in a list
    if not tables:
        return _FIRST_QUESTIONS.fullmatch(sql.strip()) is not None
    return all(each.startswith(("pg_", "information_schema.")) for each in tables)


def failed_or_one_passed(
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
