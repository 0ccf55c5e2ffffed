"""A pair: a bad program, its repaired twin, and what the verdict on the bad one must say.

The modules in `scenarios/topics/` each hold a tuple `PAIRS`. `test_pairs.py` runs all of them.
"""

import atexit
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Engine, MetaData, Table, create_engine, insert

from querygrowth.contracts.contract import QueryContract

Rows = Mapping[Table, Sequence[Mapping[str, object]]]


@dataclass(frozen=True)
class Pair:
    """A bad program and its repaired twin, which are measured in the same way.

    Attributes:
        name: The name in tests.
        bad: A program that must fail. It is called with an engine.
        twin: The same program repaired, which must pass; None for a program that has no repair.
        words: Patterns that the text of all failed verdicts on `bad` must match.
        populate: Makes an engine on a database of the sizes given as keyword arguments.
        axes: The axes, with base sizes or without.
        place: A part of the source line that the first failed verdict must show; empty for none.
        scales: The sizes that are tried on every axis.
        contract: The limits and allowances of both.
        twin_contract: Those of the twin, where the repair is a declaration.
        writes: Whether the programs may change tables.
        work: The deterministic counts to take.
    """

    name: str
    bad: Callable[..., object] | None
    twin: Callable[..., object] | None
    words: Sequence[str]
    populate: Callable[..., object]
    axes: Sequence[str] | Mapping[str, int] = ("orders", "items")
    place: str = ""
    scales: tuple[int, ...] | Mapping[str, tuple[int, ...]] = (2, 8, 20)
    contract: QueryContract | None = None
    twin_contract: QueryContract | None = None
    writes: bool = False
    work: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def in_memory(metadata: MetaData, rows: Callable[..., Rows]) -> Callable[..., object]:
    """Return a `populate` that fills a new SQLite database in memory.

    Args:
        metadata: The tables to create.
        rows: Called with the sizes of the axes; returns the rows of every table, parents first.
    """

    # Filling takes most of the time of a scenario. Databases of the same sizes are copied from one
    # that was filled before.
    @cache
    def template(sizes: tuple[tuple[str, int], ...]) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        # Kept until then, because CPython 3.13 reports a connection that is freed and not closed.
        atexit.register(connection.close)
        engine = create_engine("sqlite://", creator=lambda: connection)
        with engine.begin() as opened:
            opened.exec_driver_sql("PRAGMA foreign_keys = ON")  # to find errors in the rows
            metadata.create_all(opened)
            for table, values in rows(**dict(sizes)).items():
                if values:
                    opened.execute(insert(table), list(values))
        return connection

    # One engine for all copies, so that a statement is compiled once.
    copies: list[sqlite3.Connection] = []
    engine = create_engine("sqlite://", creator=lambda: copies[-1])

    @contextmanager
    def populate(**sizes: int) -> Iterator[Engine]:
        copies.append(sqlite3.connect(":memory:", check_same_thread=False))
        template(tuple(sorted(sizes.items()))).backup(copies[-1])
        yield engine
        engine.dispose()

    return populate


def numbered(count: int, **values: Any) -> list[dict[str, object]]:
    """Rows with the ids from 0, and values that are given or computed from the id."""
    return [
        {"id": n, **{k: v(n) if callable(v) else v for k, v in values.items()}}
        for n in range(count)
    ]


def unique_names(pairs: Iterable[Pair]) -> bool:
    """Whether no two pairs have the same name."""
    names = [pair.name for pair in pairs]
    return len(set(names)) == len(names)
