"""Tests of canonical JSON with values of numpy and pandas, where these are installed."""

import pytest

from elspeth.core.canonical import _normalize_value, canonical_json


@pytest.fixture(scope="module")
def numpy():
    return pytest.importorskip("numpy", reason="numpy is not a dependency, and is not installed")


@pytest.fixture(scope="module")
def pandas():
    return pytest.importorskip("pandas", reason="pandas is not a dependency, and is not installed")


def test_numpy_scalars_become_pythons_own(numpy) -> None:
    scalars = [numpy.float64(1.5), numpy.int64(-3), numpy.uint8(7), numpy.bool_(True)]

    plain = [_normalize_value(scalar) for scalar in scalars]

    assert plain == [1.5, -3, 7, True]
    assert [type(value) for value in plain] == [float, int, int, bool]


def test_a_narrow_float_widens(numpy) -> None:
    assert canonical_json(numpy.float32(0.1)) == "0.10000000149011612"


def test_an_array_becomes_a_list(numpy) -> None:
    assert canonical_json({"a": numpy.array([[1, 2], [3, 4]])}) == '{"a":[[1,2],[3,4]]}'
    assert canonical_json(numpy.array(5)) == "5"


@pytest.mark.parametrize("nested", [False, True])
def test_a_number_of_numpy_that_is_not_finite_is_refused(numpy, nested: bool) -> None:
    for bad in (numpy.float32("nan"), numpy.float64("inf"), numpy.longdouble("-inf")):
        with pytest.raises(ValueError, match="non-finite"):
            canonical_json(numpy.array([[bad]]) if nested else bad)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("unit", ["Y", "D", "s", "us", "ns", "as"])
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
def test_a_time_of_numpy_is_refused_in_every_unit(
    numpy, kind: str, unit: str, nested: bool
) -> None:
    value = getattr(numpy, kind)(5, unit)
    with pytest.raises(ValueError, match=rf"{kind}.*unsupported type"):
        canonical_json(numpy.array([value]) if nested else value)


def test_a_kind_of_numpy_without_a_json_form_is_refused(numpy) -> None:
    records = numpy.array([(1, 2.0)], dtype=[("a", int), ("b", float)])
    for value in (numpy.complex128(1), records, records[0], numpy.void(b"x")):
        with pytest.raises(ValueError, match="unsupported type"):
            canonical_json(value)


@pytest.mark.parametrize("nested", [False, True])
def test_a_wide_float_is_written_only_if_it_is_not_rounded(numpy, nested: bool) -> None:
    third = numpy.longdouble(1) / 3
    if float(third) == third:
        pytest.skip("a longdouble is no wider than a float here")
    with pytest.raises(ValueError, match="would round it"):
        canonical_json(numpy.array([third]) if nested else third)
    assert canonical_json(numpy.longdouble("0.25")) == "0.25"


def test_a_timestamp_of_pandas_is_written_in_utc_with_its_nanoseconds(pandas) -> None:
    naive = pandas.Timestamp("2026-01-01T12:00:00.000000001")
    sydney = pandas.Timestamp("2026-01-01T11:00:00", tz="Australia/Sydney")

    assert _normalize_value(naive) == "2026-01-01T12:00:00.000000001+00:00"
    assert _normalize_value(sydney) == "2026-01-01T00:00:00+00:00"


def test_what_pandas_calls_missing_is_null(pandas) -> None:
    assert canonical_json([pandas.NA, pandas.NaT]) == "[null,null]"


def test_a_series_of_pandas_is_refused(pandas) -> None:
    with pytest.raises(ValueError, match="unsupported type"):
        canonical_json(pandas.Series([1]))
