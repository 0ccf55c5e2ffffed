"""Growth without a `populate`: the tables are the axes, and fill themselves."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table

from querygrowth.counting.engine import single_engine
from querygrowth.counting.watch import Action, NamedStep, action_runner, outside_event_loop, watch
from querygrowth.growth.axes import BASE_SIZE, DEFAULT_SCALES, Axes
from querygrowth.tables.fill import fill_tables
from querygrowth.tables.fill_plan import ALL_OTHERS, Rows
from querygrowth.tables.fill_report import Filled
from querygrowth.tables.filled_databases import DatabasesFor, NewDatabase
from querygrowth.tables.table_rules import Key, full_name
from querygrowth.tables.user_tables import (
    UserTables,
    connecting_tables,
    known_metadata,
    resolved_table,
    user_tables,
)


@dataclass(frozen=True)
class FilledAxes:
    """What a growth measurement needs of a schema.

    Attributes:
        populate: Called with the rows of every axis; a context manager that yields an engine on a
            new database with these rows, or the connection or session that the action takes.
        axes: The tables to grow with their base sizes.
    """

    populate: Callable[..., Any]
    axes: Mapping[str, int]


def filled_axes(
    models: object = None,
    *,
    tables: object = None,
    action: Action | None = None,
    axes: Axes | None = None,
    most: int = DEFAULT_SCALES[-1],
    new_database: NewDatabase | None = None,
    overrides: Mapping[Any, object] | None = None,
    seed: int | random.Random = 0,
) -> FilledAxes:
    """Make axes of tables, and a `populate` that fills them.

    A table that grows alone has the others at their base size, so that its rows share their
    parents. Where its keys need more parents, the parents grow with it. A table that only connects
    others, such as the secondary table of a relationship, has as many rows as the largest of them.

    Args:
        models: The tables to grow: models, a declarative base, MetaData or Table objects.
        tables: Instead of `models`: "all" for every table of the models that are imported, or a
            list of names of such tables.
        action: What is measured. It decides whether `populate` yields an engine, a connection or a
            session, plain or async. It is called once to find the tables that it uses: they are
            axes too. Of a base, MetaData or "all", only these are.
        axes: The tables to grow, if that is known.
        most: The most rows that an axis will get. A table of a base, MetaData or "all" that cannot
            have so many, such as one with a unique enum, is not an axis.
        new_database: Makes an empty database that has the tables: a function that returns an
            engine, or a context manager that yields one. By default a new SQLite file.
        overrides: The values of columns; see `fill_tables`.
        seed: Selects the values.

    Raises:
        ValueError: `models` or `tables` names no table, or SQLite cannot have them.
        FillError: The tables cannot be filled.
        StepError: The action raised.
    """
    user, named = _chosen(models, tables)
    databases = DatabasesFor(action, [*user.known.values()], new_database)
    schema = _Schema(user, databases, overrides or {}, seed)
    if axes is not None or not callable(action):
        found = schema.axes(user.asked)
        return found if axes is None else replace(found, axes=_with_sizes(axes))
    # A table that cannot be filled matters only if the action uses it.
    tried = schema.axes(user.asked, partial=not named)
    used = _used_by(action, tried, [*user.known])
    if named:
        return schema.axes(dict.fromkeys([*user.asked, *used]))
    every = [key for key in user.asked if key in used]
    # Where none can grow, measuring says why.
    return schema.axes(schema.that_can_grow(every, most) or every)


def _with_sizes(axes: Axes) -> Mapping[str, int]:
    return axes if isinstance(axes, Mapping) else dict.fromkeys(axes, BASE_SIZE)


def _chosen(models: object, tables: object) -> tuple[UserTables, bool]:
    """The tables, and whether the user has named some, instead of all that there are."""
    if models is None and tables is None:
        raise ValueError('give models=[...], or tables="all" for all models that are imported')
    if models is not None and tables is not None:
        raise ValueError("give models or tables, not both")
    if tables is not None:
        if isinstance(tables, str) and tables == "all":
            return user_tables(known_metadata()), False
        named = [tables] if isinstance(tables, str) else tables
        if not isinstance(named, list | tuple | set | frozenset) or not named:
            raise ValueError(f'tables must be "all" or a list of names, got {tables!r}')
        user = user_tables(known_metadata())
        user.asked = list(dict.fromkeys(resolved_table(each, [*user.known]) for each in named))
        return user, True
    user = user_tables(models)
    if user.is_empty or user.names:
        raise ValueError(
            "growth over filled tables needs models, a declarative base, MetaData or Table "
            "objects; names go to tables=[...]"
        )
    parts = models if isinstance(models, list | tuple | set | frozenset) else [models]
    return user, all(isinstance(each, Table) or hasattr(each, "__table__") for each in parts)


@dataclass(frozen=True)
class _Schema:
    """The tables that are known, and how they are filled."""

    user: UserTables
    databases: DatabasesFor
    overrides: Mapping[Any, object]
    seed: int | random.Random

    def axes(self, keys: Iterable[Key], *, partial: bool = False) -> FilledAxes:
        """These tables as axes; with `partial`, tables that cannot be filled stay empty."""
        names = {full_name(key): key for key in keys}
        between = connecting_tables(self.user.known.values(), [*names.values()])
        filled = [self.user.known[key] for key in dict.fromkeys((*names.values(), *between))]

        def populate(**sizes: int) -> Any:
            # A table at its base size is not named, so that it may grow with what needs more
            # parents.
            grown = {table: size for table, size in sizes.items() if size != BASE_SIZE}
            rows = {ALL_OTHERS: BASE_SIZE, **grown}
            for key, parents in between.items():
                most = max(grown.get(full_name(each), BASE_SIZE) for each in parents)
                rows.setdefault(full_name(key), most)

            def fill(connection: Connection) -> None:
                report = self._filled(connection, filled, rows, partial=partial)
                for table in grown.keys() & report.limited.keys():
                    raise ValueError(
                        f"{table} takes only {report.rows[table]} of {grown[table]} rows: "
                        f"{report.limited[table]}; name the axes without it, or smaller scales"
                    )

            return self.databases.filled(fill)

        return FilledAxes(populate, dict.fromkeys(names, BASE_SIZE))

    def that_can_grow(self, keys: Sequence[Key], most: int) -> list[Key]:
        """The tables that can have so many rows, and those whose values the user gives."""
        limited: set[str] = set()

        def fill(connection: Connection) -> None:
            tables = [self.user.known[key] for key in keys]
            limited.update(self._filled(connection, tables, most).limited)

        def called() -> None:
            with action_runner() as runner, runner.entered(self.databases.filled(fill)):
                pass

        outside_event_loop(called)
        given = [str(getattr(each, "table", each)) for each in self.overrides]
        return [
            key
            for key in keys
            if full_name(key) not in limited or any(key[1] in each for each in given)
        ]

    def _filled(
        self, connection: Connection, tables: Sequence[Table], rows: Rows, *, partial: bool = False
    ) -> Filled:
        return fill_tables(
            connection,
            tables,
            rows=rows,
            overrides=self.overrides,
            seed=self.seed,
            partial=partial,
        )


def _used_by(action: Action, filled: FilledAxes, known: Sequence[Key]) -> Sequence[Key]:
    """The tables that an action uses at their base sizes; all if that cannot be told."""

    def used() -> frozenset[str]:
        with action_runner() as runner:
            made = runner.call(filled.populate, **filled.axes)
            with runner.entered(made) as source:

                def called(_engine: object) -> object:
                    with NamedStep("the action", "all tables", filled.axes):
                        return runner.call(action, source)

                activity = watch(called, single_engine(source), runner=runner, every_engine=True)
        return frozenset(map(str.casefold, activity.tables))

    names = outside_event_loop(used)
    found = [key for key in known if key[1].casefold() in names]
    # A view, for example, hides the tables that it reads.
    hidden = names - {key[1].casefold() for key in known}
    return known if hidden or not found else found
