"""Record what an action did to its engine, in plain values that pass between processes.

`record` runs the action under all counters. A `Record` becomes JSON in one process, and is read and
interpreted in another: recording needs SQLAlchemy only, interpretation also needs sqlglot.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from querygrowth.counting.driver import trace_driver, traceable
from querygrowth.counting.engine import AnyEngine, sync_engine
from querygrowth.counting.every_engine import add_recording, record_every_engine
from querygrowth.counting.execution import Execution
from querygrowth.counting.listener import Recording, attached
from querygrowth.counting.statements import DriverReport
from querygrowth.counting.work import BRANCHES, VM_STEPS, Tally, count_branches, count_vm_steps
from querygrowth.places.call_sites import (
    Callers,
    CallSite,
    Place,
    Project,
    call_site,
    default_project,
    steps_of,
)
from querygrowth.places.orm_loads import Load, load_of
from querygrowth.places.stack import StackWalker


class TraceCounts(NamedTuple):
    """What the driver saw.

    Attributes:
        bypassed: The statements that went past SQLAlchemy, and other reads without a statement.
        cursor_fetches: Calls of fetch methods.
        bypass_causes: The lines that sent the statements in `bypassed`, and their texts.
    """

    bypassed: tuple[str, ...]
    cursor_fetches: int
    bypass_causes: tuple[tuple[CallSite | None, str], ...] = ()


@dataclass(frozen=True)
class Record:
    """What all counters saw during one action. `querygrowth.counting.activity` interprets it.

    Args:
        dialect: SQLAlchemy's name of the database.
        recording: The statements, transactions and checkouts.
        trace: What the driver saw; None if it cannot be traced.
        work: Deterministic counts, by name.
        work_sites: The line at which most of a kind of work was done, where it is known.
        replaced: The hooks of the counters whose place the action took, in words. The counts are
            too low then, and must not pass.
        result: The return value of the action. It does not pass between processes.
    """

    dialect: str
    recording: Recording
    trace: TraceCounts | None
    work: Mapping[str, int]
    work_sites: Mapping[str, CallSite] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()
    result: object = None

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values, without the result."""
        # Few places, chains and reasons stand behind many statements: they are numbered.
        sites: dict[CallSite, int] = {}
        callers: dict[tuple[Any, ...], int] = {}
        loads: dict[Load | None, int] = {}

        def site(place: Place | None) -> int | None:
            return None if place is None else sites.setdefault(call_site(place), len(sites))

        def called(by: Callers | None) -> int | None:
            if by is None:
                return None
            key = (site(by.outside), tuple(map(site, by.chain)), by.entry_name)
            return callers.setdefault(key, len(callers))

        recording, trace = self.recording, self.trace
        return {
            "dialect": self.dialect,
            "statements": [
                [
                    *(each.sql, each.parameter_count, each.executemany, each.checkout),
                    *(each.transaction, each.rows_fetched, each.failed, each.continued),
                    *(each.report, each.steps),
                    *(called(each.callers), loads.setdefault(load_of(each.load), len(loads))),
                ]
                for each in recording.executions
            ],
            "transactions": recording.transactions_begun,
            "commits": recording.commits,
            "rollbacks": recording.rollbacks,
            "checkouts": recording.checkouts,
            "empty_transactions": [*map(called, recording.empty_transactions)],
            "empty_checkouts": [*map(called, recording.empty_checkouts)],
            "trace": trace
            and [
                *(trace.bypassed, trace.cursor_fetches),
                [[site(place), text] for place, text in trace.bypass_causes],
            ],
            "work": dict(self.work),
            "work_sites": {name: site(place) for name, place in self.work_sites.items()},
            "replaced": self.replaced,
            "callers": [*callers],
            "loads": [*loads],
            "sites": [[each.path, each.line, each.function] for each in sites],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record":
        """Build the record that another process wrote with `to_json`."""
        sites = [CallSite(*each) for each in content["sites"]]

        def site(number: int | None) -> CallSite | None:
            return None if number is None else sites[number]

        callers = [
            Callers(site(outside), steps_of(sites[each] for each in chain), entry)
            for outside, chain, entry in content["callers"]
        ]
        loads = [each and Load.from_json(each) for each in content["loads"]]
        recording = Recording(walker=None, keep_parameters=False)
        recording.transactions_begun = content["transactions"]
        recording.commits, recording.rollbacks = content["commits"], content["rollbacks"]
        recording.checkouts = content["checkouts"]
        recording.empty_transactions = [callers[each] for each in content["empty_transactions"]]
        recording.empty_checkouts = [callers[each] for each in content["empty_checkouts"]]
        for each in content["statements"]:
            sql, count, many, checkout, transaction, rows, failed, continued = each[:8]
            report, steps, called, load = each[8:]
            by = None if called is None else callers[called]
            execution = Execution(
                sql, count, many, checkout, transaction, by, None, loads[load], continued
            )
            execution.rows_fetched, execution.failed, execution.steps = rows, failed, steps
            execution.report = DriverReport(*report) if report else None
            recording.executions.append(execution)
        trace = content["trace"]
        return cls(
            content["dialect"],
            recording,
            TraceCounts(
                tuple(trace[0]),
                trace[1],
                tuple((site(number), text) for number, text in trace[2]),
            )
            if trace
            else None,
            content["work"],
            {name: sites[number] for name, number in content["work_sites"].items()},
            tuple(content["replaced"]),
        )


def record(
    action: Callable[[], object],
    engine: AnyEngine,
    *,
    work: Iterable[str] = (),
    project: Project | None = None,
    branches_in: Project | None = None,
    all_connections: bool = False,
    every_engine: bool = False,
    others: Sequence[AnyEngine] = (),
) -> Record:
    """Run `action()` once under all counters of an engine.

    Args:
        action: What to run.
        engine: The engine that is counted.
        work: Deterministic counts to take beside the queries (`VM_STEPS`, `BRANCHES`).
        project: The user's own files; default: those below the working directory.
        branches_in: The files in which branches are counted; default: those of the project.
        all_connections: Whether statements on connections that the engine did not make are
            bypasses too; see `trace_driver`.
        every_engine: Whether the statements of all other engines of the process count as well, if
            the action uses `engine` or one of `others` at all.
        others: Further engines on the data that the action was given.

    Raises:
        ValueError: The engine cannot count a kind of work. The action has not run.
    """
    __tracebackhide__ = True
    target = sync_engine(engine)
    walker = StackWalker(project or default_project())
    recording = Recording(walker=walker, keep_parameters=False)
    # All counters are started before the action, so that one that refuses the engine stops it.
    with ExitStack() as stack:
        trace = (
            stack.enter_context(
                trace_driver(engine, all_connections=all_connections, project=project)
            )
            if traceable(engine)
            else None
        )
        tallies = {
            name: stack.enter_context(_tally(name, engine, branches_in or project)) for name in work
        }
        if VM_STEPS in tallies:
            recording.count_steps_with(tallies[VM_STEPS].read)
        stack.enter_context(attached(target, recording.listeners()))
        every = (
            stack.enter_context(record_every_engine(walker, keep_parameters=False, but=target))
            if every_engine
            else None
        )
        result = action()
        # An action that leaves its own engines alone shows nothing about the data it was given.
        if every is not None and (
            recording.executions
            or recording.checkouts
            or any(every.has_recorded(sync_engine(each)) for each in others)
        ):
            for each in every.recorded.values():
                add_recording(recording, each.recording)
    return Record(
        target.dialect.name,
        recording,
        TraceCounts(trace.bypassed, trace.cursor_fetches, trace.bypass_causes) if trace else None,
        {name: tally.count for name, tally in tallies.items()},
        {name: tally.site for name, tally in tallies.items() if tally.site is not None},
        (
            *(("the trace of the driver",) if trace and trace.is_replaced else ()),
            *(tally.replaced for tally in tallies.values() if tally.replaced),
        ),
        result,
    )


def _tally(name: str, engine: AnyEngine, project: Project | None) -> AbstractContextManager[Tally]:
    if name == VM_STEPS:
        return count_vm_steps(engine)
    if name == BRANCHES:
        return count_branches(project)
    raise ValueError(f"unknown kind of work {name!r}: choose from {VM_STEPS}, {BRANCHES}")
