"""Race: base and head exporting one run in turn, with rounds added until it is decided."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from elspeth.core.landscape import LandscapeDB
from harness.bench.paired_ratio import LEAST_ROUNDS, Pairing, is_decided, pair
from harness.bench.revisions import Checkout, checked_out
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.exporters.observation import ExportTask
from harness.exporters.timing import TimedAction, time_in_turn
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec

TRIES = 5
"""Exports in each process of a round. The fastest counts: what else ran only ever slows one."""

OnRounds = Callable[[Pairing, int], None]
"""Told what the rounds so far show, and how many there may be at most."""


@dataclass(frozen=True)
class Race:
    """What to race: an exporter at two revisions, on a run of so many rows, within limits."""

    reference: str
    base: Checkout
    head: Checkout
    python: str
    rows: int
    max_rounds: int
    seed: int = 0


def run_race(race: Race, directory: Path, on_rounds: OnRounds) -> Pairing:
    """Time both revisions, each export in a process of its own, until the ratio is decided."""
    base = race.base.exporter(race.reference, role="base", python=race.python)
    head = race.head.exporter(race.reference, role="head", python=race.python)
    with LandscapeDB(f"sqlite:///{directory / 'race.db'}") as db:
        run = generate_run(db, RunSpec.typical(race.rows, seed=race.seed))
        task = ExportTask(db, run.run_id, SIGNING_KEY, fixed_clock, directory)
        actions = {each.label: partial(each.time, task, tries=TRIES) for each in (base, head)}
        for found in pairings(actions, rows=race.rows, max_rounds=race.max_rounds, seed=race.seed):
            on_rounds(found, race.max_rounds)
    return found


def pairings(
    actions: Mapping[str, TimedAction], *, rows: int, max_rounds: int, seed: int = 0
) -> Iterator[Pairing]:
    """Time the two actions, base first, and yield what is known after every few rounds.

    Stops once it is decided, or at the limit.
    """
    if max_rounds < LEAST_ROUNDS:
        raise ValueError(f"max_rounds={max_rounds}: at least {LEAST_ROUNDS} rounds are needed")
    timings = time_in_turn(actions, rounds=LEAST_ROUNDS, seed=seed)
    base, head = timings.values()
    found = pair(base, head, rows=rows, seed=seed)
    yield found
    while not is_decided(found) and len(found.base.seconds) < max_rounds:
        done = len(found.base.seconds)
        more = time_in_turn(actions, rounds=min(LEAST_ROUNDS, max_rounds - done), seed=seed + done)
        base, head = more.values()
        found = pair(
            found.base.followed_by(base), found.head.followed_by(head), rows=rows, seed=seed
        )
        yield found


@contextmanager
def both_checkouts(
    tree: Checkout, base: str, head: str | None, directory: Path
) -> Iterator[tuple[Checkout, Checkout]]:
    """Check out base, and head unless that is the working tree as it is."""
    with ExitStack() as stack:
        first = stack.enter_context(checked_out(tree, base, directory / "base"))
        second = tree
        if head is not None:
            second = stack.enter_context(checked_out(tree, head, directory / "head"))
        yield first, second
