"""What to send instead of a command or a function in a loop fits the command."""

import pytest

from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.counting.causes import Cause
from querygrowth.counting.shapes import shape_of
from querygrowth.fixes.queries import fix_of
from querygrowth.growth.report import GrowthReport
from querygrowth.growth.verdicts import judge_growth
from querygrowth.places.orm_loads import Load, Reason


@pytest.mark.parametrize(
    ("sql", "advice"),
    [
        ("fetch next from c", "FETCH once per item of jobs: fetch many rows at a time"),
        ("MOVE 1 IN c", "MOVE once per item of jobs: move by many rows"),
        ("CALL touch(3)", "CALL once per item of jobs: call it once for all items"),
        ("EXECUTE p(3)", "EXECUTE once per item of jobs: execute it once"),
        ("TRUNCATE TABLE log", "TRUNCATE once per item of jobs: truncate once"),
        ("COPY log FROM STDIN", "COPY once per item of jobs: copy the rows of all items"),
        ("SELECT name_of(3)", "calls name_of() once per item of jobs: call it for all rows"),
        (
            "SELECT coalesce(max(t.id), 0) + 1 FROM t",
            "the same query about t once per item of jobs: send it once",
        ),
        ("SELECT 1", "the same statement once per item of jobs: send it once"),
        (
            "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO NOTHING",
            "insert(t).on_conflict_do_nothing(...), [{...}, {...}]",
        ),
        (
            "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
            "insert(t).on_conflict_do_update(...), [{...}, {...}]",
        ),
        ("INSERT OR REPLACE INTO t (id) VALUES (1)", "connection.execute(statement, [{...}"),
        (
            "SELECT count(*) FROM bill JOIN person ON person.id = bill.payer WHERE person.team = 3",
            "with WHERE person.team = ?: fetch them in one query with IN for person.team, and",
        ),
        ("INSERT INTO t (id) VALUES (1)", "connection.execute(insert(t), [{...}, {...}])"),
    ],
)
def test_the_repair_of_a_query_fits_its_command(sql: str, advice: str) -> None:
    sent = ShapeActivity(shape_of(sql, "sqlite"), 3)
    assert advice in fix_of(sent, item="item of jobs").next_step


def test_the_key_of_a_lookup_is_named_where_the_driver_is_sent_its_type() -> None:
    sql = "SELECT id FROM items WHERE items.order_id = %(id_1)s::INTEGER"
    sent = ShapeActivity(shape_of(sql, "postgresql"), 3)
    fix = fix_of(sent, item="item of orders")
    assert "with WHERE order_id = ?: fetch them in one query with IN" in fix.next_step


@pytest.mark.parametrize(
    ("condition", "relationships"),
    [
        ("? = items.order_id", "relationship: Order.open or Order.sent"),
        ('? = "items".order_id', "relationship: Order.open or Order.sent"),
        ("items.order_id = ?", ""),
        ("? = items.id", ""),
    ],
)
def test_only_the_condition_of_a_relationship_names_it(condition: str, relationships: str) -> None:
    dynamic = (("Order.open", "items.order_id"), ("Order.sent", "items.order_id"))
    load = Load(Reason.QUERY.value, owner="Item", rows="Item", dynamic=dynamic)
    shape = shape_of(f"SELECT id FROM items WHERE {condition}", "sqlite")
    fix = fix_of(ShapeActivity(shape, 3, cause=Cause(load=load)), item="item of orders")
    assert [*fix.evidence] == ([relationships] if relationships else [])


@pytest.mark.parametrize(
    ("sql", "constant"),
    [
        ("EXPLAIN SELECT 1", True),
        ("ANALYZE", True),
        ("CALL touch(1)", False),
        ("DO $$ begin end $$", False),
        ("CREATE TEMPORARY TABLE t (id INTEGER)", False),
        ("UPDATE t SET id = 1", False),
    ],
)
def test_rows_may_be_read_for_a_command_that_may_write(sql: str, constant: bool) -> None:
    read = shape_of("SELECT id FROM jobs")
    command = ShapeActivity(shape_of(sql), 1)
    activities = [
        Activity(
            shapes=(ShapeActivity(read, 1, rows_fetched=scale), command),
            checkouts=1,
            rows_fetched=scale,
            records=1,
        )
        for scale in (2, 20, 60)
    ]
    report = GrowthReport.of("action", "jobs", (2, 20, 60), activities)
    failed = [verdict for verdict in judge_growth(report) if verdict.failed]
    assert bool(failed) is constant
