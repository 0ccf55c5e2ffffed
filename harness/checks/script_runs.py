"""Call scripts on stored runs: their databases, their steps, and the control's outcomes."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Column

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import EXPORTED_TABLES, runs_table
from harness.checks.cases import Case
from harness.checks.reference_runs import ReferenceRuns
from harness.compare.call_outcomes import CallScript, Performance, Step
from harness.compare.exports import SIGNING_KEY
from harness.exporters.measured import Measured
from harness.generate.generator import generate_run
from harness.generate.plan import neighbours_of
from harness.generate.presets import preset

# Shuffled ids: records that are sorted by their values are in another order then.
_SPEC = replace(preset("tiny", 3, run_id="calls"), features=frozenset(("shuffled_ids",)))
_SAME_ID = preset("tiny", 3, run_id="calls", nodes=5, calls=2, artifacts=3)

RUN = _SPEC.run_id
"""A run with every record type, in both databases with other contents."""
OTHER_RUN = neighbours_of(_SPEC)[0].run_id
"""Another run in the first database."""
UNKNOWN_RUN = "no such run"
NEARLY_KNOWN = (
    # The beginning and the end of one id only, and of several.
    *(OTHER_RUN[:-1], OTHER_RUN[1:], RUN[:-1], RUN[1:], f"{OTHER_RUN}1"),
    *(RUN.upper(), RUN.title(), f" {RUN}", f"{RUN} ", f"{RUN}\n", f"{RUN}\0", f"'{RUN}'"),
    *(f"{RUN[:-1]}_", f"{RUN[:-1]}%", f"{RUN[:-1]}*", f"{RUN}/", f"./{RUN}", f"{RUN}.json"),
    *("", " ", "%", "*", "latest", "last", "-1", "0", "None"),
)
"""Ids of no run that a prefix, a pattern, a folded case or a default takes for a known one."""
KEY = SIGNING_KEY.hex()
"""The signing key of most scripts, in hexadecimal digits."""


class ScriptRuns:
    """Performs call scripts on the reference runs of one backend.

    Args:
        runs: The reference runs. They keep the control's outcomes for other candidates.
    """

    def __init__(self, runs: ReferenceRuns) -> None:
        self._runs = runs

    @property
    def databases(self) -> tuple[LandscapeDB, LandscapeDB]:
        """The two databases that scripts refer to as 0 and 1."""
        first, second = (self._runs.database(Case(spec, RUN)) for spec in (_SPEC, _SAME_ID))
        return first, second

    def control(self, script: CallScript) -> Performance:
        """Return the control's performance of a script."""
        key = ("call script", json.dumps(script.steps, sort_keys=True))

        def perform_once() -> Performance:
            return self._perform(self._runs.replayed_control, script, self.databases)

        kept: Performance = self._runs.kept(key, perform_once)
        return replace(kept, script=script)

    def control_of_changes(self, script: CallScript) -> Performance:
        """Return the control's performance of a script that changes the run."""

        def perform_once() -> Performance:
            with self.fresh_database() as db:
                return self._perform(self._runs.plain_control, script, (db, db))

        kept: Performance = self._runs.kept(("changing script", script.name), perform_once)
        return kept

    @contextmanager
    def fresh_database(self) -> Iterator[LandscapeDB]:
        """Make a database like the first one, for a candidate that may write to it.

        In the shared one a candidate may have written before, and the second time changes nothing.
        """
        with LandscapeDB(self._runs.new_url()) as db:
            generate_run(db, _SPEC)
            yield db
        if db.connection_string.startswith("sqlite:///"):
            # Thousands of candidates may follow, and the folder stays until the last.
            Path(db.connection_string.removeprefix("sqlite:///")).unlink(missing_ok=True)

    @contextmanager
    def performed(
        self,
        candidate: Measured,
        script: CallScript,
        *,
        databases: Sequence[LandscapeDB] | None = None,
    ) -> Iterator[Performance]:
        """Perform a script with a candidate, and remove its files on exit.

        Args:
            candidate: The exporter.
            script: The calls.
            databases: The databases; default: the two that all candidates share.
        """
        performance = self._perform(candidate, script, databases or self.databases)
        try:
            yield performance
        finally:
            shutil.rmtree(performance.directory)

    def _perform(
        self, exporter: Measured, script: CallScript, databases: Sequence[LandscapeDB]
    ) -> Performance:
        directory = self._runs.new_directory()
        outcomes = exporter.perform({"steps": list(script.steps)}, databases, directory)
        return Performance(script, outcomes, directory)


