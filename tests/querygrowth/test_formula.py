"""Attribution: the formula is exact, and axes that cannot be separated are named."""

import random
from fractions import Fraction

import pytest
from scenarios.loops import core_loop, lookup_kept_for_each_key, one_dimension_left
from scenarios.shop import shop

from querygrowth.counting.watch import action_runner, watch
from querygrowth.growth.formula import Attribution, ConfoundedAxesError, CountedRun, attribute


def counted(action, **sizes: int) -> CountedRun:
    with shop(**sizes) as engine, action_runner() as runner:
        activity = watch(action, engine, runner=runner)
    return CountedRun(sizes, {each.shape.text: each.count for each in activity.shapes})


def attributed(action, *sizes: dict[str, int]) -> Attribution:
    return attribute([counted(action, **each) for each in sizes])


DECORRELATED = (
    {"orders": 2, "items": 3, "notes": 1},
    {"orders": 5, "items": 1, "notes": 2},
    {"orders": 3, "items": 4, "notes": 4},
    {"orders": 7, "items": 2, "notes": 3},
    {"orders": 4, "items": 6, "notes": 2},
)


def test_a_loop_is_one_query_and_one_for_each_order() -> None:
    found = attributed(core_loop, *DECORRELATED)
    assert str(found) == "queries = 1 + 1.00 orders"
    assert found.total.exact


def test_each_shape_has_its_own_formula() -> None:
    found = attributed(one_dimension_left, *DECORRELATED)
    assert str(found) == "queries = 2 + 1.00 orders"
    by_table = {text.split(" FROM ")[1].split()[0]: str(f) for text, f in found.by_name.items()}
    assert by_table == {"orders": "1", "items": "1", "notes": "1.00 orders"}


def test_axes_that_move_in_lock_step_are_named() -> None:
    """Every order brings its customer: the loop could be over either."""
    sizes = [{"orders": n, "customers": n, "items": n * n} for n in range(1, 6)]
    with pytest.raises(ConfoundedAxesError, match="orders, customers cannot be separated") as found:
        attributed(lookup_kept_for_each_key, *sizes)
    assert found.value.axes == ("orders", "customers")


def test_axes_that_move_apart_have_different_terms() -> None:
    sizes = [{"orders": 9, "customers": 3}, {"orders": 8, "customers": 5},
             {"orders": 9, "customers": 6}, {"orders": 7, "customers": 2}]  # fmt: skip
    assert str(attributed(lookup_kept_for_each_key, *sizes)) == "queries = 1 + 1.00 customers"


def test_a_formula_with_many_terms_is_found_exactly() -> None:
    drawn = random.Random(7)
    axes = ("rows", "tokens", "node_states", "batches", "nodes", "calls")
    runs = []
    for _ in range(9):
        sizes = {axis: drawn.randint(1, 40) for axis in axes}
        runs.append(
            CountedRun(
                sizes,
                {
                    "one each": 6,
                    "tokens of a row": sizes["rows"],
                    "of a token": 2 * sizes["tokens"],
                    "of a state": 2 * sizes["node_states"],
                    "members": sizes["batches"],
                },
            )
        )
    assert str(attribute(runs)) == (
        "queries = 6 + 1.00 rows + 2.00 tokens + 2.00 node_states + 1.00 batches"
    )


def test_a_count_that_no_formula_gives_says_how_far_off_it_is() -> None:
    runs = [CountedRun({"rows": n}, {"all": n * n}) for n in (1, 2, 3, 4, 5)]
    found = attribute(runs)
    assert not found.total.exact
    # The formula gives -1, 5, 11, 17 and 23, which misses by 2, 1, 2, 1 and 2.
    assert found.total.off_by == Fraction(2)
    assert str(found) == "queries = -7 + 6.00 rows (off by up to 2.00)"


def test_the_miss_of_a_formula_is_the_largest_over_the_runs() -> None:
    counts = {1: 1, 2: 8, 3: 27, 4: 64}
    found = attribute([CountedRun({"rows": n}, {"all": counts[n]}) for n in counts])
    formula = found.total
    misses = [abs(counts[n] - formula.constant - formula.terms["rows"] * n) for n in counts]
    assert len(set(misses)) > 1
    assert formula.off_by == max(misses) == Fraction(42, 5)


def test_a_name_that_a_run_does_not_count_has_the_count_zero_there() -> None:
    runs = [
        CountedRun({"rows": n}, {"all": 5, "larger": n - 1} if n > 1 else {"all": 5})
        for n in (1, 2, 3)
    ]
    found = attribute(runs)
    assert {name: str(each) for name, each in found.by_name.items()} == {
        "all": "5",
        "larger": "-1 + 1.00 rows",
    }
    assert all(each.exact for each in found.by_name.values())


def test_an_axis_that_never_changes_is_named() -> None:
    runs = [CountedRun({"rows": n, "batches": 2}, {"all": n}) for n in (1, 2, 3)]
    with pytest.raises(ConfoundedAxesError, match="batches is the same in every run: vary it"):
        attribute(runs)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cardinalities need at least 3 runs, got 2"):
        attribute([CountedRun({"a": n, "b": n * n}, {"all": n}) for n in (1, 2)])


def test_runs_that_name_different_cardinalities_are_refused() -> None:
    with pytest.raises(ValueError, match="same cardinalities"):
        attribute([CountedRun({"a": 1}, {}), CountedRun({"b": 1}, {}), CountedRun({"a": 2}, {})])


@pytest.mark.parametrize(
    ("runs", "words", "exact", "proof"),
    [
        (
            2,
            "queries = 1 + 1.00 rows (not proven: 2 runs for 2 unknowns, add a run)",
            False,
            "2 runs, 2 unknowns: 0 observations that could have refuted it",
        ),
        (
            3,
            "queries = 1 + 1.00 rows",
            True,
            "3 runs, 2 unknowns: 1 observation that could have refuted it",
        ),
    ],
)
def test_a_formula_is_proven_only_by_runs_beyond_its_unknowns(
    runs: int, words: str, exact: bool, proof: str
) -> None:
    found = attribute([CountedRun({"rows": n}, {"all": 1 + n}) for n in range(1, runs + 1)])
    assert str(found) == words
    assert found.total.exact is exact
    assert found.evidence == proof


def test_a_small_factor_is_not_shown_as_zero() -> None:
    found = attribute([CountedRun({"rows": n}, {"all": n // 500}) for n in (2, 501, 1002)])
    assert str(found) == "queries = -0.0033 + 0.002 rows (off by up to 0.0013)"


def test_too_few_runs_give_a_formula_for_any_counts() -> None:
    """A quadratic count, from as many runs as unknowns: exact in every run, and wrong."""
    found = attribute([CountedRun({"rows": n}, {"all": n * n}) for n in (2, 20)])
    assert found.total.off_by == 0
    assert not found.total.exact


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Fraction(1, 200), "0.01"),
        (Fraction(499, 100_000), "0.005"),
        (Fraction(-499, 100_000), "-0.005"),
        (Fraction(1, 3), "0.33"),
    ],
)
def test_a_small_number_is_not_shown_as_zero(value: Fraction, shown: str) -> None:
    runs = [CountedRun({"rows": n}, {"rows": value * n}) for n in (1, 2, 3)]
    assert str(attribute(runs)) == f"queries = {shown} rows"
