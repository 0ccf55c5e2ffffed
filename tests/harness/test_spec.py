"""RunSpec: its refusals, its JSON and repr, and the records that its axes grow."""

import json
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from profiles import fewer_examples

from harness.generate.features import FEATURES
from harness.generate.generator import Cardinalities
from harness.generate.plan import plan
from harness.generate.presets import PRESETS, preset
from harness.generate.spec import AXES, ROWS_TO_TAKE_TURNS, ImpossibleSpecError, RunSpec
from harness.generate.strategies import run_specs

IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"rows": 10**23}, "at most 1,000,000,000"),
    ({"nodes": 10**9 + 1}, "nodes=1000000001: nodes, at most 1,000,000,000"),
    ({"rows": 1e30}, "rows=1e+30: not of type int"),
    ({"rows": 0}, "rows=0: source rows, at least 1"),
    ({"calls": -1}, "calls=-1"),
    ({"rows": True}, "rows=True: not of type int"),
    ({"forks": 1.0}, "forks=1.0"),
    ({"run_id": ""}, "run_id=''"),
    ({"run_id": "r" * 49}, "1 to 48 characters"),
    ({"seed": "7"}, "seed='7'"),
    ({"lineage_in_turn": 1}, "lineage_in_turn=1"),
    ({"states": 0, "calls": 1}, "calls=1 needs states >= 1"),
    ({"states": 0, "retries": 1}, "retries=1 needs states >= 1"),
    ({"states": 0, "artifacts": 1}, "artifacts=1 needs states >= 1"),
    ({"edges": 0, "routing_groups": 1}, "routing_groups=1 needs edges >= 1"),
    ({"routing_events": 2}, "routing_events=2 needs routing_groups >= 1"),
    ({"members": 1}, "members=1 needs batches >= 1"),
    ({"batch_retries": 1}, "batch_retries=1 needs batches >= 1"),
    ({"batches": 1, "members": 3}, "members=3: more than the 2 tokens of the run"),
    ({"joins": 1, "parents": 2}, "parents=2: more than the 1 tokens"),
    ({"lineage_in_turn": True}, "lineage_in_turn needs rows >= 10"),
    ({"features": "open_run"}, "features is not a list of names"),
    ({"features": ["open_runs"]}, "no feature 'open_runs'; did you mean open_run?"),
    ({"features": ["open_states"]}, "open_states needs states >= 2"),
    (
        {"rows": 3, "features": ["descending_ids", "hostile_ids"]},
        "descending_ids cannot be seen beside hostile_ids",
    ),
]


@pytest.mark.parametrize(("fields", "reason"), IMPOSSIBLE, ids=[reason for _, reason in IMPOSSIBLE])
def test_an_impossible_spec_is_refused_by_name(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImpossibleSpecError) as refused:
        RunSpec(**fields)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "the spec is not JSON"),
        ("[]", "the spec is not a JSON object"),
        ('{"row": 3}', "no field 'row'; did you mean rows?"),
        ('{"rows": "3"}', "rows='3': not of type int"),
        ('{"features": [7]}', "no feature 7"),
        ('{"features": [["open_run"]]}', "no feature ['open_run']"),
        ("[" * 100_000, "the spec is not JSON"),
        ('{"run_id": "\\ud800"}', "cannot be encoded as UTF-8"),
        ('{"features": {"open_run": 1}}', "features is not a list of names"),
    ],
)
def test_json_that_is_not_a_spec_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(ImpossibleSpecError) as refused:
        RunSpec.from_json(text)
    assert reason in str(refused.value)


@given(run_specs())
@fewer_examples(1 / 8)
def test_a_spec_read_from_its_json_is_the_same_spec(spec: RunSpec) -> None:
    assert RunSpec.from_json(spec.to_json()) == spec


def test_json_names_every_field_so_that_defaults_may_change() -> None:
    assert json.loads(RunSpec().to_json()).keys() == asdict(RunSpec()).keys()


