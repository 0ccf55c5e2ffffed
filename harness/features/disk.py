"""Features of where facts lie on disk."""

from typing import Any

from harness.features.feature import arranges


@arranges(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id "
    "WHERE a.run_id = :run_id AND a.row_index < b.row_index "
    "AND a.{physical_place} > b.{physical_place}",
    needs={"rows": 3},
    recorder=False,
)
def shuffled_insertion(facts: list[Any]) -> None:
    """Facts lie on disk in another order than they were recorded in."""
    facts[:] = [*facts[1::2], *facts[::2]]
