"""Hypothesis profiles, and the shapes of runs in the examples of a profile."""

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import EXAMPLES, VARIABLE, ProfileError, fewer_examples, load_profile
from run_coverage import SUMMARIES, coverage_lines, drawn_specs, shape_coverage, shapes_of

from harness.generate.strategies import run_specs


@pytest.fixture(autouse=True)
def the_profile_of_the_session_again() -> Iterator[None]:
    yield
    load_profile(os.environ)


@pytest.mark.parametrize("name", ["dev", "ci"])
def test_a_profile_scales_every_property(name: str) -> None:
    assert load_profile({VARIABLE: name}) == name
    tried = []

    @settings(database=None)
    @given(st.integers())
    def every_number(number: int) -> None:
        tried.append(number)

    every_number()
    assert len(tried) == EXAMPLES[name]
    assert settings().max_examples == EXAMPLES[name]
    assert fewer_examples(1 / 10).max_examples == EXAMPLES[name] / 10
    assert settings().deadline is None


def test_the_default_profile_is_dev() -> None:
    assert load_profile({}) == load_profile({VARIABLE: ""}) == "dev"
    assert min(EXAMPLES, key=lambda name: EXAMPLES[name]) == "dev"


def test_the_ci_profile_tries_the_same_examples_every_time() -> None:
    load_profile({VARIABLE: "ci"})
    assert settings().derandomize


@pytest.mark.parametrize(
    ("environ", "repeated"),
    [({}, False), ({"CI": "true"}, True), ({"CI": "true", VARIABLE: "nightly"}, False)],
)
def test_a_build_tries_the_same_examples_every_time(
    environ: dict[str, str], repeated: bool
) -> None:
    load_profile(environ)
    assert settings().derandomize is repeated


def test_at_least_one_example_is_tried() -> None:
    assert fewer_examples(1 / 10**6).max_examples == 1


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProfileError, match=r"HYPOTHESIS_PROFILE=fast: .* known: dev, ci, nightly"):
        load_profile({VARIABLE: "fast"})


def test_the_examples_of_a_profile_hold_every_shape() -> None:
    specs = drawn_specs(run_specs(), EXAMPLES["dev"])
    found = shape_coverage(shapes_of(spec) for spec in specs)
    printed = "\n".join(coverage_lines(found))
    counts = dict(re.findall(r"^ *\d+  ([a-z]\w+) +(\d+)  \S", printed, re.MULTILINE))
    assert counts.keys() == SUMMARIES.keys()
    assert all(int(count) > 0 for count in counts.values())
    assert not found.never


def test_a_shape_that_never_occurs_is_named() -> None:
    found = shape_coverage(shapes_of(spec) for spec in drawn_specs(run_specs(), 1))
    assert "never: hostile_text" in list(coverage_lines(found))


def test_the_matrix_counts_the_runs_that_hold_both() -> None:
    runs = [frozenset(["forks", "joins"]), frozenset(["forks", "expansions", "joins"])]
    lines = list(coverage_lines(shape_coverage(runs)))
    numbers = {line.split()[1]: line.split()[0] for line in lines if len(line.split()) > 1}
    below_title = lines[lines.index("Runs that hold both; - where one hides the other:") :]
    (row,) = (line.split() for line in below_title if line.split()[:1] == [numbers["joins"]])
    assert row[int(numbers["forks"])] == "2"
    assert row[int(numbers["expansions"])] == "1"
