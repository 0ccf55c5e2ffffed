"""Compare a candidate's export across environments: other processes, and the other backend.

No byte may depend on the hash seed, the locale or the time zone. Between SQLite and PostgreSQL only
the offset of timestamps differs: SQLite stores none, PostgreSQL returns one.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from elspeth.core.landscape import LandscapeDB
from harness.compare.exports import SIGNING_KEY, compare_exports, first_difference, fixed_clock
from harness.exporters.observation import ExportTask
from harness.exporters.subject import Subject
from harness.exporters.subprocess_probe import Probe, subject_of
from querygrowth.verdict import Outcome, Verdict, judge


@dataclass(frozen=True)
class ProcessEnvironment:
    """Environment variables that no byte of an export may depend on."""

    name: str
    variables: Mapping[str, str]


PROCESS_ENVIRONMENTS = (
    ProcessEnvironment(
        "hash seed 1, Kiritimati, C locale",
        MappingProxyType(
            {
                "PYTHONHASHSEED": "1",
                "TZ": "Pacific/Kiritimati",
                # The time zone of a session on PostgreSQL.
                "PGTZ": "Pacific/Kiritimati",
                "LC_ALL": "C",
                # Without these two Python would replace the C locale by a UTF-8 one.
                "PYTHONUTF8": "0",
                "PYTHONCOERCECLOCALE": "0",
            }
        ),
    ),
    ProcessEnvironment(
        "hash seed 2, St. John's, UTF-8 locale",
        MappingProxyType(
            {
                "PYTHONHASHSEED": "2",
                "TZ": "America/St_Johns",
                "PGTZ": "America/St_Johns",
                "LC_ALL": "C.UTF-8",
            }
        ),
    ),
)
"""The processes that a candidate exports from, one after the other."""

_TIMESTAMPS = frozenset(("started_at", "completed_at", "created_at"))


def judge_in_environment(
    candidate: Subject,
    control: Subject,
    db: LandscapeDB,
    run_id: str,
    directory: Path,
    environment: ProcessEnvironment,
) -> Verdict:
    """Compare the candidate's export from a child process with the control's from this one.

    Args:
        candidate: The exporter to judge; skipped if it has no `module:attribute` to load it by.
        control: The exporter to compare with.
        db: A database that the child process can open by its URL.
        run_id: The run to export.
        directory: Where the child process writes its files.
        environment: What differs in the child process.
    """
    expected = f"the same bytes in another process ({environment.name})"
    if not candidate.reference:
        why = "no other process: an exporter without module:attribute cannot be loaded there"
        return Verdict(candidate.name, Outcome.SKIPPED, expected, why)
    variables = {**os.environ, **environment.variables}
    # The user's own exporter may lie in the working directory.
    probe = Probe(candidate.reference, paths=(Path.cwd(),), environment=variables)
    task = ExportTask(db, run_id, SIGNING_KEY, fixed_clock, directory)
    difference = compare_exports(
        db, run_id, candidate=subject_of(probe, task), control=control, signing_key=SIGNING_KEY
    ).difference
    seen = f"{difference.headline}," if difference else "the same export"
    return judge(
        candidate.name,
        difference is None,
        expected=expected,
        seen=f"{seen} in another process ({environment.name})",
        evidence=difference.evidence if difference else (),
        next_step="sets and hashes of text, local time, the locale's encoding",
    )


def judge_across_backends(
    subject: Subject, *, sqlite: LandscapeDB, postgresql: LandscapeDB, run_id: str
) -> Verdict:
    """Compare the exports of one run that both databases hold, without offsets from UTC.

    Unsigned, because a signature covers timestamps with their offsets.
    """
    difference = first_difference(
        *(
            _without_offsets(subject.build(db, None, fixed_clock).export_run(run_id))
            for db in (sqlite, postgresql)
        )
    )
    return judge(
        subject.name,
        difference is None,
        expected="the same records from SQLite and PostgreSQL, except for offsets from UTC",
        seen=f"{difference.headline}, between SQLite (expected) and PostgreSQL (found)"
        if difference
        else f"the same records from SQLite and PostgreSQL ({run_id})",
        evidence=difference.evidence if difference else (),
        next_step=difference.hint if difference else "",
    )


def _without_offsets(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield {
            name: value.removesuffix("+00:00")
            if name in _TIMESTAMPS and isinstance(value, str)
            else value
            for name, value in record.items()
        }
