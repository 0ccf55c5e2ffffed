"""Across backends: a run's records are the same on SQLite and PostgreSQL, but for offsets from UTC.

SQLite holds timestamps without an offset and PostgreSQL answers with one. Nothing else differs.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from elspeth.core.landscape import LandscapeDB
from harness.comparing.difference import Difference
from harness.equivalence import first_difference, fixed_clock
from harness.subject import Subject
from harness.verdict import Verdict, judge

TIMESTAMPS = ("started_at", "completed_at", "created_at")
"""The fields of records that hold a moment."""


def without_offsets(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the records as they are, with `+00:00` taken off their moments."""
    for record in records:
        yield {name: _without_offset(name, value) for name, value in record.items()}


def _without_offset(name: str, value: Any) -> Any:
    is_moment = name in TIMESTAMPS and isinstance(value, str)
    return value.removesuffix("+00:00") if is_moment else value


def difference_across(
    subject: Subject, *, sqlite: LandscapeDB, postgresql: LandscapeDB, run_id: str
) -> Difference | None:
    """Find where an exporter's unsigned records of one run differ between the two backends.

    Unsigned, because a signature covers the moments as they are.
    """
    return first_difference(
        *(
            without_offsets(subject.build(db, None, fixed_clock).export_run(run_id))
            for db in (sqlite, postgresql)
        )
    )


def judge_across(
    subject: Subject, *, sqlite: LandscapeDB, postgresql: LandscapeDB, run_id: str
) -> Verdict:
    """Judge whether a run that both databases hold is exported alike from both."""
    difference = difference_across(subject, sqlite=sqlite, postgresql=postgresql, run_id=run_id)
    return judge(
        subject.name,
        difference is None,
        expected="the same records from SQLite and PostgreSQL, but for offsets from UTC",
        seen=f"{difference.headline}, between SQLite (expected) and PostgreSQL (found)"
        if difference
        else f"the same records from SQLite and PostgreSQL ({run_id})",
        evidence=difference.evidence if difference else (),
        next_step=difference.hint if difference else "",
    )
