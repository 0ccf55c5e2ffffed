"""The runs of cost checks and their databases, generated once and shared by all candidates.

Several runs of different sizes are stored in one database, because a database costs more than a
small run.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast

from sqlalchemy import Connection

from elspeth.core.landscape import LandscapeDB
from harness.checks.database_watch import with_what_was_written
from harness.generate.generator import GeneratedRun, generate_run
from harness.generate.spec import RunSpec

Value = TypeVar("Value")


class FileWatch(Protocol):
    """Tells what was done to the file of a database; see `database_watch.DatabaseFileWatch`."""

    is_changed: bool

    def harm(self) -> str:
        """Return what was done to the file, in words; empty if nothing was."""


WatchDatabase: TypeAlias = Callable[[LandscapeDB], AbstractContextManager[FileWatch]]
"""Begins to watch the file of a database."""
Change: TypeAlias = Callable[[Connection], None]
"""Changes a database. Changes that are equal share one."""
_Stored: TypeAlias = tuple[tuple[RunSpec, ...], Change | None]


@dataclass(frozen=True)
class StoredRuns:
    """Runs in one database, by their ids."""

    db: LandscapeDB
    runs: dict[str, GeneratedRun]


class CostRuns:
    """Keeps databases and what was computed from them until exit.

    Args:
        new_database: Returns the URL of a new, empty database.
        watch: Watches a database for changes by a candidate.
    """

    def __init__(self, new_database: Callable[[], str], watch: WatchDatabase) -> None:
        self._new_url = new_database
        self._watch = watch
        self._open = ExitStack()
        self._stored: dict[_Stored, tuple[StoredRuns, FileWatch]] = {}
        self._kept: dict[Hashable, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all databases."""
        self._open.close()

    def stored(self, specs: Sequence[RunSpec], change: Change | None = None) -> StoredRuns:
        """Return a database with the runs of these specs, written in this order.

        Args:
            specs: The runs.
            change: What is changed once all runs are written.
        """
        key = (tuple(specs), change)
        if key not in self._stored:
            db = self._open.enter_context(LandscapeDB(self._new_url()))
            runs = _store(specs, change, db)
            # After the generation: another connection would keep the journal mode from changing.
            watch = self._open.enter_context(self._watch(db))
            self._stored[key] = (StoredRuns(db, runs), watch)
        return self._stored[key][0]

    def damage(self) -> tuple[str, ...]:
        """Return what was done to the databases since the last call, in words.

        A changed or deleted database is not used again: its runs are generated again.
        """
        found: dict[str, None] = {}
        for key, (stored, watch) in list(self._stored.items()):
            if harm := watch.harm():
                store = partial(_store, *key)
                found[with_what_was_written(harm, stored.db, self._new_url, store)] = None
            if watch.is_changed:
                # Left open until exit: a check may still read it.
                del self._stored[key]
        return tuple(found)

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, which is made when it is needed first."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("Value", self._kept[key])


def _store(
    specs: Sequence[RunSpec], change: Change | None, db: LandscapeDB
) -> dict[str, GeneratedRun]:
    runs = {spec.run_id: generate_run(db, spec) for spec in specs}
    if change is not None:
        with db.connection() as connection:
            change(connection)
    return runs


def everything(size: int, *, run_id: str, features: Iterable[str] = ()) -> RunSpec:
    """Describe a run with `size` entities or more in every table, 12 to 15 times `size` in all.

    Args:
        size: At least 10.
        run_id: The run's id.
        features: Features of the run.
    """
    return RunSpec(
        run_id=run_id,
        rows=size,
        forks=1,
        expansions=1,
        lineage_in_turn=True,
        routing_groups=1,
        calls=1,
        nodes=size,
        edges=size,
        batches=size,
        members=1,
        artifacts=size,
        features=frozenset(features),
    )
