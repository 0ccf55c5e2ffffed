"""The first difference between two exports is found, classified and located."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from elspeth.contracts.enums import NodeStateStatus
from harness.compare.difference import Kind, same_value
from harness.compare.exports import first_difference
from harness.compare.hints import _sorting
from harness.compare.records import type_of

Record = dict[str, Any]


def run() -> Record:
    return {"record_type": "run", "run_id": "r", "status": "completed"}


def row(index: int) -> Record:
    return {"record_type": "row", "run_id": "r", "row_id": f"row-{index}", "row_index": index}


def state(number: int, step: int, attempt: int, **changes: Any) -> Record:
    return {
        "record_type": "node_state",
        "run_id": "r",
        "state_id": f"s{number}",
        "token_id": "t",
        "step_index": step,
        "attempt": attempt,
        "status": "completed",
        "duration_ms": 5.0,
        "started_at": "2026-01-01T00:00:00+00:00",
        "signature": "a",
    } | changes


def manifest(**changes: Any) -> Record:
    return {"record_type": "manifest", "run_id": "r", "final_hash": "f", "signature": "m"} | changes


CONTROL = [run(), row(0), state(9, 0, 0), state(3, 0, 1), state(5, 1, 0), row(1), manifest()]


def changed(index: int, **changes: Any) -> list[Record]:
    """The control's records with one of them changed."""
    return [record | changes if at == index else record for at, record in enumerate(CONTROL)]


def test_the_same_records_have_no_difference() -> None:
    assert first_difference(CONTROL, list(CONTROL)) is None


def test_another_order_is_named_with_its_deciding_field_and_its_likely_sort_key() -> None:
    candidate = [CONTROL[at] for at in (0, 1, 3, 4, 2, 5, 6)]
    difference = first_difference(CONTROL, candidate)
    assert difference is not None
    assert difference.headline == "order, node_state s9, field attempt, record 3"
    assert difference.hint == (
        "same records in another order: looks sorted by state_id, expected step_index, attempt"
    )


def test_retries_that_swap_look_sorted_by_their_step_alone() -> None:
    difference = first_difference(CONTROL, [CONTROL[at] for at in (0, 1, 3, 2, 4, 5, 6)])
    assert difference is not None
    assert difference.kind is Kind.ORDER
    assert "sorted by step_index alone" in difference.hint


@pytest.mark.parametrize(
    ("field", "values", "sorting"),
    [
        ("row_index", [None, 1, 2], "row_index with NULLS FIRST"),
        ("row_index", [3, 2, 1], "row_index descending"),
        ("row_index", [3, 2, None], "row_index descending"),
        ("row_index", [None, 3, 2], ""),
        ("row_index", [2, 3, 1], ""),
        ("source_data_ref", ["a", "b", None], "source_data_ref"),
        ("source_data_ref", [None, "a", "b"], ""),
        ("source_data_ref", ["b", "a", None], ""),
        ("source_data_ref", ["a", "a", "a"], ""),
    ],
)
def test_an_order_is_named_by_the_place_of_nulls_and_its_direction(
    field: str, values: list[Any], sorting: str
) -> None:
    records = [row(7) | {"row_id": "same", field: value} for value in values]
    assert _sorting(records, type_of(row(7))) == sorting


def test_a_missing_record_is_reported_with_the_counts_of_its_type() -> None:
    difference = first_difference(CONTROL, [each for each in CONTROL if "state_id" not in each])
    assert difference is not None
    assert difference.headline == "missing, node_state s9, record 3"
    assert "node_state records: 3 expected, 0 found" in difference.around


@pytest.mark.parametrize(("index", "hint"), [(0, ""), (2, "its token_id is t"), (6, "")])
def test_a_missing_record_names_its_parent_if_it_has_one(index: int, hint: str) -> None:
    difference = first_difference(CONTROL, [*CONTROL[:index], *CONTROL[index + 1 :]])
    assert difference is not None
    assert (difference.number, difference.hint) == (index + 1, hint)


@pytest.mark.parametrize(
    "found", ["2026-01-01", "2026-01-01T00:00:00+01:00", "2026-01-01T01:00:00", ""]
)
def test_other_times_than_one_without_offset_have_no_hint_at_it(found: str) -> None:
    difference = first_difference(CONTROL, changed(2, started_at=found))
    assert difference is not None
    assert (difference.field, difference.hint) == ("started_at", "")


def test_a_record_missing_at_the_end_is_missing() -> None:
    difference = first_difference(CONTROL, CONTROL[:-1])
    assert difference is not None
    assert difference.headline == "missing, manifest, record 7"


def test_a_record_that_the_control_lacks_is_extra() -> None:
    difference = first_difference(CONTROL, [*CONTROL[:2], state(7, 0, 0), *CONTROL[2:]])
    assert difference is not None
    assert difference.headline == "extra, node_state s7, record 3"


def test_an_extra_record_of_another_run_is_cross_run() -> None:
    candidate = [*CONTROL[:2], state(7, 0, 0), *CONTROL[2:]]
    difference = first_difference(CONTROL, candidate, run_of=lambda record: "another")
    assert difference is not None
    assert difference.kind is Kind.CROSS_RUN
    assert "it belongs to run another" in difference.hint


