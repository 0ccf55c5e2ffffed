"""Other process: the same export under another hash seed, locale and time zone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.equivalence import SIGNING_KEY, compare_exports, fixed_clock
from harness.measurement.probed_subject import subject_of
from harness.measurement.probing import Probe
from harness.observation import ExportTask
from harness.subject import Subject
from harness.verdict import Outcome, Verdict, judge


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
