"""The words of a growth failure: the broken expectation, the line, and the failures that follow.

The activities are built here, as a program that measures in another process would build them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from querygrowth.contracts.contract import QueryContract
from querygrowth.counting.activity import (
    CHECKOUTS,
    SESSION_STATEMENTS,
    TRANSACTIONS,
    Activity,
    ShapeActivity,
)
from querygrowth.counting.causes import CountCause
from querygrowth.growth.axes import next_size
from querygrowth.growth.evidence import data_by_scale, describe_trend
from querygrowth.growth.grown import reported_counts
from querygrowth.growth.report import GrowthReport, cost_of
from querygrowth.growth.rises import site_of_rise
from querygrowth.growth.trend import trend
from querygrowth.growth.verdicts import judge_growth
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict

SCALES = (10, 100, 1000)
READS_ROWS = CallSite("/shop/exporter.py", 3, "rows")
LOOPS = CallSite("/shop/exporter.py", 9, "states")
ELSEWHERE = CallSite("/shop/session.py", 5, "open")
KEPT = Activity(
    shapes=(
        replace(ShapeActivity.named("rows", "SELECT id FROM rows", 1, READS_ROWS), rows_fetched=10),
        replace(
            ShapeActivity.named("states", "SELECT id FROM states WHERE row_id = ?", 1, LOOPS),
            rows_fetched=20,
        ),
    ),
    session_statements=1,
    transactions=1,
    checkouts=1,
    rows_fetched=30,
    bypassed=(),
    work={"vm_steps": 50},
    sites={TRANSACTIONS: ELSEWHERE, CHECKOUTS: ELSEWHERE, SESSION_STATEMENTS: ELSEWHERE},
)


def scaled(**changes: object) -> list[Activity]:
    """An activity for each scale; a change is called with the scale."""
    return [
        replace(KEPT, records=scale, **{name: change(scale) for name, change in changes.items()})
        for scale in SCALES
    ]


def looped(scale: int) -> tuple[ShapeActivity, ...]:
    rows, states = KEPT.shapes
    return (rows, replace(states, count=scale))


def failed(activities: list[Activity], contract: QueryContract | None = None) -> list[Verdict]:
    report = GrowthReport.of("Exporter", "rows", SCALES, activities)
    return [each for each in judge_growth(report, contract) if each.failed]


def linear(scale: int) -> int:
    return scale


def quadratic(scale: int) -> int:
    return scale * scale


def one(_scale: int) -> int:
    return 1


@pytest.mark.parametrize(
    ("activities", "contract", "seen", "expected", "site"),
    [
        (scaled(shapes=looped), None,
            "queries grew with rows", "the same count at every scale", LOOPS),
        (scaled(shapes=looped), QueryContract(transactions=1).allow("rows", page=5),
            "queries grew with rows", "the same count at every scale", LOOPS),
        (scaled(shapes=looped), QueryContract(transactions=1).allow("states", chunk=5),
            "queries grew with rows",
            "the same count at every scale, but states in chunks of 5", LOOPS),
        (scaled(transactions=linear), None,
            "transactions grew with rows (linear, slope 1.00)",
            "the same number of transactions at every scale", ELSEWHERE),
        (scaled(checkouts=linear), None,
            "checkouts grew with rows (linear, slope 1.00)",
            "the same number of checkouts at every scale", ELSEWHERE),
        (scaled(session_statements=linear), None,
            "session statements grew with rows (linear, slope 1.00)",
            "the same number of session statements at every scale", ELSEWHERE),
        (scaled(rows_fetched=quadratic), None,
            "fetched rows grew faster than rows", "fetched rows in proportion to rows", LOOPS),
        (scaled(work=lambda scale: {"vm_steps": scale * scale}), None,
            "vm_steps grew faster than rows", "vm_steps at most in proportion to rows", None),
        (scaled(bypassed=lambda _: ("SELECT 1",)), None,
            "1 statement went past SQLAlchemy",
            "every statement sent through SQLAlchemy, where it is counted", None),
        (scaled(unconsumed=bool), None,
            "returned an iterator that was not consumed",
            "an action that sends queries and whose result is consumed", None),
        (scaled(), QueryContract(total=1, per_table=9, transactions=9, rows_per_record=9),
            "2 queries", "at most 1 query", READS_ROWS),
        (scaled(), QueryContract(per_table={"states": 0, "*": 9}, total=9, transactions=9),
            "1 query about states", "at most 0 queries about states", LOOPS),
        (scaled(), QueryContract(transactions=0, total=9, per_table=9),
            "1 transaction", "at most 0 transactions", ELSEWHERE),
        (scaled(), QueryContract(rows_per_record=2, total=9, per_table=9, transactions=9),
            "fetched 3.00 rows for each record", "at most 2 fetched rows for each record", LOOPS),
    ],
)  # fmt: skip
def test_a_failure_names_the_expectation_that_was_broken_and_its_line(
    activities: list[Activity],
    contract: QueryContract | None,
    seen: str,
    expected: str,
    site: CallSite | None,
) -> None:
    (failure,) = failed(activities, contract)
    assert (failure.seen, failure.expected, failure.site) == (seen, expected, site)
    assert (failure.subject, failure.outcome) == ("Exporter", Outcome.FAILED)
    assert failure.next_step


@pytest.mark.parametrize(
    ("counts", "grew"),
    [
        ((1, 1, 1), False),
        ((0, 0, 1), False),
        ((0, 1, 2), True),
        ((1, 1, 2), True),
        ((3, 3, 3), False),
        ((3, 3, 4), True),
        ((3, 4, 3), True),
        ((3, 2, 1), False),
    ],
)
def test_queries_grow_above_those_of_the_smallest_scale_and_above_one(
    counts: tuple[int, ...], grew: bool
) -> None:
    rows, states = KEPT.shapes
    activities = [
        replace(KEPT, records=scale, shapes=(rows, replace(states, count=n)) if n else (rows,))
        for scale, n in zip(SCALES, counts, strict=True)
    ]
    (verdict,) = (
        each
        for each in judge_growth(GrowthReport.of("Exporter", "rows", SCALES, activities))
        if each.expected == "the same count at every scale"
    )
    assert verdict.failed is grew
    assert verdict.seen == f"queries {'grew' if grew else 'did not grow'} with rows"


def test_a_passed_verdict_names_all_allowances_and_a_failed_one_those_of_its_tables() -> None:
    contract = QueryContract(transactions=1).allow("rows", page=5).allow("states", chunk=5)
    expected = {}
    for name, activities in (("passed", scaled()), ("failed", scaled(shapes=looped))):
        report = GrowthReport.of("Exporter", "rows", SCALES, activities)
        queries = next(each for each in judge_growth(report, contract) if "quer" in each.seen)
        assert queries.outcome == name
        expected[name] = queries.expected
    assert expected == {
        "passed": "the same count at every scale, but rows in pages of 5, states in chunks of 5",
        "failed": "the same count at every scale, but states in chunks of 5",
    }


def test_a_kept_contract_gives_no_failure() -> None:
    assert failed(scaled(), QueryContract(total=2, per_table=1, transactions=1)) == []


def test_fetched_rows_that_grow_while_records_do_not_are_named_with_their_line() -> None:
    activities = [replace(each, records=5) for each in scaled(rows_fetched=linear)]
    (failure,) = failed(activities)
    assert failure.expected == "the same number of fetched rows at every scale"
    assert failure.site == LOOPS


def test_failures_that_follow_from_a_loop_are_its_evidence() -> None:
    activities = [
        replace(each, transactions=scale, checkouts=scale, sites={TRANSACTIONS: LOOPS})
        for scale, each in zip(SCALES, scaled(shapes=looped), strict=True)
    ]
    loop, checkouts = failed(activities, QueryContract(per_table=1))
    assert loop.seen == "queries grew with rows"
    assert loop.evidence[-2:] == (
        "as a result: 10 queries about states (expected: at most 1 query per table)",
        (
            "as a result: transactions grew with rows (linear, slope 1.00) "
            "(expected: the same number of transactions at every scale)"
        ),
    )
    # The line behind these is not known, so they are a failure apart.
    assert checkouts.seen.startswith("checkouts grew with rows")


def test_the_line_is_shown_once_and_the_other_growing_shapes_have_theirs() -> None:
    def both(scale: int) -> tuple[ShapeActivity, ...]:
        rows, states = KEPT.shapes
        return (replace(rows, count=scale - 1), replace(states, count=scale))

    (failure,) = failed(scaled(shapes=both))
    assert str(failure) == (
        "Exporter: queries grew with rows\n"
        "  rows  10    19 queries\n"
        "  rows  100   199 queries   rows 9 -> 99, states 10 -> 100\n"
        "  rows  1000  1999 queries   rows 99 -> 999, states 100 -> 1000\n"
        "  states: 10, 100, 1000 (linear, slope 1.00)\n"
        "    SELECT id FROM states WHERE row_id = ?\n"
        "  rows: 9, 99, 999 (linear, slope 1.00)\n"
        "    SELECT id FROM rows\n"
        "    sent from /shop/exporter.py:3 in rows\n"
        "    look at: a loop that sends the same query about rows once per item of rows: send it "
        "once before the loop\n"
        "at: /shop/exporter.py:9 in states\n"
        "expected: the same count at every scale\n"
        "look at: a loop that queries states once per item of rows with WHERE row_id = ?: fetch "
        "them in one query with IN for row_id"
    )


def test_an_axis_gives_the_trend_of_any_count() -> None:
    (axis,) = GrowthReport.of("Exporter", "rows", SCALES, scaled(rows_fetched=linear)).axes
    assert axis.trend(lambda act: act.rows_fetched) == trend(SCALES, SCALES)
    steps = {10: 1, 100: 1, 1000: 2}
    for in_steps in (True, False):
        found = axis.trend(lambda act: steps[act.records], in_steps=in_steps)
        assert found == trend(SCALES, list(steps.values()), in_steps=in_steps)


def test_too_many_fetched_rows_are_shown_beside_the_records() -> None:
    (failure,) = failed(scaled(rows_fetched=quadratic))
    (without_records,) = failed(
        [replace(each, records=None) for each in scaled(rows_fetched=quadratic)]
    )
    records = tuple(line for line in failure.evidence if line.endswith("records"))
    assert [line.split() for line in records] == [
        ["rows", str(scale), str(scale), "records"] for scale in SCALES
    ]
    assert not any("records" in line for line in without_records.evidence)


@pytest.mark.parametrize(("length", "shown"), [(160, 160), (161, 160), (500, 160)])
def test_a_statement_is_shown_up_to_160_characters(length: int, shown: int) -> None:
    text = "DELETE FROM states WHERE ".ljust(length, "x")

    def deletes(scale: int) -> tuple[ShapeActivity, ...]:
        return (ShapeActivity.named("states", text, scale),)

    (failure,) = failed(scaled(shapes=deletes))
    (line,) = (each for each in failure.evidence if "DELETE" in each)
    assert len(line.strip()) == shown
    assert line.endswith("x..." if length > 160 else "x")


def test_a_count_that_was_not_taken_is_skipped_with_the_reason() -> None:
    unknown = [Activity(shapes=KEPT.shapes, transactions=1, records=scale) for scale in SCALES]
    report = GrowthReport.of("Exporter", "rows", SCALES, unknown)
    verdicts = judge_growth(report, QueryContract(rows_per_record=1))
    skipped = [each for each in verdicts if each.outcome is Outcome.SKIPPED]
    assert [(each.expected, each.seen) for each in skipped] == [
        ("at most 1 fetched rows for each record", "fetched rows were not counted"),
        ("the same number of checkouts at every scale", "checkouts were not counted"),
        ("fetched rows in proportion to rows", "fetched rows were not counted"),
        (
            "every statement sent through SQLAlchemy, where it is counted",
            "the driver was not traced",
        ),
    ]
    assert {each.subject for each in verdicts} == {"Exporter"}
    assert not [each for each in verdicts if each.failed]


def test_work_that_one_scale_did_not_count_is_skipped_and_rows_need_data_that_are_known() -> None:
    uncounted = scaled(work=lambda scale: {"vm_steps": 50} if scale < 1000 else {})
    unknown = [replace(each, records=None, work={}) for each in scaled(rows_fetched=linear)]
    along, at_once = (
        GrowthReport.of("Exporter", "rows", SCALES, activities)
        for activities in (uncounted, unknown)
    )
    (axis,) = at_once.axes
    at_once = replace(at_once, axes=(replace(axis, together=("rows", "states")),))
    for report, expected, seen in (
        (along, "vm_steps at most in proportion to rows", "vm_steps were not counted"),
        (
            at_once,
            "fetched rows in proportion to rows",
            (
                "the data along rows are unknown: the action returns no records, and the rows of "
                "its tables cannot be counted"
            ),
        ),
    ):
        (skipped,) = (each for each in judge_growth(report) if each.outcome is Outcome.SKIPPED)
        assert (skipped.subject, skipped.expected, skipped.seen) == ("Exporter", expected, seen)


def test_a_query_for_each_of_many_tables_of_a_family_is_shown_with_their_number() -> None:
    def shards(scale: int) -> tuple[ShapeActivity, ...]:
        return tuple(
            ShapeActivity.named(f"log_{n}", f"SELECT id FROM log_{n}", 1) for n in range(scale // 5)
        )

    (failure,) = failed(scaled(shapes=shards))
    assert "log_#: 2, 20, 200 (stepwise, one for every 5)" in failure.evidence
    assert failure.next_step.startswith("a query for each of 200 tables: ")


def test_a_query_for_every_second_item_is_no_chunk() -> None:
    rows, states = KEPT.shapes
    scales = (10, 25, 47, 100)
    activities = [
        replace(KEPT, records=scale, shapes=(rows, replace(states, count=scale // 2)))
        for scale in scales
    ]
    report = GrowthReport.of("Exporter", "rows", scales, activities)
    (failure,) = (each for each in judge_growth(report) if each.failed)
    assert "states: 5, 12, 23, 50 (stepwise, one for every 2)" in failure.evidence


def test_the_rows_of_the_tables_are_shown_for_the_scales_where_they_are_known() -> None:
    (axis,) = GrowthReport.of("Exporter", "rows", SCALES, scaled()).axes
    assert [*data_by_scale(replace(axis, data=(20, 200)))] == [
        "rows  10  20 rows in the tables that were read",
        "rows  100  200 rows in the tables that were read",
    ]
    assert [*data_by_scale(replace(axis, data=None))] == []


def test_the_line_of_a_rise_is_that_of_the_largest_scale() -> None:
    """The first scales begin no transaction, the second begins one elsewhere."""
    early, late = CountCause(ELSEWHERE, text="A"), CountCause(LOOPS, text="B")
    by_scale: dict[int, Mapping[CountCause, int]] = {10: {}, 100: {early: 1}, 1000: {late: 9}}
    activities = scaled(causes=lambda scale: {TRANSACTIONS: by_scale[scale]}, sites=lambda _: {})
    assert site_of_rise(activities, TRANSACTIONS) == LOOPS


@pytest.mark.parametrize(
    ("name", "counts", "grew"),
    [
        ("other_shapes", (0, 0, 1), False),
        ("other_shapes", (0, 1, 2), True),
        ("other_shapes", (2, 2, 2), False),
        ("other_shapes", (2, 2, 3), True),
        ("transactions", (0, 0, 1), True),
        ("transactions", (2, 1, 2), False),
    ],
)
def test_a_count_grows_above_that_of_the_smallest_scale_and_one_statement_is_no_growth(
    name: str, counts: tuple[int, ...], grew: bool
) -> None:
    by_scale = dict(zip(SCALES, counts, strict=True))

    def change(scale: int) -> object:
        count = by_scale[scale]
        return count if name == "transactions" else (ShapeActivity.named("", "ANALYZE", count),)

    assert bool(failed(scaled(**{name: change}))) is grew


@pytest.mark.parametrize(
    ("rows", "together", "known", "further"),
    [
        (linear, (), [22, 202, 2002], 20_020),
        (one, (), [13, 103, 1003], 10_030),
        # With the square of the size, as was seen between the last two.
        (quadratic, (), [112, 10_102, 1_001_002], 1_001_002**2 / 10_102),
        (one, ("rows", "states"), [103, 10_003, 1_000_003], 1_000_003**2 / 10_003),
    ],
)
def test_the_cost_of_a_size_is_that_of_its_data_rows_and_queries(
    rows: Callable[[int], int], together: tuple[str, ...], known: list[int], further: float
) -> None:
    (axis,) = GrowthReport.of("Exporter", "rows", SCALES, scaled(rows_fetched=rows)).axes
    cost = cost_of(replace(axis, together=together))
    assert [cost(scale) for scale in SCALES] == known
    assert cost(10_000) == pytest.approx(further)


@pytest.mark.parametrize(
    ("along", "at_once", "reported"),
    [
        # It levels off along rows alone, and goes on where both grow.
        ((1, 4, 4, 4), (1, 9, 25, 50), ["rows and states"]),
        # It grows along rows alone, and as much where both grow.
        ((1, 4, 9, 16), (1, 4, 9, 50), ["rows"]),
        ((1, 4, 4, 5), (1, 9, 25, 50), ["rows"]),
        ((1, 4, 4, 4), (1, 4, 4, 4), ["rows"]),
    ],
)
def test_a_count_that_levels_off_is_reported_where_it_goes_on(
    along: tuple[int, ...], at_once: tuple[int, ...], reported: list[str]
) -> None:
    scales = (1, 2, 3, 4)
    axes = []
    for name, counts, together in (
        ("rows", along, ()),
        ("rows and states", at_once, ("rows", "states")),
    ):
        activities = [replace(KEPT, records=n, checkouts=count) for n, count in enumerate(counts)]
        (axis,) = GrowthReport.of("Exporter", name, scales, activities).axes
        axes.append(replace(axis, together=together))
    found = reported_counts(axes, QueryContract())
    assert [axis.axis for axis, names in zip(axes, found, strict=True) if CHECKOUTS in names] == (
        reported
    )


@pytest.mark.parametrize(
    ("scales", "size"),
    [
        ((2, 5, 10), 20),
        ((1, 6), 12),
        ((1, 7), 2),
        ((0, 7, 8), 2),
        ((2, 20, 501), 100),
        ((1, 10, 11), 3),
    ],
)
def test_a_further_size_fills_a_gap_wider_than_sixfold_else_it_is_twice_the_largest(
    scales: tuple[int, ...], size: int
) -> None:
    assert next_size(scales) == size


@pytest.mark.parametrize("scales", [(10,), (10, 10), (100, 10), (1, 2, 3)])
def test_a_report_needs_rising_scales_and_an_activity_for_each(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^rows: "):
        GrowthReport.of("Exporter", "rows", scales, [KEPT] * min(2, len(scales)))


@pytest.mark.parametrize(
    ("scales", "counts", "words"),
    [
        ((2, 20, 501), (5, 5, 5), "constant"),
        ((2, 500, 501), (1, 1, 2), "stepwise, chunks of 500 or n^0.27 or less"),
        ((2, 20, 501, 1002), (2, 3, 52, 102), "stepwise, chunks of 10"),
        ((2, 5, 61), (1, 3, 17), "n^0.28 to n^0.87 or levels off at 17"),
        ((2, 20, 501), (3, 12, 12), "levels off at 12"),
        ((2, 20, 501), (1, 4, 8), "logarithmic or n^0.2 or less or levels off at 8"),
        ((2, 20, 501), (2, 11, 145), "n^0.77 to n^0.85 or levels off at 145"),
        ((2, 20, 501), (9, 30, 15), "irregular"),
        (
            (2, 20, 501),
            (804, 8400, 451_401),
            "a polynomial of degree 2 or n^1.2 to n^1.3",
        ),
        ((2, 20, 100, 501), (804, 8400, 50_000, 451_401), "a polynomial of degree 2"),
        ((2, 20, 501), (1, 1, 201), "constant up to 20, then rising"),
        ((2, 20, 501), (2, 20, 501), "linear, slope 1.00"),
        ((2, 20, 501), (4, 400, 251_001), "a polynomial of degree 2"),
    ],
)
def test_a_trend_is_described_in_words(
    scales: tuple[int, ...], counts: tuple[int, ...], words: str
) -> None:
    assert describe_trend(trend(scales, counts)) == words
