"""Features that vary the numbers and the timestamps of every column of their type."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, DateTime, Integer

from harness.generate.entities import Section
from harness.generate.features.contents import change_columns
from harness.generate.features.feature import EditContext, edits_sections

_BELOW_A_PARENT = frozenset(("ordinal", "step_index", "attempt", "call_index", "step_in_pipeline"))


def spread(number: int) -> int:
    """Return another integer for each integer from 0 on: zero, gapped, negative, out of order.

    Their order is neither that of the arguments nor that of the same integers as text.
    """
    return (number * number + number) * (1 if number % 2 else -1) + (7 if number == 1 else 0)


@edits_sections(
    "SELECT 1 FROM rows WHERE run_id = :run_id AND row_index = -2147483648",
    needs={"rows": 4},
    excludes=frozenset(("integers_of_31_bits", "integers_of_53_bits")),
    in_presets=False,
)
def integers_of_every_kind(section: Section, context: EditContext) -> None:
    """Integer columns hold zero, negative numbers, gaps, and the limits of 32 bits."""
    _spread_integers(section, context, least=-(2**31), most=2**31 - 1)


@edits_sections(
    "SELECT 1 FROM rows WHERE run_id = :run_id AND row_index = -9007199254740991",
    needs={"rows": 4},
    excludes=frozenset(("integers_of_31_bits", "integers_of_53_bits", "integers_of_every_kind")),
    portable=False,
    in_presets=False,
)
def integers_at_the_limits(section: Section, context: EditContext) -> None:
    """Integer columns hold zero, negative numbers, gaps, and the limits of canonical JSON."""
    _spread_integers(section, context, least=1 - 2**53, most=2**53 - 1)


def _is_integer(column: Column[Any]) -> bool:
    return isinstance(column.type, Integer)


def _is_moment(column: Column[Any]) -> bool:
    return isinstance(column.type, DateTime)


def _spread_integers(section: Section, context: EditContext, *, least: int, most: int) -> None:
    def changed(column: Column[Any], value: int | None, number: int) -> int | None:
        if value is None:
            return None
        if column.name == "size_bytes":
            return (0, least, most, -1, 10, 9)[number % 6]
        if column.name == "step_in_pipeline":
            value -= 1
        if column.name in _BELOW_A_PARENT:
            # The same for all children of a parent, so that they stay unique.
            value += section.number % 4
        # Two numbers become the limits, and no other number does: constraints still hold.
        return {2: most, 3: least}.get(value, spread(value))

    change_columns(section, context, _is_integer, changed)


@edits_sections(
    "SELECT 1 FROM rows WHERE run_id = :run_id AND row_index = -2",
    needs={"rows": 3},
    excludes=frozenset(
        (
            "integers_of_31_bits",
            "integers_of_53_bits",
            "integers_of_every_kind",
            "integers_at_the_limits",
        )
    ),
    in_presets=False,
)
def descending_integers(section: Section, context: EditContext) -> None:
    """Integers descend in the order in which entities are recorded, identified and timed."""
    change_columns(
        section,
        context,
        _is_integer,
        # As text these do not descend: 20, 9, -2, -13.
        lambda _column, value, _number: None if value is None else 20 - 11 * value,
    )


@edits_sections(
    "SELECT 1 FROM node_states s JOIN node_states o ON o.token_id = s.token_id "
    "JOIN tokens t ON t.token_id = s.token_id JOIN rows r ON r.row_id = t.row_id "
    "WHERE r.run_id = :run_id AND s.step_index = 1 AND s.attempt = 11 "
    "AND o.step_index = 11 AND o.attempt = 1",
    needs={"states": 2},
    alone=True,
    in_presets=False,
)
def steps_and_attempts_joined(section: Section, context: EditContext) -> None:
    """Step and attempt of a state, written without a separator, are those of another state."""
    places = Counter[str]()
    for number, state in enumerate(section.node_states):
        pair, second = divmod(places[state.token_id], 2)
        places[state.token_id] += 1
        # No attempt occurs twice: a token has one state for a node and an attempt.
        digits = pair + 1 if pair < 9 else pair + 11
        step, attempt = (11, digits) if second else (1, int(f"1{digits}"))
        section.node_states[number] = state._replace(step_index=step, attempt=attempt)


_EPOCH = datetime(1970, 1, 1)
_MICROSECONDS = (
    0,
    1,
    999_999,
    -1,
    1_767_225_600_000_000,
    1_767_225_600_000_001,
    1_767_225_600_100_000,
    951_782_399_999_999,
    1_774_747_799_500_000,
    # 02:30, which St. John's leaves out on that day.
    1_772_937_000_000_000,
    4_102_444_800_000_000,
)
"""Moments in microseconds since 1970: whole seconds, their neighbours, leap days, clock changes."""
_MOMENTS = tuple(
    (_EPOCH + timedelta(microseconds=each)).isoformat(" ", "microseconds") for each in _MICROSECONDS
)
_MOMENTS_AT_LIMITS = (
    "0001-01-01 00:00:00.000000",
    "2026-01-01 00:00:00.500000",
    "9999-12-31 23:59:59.999999",
    "1969-12-31 23:59:59.999999",
)


def _times(section: Section, context: EditContext, texts: tuple[str, ...]) -> None:
    change_columns(
        section,
        context,
        _is_moment,
        # Three entities in a row have the same time, and the next three another.
        lambda column, value, number: (
            None if value is None else texts[(number // 3 * 7 + number // 21) % len(texts)]
        ),
    )


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id "
    "AND CAST(started_at AS text) NOT LIKE '2026-01-01 09:3%' "
    "AND CAST(started_at AS text) NOT LIKE '2025-12-31%'",
    excludes=frozenset(("backward_timestamps", "shared_timestamps", "whole_seconds")),
    in_presets=False,
)
def times_of_every_kind(section: Section, context: EditContext) -> None:
    """Timestamps are tied, out of order, far apart, and next to a whole second."""
    _times(section, context, _MOMENTS)


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND (started_at LIKE '0001-%' "
    "OR started_at LIKE '9999-%' OR started_at LIKE '1969-%' "
    "OR started_at LIKE '2026-01-01 00:00:00.5%')",
    excludes=frozenset(
        ("backward_timestamps", "shared_timestamps", "whole_seconds", "times_of_every_kind")
    ),
    # A session's time zone can move such a time out of Python's years.
    portable=False,
    in_presets=False,
)
def times_at_the_limits(section: Section, context: EditContext) -> None:
    """Timestamps are the first and the last that exist, and two between them."""
    _times(section, context, _MOMENTS_AT_LIMITS)
