"""Judge what a candidate's exports cost as runs grow: queries, fetched rows, work and memory.

`attribute_queries` expresses the queries as a formula of what a run contains.
"""

import inspect
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from sqlalchemy import Engine, event

from elspeth.core.landscape import LandscapeDB
from harness.checks.reference_runs import NewDatabase
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask, MemoryUse, project_of_subject
from harness.exporters.subject import Subject
from harness.exporters.subprocess_probe import Probe
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs
from querygrowth.activity import Activity
from querygrowth.call_sites import Project
from querygrowth.contract import Allowance, QueryContract
from querygrowth.formula import Attribution, CountedRun, attribute
from querygrowth.growth import measure_growth
from querygrowth.growth_verdicts import judge_growth
from querygrowth.search import find_blow_up
from querygrowth.verdict import Outcome, Verdict, judge
from querygrowth.watch import action_runner, watch
from querygrowth.work import BRANCHES, VM_STEPS, has_vm_steps

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


class _Runs:
    """Makes databases with a run of given sizes, and exports that run with the candidate."""

    def __init__(self, candidate: Subject, new_database: NewDatabase) -> None:
        self._candidate = candidate
        self._new_database = new_database
        self._db: LandscapeDB | None = None

    @contextmanager
    def populate(self, **sizes: int) -> Iterator[Engine]:
        """Generate a run of these sizes in a new database, and yield its engine."""
        changes: dict[str, Any] = sizes
        with self.generated(replace(_BASE, **changes)) as db:
            yield db.engine

    @contextmanager
    def generated(self, spec: RunSpec) -> Iterator[LandscapeDB]:
        """Generate a run in a new database, and yield the database."""
        with LandscapeDB(self._new_database()) as self._db:
            generate_run(self._db, spec)
            yield self._db

    def export(self, engine: object, run_id: str = _BASE.run_id) -> int:
        """Export the run, signed, and return the number of its records."""
        if self._db is None or engine is not self._db.engine:
            raise ValueError("only the run that was generated last can be exported")
        exporter = self._candidate.build(self._db, SIGNING_KEY, fixed_clock)
        return sum(1 for _ in exporter.export_run(run_id, sign=True))


def judge_query_growth(
    candidate: Subject, new_database: NewDatabase, declared: Declared
) -> Sequence[Verdict]:
    """Judge queries, transactions and fetched rows as the run grows along each axis.

    Args:
        candidate: The exporter on trial.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.

    Returns:
        The verdicts of all axes, failed ones first.
    """
    runs = _Runs(candidate, new_database)
    scales = dict.fromkeys(_AXES, _FEW) | {"rows": _MANY}
    report = measure_growth(
        runs.export,
        runs.populate,
        axes=_AXES,
        scales=scales,
        subject=candidate.name,
        project=_project_of(candidate),
    )
    return judge_growth(report, declared.contract)


