"""Contracts: declared chunks and pages pass, undeclared ones fail, and so does an equal loop."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis.strategies import integers
from scenarios.good import constant_lookups, declared_eager_load
from scenarios.loops import core_loop
from scenarios.paging import by_key, in_uneven_chunks
from scenarios.shop import Item, Order, shop
from sqlalchemy import select

from querygrowth.assertions import assert_query_growth
from querygrowth.contracts.allowance import Allowance
from querygrowth.contracts.budget import Budget, plain_budget
from querygrowth.contracts.contract import QueryContract, judge_vacuity
from querygrowth.counting.activity import TRANSACTIONS, Activity, ShapeActivity
from querygrowth.counting.statements import Shape
from querygrowth.counting.watch import action_runner, watch
from querygrowth.growth.report import GrowthReport
from querygrowth.growth.verdicts import judge_growth
from querygrowth.places.call_sites import CallSite
from querygrowth.search import find_blow_up


def activity(action, **sizes: int) -> Activity:
    with shop(**sizes) as engine, action_runner() as runner:
        return watch(action, engine, runner=runner)


def failures(contract: QueryContract, seen: Activity) -> list[str]:
    return [str(each) for each in contract.judge(seen, "action") if each.failed]


ONE_PER_TABLE = QueryContract(per_table=1)
SENDS_ITEMS = CallSite("/shop/orders.py", 12, "items_of")
LOOP = Activity(
    shapes=(
        ShapeActivity.named("orders", "SELECT id FROM orders", 1),
        replace(
            ShapeActivity.named("items", "SELECT id FROM items WHERE order_id = ?", 5, SENDS_ITEMS),
            rows_fetched=10,
        ),
    ),
    transactions=1,
    checkouts=1,
    rows_fetched=15,
    records=10,
    sites={TRANSACTIONS: SENDS_ITEMS},
)
"""One query about orders, then five about items."""


def test_a_table_without_a_limit_is_not_shown_for_the_limit_of_another() -> None:
    orders, items = LOOP.shapes
    busy = replace(LOOP, shapes=(replace(orders, count=9), items))
    (failure,) = (
        each for each in QueryContract(per_table={"items": 4}).judge(busy, "a") if each.failed
    )
    assert (failure.seen, failure.site) == ("5 queries about items", SENDS_ITEMS)
    assert not any("orders" in line for line in failure.evidence)


def test_one_query_per_table_is_kept() -> None:
    assert failures(ONE_PER_TABLE, activity(declared_eager_load, orders=500)) == []


def test_an_undeclared_step_fails() -> None:
    (failure,) = failures(ONE_PER_TABLE, activity(declared_eager_load, orders=501))
    assert failure.startswith("action: 2 queries about items\n  2x SELECT items.order_id")
    assert "\nat: tests/querygrowth/scenarios/good.py:" in failure
    assert "expected: at most 1 query per table" in failure


@pytest.mark.parametrize("orders", [2, 500, 501, 1001])
def test_a_declared_step_passes(orders: int) -> None:
    contract = ONE_PER_TABLE.allow("items", chunk=500)
    assert failures(contract, activity(declared_eager_load, orders=orders)) == []
    assert failures(contract, activity(in_uneven_chunks, orders=orders)) == []


def test_a_loop_of_the_same_total_fails() -> None:
    """Three queries either way: in full chunks for 1001 orders, one by one for three."""
    contract = ONE_PER_TABLE.allow("items", chunk=500)
    chunked, looped = activity(in_uneven_chunks, orders=1001), activity(core_loop, orders=3)
    assert chunked.by_table["items"] == looped.by_table["items"] == 3
    assert failures(contract, chunked) == []
    assert "3 queries about items" in failures(contract, looped)[0]


def test_an_allowance_is_for_one_table_only() -> None:
    contract = ONE_PER_TABLE.allow("orders", chunk=500)
    assert failures(contract, activity(declared_eager_load, orders=501)) != []


def test_an_allowance_may_name_a_part_of_its_shape() -> None:
    seen = activity(declared_eager_load, orders=501)
    assert failures(ONE_PER_TABLE.allow("items", chunk=500, containing="IN (?)"), seen) == []
    assert failures(ONE_PER_TABLE.allow("items", chunk=500, containing="LIMIT"), seen) != []


@pytest.mark.parametrize(
    ("allowance", "granted"),
    [
        (Allowance("items", chunk=500), {0: 0, 1: 0, 500: 0, 501: 1, 1000: 1, 1001: 2}),
        (Allowance("items", page=10), {0: 0, 9: 0, 10: 1, 19: 1, 20: 2}),
        (Allowance("orders", chunk=1), {0: 0, 1001: 0}),
    ],
)
def test_an_allowance_grants_queries_for_the_values_that_were_carried(
    allowance: Allowance, granted: dict[int, int]
) -> None:
    items = ShapeActivity.named("items", "SELECT id FROM items", 9)
    sent = {n: replace(LOOP, shapes=(replace(items, values=n),)) for n in granted}
    assert {n: allowance.extra_queries(act) for n, act in sent.items()} == granted


def ranged(rows: int, size: int, children: int = 0) -> Activity:
    """Rows in ranges of `size`, of which the first has another text, and their children."""
    ranges = max(1, -(-rows // size))
    first = ShapeActivity.named("rows", "SELECT id FROM rows LIMIT ?", 1)
    later = ShapeActivity.named("rows", "SELECT id FROM rows WHERE id > ? LIMIT ?", ranges - 1)
    below = ShapeActivity.named("tokens", "SELECT id FROM tokens WHERE row BETWEEN ? AND ?", ranges)
    shapes = (
        replace(first, rows_fetched=min(rows, size)),
        # Values are parameters here, which must grant nothing.
        replace(later, rows_fetched=max(0, rows - size), values=9 * rows),
        replace(below, rows_fetched=children, values=9 * rows),
    )
    return replace(LOOP, shapes=tuple(each for each in shapes if each.count))


RANGES = ONE_PER_TABLE.allow("rows", page=200, of="rows").allow("tokens", page=200, of="rows")


@pytest.mark.parametrize("rows", [1, 199, 200, 201, 400, 501, 10_000])
@pytest.mark.parametrize("children", [0, 7])
def test_declared_ranges_pass_with_any_number_of_children(rows: int, children: int) -> None:
    assert failures(RANGES, ranged(rows, 200, children)) == []


@pytest.mark.parametrize("size", [1, 100, 150])
def test_smaller_ranges_than_declared_fail(size: int) -> None:
    (failure,) = failures(RANGES, ranged(10_000, size, children=10_000))
    assert "queries about rows" in failure
    assert "queries about tokens" in failure


def test_a_query_that_reads_a_whole_table_grants_no_loop_over_it() -> None:
    whole = replace(
        ShapeActivity.named("rows", "SELECT id FROM rows", 1), rows_fetched=10_000, values=10_000
    )
    loop = replace(
        ShapeActivity.named("rows", "SELECT id FROM rows WHERE id = ?", 50), rows_fetched=50
    )
    seen = replace(LOOP, shapes=(whole, loop))
    assert "51 queries about rows" in failures(RANGES, seen)[0]
    # The ranges of another table may follow the rows of one query.
    below = ShapeActivity.named("tokens", "SELECT id FROM tokens WHERE row > ? AND row < ?", 50)
    assert failures(RANGES, replace(LOOP, shapes=(whole, below))) == []
    more = replace(below, count=52)
    assert failures(RANGES, replace(LOOP, shapes=(whole, more))) != []


def test_ranges_of_rows_grant_nothing_along_another_axis() -> None:
    tokens = ShapeActivity.named("tokens", "SELECT id FROM tokens LIMIT ? OFFSET ?", 5)
    rows = replace(ShapeActivity.named("rows", "SELECT id FROM rows", 1), rows_fetched=3)
    seen = replace(LOOP, shapes=(rows, replace(tokens, rows_fetched=1_000, values=1_000)))
    assert "5 queries about tokens" in failures(RANGES, seen)[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"of": "rows"},
        {"of": "rows", "chunk": 5},
        {"of": "", "page": 5},
        {"of": "*", "page": 5},
        {"of": "rows", "page": 5, "containing": "LIMIT"},
    ],
)
def test_ranges_need_a_page_and_one_table(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"allow\('tokens'"):
        ONE_PER_TABLE.allow("tokens", **arguments)


def test_a_misspelt_table_of_ranges_is_named() -> None:
    contract = ONE_PER_TABLE.allow("tokens", page=5, of="row")
    assert set(contract.named_tables) == {"tokens", "row"}


@pytest.mark.parametrize("orders", [1, 5, 10, 32])
def test_declared_pages_may_end_with_an_empty_one(orders: int) -> None:
    seen = activity(by_key(10), orders=orders, items=1)
    assert failures(ONE_PER_TABLE.allow("items", page=10), seen) == []
    assert seen.queries == orders // 10 + 1


def test_smaller_pages_than_declared_fail() -> None:
    seen = activity(by_key(2), orders=32, items=1)
    assert failures(ONE_PER_TABLE.allow("items", page=10), seen) != []


def test_single_tables_may_have_their_own_limits() -> None:
    seen = activity(constant_lookups)
    assert failures(QueryContract(per_table={"customers": 5, "*": 1}), seen) == []
    assert failures(QueryContract(per_table={"customers": 4}), seen) != []
    assert failures(QueryContract(per_table={"*": 4}), seen) != []


def test_totals_transactions_and_rows_have_limits() -> None:
    seen = activity(core_loop, orders=5)
    assert seen.queries == 6
    assert failures(QueryContract(total=6, transactions=1, rows_per_record=1.5), seen) == []
    assert len(failures(QueryContract(total=5, transactions=0, rows_per_record=1.4), seen)) == 3


def test_the_transaction_that_is_one_too_many_is_named_and_not_the_first_one() -> None:
    def in_two(engine):
        with engine.connect() as connection:
            connection.execute(select(Order.id)).all()
        with engine.connect() as connection:
            connection.execute(select(Item.id)).all()

    (failure,) = QueryContract(transactions=1).judge(activity(in_two), "action")
    assert failure.failed
    assert failure.site is not None
    assert failure.site.line == in_two.__code__.co_firstlineno + 4


def test_the_excess_is_the_number_of_queries_too_many() -> None:
    seen = activity(core_loop, orders=5)
    assert ONE_PER_TABLE.excess(seen) == 4
    assert QueryContract(total=4).excess(seen) == 2
    assert QueryContract(total=9, per_table=9).excess(seen) == 0


@pytest.mark.parametrize(
    ("changes", "seen", "next_step"),
    [
        ({"unconsumed": True}, "returned an iterator that was not consumed",
            "wrap it in list() in the action"),
        ({"shapes": (), "checkouts": 0}, "the engine was never used",
            "whether the action uses another engine"),
        ({"shapes": (), "transactions": 0, "bypassed": ()}, "sent no query",
            "whether the action does its work lazily, or from a cache"),
        ({"records": 0}, "emitted no record",
            "whether the population is where the action looks"),
        ({}, "did something", ""),
        ({"shapes": (), "transactions": 0, "bypassed": ("SELECT 1",)}, "did something", ""),
        ({"shapes": (), "bypassed": ()}, "did something", ""),
        ({"shapes": (), "checkouts": 0, "unconsumed": True},
            "returned an iterator that was not consumed", "wrap it in list() in the action"),
        ({"records": None}, "did something", ""),
    ],
)  # fmt: skip
def test_an_action_that_did_nothing_fails_with_its_cause(
    changes: dict[str, object], seen: str, next_step: str
) -> None:
    verdict = judge_vacuity(replace(LOOP, **changes), "action")
    assert (verdict.subject, verdict.seen, verdict.next_step) == ("action", seen, next_step)
    assert verdict.failed is (seen != "did something")


def test_a_total_that_is_too_large_shows_the_shapes_sent_most() -> None:
    (failure,) = (each for each in QueryContract(total=5).judge(LOOP, "action") if each.failed)
    assert str(failure) == (
        "action: 6 queries\n"
        "  5x SELECT id FROM items WHERE order_id = ?\n"
        "  1x SELECT id FROM orders\n"
        "at: /shop/orders.py:12 in items_of\n"
        "expected: at most 5 queries\n"
        "look at: the shapes above, most sent first"
    )


def test_a_limit_of_zero_is_a_limit() -> None:
    assert QueryContract(per_table=0).excess(activity(core_loop, orders=1)) == 2


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (QueryContract(total=1), "at most 1 query"),
        (QueryContract(total=5), "at most 5 queries"),
        (QueryContract(per_table=1), "at most 1 query per table"),
        (QueryContract(per_table=0), "at most 0 queries per table"),
        (QueryContract(per_table={"items": 2, "orders": 0, "notes": 0}),
            "at most 0 queries about orders, at most 2 queries about items"),
        (QueryContract(per_table={"orders": 1, "*": 3}), "at most 3 queries about items"),
        (QueryContract(transactions=0), "at most 0 transactions"),
        (QueryContract(rows_per_record=1.25), "at most 1.25 fetched rows for each record"),
        (QueryContract(per_table=1).allow("items", page=9).allow("orders", chunk=9),
            "at most 1 query per table, but items in pages of 9"),
        (QueryContract(total=1).allow("notes", chunk=9),
            "at most 1 query, but notes in chunks of 9"),
    ],
)  # fmt: skip
def test_a_failure_names_the_limit_that_was_broken_and_no_other(
    contract: QueryContract, expected: str
) -> None:
    """Every contract here has all the other limits too, and they are kept."""
    kept = {"total": 99, "per_table": 99, "transactions": 99, "rows_per_record": 99.0}
    limits = {name: getattr(contract, name) for name in kept}
    whole = replace(
        contract, **{n: kept[n] if limit is None else limit for n, limit in limits.items()}
    )
    (failure,) = [each for each in whole.judge(LOOP, "action") if each.failed]
    assert failure.expected == expected
    assert failure.site == SENDS_ITEMS


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"chunk": 5, "page": 5},
        {"chunk": 0},
        {"page": -1},
        {"chunk": True},
        {"chunk": "5"},
        {"page": 1.5},
    ],
)
def test_an_allowance_needs_one_size(sizes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="either chunk or page"):
        QueryContract().allow("items", **sizes)


@pytest.mark.parametrize("table", ["", "*", None, 5])
def test_an_allowance_is_for_one_table(table: object) -> None:
    with pytest.raises(ValueError, match=r"allow needs the name of one table, got "):
        QueryContract().allow(table, chunk=5)


# Equal to a number, without a size, or compared with every count as false: none limits anything.
NO_LIMITS = [-1, True, False, "5", 1.5, float("nan")]


@pytest.mark.parametrize("limit", NO_LIMITS)
@pytest.mark.parametrize("name", ["total", "per_table", "transactions"])
def test_a_limit_is_a_whole_number(name: str, limit: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a whole number that is not negative"):
        QueryContract(**{name: limit})


@pytest.mark.parametrize("limit", [*NO_LIMITS, None])
def test_a_limit_of_one_table_is_a_whole_number_and_not_none(limit: object) -> None:
    with pytest.raises(ValueError, match=r"^per_table\['items'\] must be a whole number .*, got "):
        QueryContract(per_table={"items": limit, "*": 1})


@pytest.mark.parametrize("limit", [-0.5, True, "5", float("nan"), float("inf")])
def test_rows_per_record_is_a_finite_number(limit: object) -> None:
    with pytest.raises(ValueError, match=r"^rows_per_record must be a finite number"):
        QueryContract(rows_per_record=limit)


def test_limits_by_table_name_at_least_one_table() -> None:
    with pytest.raises(ValueError, match="per_table must limit at least one table"):
        QueryContract(per_table={})


@pytest.mark.parametrize("table", [1, None, ""])
def test_limits_by_table_are_for_names(table: object) -> None:
    with pytest.raises(ValueError, match="per_table must map names of tables, got the name "):
        QueryContract(per_table={table: 9})


def test_limits_of_zero_and_fractions_of_rows_are_limits() -> None:
    limits = QueryContract(total=0, per_table={"items": 0}, transactions=0, rows_per_record=0.5)
    assert len(failures(limits, activity(core_loop, orders=2))) == 4


def _takes_two(engine: object, order: int) -> None: ...


@pytest.mark.parametrize("action", [lambda: None, _takes_two, [].clear])
@pytest.mark.parametrize("options", [{"axes": ["orders"]}, {"models": object}], ids=list)
def test_an_action_that_cannot_be_called_with_an_engine_is_refused_before_anything_runs(
    action: Any, options: Any
) -> None:
    def never(**_sizes: object) -> None:
        raise AssertionError("something ran")

    populate = never if "axes" in options else None
    with pytest.raises(TypeError, match=r"^query_growth calls the action with one argument, .*\)"):
        assert_query_growth(action, populate, **options)


@pytest.mark.parametrize("contract", [5, 0, {}, "items", QueryContract])
def test_what_is_not_a_contract_is_refused_before_anything_runs(
    contract: object, count_queries
) -> None:
    def never(*_arguments: object, **_sizes: object) -> None:
        raise AssertionError("something ran")

    complaint = "^contract must be a QueryContract, such as .*, got "
    with pytest.raises(ValueError, match=complaint):
        assert_query_growth(never, never, axes=["orders"], contract=contract)
    with pytest.raises(ValueError, match=complaint):
        judge_growth(GrowthReport("action", ()), contract)
    with pytest.raises(ValueError, match=complaint):
        find_blow_up(integers(), never, contract)
    with (
        shop() as engine,
        pytest.raises(ValueError, match=complaint),
        count_queries(engine, contract=contract),
    ):
        never()


@pytest.mark.parametrize("name", ["items", "Items", '"items"', "public.items"])
def test_rows_of_a_whole_table_are_left_out_under_any_spelling_of_its_name(name: str) -> None:
    read = ShapeActivity(
        Shape("SELECT id FROM items", "SELECT", "items", ("items",), ()), 1, rows_fetched=7
    )
    other = ShapeActivity(
        Shape("SELECT id FROM notes", "SELECT", "notes", ("notes",), ()), 1, rows_fetched=2
    )
    seen = Activity(shapes=(read, other), rows_fetched=9)
    assert QueryContract().allow_rows(name).fetched_rows(seen) == 2


@pytest.mark.parametrize(
    ("arguments", "named", "budget"),
    [
        ((3,), {}, Budget(3)),
        ((), {"total": 3, "transactions": 0}, Budget(3, transactions=0)),
        ((3,), {"engine": "shop"}, Budget(3)),
        ((3,), {"engine": ["shop", "stock"]}, Budget(3)),
        # What is left to `query_budget`, which says what is wrong.
        ((3,), {"engine": 5}, None),
        ((3,), {"engine": ["shop", 5]}, None),
        ((3, 4), {}, None),
        ((3,), {"total": 3}, None),
        ((), {}, None),
        ((), {"engine": "shop"}, None),
        ((-1,), {}, None),
        ((True,), {}, None),
        ((3,), {"ENGINE": "shop"}, None),
        ((3,), {"queries": 4}, None),
    ],
)
def test_a_plain_budget_is_read_from_the_arguments_of_a_marker(
    arguments: tuple[Any, ...], named: dict[str, Any], budget: Budget | None
) -> None:
    assert plain_budget(arguments, named) == budget
