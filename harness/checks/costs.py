"""Judge what a candidate's exports cost as runs grow: queries, fetched rows, work and memory.

`attribute_queries` expresses the queries as a formula of what a run contains.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from elspeth.core.landscape import LandscapeDB
from harness.checks.reference_runs import NewDatabase
from harness.compare.capture import Refusal
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.database_access import limit_variables
from harness.exporters.failure import ExportFailedError
from harness.exporters.measured import InThisProcess, Measured
from harness.exporters.observation import ExportTask, MemoryUse
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs
from querygrowth.activity import Activity
from querygrowth.contract import Allowance, QueryContract
from querygrowth.formula import Attribution, CountedRun, attribute
from querygrowth.growth import AxisGrowth, GrowthReport
from querygrowth.growth_verdicts import judge_growth
from querygrowth.search import find_blow_up
from querygrowth.verdict import Outcome, Verdict, judge
from querygrowth.work import BRANCHES, VM_STEPS

# SQLITE_MAX_VARIABLE_NUMBER, unless SQLite was built to take more.
VARIABLES = 32_766
"""The most variables that SQLite takes in a statement by default."""

_AXES: Mapping[str, int] = MappingProxyType(
    {
        "rows": 2,
        "states": 1,
        "routing_groups": 2,
        "calls": 2,
        "nodes": 3,
        "edges": 2,
        "batches": 2,
        "artifacts": 2,
        "neighbour_rows": 2,
    }
)
"""The axes along which runs grow, with their base sizes. The search covers forks and joins."""

# Lists of ids hold rows or their children, and are usually 500 long: the second query comes at 501
# rows. Along the other axes only a loop can grow, and a loop shows at any size.
_FEW, _MANY = (2, 6, 24), (2, 20, 501)
# Small, because counting branches makes an export about 20 times slower.
_WORK_SCALES = (8, 24, 72)
_BASE = RunSpec(
    run_id="growth", forks=1, retries=1, routing_groups=1, batches=1, members=2, neighbours=1
)
# Two sizes, because their difference leaves out the memory of modules and the connection.
_SMALL_ROWS, _LARGE_ROWS = 200, 2000
_EXAMPLES = 60
_ENDLESS_FACTOR = 10
# More than there are cardinalities, so that a cost that is not linear shows as inexact.
_FORMULA_RUNS = 16


@dataclass(frozen=True)
class Declared:
    """The costs that a candidate declares. The defaults are those of a streaming exporter.

    Args:
        transactions: The most transactions of an export.
        rows_per_record: The most fetched rows for a record.
        bytes_per_record: The most bytes of memory that a further record may take.
        allowances: Tables that are read in chunks.
        worker_processes: Whether the candidate starts processes, whose costs cannot be counted.
    """

    transactions: int = 1
    rows_per_record: float = 1.5
    bytes_per_record: int = 300
    allowances: tuple[Allowance, ...] = ()
    worker_processes: bool = False

    @property
    def contract(self) -> QueryContract:
        """The declared costs in queries, transactions and fetched rows."""
        return QueryContract(
            transactions=self.transactions,
            rows_per_record=self.rows_per_record,
            allowances=self.allowances,
        )


def _observe(
    candidate: Measured, new_database: NewDatabase, spec: RunSpec, work: Sequence[str] = ()
) -> Activity:
    """Generate a run in a new database, and observe a signed export of it."""
    with TemporaryDirectory(prefix="harness-") as directory, LandscapeDB(new_database()) as db:
        generate_run(db, spec)
        task = ExportTask(db, spec.run_id, SIGNING_KEY, fixed_clock, Path(directory))
        activity = candidate.observe(task, work=work).activity
    if activity.written:
        tables = ", ".join(activity.written)
        raise ExportFailedError(candidate.name, f"it wrote to {tables} but should only read")
    return activity


def _growth(
    candidate: Measured,
    new_database: NewDatabase,
    axes: Mapping[str, int],
    scales: Mapping[str, Sequence[int]],
    work: Sequence[str] = (),
) -> GrowthReport:
    """Observe exports at every scale of every axis, with the other axes at their base sizes."""

    def activity(axis: str, scale: int) -> Activity:
        changes: dict[str, Any] = {**axes, axis: scale}
        return _observe(candidate, new_database, replace(_BASE, **changes), work)

    return GrowthReport(
        candidate.name,
        tuple(
            AxisGrowth(axis, tuple(scales[axis]), tuple(activity(axis, x) for x in scales[axis]))
            for axis in axes
        ),
    )


def judge_query_growth(
    candidate: Measured, new_database: NewDatabase, declared: Declared
) -> Sequence[Verdict]:
    """Judge queries, transactions and fetched rows as the run grows along each axis.

    Args:
        candidate: The exporter on trial.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.

    Returns:
        The verdicts of all axes, failed ones first.
    """
    scales = dict.fromkeys(_AXES, _FEW) | {"rows": _MANY}
    report = _growth(candidate, new_database, _AXES, scales)
    return judge_growth(report, declared.contract)


def search_blow_up(candidate: Measured, new_database: NewDatabase, declared: Declared) -> Verdict:
    """Search small runs of all kinds for one that takes more queries than the smallest run.

    Args:
        candidate: The exporter on trial.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.
    """

    def observe(spec: RunSpec) -> Activity:
        return _observe(candidate, new_database, spec)

    contract = replace(declared.contract, total=observe(RunSpec()).queries)
    found = find_blow_up(
        run_specs(max_rows=4),
        observe,
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


def judge_large_run(candidate: Measured, new_database: NewDatabase) -> Verdict:
    """Judge whether a run is exported that has more rows than a statement can have variables."""
    # Without node states, to keep a run of so many rows small.
    spec = RunSpec(run_id="large", rows=VARIABLES + 1, states=0)
    with LandscapeDB(new_database()) as db:
        run = generate_run(db, spec)
        limit_variables(db, VARIABLES)
        expected = run.cardinalities.records
        with TemporaryDirectory(prefix="harness-") as directory:
            task = ExportTask(db, spec.run_id, None, fixed_clock, Path(directory))
            found = candidate.export_records(task, max_records=_ENDLESS_FACTOR * expected)
        exported, error = found["record_count"], found["error"]
        seen = f"{exported:,} records of {spec.rows:,} rows"
        if error:
            exported = -1
            message = Refusal(**error)
            seen = f"error at {spec.rows:,} rows: {str(message)[:120]}"
    return judge(
        candidate.name,
        exported == expected,
        expected=f"{expected:,} records of {spec.rows:,} rows",
        seen=seen,
        next_step="IN lists with a variable for each row",
    )


def judge_work(
    candidate: Measured, new_database: NewDatabase, declared: Declared
) -> Sequence[Verdict]:
    """Judge whether the work of the database and of Python grows in proportion to the records.

    Args:
        candidate: The exporter on trial.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.

    Returns:
        The verdicts on work and on everything else that growth is judged by.
    """
    scales = {"rows": _WORK_SCALES}
    axes = {"rows": _WORK_SCALES[0]}
    report = _growth(candidate, new_database, axes, scales, (BRANCHES, VM_STEPS))
    return judge_growth(report, declared.contract)


def judge_memory(
    candidate: Measured, new_database: NewDatabase, declared: Declared, directory: Path
) -> Verdict:
    """Judge how much memory a further record takes, with every export in a new process.

    Args:
        candidate: The exporter on trial; skipped if another process cannot import it.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.
        directory: The folder for the written exports.
    """
    expected = f"at most {declared.bytes_per_record} bytes held for each record"
    if isinstance(candidate, InThisProcess) and not candidate.loaded.reference:
        why = "memory not measured: an exporter without a module:attribute has no other process"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    small, large = (
        _memory_of(candidate, RunSpec.typical(rows, run_id="memory"), new_database, directory)
        for rows in (_SMALL_ROWS, _LARGE_ROWS)
    )
    # Peaks grow for good in a process, so the two sizes are measured in two processes.
    further = large.records - small.records
    per_record = (large.use.above_start_bytes - small.use.above_start_bytes) / further
    grew = per_record > declared.bytes_per_record
    return judge(
        candidate.name,
        not grew,
        expected=expected,
        seen=f"memory grew with rows: {per_record:,.0f} bytes for each record"
        if grew
        else f"memory flat: {max(0.0, per_record):,.0f} bytes for each record",
        evidence=[
            f"{each.records:,} records  {each.use.above_start_bytes / 2**20:.1f} MiB above start"
            for each in (small, large)
        ],
        next_step="lists and maps of records; or declare what is held with --bytes-per-record",
    )


def attribute_queries(
    exporters: Mapping[str, Measured], directory: Path
) -> Mapping[str, Attribution]:
    """Count the queries of exporters on a few varied runs, and find their formulas.

    Args:
        exporters: The exporters to count, by name.
        directory: The folder for the databases of the runs.

    Returns:
        The formulas of an exporter by its name in `exporters`.
    """
    counted: dict[str, list[CountedRun]] = {name: [] for name in exporters}
    for number, spec in enumerate(varied_specs()):
        with LandscapeDB(f"sqlite:///{directory / f'formula-{number}.db'}") as db:
            run = generate_run(db, spec)
            task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
            contents = asdict(run.cardinalities)
            del contents["runs"]  # Always one, and so part of the constant term.
            for name, exporter in exporters.items():
                counts = exporter.observe(task).activity.by_table
                counted[name].append(CountedRun(contents, counts))
    return {name: attribute(runs) for name, runs in counted.items()}


def varied_specs() -> Iterator[RunSpec]:
    """Yield small runs in which the numbers of records of all types vary independently."""
    # A fixed seed, so that formulas repeat. With this one, the runs tell all cardinalities apart.
    draw = Random(7)  # noqa: S311 - not for secrets
    for number in range(_FORMULA_RUNS):
        yield RunSpec(
            run_id=f"formula-{number}",
            rows=draw.randint(1, 6),
            forks=draw.randint(1, 2),
            joins=draw.randint(1, 2),
            parents=draw.randint(1, 2),
            states=draw.randint(1, 3),
            retries=draw.randint(0, 2),
            routing_groups=draw.randint(0, 2),
            calls=draw.randint(0, 3),
            nodes=draw.randint(3, 9),
            edges=draw.randint(1, 9),
            batches=draw.randint(1, 4),
            members=draw.randint(0, 1),
            artifacts=draw.randint(0, 5),
        )


@dataclass(frozen=True)
class _MemoryOfRun:
    records: int
    use: MemoryUse


def _memory_of(
    candidate: Measured, spec: RunSpec, new_database: NewDatabase, directory: Path
) -> _MemoryOfRun:
    with LandscapeDB(new_database()) as db:
        run = generate_run(db, spec)
        task = ExportTask(db, spec.run_id, SIGNING_KEY, fixed_clock, directory)
        return _MemoryOfRun(run.cardinalities.records, candidate.measure_memory(task))
