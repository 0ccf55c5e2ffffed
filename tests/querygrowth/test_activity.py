"""The records in a result are counted where it shows them, and unknown where it does not."""

import pytest

from querygrowth.counting.action_result import records_in


@pytest.mark.parametrize(
    ("result", "records"),
    [
        (5, 5),
        (0, 0),
        ([], 0),
        (["a", "b"], 2),
        ({"a", "b"}, 2),
        ([(1, "a"), (2, "b")], 2),
        ([{"id": 1, "name": "a"}], 1),
        ([(1, ["a", "b"]), (2, [])], 4),
        ([{"id": 1, "items": [{"id": 2}, {"id": 3}]}], 3),
        ({"orders": [1, 2], "items": [3]}, 3),
        (([1, 2], [3]), 3),
        ([((1, "a"), "b")], 1),
    ],
)
def test_records_are_counted(result: object, records: int) -> None:
    assert records_in(result) == records


@pytest.mark.parametrize("result", [None, True, "text", b"bytes", 1.5, object(), [object()]])
def test_a_result_that_does_not_show_its_records_gives_none(result: object) -> None:
    assert records_in(result) is None
