"""Record what an action did to its engine, in plain values that pass between processes.

`record` runs the action under all counters. A `Record` becomes JSON in one process, and is read and
interpreted in another: recording needs SQLAlchemy only, interpretation also needs sqlglot.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from querygrowth.call_sites import (
    Callers,
    CallSite,
    Project,
    StackWalker,
    call_site,
    distinct_sites,
)
from querygrowth.driver import trace_driver, traceable
from querygrowth.engine import AnyEngine, sync_engine
from querygrowth.listener import Execution, Recording, listening, record_stacks
from querygrowth.work import BRANCHES, VM_STEPS, Tally, count_branches, count_vm_steps


class TraceCounts(NamedTuple):
    """What the driver saw: the statements that went past SQLAlchemy, and calls of fetch methods."""

    bypassed: tuple[str, ...]
    cursor_fetches: int


@dataclass(frozen=True)
class Record:
    """What all counters saw during one action. `querygrowth.activity` interprets it.

    Args:
        dialect: SQLAlchemy's name of the database.
        recording: The statements, transactions and checkouts.
        trace: What the driver saw; None if it cannot be traced.
        work: Deterministic counts, by name.
        origins: For a statement text, the line that distinguishes it from other statements.
        result: The return value of the action. It does not pass between processes.
    """

    dialect: str
    recording: Recording
    trace: TraceCounts | None
    work: Mapping[str, int]
    origins: Mapping[str, CallSite]
    result: object = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, without the result."""
        sites: dict[CallSite | None, int] = {None: 0}

        def index(site: CallSite | None) -> int:
            return sites.setdefault(site, len(sites))

        recording = self.recording
        statements = [
            [
                *(each.sql, each.parameter_count, each.executemany, each.checkout),
                *(each.transaction, each.rows_fetched, each.failed, each.continued),
                *(index(call_site(caller)) for caller in each.callers or (None, None)),
            ]
            for each in recording.executions
        ]
        origins = {text: index(site) for text, site in self.origins.items()}
        return {
            "dialect": self.dialect,
            "statements": statements,
            "transactions": recording.transactions_begun,
            "commits": recording.commits,
            "rollbacks": recording.rollbacks,
            "checkouts": recording.checkouts,
            "trace": self.trace,
            "work": dict(self.work),
            "origins": origins,
            "sites": [each and [each.path, each.line, each.function] for each in sites],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record":
        """Build the record that another process wrote with `to_json`."""
        sites = [CallSite(*each) if each else None for each in content["sites"]]
        recording = Recording(walker=None, keep_parameters=False)
        recording.transactions_begun = content["transactions"]
        recording.commits, recording.rollbacks = content["commits"], content["rollbacks"]
        recording.checkouts = content["checkouts"]
        for each in content["statements"]:
            sql, count, many, checkout, transaction, rows, failed, continued, nearest, project = (
                each
            )
            callers = Callers(sites[nearest], sites[project])
            execution = Execution(sql, count, many, checkout, transaction, callers, None, continued)
            execution.rows_fetched, execution.failed = rows, failed
            recording.executions.append(execution)
        trace = content["trace"]
        origins = {text: sites[number] for text, number in content["origins"].items()}
        return cls(
            content["dialect"],
            recording,
            TraceCounts(tuple(trace[0]), trace[1]) if trace else None,
            content["work"],
            {text: site for text, site in origins.items() if site is not None},
        )


def record(
    action: Callable[[], object],
    engine: AnyEngine,
    *,
    work: Iterable[str] = (),
    project: Project | None = None,
    branches_in: Project | None = None,
    all_connections: bool = False,
) -> Record:
    """Run `action()` once under all counters of an engine.

    Args:
        action: What to run.
        engine: The only engine that is counted.
        work: Deterministic counts to take beside the queries (`VM_STEPS`, `BRANCHES`).
        project: The user's own files; default: those below the working directory.
        branches_in: The files in which branches are counted; default: those of the project.
        all_connections: Whether statements on connections that the engine did not make are
            bypasses too; see `trace_driver`.

    Raises:
        ValueError: The engine cannot count a kind of work. The action has not run.
    """
    target = sync_engine(engine)
    recording = Recording(walker=StackWalker(project or Project()), keep_parameters=False)
    # All counters are started before the action, so that one that refuses the engine stops it.
    with ExitStack() as stack:
        trace = (
            stack.enter_context(trace_driver(engine, all_connections=all_connections))
            if traceable(engine)
            else None
        )
        tallies = {
            name: stack.enter_context(_tally(name, engine, branches_in or project)) for name in work
        }
        stacks = stack.enter_context(record_stacks(engine, project))
        stack.enter_context(listening(target, recording.listeners()))
        result = action()
    return Record(
        target.dialect.name,
        recording,
        TraceCounts(trace.bypassed, trace.cursor_fetches) if trace else None,
        {name: tally.count for name, tally in tallies.items()},
        distinct_sites(stacks),
        result,
    )


def _tally(name: str, engine: AnyEngine, project: Project | None) -> AbstractContextManager[Tally]:
    if name == VM_STEPS:
        return count_vm_steps(engine)
    if name == BRANCHES:
        return count_branches(project)
    raise ValueError(f"unknown kind of work {name!r}: choose from {VM_STEPS}, {BRANCHES}")