def test_a_spec_shows_only_what_differs_from_the_defaults() -> None:
    spec = RunSpec(rows=7, features=frozenset(["open_run", "long_ids"]))
    assert repr(spec) == "RunSpec(rows=7, features=['long_ids', 'open_run'])"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_a_number_of_rows_and_changes(name: str) -> None:
    spec = preset(name, 12, seed=5, run_id="mine")
    assert (spec.rows, spec.seed, spec.run_id) == (12, 5, "mine")


def test_an_unknown_preset_is_refused_with_the_nearest_or_the_known_ones() -> None:
    with pytest.raises(ImpossibleSpecError, match=r"no preset 'typicl'; did you mean typical\?"):
        preset("typicl")
    with pytest.raises(ImpossibleSpecError, match="no preset 'x'; known: tiny, typical"):
        preset("x")


def test_a_refusal_carries_the_field_to_change_and_its_least_value() -> None:
    with pytest.raises(ImpossibleSpecError) as refused:
        RunSpec.typical(3)
    assert (refused.value.field, refused.value.least) == ("rows", ROWS_TO_TAKE_TURNS)
    with pytest.raises(ImpossibleSpecError) as refused:
        RunSpec(run_id="")
    assert (refused.value.field, refused.value.least) == ("run_id", None)


def test_the_adversarial_preset_holds_every_portable_feature_that_goes_with_the_others() -> None:
    offered = {name: each for name, each in FEATURES.items() if each.in_presets}
    left_out = offered.keys() - preset("adversarial").features
    assert preset("adversarial").features <= offered.keys()
    assert left_out == {
        *(name for name, each in offered.items() if each.corrupt or not each.portable),
        *FEATURES["descending_ids"].excludes,
    }


def test_a_typical_run_of_2000_rows_has_46035_records() -> None:
    assert _cardinalities(RunSpec.typical(2000)).records == 46_035


def test_the_axes_tell_the_numbers_of_all_record_types_apart() -> None:
    base = RunSpec(
        rows=10, forks=1, expansions=1, joins=1, parents=2, states=2, retries=1, nodes=5,
        routing_groups=1, calls=1, batches=2, members=2, artifacts=2,
    )  # fmt: skip
    grown = [replace(base, **{name: getattr(base, name) + 1}) for name in AXES]
    cells = [asdict(_cardinalities(spec)) for spec in [base, *grown]]
    assert _rank([list(row.values()) for row in cells]) == len(cells[0])


@pytest.mark.parametrize("name", AXES)
def test_growing_an_axis_grows_the_records_of_its_summary(name: str) -> None:
    base = RunSpec(
        rows=4, forks=2, joins=1, states=2, routing_groups=1, edges=1, calls=1, batches=1,
        members=1, batch_retries=1, artifacts=1, neighbours=1,
    )  # fmt: skip
    grown = replace(base, **{name: getattr(base, name) + 1})
    assert _stored(grown) > _stored(base)


def _cardinalities(spec: RunSpec) -> Cardinalities:
    counts = dict.fromkeys(asdict(Cardinalities()), 0)
    for section in plan(spec):
        if section.run_id == spec.run_id:
            for table, entities in section.tables():
                counts[table] += len(entities)
    return Cardinalities(**counts)


def _stored(spec: RunSpec) -> int:
    return sum(len(entities) for section in plan(spec) for _, entities in section.tables())


def _rank(rows: list[list[int]]) -> int:
    """The rank of a matrix, exactly: Gaussian elimination over fractions."""
    matrix = [[Fraction(cell) for cell in row] for row in rows]
    rank = 0
    for column in range(len(matrix[0])):
        pivot = next((row for row in matrix[rank:] if row[column]), None)
        if pivot is None:
            continue
        matrix.remove(pivot)
        matrix.insert(rank, pivot)
        for row in matrix[rank + 1 :]:
            factor = row[column] / pivot[column]
            row[:] = [cell - factor * top for cell, top in zip(row, pivot, strict=True)]
        rank += 1
    return rank
