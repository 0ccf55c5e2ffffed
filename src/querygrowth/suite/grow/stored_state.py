"""Put back what a database held before a run of a test: its committed rows, and its next numbers.

So all runs of a test begin alike: rows that one run has committed do not meet those of the next,
and PostgreSQL and MariaDB give the same numbers again, which a rollback does not take back.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection, Engine, func, literal_column, select, text

from querygrowth.suite.grow.copied_schema import MYSQL, Schema, read_schema, short_locks
from querygrowth.suite.grow.row_copies import Identity, Row, identifying, identity
from querygrowth.suite.grow.separate import beside, is_gone, is_shared, run_beside
from querygrowth.tables.stored_rows import StoredRows
from querygrowth.tables.table_order import table_order
from querygrowth.tables.table_rules import Key

_MOST_ROWS = 400  # of a table; a larger one is not put back
_NUMBERS = {
    "postgresql": text("SELECT schemaname, sequencename, last_value FROM pg_sequences"),
    **dict.fromkeys(
        MYSQL,
        text(
            "SELECT table_schema, table_name, auto_increment FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND auto_increment IS NOT NULL"
        ),
    ),
}
_OWNER = text("""
    SELECT d.refobjid::regclass::text AS "table", quote_ident(a.attname) AS "column"
    FROM pg_depend d
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.objid = CAST(:sequence AS regclass) AND d.classid = 'pg_class'::regclass
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
""")
# Their rows may have numbers that nobody else sees yet.
_WRITERS = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL
""")

Sequence = tuple[str, str]  # the schema and the name of a sequence, or of a table that counts


@dataclass
class _State:
    engine: Engine
    schema: Schema | None = None
    rows: dict[Key, dict[Identity, Row]] = field(default_factory=dict)
    numbers: dict[Sequence, int | None] = field(default_factory=dict)
    is_read: bool = False

    def read(self, connection: Connection, known: Schema | None) -> None:
        self.schema = read_schema(connection, known)
        self.rows = _rows(connection, self.schema)


class StoredStates:
    """What the databases of one test held before it changed them.

    What fixtures of a wider scope have made belongs to the state.
    """

    def __init__(self) -> None:
        self._by_database: dict[object, _State] = {}

    def forget(self) -> None:
        """Begin another test."""
        self._by_database = {}

    def before_change(self, key: object, connection: Connection, known: Schema | None) -> None:
        """Note what can be seen on the connection alone, before the first change by a test.

        Args:
            key: Names the database.
            connection: Is about to send an INSERT, UPDATE or DELETE.
            known: What was known of its tables before.
        """
        if key in self._by_database:
            return
        state = self._by_database[key] = _State(connection.engine)
        with suppress(Exception):
            if is_shared(connection.engine):
                state.read(connection, known)
            elif connection.dialect.name in _NUMBERS:
                with connection.begin_nested():
                    state.numbers = _numbers(connection)

    def before_commit(
        self,
        key: object,
        connection: Connection,
        known: Schema | None,
        made: Mapping[Key, Collection[Identity]],
    ) -> None:
        """Read the rows of a database, before the first changes of a test are committed.

        Args:
            key: Names the database.
            connection: Is about to commit.
            known: What was known of its tables before.
            made: The copies of rows, which are no part of the state.
        """
        state = self._by_database.setdefault(key, _State(connection.engine))
        if state.is_read or is_shared(connection.engine):
            return
        state.is_read = True
        with suppress(Exception), beside(connection) as other, short_locks(other):
            state.read(other, known)
            for table, copies in made.items():
                for each in copies:
                    state.rows.get(table, {}).pop(each, None)

    def put_back(self) -> None:
        """Put back the rows and the numbers, where the database and its tables are still there."""
        for state in self._by_database.values():
            if (state.rows or state.numbers) and not is_gone(state.engine):
                # It may be locked, or gone, or the rows belong to each other in a circle.
                with suppress(Exception):
                    run_beside(state.engine, partial(_restore, state))


def _numbers(connection: Connection) -> dict[Sequence, int | None]:
    found = connection.execute(_NUMBERS[connection.dialect.name])
    return {(schema, name): last for schema, name, last in found}


def _rows(connection: Connection, schema: Schema) -> dict[Key, dict[Identity, Row]]:
    stored = StoredRows(connection, schema.rules.__getitem__)
    found: dict[Key, dict[Identity, Row]] = {}
    for key, rules in schema.rules.items():
        columns = list(rules.columns)
        read = stored.values(key, columns, _MOST_ROWS + 1)
        if len(read) <= _MOST_ROWS:
            rows = (dict(zip(columns, each, strict=True)) for each in read)
            found[key] = {identity(rules, row): row for row in rows}
    return found


def _restore(state: _State, connection: Connection) -> None:
    with short_locks(connection):
        if state.rows and state.schema is not None:
            _restore_rows(state.rows, state.schema, connection)
        if state.numbers:
            _restore_numbers(state.numbers, connection)


def _restore_rows(
    rows: Mapping[Key, Mapping[Identity, Row]], schema: Schema, connection: Connection
) -> None:
    if read_schema(connection, schema) is not schema:  # a fixture makes the tables again
        return
    now = _rows(connection, schema)
    stored = StoredRows(connection, schema.rules.__getitem__)
    order = [key for key in table_order(schema.rules).tables if key in rows and key in now]
    for key in reversed(order):
        added = now[key].keys() - rows[key].keys()
        if added:
            stored.delete(key, identifying(schema.rules[key]), list(added))
    for key in order:
        rules = schema.rules[key]
        for each, row in rows[key].items():
            given = {name: row[name] for name, rule in rules.columns.items() if not rule.always}
            if each not in now[key]:
                stored.insert(key, [given])
            elif now[key][each] != row:
                stored.update(key, identifying(rules), each, given)


def _restore_numbers(numbers: Mapping[Sequence, int | None], connection: Connection) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    if connection.dialect.name == "postgresql" and connection.scalar(_WRITERS):
        return
    for name, now in _numbers(connection).items():
        before = numbers.get(name, now)
        if now == before:
            continue
        sequence = f"{quote(name[0])}.{quote(name[1])}"
        if connection.dialect.name in MYSQL:  # where rows have larger numbers, these count
            connection.exec_driver_sql(f"ALTER TABLE {sequence} AUTO_INCREMENT = {before}")
            continue
        owner = connection.execute(_OWNER, {"sequence": sequence}).first()
        if owner is None:  # nothing tells whether its numbers are still in use
            continue
        # PostgreSQL has quoted both names.
        largest = connection.scalar(
            select(func.max(literal_column(owner[1]))).select_from(text(owner[0]))
        )
        if largest is not None and largest > (before or 0):
            continue
        connection.execute(
            text("SELECT setval(CAST(:sequence AS regclass), :number, :is_called)"),
            {"sequence": sequence, "number": before or 1, "is_called": before is not None},
        )
