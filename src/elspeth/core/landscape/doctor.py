"""What would make the exports of an existing database cheaper, and why; creates nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy import Connection, Index, Table, UniqueConstraint, inspect
from sqlalchemy.engine.interfaces import ReflectedIndex

from elspeth.core.landscape.database import LandscapeDB
from elspeth.core.landscape.plans import Plan, sqlite_plans
from elspeth.core.landscape.schema import EXPORTED_TABLES

_ANY_RUN = "any run"
"""Plans do not depend on which run is asked for."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that is not as it should be: what, why it matters, and what to do."""

    problem: str
    why: str
    statement: str | None = None
    """The SQL that would help, for a person to run."""


def examine(db: LandscapeDB) -> Sequence[Advice]:
    """Compare a database's indexes with the schema's, and on SQLite ask for the export's plans.

    Reads the catalogue only, however large the tables are.
    """
    with db.connection() as connection:
        advice = list(_missing_indexes(connection))
        if db.engine.dialect.name == "sqlite":
            advice += _bad_plans(sqlite_plans(connection, _ANY_RUN))
    return advice


def _missing_indexes(connection: Connection) -> Iterator[Advice]:
    """Every index or unique constraint of the schema that no index of the database serves for."""
    inspector = inspect(connection)
    for table in EXPORTED_TABLES:
        found: list[Sequence[str | None]] = [
            *map(_columns_of, inspector.get_indexes(table.name)),
            *(each["column_names"] for each in inspector.get_unique_constraints(table.name)),
            inspector.get_pk_constraint(table.name)["constrained_columns"],
        ]
        for columns, statement in _wanted(table):
            if not any(list(each[: len(columns)]) == columns for each in found):
                yield Advice(
                    f"{table.name} has no index that begins with {', '.join(columns)}",
                    "finding the rows that belong together reads the whole table",
                    statement,
                )


def _wanted(table: Table) -> Iterator[tuple[list[str], str]]:
    """The columns of every index that the schema has for a table, and how to create it."""
    for index in sorted(table.indexes, key=lambda each: str(each.name)):
        yield _named(index), f"CREATE INDEX {index.name} ON {table.name} ({_listed(index)})"
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            columns = _named(constraint)
            name = f"uq_{table.name}_{'_'.join(columns)}"
            yield columns, f"CREATE UNIQUE INDEX {name} ON {table.name} ({_listed(constraint)})"


def _named(index: Index | UniqueConstraint) -> list[str]:
    return [column.name for column in index.columns]


def _listed(index: Index | UniqueConstraint) -> str:
    return ", ".join(_named(index))


def _columns_of(index: ReflectedIndex) -> list[str | None]:
    return list(index["column_names"])


def _bad_plans(plans: Sequence[Plan]) -> Iterator[Advice]:
    for plan in filter(attrgetter("grows_with_the_run"), plans):
        does = f"scans the whole of {plan.scanned[0]}" if plan.scanned else "sorts the whole run"
        yield Advice(
            f"the export of {plan.record_type.table.name} {does}",
            "its cost grows with all runs together, and the first record has to wait",
            "ANALYZE",
        )
