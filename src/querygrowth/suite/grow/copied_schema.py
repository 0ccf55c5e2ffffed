"""What is known of the tables whose rows are copied, and a short wait for locks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Table, inspect
from sqlalchemy.exc import SQLAlchemyError

from querygrowth.tables.column_values import ValueSource
from querygrowth.tables.rule_reader import RuleReader, tables_in
from querygrowth.tables.table_rules import Key, TableRules, UniqueKey
from querygrowth.tables.user_tables import every_registry, key_of

MYSQL = frozenset({"mysql", "mariadb"})


@dataclass
class Schema:
    """What is known of the tables of a database, and reused while they stay the same."""

    rules: Mapping[Key, TableRules]
    fingerprint: object
    sources: dict[Key, dict[str, ValueSource]] = field(default_factory=dict)


def read_schema(connection: Connection, known: Schema | None) -> Schema:
    """Read the rules of all tables of a database, unless they are known.

    Args:
        connection: Leads to the database.
        known: What was known of it before.
    """
    fingerprint = _fingerprint(connection)
    if known is not None and known.fingerprint == fingerprint:
        return known
    reader = RuleReader(connection, _declared_tables(connection))
    single = _single_children()
    rules: dict[Key, TableRules] = {}
    for key in tables_in(connection):
        try:
            read = reader.rules(key)
        except SQLAlchemyError:  # a table that cannot be reflected is not copied
            continue
        own = tuple(
            UniqueKey(f"uselist=False ({', '.join(each)})", each)
            for each in single.get(key[1], ())
            if set(each) <= set(read.columns)
        )
        rules[key] = replace(read, unique=(*read.unique, *own))
    return Schema(rules, fingerprint)


def _declared_tables(connection: Connection) -> dict[Key, Table]:
    """The tables of the models in this process, those of the database where names are shared."""
    found: dict[Key, list[Table]] = {}
    for metadata in {each.metadata for each in every_registry()}:
        for table in metadata.tables.values():
            found.setdefault(key_of(table), []).append(table)
    inspector = inspect(connection)

    def is_stored(table: Table) -> bool:
        try:
            columns = inspector.get_columns(table.name, table.schema)
        except SQLAlchemyError:
            return False
        return {each["name"] for each in columns} == {each.name for each in table.columns}

    return {
        key: next(filter(is_stored, tables), tables[-1]) if len(tables) > 1 else tables[0]
        for key, tables in found.items()
    }


def _fingerprint(connection: Connection) -> object:
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return frozenset(found.scalars())
    return (str(connection.engine.url), tables_in(connection))


def _single_children() -> dict[str, list[tuple[str, ...]]]:
    """By table, the foreign keys of rows of which a parent has one, by `uselist=False`."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for registry in every_registry():
        for mapper in registry.mappers:
            for each in mapper.relationships:
                if each.uselist or each.direction.name != "ONETOMANY":
                    continue
                columns = tuple(remote.name for _, remote in each.local_remote_pairs or ())
                table = getattr(each.target, "name", None)
                if table and columns:
                    found.setdefault(str(table), []).append(columns)
    return found


@contextmanager
def short_locks(connection: Connection) -> Iterator[None]:
    """Wait only a moment for locks inside the block."""
    driver = connection.exec_driver_sql
    if connection.dialect.name == "sqlite":
        before = driver("PRAGMA busy_timeout").scalar()
        driver("PRAGMA busy_timeout = 250")
        try:
            yield
        finally:
            driver(f"PRAGMA busy_timeout = {int(before or 0)}")
    elif connection.dialect.name == "postgresql":
        before = driver("SHOW lock_timeout").scalar()
        driver("SET LOCAL lock_timeout = '250ms'")
        yield
        driver(f"SET LOCAL lock_timeout = '{before}'")
    elif connection.dialect.name in MYSQL:
        before = driver("SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout").one()
        driver("SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1")
        try:
            yield
        finally:
            values = "innodb_lock_wait_timeout = {:d}, lock_wait_timeout = {:d}"
            driver(f"SET SESSION {values.format(*before)}")
    else:
        yield
