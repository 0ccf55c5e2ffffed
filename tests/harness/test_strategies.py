"""`run_specs`: it keeps to its limits, shrinks to short specs, and reaches all shapes."""

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from profiles import DEFAULT_PROFILE, EXAMPLES, fewer_examples
from run_coverage import SUMMARIES, drawn_specs, shape_coverage, shapes_of

from harness.generate.features import FEATURES
from harness.generate.spec import ROWS_TO_TAKE_TURNS, RunSpec
from harness.generate.strategies import run_specs

SEARCHING = settings(max_examples=2000, derandomize=True, database=None, deadline=None)


@given(st.data())
@settings(fewer_examples(1 / 5), suppress_health_check=[HealthCheck.too_slow])
def test_specs_keep_to_the_given_rows_and_features(data: st.DataObject) -> None:
    least = data.draw(st.integers(1, 12))
    most = data.draw(st.integers(least, 14))
    features = data.draw(st.sets(st.sampled_from(sorted(FEATURES))))
    spec = data.draw(run_specs(min_rows=least, max_rows=most, features=features))
    assert least <= spec.rows <= most
    assert spec.features <= features


@pytest.mark.parametrize("name", FEATURES)
def test_a_required_feature_is_in_every_spec(name: str) -> None:
    specs = drawn_specs(run_specs(required=[name]), 5)
    assert all(name in spec.features for spec in specs)


def test_a_required_feature_that_does_not_fit_the_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="parents_in_other_rows needs rows >= 4"):
        run_specs(max_rows=3, required=["parents_in_other_rows"])


def test_rows_in_no_order_are_refused() -> None:
    with pytest.raises(ValueError, match="min_rows=3, max_rows=2"):
        run_specs(min_rows=3, max_rows=2)


def test_an_unknown_feature_is_refused() -> None:
    with pytest.raises(ValueError, match="no feature 'open_runs'; did you mean open_run"):
        run_specs(features=["open_runs"])


def test_a_spec_is_corrupt_only_on_request() -> None:
    assert not any(spec.is_corrupt for spec in drawn_specs(run_specs(), 100))
    corrupt = drawn_specs(run_specs(features=["infinite_durations"]), 30)
    assert any(spec.is_corrupt for spec in corrupt)


def test_a_spec_with_a_joined_token_shrinks_to_that_alone() -> None:
    assert find(run_specs(), lambda spec: spec.joins > 0, settings=SEARCHING) == RunSpec(joins=1)


def test_a_spec_with_a_feature_shrinks_to_that_and_what_it_needs() -> None:
    shrunk = find(run_specs(), lambda spec: "open_states" in spec.features, settings=SEARCHING)
    assert repr(shrunk) == "RunSpec(states=2, features=['open_states'])"


def test_long_runs_take_turns_too() -> None:
    specs = drawn_specs(run_specs(max_rows=2 * ROWS_TO_TAKE_TURNS), 60)
    assert any(spec.lineage_in_turn for spec in specs)


def test_the_default_profile_reaches_every_shape_and_nearly_every_pair() -> None:
    examples = EXAMPLES[DEFAULT_PROFILE]
    coverage = shape_coverage(shapes_of(spec) for spec in drawn_specs(run_specs(), examples))
    assert coverage.runs == examples
    assert coverage.never == []
    assert len(coverage.pairs_never) < len(coverage.pairs) / 10


def test_coverage_lists_the_shapes_and_pairs_that_no_run_holds() -> None:
    coverage = shape_coverage([frozenset(["forks", "joins"]), frozenset(["forks"])])
    assert (coverage.shapes["forks"], coverage.pairs[frozenset(["forks", "joins"])]) == (2, 1)
    assert set(coverage.never) == SUMMARIES.keys() - {"forks", "joins"}
    assert frozenset(["joins", "open_run"]) in coverage.pairs_never


def test_pairs_that_hide_each_other_are_not_missed() -> None:
    assert frozenset(["descending_ids", "shuffled_ids"]) not in shape_coverage([]).pairs


def test_every_shape_has_a_summary() -> None:
    assert all(summary and not summary.endswith(".") for summary in SUMMARIES.values())
