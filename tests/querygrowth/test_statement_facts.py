"""The kind and the tables of a statement are those that SQLite's own authorizer reports.

SQLite asks its authorizer about every table that a statement reads or changes, when it compiles the
statement. That is an oracle that shares nothing with the code under test.
"""

import logging
import sqlite3
from dataclasses import dataclass, field
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from querygrowth.counting.log import count_queries
from querygrowth.counting.shapes import shape_of
from querygrowth.counting.statements import (
    NO_TABLE,
    StatementKind,
    kind_of,
    skeleton,
    statements_in,
)

TABLES = ("items", "Orders", "order lines", "select", "n1")
SCHEMA = [f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY, a, b)' for name in TABLES]


@dataclass
class Facts:
    """What SQLite's authorizer was asked about one statement."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    session: bool = False
    defines: bool = False

    @property
    def kind(self) -> StatementKind:
        if self.session:
            return StatementKind.SESSION
        return StatementKind.OTHER if self.defines else StatementKind.QUERY


_CHANGES = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
_SESSION = {
    *(sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_PRAGMA),
    *(sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH),
}
_DEFINES = {
    *(sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_VIEW),
    *(sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_ANALYZE),
    *(sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_CREATE_TRIGGER),
}


def facts_of(sql: str) -> Facts:
    """What SQLite says about a statement, when it compiles it."""
    facts = Facts()

    def asked(action: int, one: str | None, *_: str | None) -> int:
        if action in _SESSION:
            facts.session = True
        elif action in _DEFINES:
            facts.defines = True
        elif action in _CHANGES and not str(one).startswith("sqlite_"):
            facts.written.add(str(one))
        elif action == sqlite3.SQLITE_READ and not str(one).startswith("sqlite_"):
            facts.read.add(str(one))
        return sqlite3.SQLITE_OK

    connection = schema()
    connection.set_authorizer(asked)
    # EXPLAIN compiles the statement without executing it, so that its values need not fit.
    connection.execute(f"EXPLAIN {sql}").close()
    return facts


@cache
def schema() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.text_factory = bytes  # the first line of an EXPLAIN may show a blob
    for statement in SCHEMA:
        connection.execute(statement)
    return connection


# A grammar of statements. Names are quoted where they must be, and sometimes where they need not.
def quoted(name: str) -> st.SearchStrategy[str]:
    forms = [f'"{name}"', f"`{name}`"]
    if name not in {"order lines", "select"}:
        forms += [name, name.upper(), f"main.{name}", f'"main"."{name}"']
    return st.sampled_from(forms)


tables = st.sampled_from(TABLES).flatmap(quoted)
values = st.sampled_from(
    ["1", "'it''s; -- not'", "NULL", "x'ff'", "-1.5e3", "'FROM items'", "'\"'", "(SELECT 7)"]
)
columns = st.sampled_from(["id", "a", "b", "count(*)", "id, a", "max(b)", "*"])
spaces = st.sampled_from([" ", "\n  ", " /* FROM n1; */ ", " -- JOIN items\n"])
conditions = st.one_of(
    st.just(""),
    values.map("WHERE a = {}".format),
    st.builds("WHERE a IN ({}, {})".format, values, values),
    tables.map("WHERE EXISTS (SELECT 1 FROM {} AS inside)".format),
    tables.map("WHERE id IN (SELECT id FROM {})".format),
)
selects = st.one_of(
    st.builds("SELECT {} FROM{}{} {}".format, columns, spaces, tables, conditions),
    st.builds("SELECT x.id FROM {} AS x JOIN {} AS y ON x.a = y.b".format, tables, tables),
    st.builds("SELECT x.id, y.id FROM {} x, {} y".format, tables, tables),
    st.builds("SELECT id FROM (SELECT id FROM {}) AS derived".format, tables),
    st.builds("SELECT id FROM {} UNION ALL SELECT a FROM {}".format, tables, tables),
    values.map("SELECT {}".format),
    values.map("VALUES ({})".format),
)
queries = st.one_of(
    selects,
    st.builds("WITH c AS ({}) SELECT * FROM c".format, selects),
    st.builds(
        "WITH c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3) {}".format, selects
    ),
)
sources = st.one_of(
    st.builds("VALUES ({}, {})".format, values, values),
    tables.map("SELECT a, b FROM {} WHERE true".format),
)
inserts = st.builds(
    "{} INTO{}{} (a, b) {}{}".format,
    st.sampled_from(["INSERT", "insert", "REPLACE", "INSERT OR REPLACE", "INSERT OR IGNORE"]),
    spaces,
    tables,
    sources,
    st.sampled_from(["", " RETURNING id"]),
)
changes = st.one_of(
    inserts,
    st.builds("UPDATE {} SET a = {} {}".format, tables, values, conditions),
    st.builds("UPDATE {} SET a = x.b FROM {} AS x WHERE true".format, tables, tables),
    st.builds("DELETE FROM {} {}".format, tables, conditions),
    st.builds(
        "WITH c AS (SELECT 1 AS n) DELETE FROM {} WHERE id IN (SELECT n FROM c)".format, tables
    ),
    st.builds("WITH c AS (SELECT 1 AS n) INSERT INTO {} (a) SELECT n FROM c".format, tables),
)
others = st.sampled_from(
    [
        *("BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "RELEASE s"),
        *("PRAGMA user_version", "PRAGMA table_info(items)", "CREATE TABLE t (a)"),
        *("CREATE TEMP TABLE t AS SELECT * FROM items", "DROP TABLE items", "REINDEX", "ANALYZE"),
        *("CREATE INDEX i ON items (a)", "CREATE VIEW v AS SELECT * FROM items"),
        "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM n1; SELECT 1; END",
    ]
)


def _folded(names: set[str] | tuple[str, ...]) -> set[str]:
    return {name.casefold() for name in names}


@given(st.one_of(queries, changes))
def test_the_tables_of_any_query_are_those_that_sqlite_authorizes(sql: str) -> None:
    facts, shape = facts_of(sql), shape_of(sql, "sqlite")
    assert kind_of(sql) is StatementKind.QUERY
    assert _folded(shape.tables_written) == _folded(facts.written)
    # SQLite names the columns that are read. A target has some, and so does a table only counted.
    assert _folded(shape.tables - {NO_TABLE}) >= _folded(facts.read)
    assert _folded(shape.tables_read) - _folded(facts.written) <= _folded(facts.read)
    assert (shape.operation == "SELECT") is not bool(facts.written)


@given(st.one_of(queries, changes, others))
def test_the_kind_of_any_statement_is_the_one_that_sqlite_authorizes(sql: str) -> None:
    if sql in {"ANALYZE", "REINDEX"}:  # SQLite asks about tables only where there are some
        assert kind_of(sql) is StatementKind.OTHER
    else:
        assert kind_of(sql) is facts_of(sql).kind


@given(st.lists(st.one_of(queries, changes, others), min_size=1, max_size=4), st.booleans())
def test_a_text_of_several_statements_is_read_as_each_of_them(each: list[str], ends: bool) -> None:
    together = ";\n".join(each) + ("; -- end;" if ends else "")
    assert [*map(skeleton, statements_in(together, "sqlite"))] == [*map(skeleton, each)]


@given(st.text(alphabet="SELECTFROMWHEREitems()'\"`[];,.*?:$%\\-/# \n\t1", max_size=60))
def test_no_text_raises_or_reaches_the_log(text: str) -> None:
    heard: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = heard.append  # type: ignore[method-assign]
    logging.getLogger("sqlglot").addHandler(handler)
    try:
        for dialect in ("sqlite", "postgresql", "mysql", "mssql"):
            for part in statements_in(text, dialect):
                assert shape_of(part, dialect).table
                assert kind_of(part) in StatementKind
    finally:
        logging.getLogger("sqlglot").removeHandler(handler)
    assert heard == []


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    import sqlglot

    texts: list[str] = []
    parse = sqlglot.parse_one

    def counting(sql: str, **arguments: object) -> object:
        texts.append(sql)
        return parse(sql, **arguments)

    monkeypatch.setattr(sqlglot, "parse_one", counting)
    return texts


def test_a_log_of_many_texts_parses_each_once(parsed: list[str]) -> None:
    """Reading a log several times parses nothing again, however many texts it has."""
    engine = create_engine("sqlite://")
    texts = [f"SELECT 1 AS once_{number}" for number in range(4_200)]
    with count_queries(engine, call_sites=False) as log, engine.connect() as connection:
        for each in texts:
            connection.exec_driver_sql(each)
    assert (log.total, log.by_table, len(log.by_shape)) == (4_200, {NO_TABLE: 4_200}, 4_200)
    assert len(log.queries) == len(parsed) == 4_200


def test_texts_that_differ_in_values_are_parsed_once(parsed: list[str]) -> None:
    texts = [f"SELECT b FROM of_one_skeleton WHERE id = {number}" for number in range(30)]
    assert len({shape_of(each, "sqlite") for each in texts}) == len(parsed) == 1