def test_a_record_emitted_twice_is_a_duplicate() -> None:
    difference = first_difference(CONTROL, [*CONTROL[:4], CONTROL[2], *CONTROL[4:]])
    assert difference is not None
    assert difference.headline == "duplicate, node_state s9, record 5"


def test_a_changed_value_is_reported_as_a_field_with_both_values() -> None:
    difference = first_difference(CONTROL, changed(2, status="failed"))
    assert difference is not None
    assert difference.headline == "field, node_state s9, field status, record 3"
    assert (difference.expected, difference.found) == ("'completed' (str)", "'failed' (str)")


def test_a_changed_id_is_a_field_and_not_a_missing_record() -> None:
    difference = first_difference(CONTROL, changed(2, state_id="S9"))
    assert difference is not None
    assert difference.headline == "field, node_state s9, field state_id, record 3"


def test_a_forgotten_field_is_named() -> None:
    candidate = [{k: v for k, v in each.items() if k != "duration_ms"} for each in CONTROL]
    difference = first_difference(CONTROL, candidate)
    assert difference is not None
    assert difference.field == "duration_ms"
    assert difference.found == "no such key"


def test_an_additional_field_is_named() -> None:
    difference = first_difference(CONTROL, changed(1, created_at="now"))
    assert difference is not None
    assert (difference.field, difference.expected) == ("created_at", "no such key")


def test_keys_in_another_order_differ() -> None:
    candidate = [dict(reversed(each.items())) for each in CONTROL]
    difference = first_difference(CONTROL, candidate)
    assert difference is not None
    assert difference.kind is Kind.KEY_ORDER
    assert difference.found == "status, run_id, record_type"
    assert (difference.field, difference.expected) == ("", "record_type, run_id, status")


@pytest.mark.parametrize("value", [5, True, "5.0"])
def test_a_value_of_another_type_differs_even_where_python_calls_it_equal(value: object) -> None:
    difference = first_difference(CONTROL, changed(2, duration_ms=value))
    assert difference is not None
    assert difference.kind is Kind.TYPE


def test_a_null_instead_of_a_value_is_a_field_that_differs() -> None:
    difference = first_difference(CONTROL, changed(2, duration_ms=None))
    assert difference is not None
    assert difference.kind is Kind.FIELD
    assert "inverted" in difference.hint


def test_a_signature_alone_is_named_as_such() -> None:
    difference = first_difference(CONTROL, changed(2, signature="b"))
    assert difference is not None
    assert difference.kind is Kind.SIGNATURE


def test_a_wrong_manifest_is_named_with_its_field() -> None:
    difference = first_difference(CONTROL, changed(6, final_hash="g", signature="n"))
    assert difference is not None
    assert difference.headline == "manifest, manifest, field final_hash, record 7"


def test_a_str_enum_equals_its_value_and_its_str_does_not() -> None:
    assert first_difference(CONTROL, changed(2, status=NodeStateStatus.COMPLETED)) is None
    difference = first_difference(CONTROL, changed(2, status=str(NodeStateStatus.COMPLETED)))
    assert difference is not None
    assert "str() of an enum member" in difference.hint


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ("2026-01-01 00:00:00+00:00", "a blank stands for the T"),
        ("2026-01-01T00:00:00", "the offset from UTC was dropped"),
    ],
)
def test_a_timestamp_written_another_way_gets_a_hint(found: str, hint: str) -> None:
    difference = first_difference(CONTROL, changed(2, started_at=found))
    assert difference is not None
    assert hint in difference.hint


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, ""), (None, 0)]
)
def test_values_of_different_types_are_never_the_same(one: object, other: object) -> None:
    assert not same_value(one, other)


def test_not_a_number_is_the_same_as_itself() -> None:
    assert same_value(float("nan"), float("nan"))


def test_the_records_around_a_difference_are_shown_from_both_exports() -> None:
    difference = first_difference(CONTROL, changed(2, status="failed"))
    assert difference is not None
    assert difference.around[:3] == (
        "both            1  run",
        "both            2  row row-0 (row_index=0)",
        "control         3  node_state s9 (step_index=0, attempt=0)",
    )


def many_rows(count: int, *, last: int) -> Iterator[Record]:
    yield from (row(index) for index in range(count - 1))
    yield row(last)


def test_iterators_are_compared_in_memory_that_does_not_grow_with_them() -> None:
    tracemalloc.start()
    try:
        difference = first_difference(many_rows(8000, last=8000), many_rows(8000, last=-1))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert difference is not None
    assert difference.number == 8000
    assert peak_bytes < 256 * 1024


@pytest.mark.parametrize("value", [None, 7, ["row"], {}])
@pytest.mark.parametrize("field", ["record_type", "row_id", "signature"])
def test_a_record_that_lacks_a_field_or_has_another_value_in_it_is_a_difference(
    field: str, value: object
) -> None:
    control = [run(), row(0), row(1), manifest()]
    for number, record in enumerate(control):
        broken = {name: each for name, each in record.items() if name != field}
        if value is not None:
            broken[field] = value
        candidate = [*control[:number], broken, *control[number + 1 :]]
        if broken != record:
            assert first_difference(control, candidate) is not None
        assert first_difference(control, [broken]) is not None