# The steps of `call_script` as functions, so that scripts are short and their arguments checked.


def build(exporter: str = "a", *, key: str | None = KEY, database: int = 0) -> Step:
    """Make an exporter."""
    return {"step": "build", "exporter": exporter, "key": key, "database": database}


def export(
    run_id: str = RUN, *, sign: bool | None = None, exporter: str = "a", **options: Any
) -> Step:
    """Export a run and write its records; `options` are those of the step `export`."""
    return {"step": "export", "exporter": exporter, "run_id": run_id, "sign": sign, **options}


def start(
    iterator: str, run_id: str = RUN, *, sign: bool | None = None, exporter: str = "a"
) -> Step:
    """Start an export without reading a record."""
    return {
        "step": "open",
        "iterator": iterator,
        "exporter": exporter,
        "run_id": run_id,
        "sign": sign,
    }


def read(iterator: str, count: int | None = None, *, where: str = "here") -> Step:
    """Read the next records of a started export, or all that remain."""
    return {"step": "read", "iterator": iterator, "count": count, "where": where}


def group(run_id: str = RUN, *, sign: bool | None = None) -> Step:
    """Export a run grouped by record type."""
    return {"step": "group", "exporter": "a", "run_id": run_id, "sign": sign}


def write_jsonl(target: str, run_id: str = RUN, *, sign: bool = True, **options: Any) -> Step:
    """Write a JSON Lines file; `options` are those of the step `write`."""
    return {
        "step": "write",
        "exporter": "a",
        "run_id": run_id,
        "target": target,
        "method": "write_jsonl",
        "sign": sign,
        **options,
    }


def write_csv(target: str, run_id: str = RUN, *, sign: bool = True, **options: Any) -> Step:
    """Write a directory of CSV files; `options` are those of the step `write`."""
    return {**write_jsonl(target, run_id, sign=sign, **options), "method": "write_csv"}


def clock(time: str, **options: Any) -> Step:
    """Set the clock of all exporters; `options` are those of the step `clock`."""
    return {"step": "clock", "time": time, **options}


def place(target: str, text: str, mode: int | None = None) -> Step:
    """Put an old file below the folder of targets."""
    return {"step": "place", "target": target, "text": text, "mode": mode}


def link(target: str, to: str, *, hard: bool = False) -> Step:
    """Make a symbolic or hard link below the folder of targets."""
    return {"step": "link", "target": target, "to": to, "hard": hard}


def grow() -> Step:
    """Store every entity once more under another id, and change the runs."""
    return {"step": "change", "statements": [*_growth()]}


def _growth() -> Iterator[str]:
    for table in EXPORTED_TABLES:
        names = table.columns.keys()
        if table is runs_table:
            # As the export after a run leaves it.
            yield "UPDATE runs SET canonical_version = 'later', export_status = 'completed'"
        else:
            values = ", ".join(map(_later, table.columns))
            # Names of the schema, and no value of anybody.
            yield (
                f"INSERT INTO {table.name} ({', '.join(names)}) "  # noqa: S608
                f"SELECT {values} FROM {table.name}"
            )


def _later(column: Column[Any]) -> str:
    """Return SQL for the value of a column in the second of two equal entities."""
    if column.name == "row_index":
        return "row_index + 1000"
    is_key = column.primary_key or column.foreign_keys or column.name == "routing_group_id"
    return f"{column.name} || '-later'" if is_key and column.name != "run_id" else column.name


FILES: Step = {"step": "files"}
STATE: Step = {"step": "state"}
CONNECTIONS: Step = {"step": "connections"}
SESSIONS: Step = {"step": "sessions"}
SEEN: Step = {"step": "seen"}
