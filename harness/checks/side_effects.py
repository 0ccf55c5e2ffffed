"""Judge what an export leaves behind: in the database, in folders, in the process, in the pool."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

from elspeth.core.landscape import LandscapeDB
from harness.checks.database_watch import changed_contents, contents
from harness.checks.reference_runs import ReferenceRuns
from harness.checks.script_runs import (
    CONNECTIONS,
    FILES,
    OTHER_RUN,
    SESSIONS,
    STATE,
    UNKNOWN_RUN,
    ScriptRuns,
    build,
    export,
    place,
    read,
    start,
    write_csv,
    write_jsonl,
)
from harness.compare.call_outcomes import (
    CallScript,
    Performance,
    Step,
    difference_in_files,
    error_text,
)
from harness.exporters.measured import Measured
from harness.exporters.probe.call_script import Outcome
from harness.exporters.probe.folders import TEMPORARY, WORKING
from harness.exporters.probe.process_state import changed_settings
from harness.exporters.probe.session import changed_sessions
from querygrowth.verdict import Verdict, judge

_OLD = "an earlier export\n"
_NO_EXPORTER: Step = {"step": "drop", "exporters": ["a"]}

# The umask differs from the usual one, so that a fixed mode shows.
_SETTINGS: tuple[Step, ...] = ({"step": "umask", "mask": 0o027}, STATE, CONNECTIONS, SESSIONS)
_END: tuple[Step, ...] = (_NO_EXPORTER, FILES, CONNECTIONS, SESSIONS, STATE)
# The sessions after every call: a later call may undo what an earlier one left behind.
_POOL: tuple[Step, ...] = (CONNECTIONS, SESSIONS)

WRITTEN_SCRIPTS = (
    CallScript(
        "whole exports",
        (
            *_SETTINGS,
            place("old.jsonl", _OLD, 0o604),
            place("old_csv/run.csv", _OLD),
            build(),
            export(sign=True),
            *_POOL,
            write_jsonl("new.jsonl"),
            *_POOL,
            write_jsonl("old.jsonl"),
            *_END,
        ),
    ),
    CallScript(
        "whole exports to CSV",
        (
            *_SETTINGS,
            place("old_csv/call.csv", _OLD),
            build(),
            write_csv("new_csv"),
            *_POOL,
            write_csv("old_csv", OTHER_RUN),
            *_END,
        ),
    ),
    CallScript(
        "abandoned exports",
        (
            *_SETTINGS,
            build(),
            start("closed", sign=True),
            read("closed", 3),
            {"step": "close", "iterator": "closed"},
            *_POOL,
            start("dropped", sign=True),
            read("dropped", 30),
            {"step": "drop", "iterators": ["dropped"]},
            *_POOL,
            start("not read"),
            {"step": "drop", "iterators": ["not read"]},
            *_END,
        ),
    ),
)
"""Exports that write files, or that nobody reads to the end."""

REFUSED_SCRIPTS = (
    CallScript(
        "refused exports",
        (
            *_SETTINGS,
            place("old.jsonl", _OLD),
            # New objects: state that one call leaves to the next is the matter of other scripts.
            *(build(), export(UNKNOWN_RUN), *_POOL),
            *(build(), write_jsonl("old.jsonl", UNKNOWN_RUN, sign=False)),
            *(build(), write_jsonl("new.jsonl", UNKNOWN_RUN, sign=False)),
            *_END,
        ),
    ),
    CallScript(
        "refused exports to CSV",
        (
            *_SETTINGS,
            place("old_csv/call.csv", _OLD),
            *(build(), write_csv("old_csv", UNKNOWN_RUN, sign=False)),
            *(build(), write_csv("new_csv", UNKNOWN_RUN, sign=False)),
            *_END,
        ),
    ),
)
"""Exports of a run that does not exist: old files stay as they were, to the byte."""

# Any twelve bytes of it are searched for, and occur in no usual text.
_SECRET = b"pV7#kQ2!xZ9'mR4$wT6\"nB8&cL3%hJ5*".hex()
_KEY_SEEN = "the signing key stands in"
_LISTEN: Step = {"step": "listen"}
_OVERHEARD: Step = {"step": "overheard", "key": _SECRET}

# Without a list of files, since the number of queries differs between exporters. Connections that
# are kept after an error are the matter of the check of database errors.
FAILED_SCRIPT = CallScript(
    "signed and failed exports",
    (
        _LISTEN,
        SESSIONS,
        *(build(key=_SECRET), export(sign=True), write_jsonl("new.jsonl"), write_csv("new_csv")),
        *({"step": "fail", "query": 1}, export(), SESSIONS),
        *(build(key=_SECRET), {"step": "fail", "query": 2, "row": 2}, export(sign=True), SESSIONS),
        *(build(key=_SECRET), {"step": "fail", "query": 5}, export(sign=True), SESSIONS),
        *(build(key=None), {"step": "fail"}, export(sign=True), SESSIONS),
        *(build(key=_SECRET), export(UNKNOWN_RUN, sign=True), SESSIONS),
        _OVERHEARD,
    ),
)
"""Exports in which the database fails, the key is missing, or the run, after one that ends well."""

SCRIPTS = (*WRITTEN_SCRIPTS, *REFUSED_SCRIPTS, FAILED_SCRIPT)
"""What a candidate does while its side effects are watched."""


def judge_side_effects(candidate: Measured, runs: ReferenceRuns) -> Verdict:
    """Have a candidate export in full, in part and in vain, and look for what it left behind.

    Args:
        candidate: The exporter to judge.
        runs: The runs of one backend.
    """
    script_runs = ScriptRuns(runs)
    expected = "an export that leaves behind its file, and nothing else"
    with script_runs.fresh_database() as db:
        for script in SCRIPTS:
            with (
                _Watch(db) as watch,
                script_runs.performed(candidate, script, databases=(db,)) as performance,
            ):
                effects = [
                    *watch.changes(),
                    *_left_behind(performance),
                    *_files_left(script_runs.control(script), performance),
                ]
            if effects:
                return judge(
                    candidate.name,
                    False,
                    expected=expected,
                    seen=f"{effects[0]}: {script.name}",
                    evidence=effects[1:],
                    next_step="what it logs, prints, raises and passes on: leave the key out, and "
                    "objects that hold it"
                    if effects[0].startswith(_KEY_SEEN)
                    else "the clean-up of the exporter: finally, with, close",
                )
    return judge(
        candidate.name,
        True,
        expected=expected,
        seen=f"nothing left behind by {', '.join(each.name for each in SCRIPTS[::2])} and others",
    )


def _files_left(control: Performance, candidate: Performance) -> Iterator[str]:
    """Yield the first file that is too much, missing, or of another mode than the control's."""
    if FILES not in control.script.steps:
        return
    # The contents of new files are the matter of other checks.
    contents = control.script in REFUSED_SCRIPTS
    number = control.script.steps.index(FILES)
    difference = difference_in_files(control, candidate, number, contents=contents)
    if difference is not None:
        yield difference.headline
        yield from difference.evidence


