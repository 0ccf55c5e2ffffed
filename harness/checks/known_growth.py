"""What a growth of queries that was found changes in the later checks of the same candidate.

It is reported once, and the checks on runs of thousands of entities are left out: an exporter with
a query for each entity takes minutes for such a run, and ends in a limit that hides the cause.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.checks.check import Check, CheckVerdict
from harness.checks.cost_runs import CostRuns, everything
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.measured import Measured
from harness.exporters.observation import ExportTask
from querygrowth.verdict import GROWTH, Outcome, Verdict

_COUNTED = everything(100, run_id="counted")
_SLOW_QUERIES_PER_RECORD = 0.1
# A judgement of growth has no kind, and an export that ended in an error has one.
_OF_GROWTH = ("", GROWTH)


@dataclass
class KnownGrowth:
    """The growth verdicts of the check of queries, as far as it has run.

    Attributes:
        verdicts: The failed verdicts.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    _counted: tuple[int, int] | None = None

    def add(self, found: CheckVerdict) -> None:
        """Keep a verdict if it is one on growth that the check of queries found."""
        is_growth = found.verdict.kind in _OF_GROWTH
        if found.check is Check.QUERIES and found.verdict.failed and is_growth:
            self.verdicts.append(found.verdict)

    def unrepeated(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Return the verdicts without those that say the same of the same axis."""
        known = {each.seen for each in self.verdicts}
        return [each for each in verdicts if each.seen not in known]

    def left_out(
        self, candidate: Measured, runs: CostRuns, directory: Path, *, expected: str
    ) -> Sequence[Verdict]:
        """Return the verdict that stands for a check of large runs; empty if it can run.

        Args:
            candidate: The exporter on trial.
            runs: The databases of cost checks.
            directory: The folder for the written export.
            expected: The expectation of the check.
        """
        if not self.verdicts:
            return ()
        if self._counted is None:
            stored = runs.stored([_COUNTED])
            run_id = _COUNTED.run_id
            task = ExportTask(
                stored.db, run_id, SIGNING_KEY, fixed_clock, directory, without_file=True
            )
            queries = candidate.observe(task, work=()).activity.queries
            self._counted = (queries, stored.runs[run_id].cardinalities.records)
        queries, records = self._counted
        if queries < records * _SLOW_QUERIES_PER_RECORD:
            return ()
        seen = (
            f"not run: queries grew, {queries:,} for {records:,} records, so that exports of "
            "thousands of entities take too long"
        )
        next_step = "mend the growth of queries first; --all runs it all the same"
        return (Verdict(candidate.name, Outcome.SKIPPED, expected, seen, next_step=next_step),)
