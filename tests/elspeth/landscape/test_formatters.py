"""Tests of the formatters: JSON text and flat fields of a record."""

import csv
import io
import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from elspeth.contracts import NodeType
from elspeth.core.landscape.formatters import CSVFormatter, ExportFormatter, JSONFormatter

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"b": 1, "a": [1, None]}, '{"b": 1, "a": [1, null]}'),
        ({"name": "é\u2028"}, '{"name": "\\u00e9\\u2028"}'),
        ({"type": NodeType.SINK}, '{"type": "sink"}'),
        ({"at": MOMENT}, '{"at": "2026-01-01 00:00:00+00:00"}'),
        ({"duration_ms": 5.0}, '{"duration_ms": 5.0}'),
    ],
    ids=["order kept", "escaped", "enum", "datetime", "float"],
)
def test_json_is_what_the_standard_library_writes_by_default(
    record: dict[str, object], expected: str
) -> None:
    assert JSONFormatter().format(record) == expected


def test_nested_dicts_become_dotted_keys_in_order() -> None:
    record = {"id": "r1", "config": {"path": "a.csv", "csv": {"sep": ";"}}, "last": None}

    fields = CSVFormatter().flatten(record)

    assert list(fields.items()) == [
        ("id", "r1"),
        ("config.path", "a.csv"),
        ("config.csv.sep", ";"),
        ("last", None),
    ]


def test_a_prefix_comes_before_every_key() -> None:
    assert CSVFormatter().flatten({"a": 1, "b": {"c": 2}}, "row") == {"row.a": 1, "row.b.c": 2}


def test_an_empty_nested_dict_leaves_no_field() -> None:
    assert CSVFormatter().flatten({"a": 1, "config": {"inner": {}}}) == {"a": 1}


def test_a_list_becomes_json_text_and_a_tuple_stays() -> None:
    record = {"list": [1, "é", {"a": None}], "tuple": (1, 2), "empty": []}

    assert CSVFormatter().flatten(record) == {
        "list": '[1, "\\u00e9", {"a": null}]',
        "tuple": (1, 2),
        "empty": "[]",
    }


def test_a_datetime_in_a_list_is_refused_and_outside_of_one_is_kept() -> None:
    assert CSVFormatter().flatten({"at": MOMENT}) == {"at": MOMENT}
    with pytest.raises(TypeError, match="datetime"):
        CSVFormatter().flatten({"at": [MOMENT]})


@pytest.mark.parametrize(
    "record",
    [
        {"a": {"b": 1}, "a.b": 2},
        {"a.b": 2, "a": {"b": 1}},
        {"a": {"b": {"c": 1}, "b.c": 1}},
        {"a": {"b": {"c": 1}}, "a.b": {"c": None}},
    ],
)
def test_two_values_with_one_dotted_key_are_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Two values of the record have the field 'a\.b"):
        CSVFormatter().flatten(record)


@pytest.mark.parametrize("formatter", [JSONFormatter(), CSVFormatter()])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(formatter: ExportFormatter, number: float) -> None:
    for record in ({"a": number}, {"a": [number]}, {"a": {"b": [{"c": number}]}}):
        with pytest.raises(ValueError, match=r"not a finite number|not JSON compliant"):
            formatter.format(record)


@pytest.mark.parametrize("formatter", [JSONFormatter(), CSVFormatter()])
def test_a_type_that_json_lacks_and_a_key_that_is_not_text_are_refused(
    formatter: ExportFormatter,
) -> None:
    for value in ({1}, b"x", object(), 1j, {1: "a", "1": "b"}, {None: 1}, {"a": {True: 1}}):
        with pytest.raises(TypeError, match=r"JSON has no form for|A key of a record is text"):
            formatter.format({"a": [value]})
    with pytest.raises(TypeError, match="A key of a record is text, not int 1"):
        formatter.format({"a": {1: 2}})


def test_the_record_itself_is_left_alone() -> None:
    record = {"config": {"a": [1]}}

    CSVFormatter().format(record)

    assert record == {"config": {"a": [1]}}


def test_a_csv_row_has_the_value_of_an_enum_and_an_empty_field_for_none() -> None:
    fields = CSVFormatter().format({"type": NodeType.SINK, "hash": None, "size": 5.0})
    line = io.StringIO()

    csv.DictWriter(line, fieldnames=list(fields)).writerow(fields)

    assert line.getvalue() == "sink,,5.0\r\n"


@pytest.mark.parametrize("formatter", [JSONFormatter, CSVFormatter])
def test_both_can_be_used_wherever_a_formatter_is_asked_for(
    formatter: Callable[[], ExportFormatter],
) -> None:
    assert formatter().format({"a": 1}) in ('{"a": 1}', {"a": 1})
