"""Tests of the enums: their exact values, and the behaviour of members as text."""

import csv
import io
import json
from enum import Enum

import pytest

from elspeth.contracts import enums

VALUES = {
    enums.RunStatus: "running completed failed",
    enums.NodeStateStatus: "open completed failed",
    enums.ExportStatus: "pending completed failed",
    enums.BatchStatus: "draft executing completed failed",
    enums.TriggerType: "count timeout condition end_of_source manual",
    enums.NodeType: "source transform gate aggregation coalesce sink",
    enums.Determinism: "deterministic seeded io_read io_write external_call non_deterministic",
    enums.RoutingKind: "continue route fork_to_paths",
    enums.RoutingMode: "move copy",
    enums.CallType: "llm http sql filesystem",
    enums.CallStatus: "success error",
    enums.ReproducibilityGrade: "full_reproducible replay_reproducible attributable_only",
    enums.RowOutcome: (
        "completed routed forked failed quarantined consumed_in_batch coalesced expanded buffered"
    ),
}
every_enum = pytest.mark.parametrize("enum", VALUES, ids=lambda enum: enum.__name__)
every_text_enum = pytest.mark.parametrize(
    "enum", [enum for enum in VALUES if enum is not enums.RowOutcome], ids=lambda e: e.__name__
)


@every_enum
def test_an_enum_has_exactly_its_agreed_values_in_order(enum: type[Enum]) -> None:
    assert [member.value for member in enum] == VALUES[enum].split()


@every_enum
def test_a_member_is_named_as_its_value_in_upper_case(enum: type[Enum]) -> None:
    assert [member.name for member in enum] == VALUES[enum].upper().split()


@every_text_enum
def test_a_member_of_a_text_enum_equals_its_text_and_is_written_as_it(enum: type[Enum]) -> None:
    for member in enum:
        line = io.StringIO()
        csv.writer(line).writerow([member])

        assert member == member.value
        assert json.dumps(member) == f'"{member.value}"'
        assert line.getvalue() == f"{member.value}\r\n"


@every_text_enum
def test_str_and_f_strings_of_a_member_name_it_instead_of_giving_its_value(
    enum: type[Enum],
) -> None:
    for member in enum:
        assert str(member) == f"{member}" == f"{enum.__name__}.{member.name}"


def test_a_row_outcome_is_not_text() -> None:
    assert enums.RowOutcome.COMPLETED != "completed"
    assert not isinstance(enums.RowOutcome.COMPLETED, str)


def test_every_row_outcome_but_buffered_is_terminal() -> None:
    waiting = [outcome for outcome in enums.RowOutcome if not outcome.is_terminal]

    assert waiting == [enums.RowOutcome.BUFFERED]
