"""Across backends: a run's records are the same on SQLite and PostgreSQL, but for offsets from UTC.

SQLite holds timestamps without an offset and PostgreSQL answers with one. Nothing else differs.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elspeth.core.landscape import LandscapeDB
from harness.compare.difference import Difference
from harness.compare.exports import SIGNING_KEY, compare_exports, first_difference, fixed_clock
from harness.exporters.observation import ExportTask
from harness.exporters.subject import Subject
from harness.exporters.subprocess_probe import Probe, subject_of
from querygrowth.verdict import Outcome, Verdict, judge

# Other process: the same export under another hash seed, locale and time zone.


@dataclass(frozen=True)
class Surroundings:
    """Environment variables that no byte of an export may depend on."""

    name: str
    variables: Mapping[str, str]


SURROUNDINGS = (
    Surroundings(
        "hash seed 1, Kiritimati, C locale",
        {
            "PYTHONHASHSEED": "1",
            "TZ": "Pacific/Kiritimati",
            "PGTZ": "Pacific/Kiritimati",
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        },
    ),
    Surroundings(
        "hash seed 2, St. John's, UTF-8 locale",
        {
            "PYTHONHASHSEED": "2",
            "TZ": "America/St_Johns",
            "PGTZ": "America/St_Johns",
            "LC_ALL": "C.UTF-8",
        },
    ),
)
"""Each a process that a candidate is tried in. PGTZ is PostgreSQL's time zone of a session."""


def judge_in_surroundings(
    candidate: Subject,
    control: Subject,
    db: LandscapeDB,
    run_id: str,
    directory: Path,
    surroundings: Surroundings,
) -> Verdict:
    """Compare the candidate's export in a process of its own with the control's in this one."""
    expected = f"the same bytes in another process ({surroundings.name})"
    if not candidate.reference:
        why = "no other process: an exporter without module:attribute cannot be loaded there"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    environment = {**os.environ, **surroundings.variables}
    probe = Probe(candidate.reference, paths=(Path.cwd(),), environment=environment)
    task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)
    comparison = compare_exports(
        db, run_id, candidate=subject_of(probe, task), control=control, signing_key=SIGNING_KEY
    )
    difference = comparison.difference
    return judge(
        candidate.name,
        difference is None,
        expected=expected,
        seen=f"{difference.headline}, in another process ({surroundings.name})"
        if difference
        else f"the same export in another process ({surroundings.name})",
        evidence=difference.evidence if difference else (),
        next_step="sets and hashes of text, local time, the locale's encoding",
    )


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
