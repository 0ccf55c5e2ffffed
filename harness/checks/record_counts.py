"""Judge whether runs are exported whole that are larger than a statement or a page can hold.

Only their records are counted: to compare them takes several times as long.
"""

from pathlib import Path

from harness.checks.cost_runs import CostRuns, StoredRuns, everything
from harness.checks.declared import Declared
from harness.compare.capture import Refusal
from harness.compare.exports import fixed_clock
from harness.exporters.database_access import limit_variables
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask
from harness.generate.spec import RunSpec
from querygrowth.verdict import Verdict, judge

# SQLITE_MAX_VARIABLE_NUMBER, unless SQLite was built to take more.
VARIABLES = 32_766
"""The most variables that SQLite takes in a statement by default."""

# More than 65,536 of every table, and more than 100,000 tokens, states, events and calls.
_HUGE = everything(65_537, run_id="huge")
_ENDLESS_FACTOR = 10


def judge_variables(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Verdict:
    """Judge whether a run is exported that has more rows than a statement can have variables.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for the written export.
    """
    # Without node states, to keep a run of so many rows small.
    spec = RunSpec(run_id="variables", rows=VARIABLES + 1, states=0)
    stored = runs.stored([spec])
    # Distributions build SQLite with a higher limit, and the exporter must not rely on that.
    runs.keep(("limited", stored.db), lambda: limit_variables(stored.db, VARIABLES))
    return _judge_count(candidate, stored, spec, directory, "IN lists with a variable for each row")


def judge_huge_run(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Verdict:
    """Judge whether a run is exported whole that has more than 65,536 entities in every table.

    Takes the arguments of `judge_variables`.
    """
    stored = runs.stored([_HUGE])
    return _judge_count(candidate, stored, _HUGE, directory, "a limit, or a page that is the last")


def _judge_count(
    candidate: Measured, stored: StoredRuns, spec: RunSpec, directory: Path, next_step: str
) -> Verdict:
    """Judge whether an unsigned export has as many records as the run."""
    expected = stored.runs[spec.run_id].cardinalities.records
    task = ExportTask(stored.db, spec.run_id, None, fixed_clock, directory)
    found = candidate.export_records(task, max_records=_ENDLESS_FACTOR * expected)
    exported, error = found["record_count"], found["error"]
    seen = f"{exported:,} records of {spec.rows:,} rows"
    if error:
        exported = -1
        seen = f"error at {spec.rows:,} rows: {str(Refusal(**error))[:120]}"
    return judge(
        candidate.name,
        exported == expected,
        expected=f"{expected:,} records of {spec.rows:,} rows",
        seen=seen,
        next_step=next_step,
    )