def _left_behind(performance: Performance) -> Iterator[str]:
    """Yield what differs between the start and the end of a script, one line a side effect."""
    steps = performance.script.steps
    outcomes = list(zip(steps, performance.outcomes, strict=True))
    for step, outcome in outcomes:
        if step is FILES:
            for folder, words in ((TEMPORARY, "TMPDIR"), (WORKING, "the current directory")):
                names = [name for name, *_ in outcome.get(folder, ())]
                if names:
                    yield f"files left in {words}: {', '.join(names[:3])}"
    broken = [
        f"{step['step']} can no longer be seen: {error_text(outcome)}"
        for step, outcome in outcomes
        if step in (CONNECTIONS, SESSIONS, STATE, FILES, _OVERHEARD) and outcome["error"]
    ]
    if broken:
        yield broken[0]
        return
    for step, outcome in outcomes:
        if step is _OVERHEARD:
            yield from (f"{_KEY_SEEN} {place}" for place in outcome["traces"])
    connections = [outcome for step, outcome in outcomes if step is CONNECTIONS]
    yield from _accumulated(connections)
    for later in connections[1:]:
        if (later["checked_out"] or 0) > (connections[0]["checked_out"] or 0):
            yield f"{later['checked_out']} connections not given back to the pool"
        elif later["locked"] and not connections[0]["locked"]:
            yield "a transaction left open"
    first, *others = [outcome["sessions"] for step, outcome in outcomes if step is SESSIONS]
    changes = [each for later in others for each in changed_sessions(first, later)]
    for each in dict.fromkeys(changes):
        yield f"a database session was changed: {each}"
    states = [outcome["state"] for step, outcome in outcomes if step is STATE]
    if states:
        for each in changed_settings(states[0], states[-1]):
            yield f"the exporter changed the {each}"


def _accumulated(connections: Sequence[Outcome]) -> Iterator[str]:
    """Yield what further exports left behind once more, after the first one of a script."""
    if not connections:
        return
    # An exporter may prepare an engine once. One that listens again at every export slows it down.
    before, first, last = connections[0], connections[min(1, len(connections) - 1)], connections[-1]
    if last["listeners"] > first["listeners"]:
        yield f"{last['listeners'] - first['listeners']} event listeners left on the engine"
    if last["listeners"] < before["listeners"]:
        yield f"{before['listeners'] - last['listeners']} event listeners taken from the engine"
    # In the same way it may start one thread or open one file for all exports of the process.
    if last["threads"] > first["threads"]:
        left = last["threads"] - first["threads"]
        yield f"{left} thread{'' if left == 1 else 's'} left running"
    opened: Counter[str] = Counter(last["open_files"]) - Counter(first["open_files"])
    if opened:
        yield f"files left open: {', '.join(sorted(opened)[:3])}"


class _Watch:
    """Sees what others write to a database while the block runs."""

    def __init__(self, db: LandscapeDB) -> None:
        self._db = db
        path = db.engine.url.database
        self._watcher = (
            sqlite3.connect(path)
            if db.engine.dialect.name == "sqlite" and path and not db.is_in_memory
            else None
        )

    def __enter__(self) -> "_Watch":
        self._version, self._before = self._commits(), contents(self._db)
        return self

    def __exit__(self, *_: object) -> None:
        if self._watcher is not None:
            self._watcher.close()

    def changes(self) -> Iterator[str]:
        """Yield what changed since the start of the block, one line a table."""
        changed = changed_contents(self._before, contents(self._db))
        for name in changed:
            yield f"the exporter wrote to the database: {name}"
        if not changed and self._version != self._commits():
            yield "the exporter wrote to the database, and took it back"

    def _commits(self) -> object:
        # SQLite's counter of commits by other connections to the file.
        if self._watcher is None:
            return None
        with closing(self._watcher.execute("PRAGMA data_version")) as cursor:
            return cursor.fetchone()
