"""Timing: exports in rounds, in turn, without listeners, and the rates and ratios of the rounds.

On a shared machine the load changes within seconds. Timings of one round see the same load, so a
ratio within rounds repeats to about 0.3 %, while rates of two jobs differed by 26 %.
"""

import gc
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from harness.exporters.observation import ExportTask
from harness.exporters.subject import Subject

TimedAction = Callable[[], float]
"""Does something once and returns the seconds that it took, in this process or another."""


@dataclass(frozen=True)
class Timing:
    """The seconds of one subject in every round. Same index, same round for all."""

    subject: str
    seconds: tuple[float, ...]

    def per_second(self, amount: int) -> float:
        """The rate in the median round, for an `amount` of records or rows."""
        return amount / median(self.seconds)

    def times_faster_than(self, other: "Timing") -> float:
        """The median over the rounds of the other's seconds to these. Higher is faster."""
        pairs = zip(other.seconds, self.seconds, strict=True)
        return median(theirs / ours for theirs, ours in pairs)

    def followed_by(self, later: "Timing") -> "Timing":
        """These rounds, and later ones of the same subject after them."""
        return Timing(self.subject, self.seconds + later.seconds)


def time_in_turn(
    actions: Mapping[str, TimedAction],
    *,
    rounds: int,
    seed: int = 0,
    on_round: Callable[[], None] = lambda: None,
) -> Mapping[str, Timing]:
    """Time every action once a round, in an order that is shuffled for every round.

    Interleaving spreads a change of the machine's speed over all actions, and the shuffle keeps an
    action from always running after the same other one. Nothing is warmed up here: perform every
    action once before.

    Args:
        actions: What to time, by name.
        rounds: How many times, at least one.
        seed: Of the order.
        on_round: Called after every timing.

    Raises:
        ValueError: `rounds` is less than one.
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: at least one is needed")
    order = random.Random(seed)  # noqa: S311 - a shuffled order, no secret
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name in order.sample(list(actions), len(actions)):
            seconds[name].append(actions[name]())
            on_round()
    return {name: Timing(name, tuple(taken)) for name, taken in seconds.items()}


def time_export(subject: Subject, task: ExportTask) -> float:
    """Return the seconds of one signed export to a file."""
    return _seconds_of(lambda: task.perform(subject))


def time_first_row(subject: Subject, task: ExportTask, *, tries: int = 5) -> float:
    """Return the seconds to the first `row` record of a signed export: the median of some tries."""
    return median(_seconds_of(lambda: _read_to_first_row(subject, task)) for _ in range(tries))


def _read_to_first_row(subject: Subject, task: ExportTask) -> None:
    exporter = subject.build(task.db, task.signing_key, task.clock)
    records = iter(exporter.export_run(task.run_id, sign=True))
    next((record for record in records if record["record_type"] == "row"), None)
    close = getattr(records, "close", None)
    if close is not None:
        close()


def _seconds_of(action: Callable[[], object]) -> float:
    # Garbage of the action before would be collected at this one's expense.
    gc.collect()
    started = perf_counter()
    action()
    return perf_counter() - started