def search_blow_up(candidate: Subject, new_database: NewDatabase, declared: Declared) -> Verdict:
    """Search small runs of all kinds for one that takes more queries than the smallest run.

    Args:
        candidate: The exporter on trial.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.
    """
    runs = _Runs(candidate, new_database)
    project = _project_of(candidate)
    contract = replace(declared.contract, total=_observe(runs, RunSpec(), project).queries)
    found = find_blow_up(
        run_specs(max_rows=4),
        lambda spec: _observe(runs, spec, project),
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


def judge_large_run(candidate: Subject, new_database: NewDatabase) -> Verdict:
    """Judge whether a run is exported that has more rows than a statement can have variables."""
    # Without node states, to keep a run of so many rows small.
    spec = RunSpec(run_id="large", rows=VARIABLES + 1, states=0)
    with LandscapeDB(new_database()) as db:
        run = generate_run(db, spec)
        _limit_variables(db.engine)
        expected = run.cardinalities.records
        exporter = candidate.build(db, None, fixed_clock)
        try:
            exported = sum(1 for _ in exporter.export_run(spec.run_id))
            seen = f"{exported:,} records of {spec.rows:,} rows"
        except Exception as error:  # The exporter's own code and its driver may raise anything.
            exported = -1
            message = str(error).splitlines()[0][:100]
            seen = f"error at {spec.rows:,} rows: {type(error).__name__}: {message}"
    return judge(
        candidate.name,
        exported == expected,
        expected=f"{expected:,} records of {spec.rows:,} rows",
        seen=seen,
        next_step="IN lists with a variable for each row",
    )


def judge_work(
    candidate: Subject, new_database: NewDatabase, declared: Declared
) -> Sequence[Verdict]:
    """Judge whether the work of the database and of Python grows in proportion to the records.

    Args:
        candidate: The exporter on trial.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.

    Returns:
        The verdicts on work and on everything else that growth is judged by.
    """
    runs, source = _Runs(candidate, new_database), _source_file(candidate)
    with LandscapeDB(new_database()) as db:
        # Machine steps need a driver that counts them: SQLite's.
        counted = (BRANCHES, VM_STEPS) if has_vm_steps(db.engine) else (BRANCHES,)
    report = measure_growth(
        runs.export,
        runs.populate,
        axes={"rows": _WORK_SCALES[0]},
        scales=_WORK_SCALES,
        work=counted,
        subject=candidate.name,
        # Only the candidate's own directory, wherever it is installed: branches of other code in
        # the working directory are not the candidate's.
        project=project_of_subject(source.parent if source else None),
    )
    return judge_growth(report, declared.contract)


def judge_memory(
    candidate: Subject, new_database: NewDatabase, declared: Declared, directory: Path
) -> Verdict:
    """Judge how much memory a further record takes, with every export in a new process.

    Args:
        candidate: The exporter on trial; skipped if another process cannot import it.
        new_database: Returns the URL of a new, empty database.
        declared: The costs that the candidate declares.
        directory: The folder for the written exports.
    """
    expected = f"at most {declared.bytes_per_record} bytes held for each record"
    if not candidate.reference:
        why = "memory not measured: an exporter without a module:attribute has no other process"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    probe = Probe(candidate.reference, paths=(candidate.import_root,))
    small, large = (
        _memory_of(probe, RunSpec.typical(rows, run_id="memory"), new_database, directory)
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


def _limit_variables(engine: Engine) -> None:
    """Set SQLite's default limit on every connection, as on a machine of a user."""

    # Distributions build SQLite with a higher limit, and the exporter must not rely on that.
    @event.listens_for(engine, "connect")
    def limit(driver_connection: sqlite3.Connection, _: object) -> None:
        driver_connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, VARIABLES)

    # The limit belongs to a connection, and those in the pool were opened without it.
    engine.dispose()


@dataclass(frozen=True)
class _MemoryOfRun:
    records: int
    use: MemoryUse


def _memory_of(
    probe: Probe, spec: RunSpec, new_database: NewDatabase, directory: Path
) -> _MemoryOfRun:
    with LandscapeDB(new_database()) as db:
        run = generate_run(db, spec)
        task = ExportTask(db, spec.run_id, SIGNING_KEY, fixed_clock, directory)
        return _MemoryOfRun(run.cardinalities.records, probe.measure_memory(task))


def _observe(runs: _Runs, spec: RunSpec, project: Project) -> Activity:
    with runs.generated(spec) as db, action_runner() as runner:
        return watch(
            lambda engine: runs.export(engine, spec.run_id),
            db.engine,
            runner=runner,
            project=project,
        )


def _project_of(candidate: Subject) -> Project:
    """Return the files in which call sites are looked for.

    These are the files below the working directory if the candidate is one of them, else the files
    of the candidate's directory.
    """
    # An installed candidate lies in site-packages, and an empty working directory has no call site.
    here, source = project_of_subject(), _source_file(candidate)
    if source is None or here.contains(str(source)):
        return here
    return project_of_subject(source.parent)


def _source_file(candidate: Subject) -> Path | None:
    """Return the file of the candidate's source; None if it has none."""
    try:
        return Path(inspect.getfile(candidate.factory))
    except (OSError, TypeError):  # A builtin, an object such as a partial, or code from a prompt.
        return None
