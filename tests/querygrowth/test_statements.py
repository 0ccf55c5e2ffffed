"""Shapes: statements that differ only in values have one shape, and their tables are known."""

import pytest

from querygrowth.counting.shapes import shape_of
from querygrowth.counting.statements import (
    NO_TABLE,
    StatementKind,
    kind_of,
    needs_report,
    skeleton,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id = 22"),
        ("SELECT a FROM t WHERE id = ?", "SELECT a FROM t WHERE id = 22"),
        ("SELECT a FROM t WHERE id = :id_1", "SELECT a FROM t WHERE id = %(id_1)s"),
        ("SELECT a FROM t WHERE b = 'x'", "select a  from t\n where b = 'it''s -- not'"),
        ("SELECT a FROM t WHERE id IN (?)", "SELECT a FROM t WHERE id IN (?, ?, ?)"),
        ("SELECT a FROM t WHERE id IN (1, 2)", "SELECT a FROM t WHERE id IN (7)"),
        ("SELECT a FROM t", "SELECT a FROM t /* order 17 */"),
        ("SELECT a FROM t", "SELECT a -- of order 17\nFROM t;"),
        ("INSERT INTO t (a) VALUES (?)", "INSERT INTO t (a) VALUES (?), (?), (?)"),
        ("SELECT a FROM t LIMIT 10 OFFSET 20", "SELECT a FROM t LIMIT 10 OFFSET 30"),
        ("SELECT a FROM t WHERE b > -1.5e-7", "SELECT a FROM t WHERE b > -2"),
        ("SELECT a FROM t WHERE b = x'ff'", "SELECT a FROM t WHERE b = 5"),
    ],
)
def test_statements_that_differ_in_values_have_one_shape(one: str, other: str) -> None:
    assert shape_of(one, "sqlite") == shape_of(other, "sqlite")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT a FROM t", "SELECT a FROM u"),
        ("SELECT a FROM t1", "SELECT a FROM t2"),
        ('SELECT "1" FROM t', 'SELECT "2" FROM t'),
        ("SELECT a FROM t WHERE id = 1", "SELECT a FROM t WHERE id > 1"),
        ("SELECT a FROM t WHERE b IS NULL", "SELECT a FROM t WHERE b IS NOT NULL"),
    ],
)
def test_different_statements_have_two_shapes(one: str, other: str) -> None:
    assert shape_of(one, "sqlite") != shape_of(other, "sqlite")


def test_a_postgresql_cast_is_kept_and_its_value_is_not() -> None:
    one = shape_of("SELECT a FROM t WHERE id = %(id_1)s::INTEGER", "postgresql")
    assert one == shape_of("SELECT a FROM t WHERE id = %(other)s::INTEGER", "postgresql")
    assert "INT" in one.text
    assert "?" in one.text


@pytest.mark.parametrize(
    ("sql", "table", "read", "written"),
    [
        ("SELECT a FROM t", "t", ("t",), ()),
        ("SELECT count(*) FROM t", "t", ("t",), ()),
        ("SELECT u.a, u.b, t.a FROM t JOIN u ON u.t = t.id", "u", ("t", "u"), ()),
        ("SELECT x.a FROM t AS x JOIN u AS y ON y.t = x.id", "t", ("t", "u"), ()),
        ("SELECT a FROM t WHERE id IN (SELECT t_id FROM u)", "t", ("t", "u"), ()),
        ("WITH c AS (SELECT a FROM t) SELECT c.a FROM c", "t", ("t",), ()),
        ("SELECT a FROM t UNION SELECT a FROM u", "t", ("t", "u"), ()),
        ("INSERT INTO t (a) SELECT a FROM u", "t", ("u",), ("t",)),
        ("UPDATE t SET a = (SELECT max(a) FROM u)", "t", ("u",), ("t",)),
        ("DELETE FROM t WHERE id = 1", "t", (), ("t",)),
        ("SELECT 1", NO_TABLE, (), ()),
    ],
)
def test_the_tables_of_a_statement_are_known(
    sql: str, table: str, read: tuple[str, ...], written: tuple[str, ...]
) -> None:
    shape = shape_of(sql, "sqlite")
    assert (shape.table, set(shape.tables_read), shape.tables_written) == (
        table, set(read), written,
    )  # fmt: skip


def test_a_join_over_ancestors_is_about_the_table_it_selects() -> None:
    sql = (
        "SELECT calls.id, calls.kind, calls.latency, rows.row_index FROM rows "
        "JOIN tokens ON tokens.row_id = rows.id JOIN calls ON calls.token_id = tokens.id"
    )
    assert shape_of(sql, "sqlite").table == "calls"


def test_a_statement_that_cannot_be_parsed_has_a_shape_and_tables() -> None:
    one = shape_of("SELECT a FROM orders WHERE ((( id = 5", "sqlite")
    assert one == shape_of("SELECT a FROM orders WHERE ((( id = 6", "sqlite")
    assert one.table == "orders"


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("select 1", StatementKind.QUERY),
        ("  /* why */ (SELECT 1) UNION (SELECT 2)", StatementKind.QUERY),
        ("-- why\nWITH a AS (SELECT 1) SELECT * FROM a", StatementKind.QUERY),
        ("BEGIN IMMEDIATE", StatementKind.SESSION),
        ("set transaction isolation level serializable", StatementKind.SESSION),
        ("LOCK TABLE t IN ACCESS SHARE MODE", StatementKind.SESSION),
        ("PRAGMA foreign_keys", StatementKind.SESSION),
        ("RELEASE SAVEPOINT a", StatementKind.SESSION),
        ("CREATE TABLE t (id INTEGER)", StatementKind.OTHER),
        ("VACUUM", StatementKind.OTHER),
        ("", StatementKind.OTHER),
    ],
)
def test_the_first_keyword_gives_the_kind_of_a_statement(sql: str, kind: StatementKind) -> None:
    assert kind_of(sql) is kind


def test_a_long_list_is_reduced_at_once() -> None:
    placeholders = ", ".join("?" * 32_766)
    assert skeleton(f"SELECT a FROM t WHERE id IN ({placeholders})") == (
        "SELECT a FROM t WHERE id IN (?)"
    )


@pytest.mark.parametrize(
    ("sql", "read", "written"),
    [
        ("SELECT (( FROM t JOIN u", ("t", "u"), ()),
        ("WITH (( FROM t JOIN u", ("t", "u"), ()),
        ("UPDATE t SET (( FROM u", ("u",), ("t",)),
        ("DELETE (( FROM t", (), ("t",)),
        ("SELECT ((", (), ()),
    ],
)
def test_the_tables_of_a_text_that_cannot_be_parsed_are_found_by_words(
    sql: str, read: tuple[str, ...], written: tuple[str, ...]
) -> None:
    shape = shape_of(sql, "sqlite")
    assert shape.operation == sql.split()[0].replace("WITH", "SELECT")
    assert (shape.tables_read, shape.tables_written) == (read, written)
    assert shape.table == (written + read + (NO_TABLE,))[0]


@pytest.mark.parametrize(
    ("sql", "is_asked"),
    [
        ("SELECT 1", False),
        ("begin", False),
        ("CREATE TABLE t (a INTEGER)", False),
        ("EXPLAIN ANALYZE SELECT 1", False),
        ("", False),
        # Only its driver knows what a procedure did.
        ("CALL renumber()", True),
        ("EXECUTE prepared", True),
    ],
)
def test_the_driver_is_asked_where_the_text_does_not_tell_the_kind(
    sql: str, is_asked: bool
) -> None:
    assert needs_report(sql) is is_asked
