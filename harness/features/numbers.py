"""Features of numbers at the edges of their formats."""

from itertools import count

from harness.facts import Chapter, NodeStateFact
from harness.features.feature import NODE_STATES_OF_THE_RUN, Surroundings, edits

EDGE_FLOATS = (
    1e21,
    5.0,
    -0.0,
    0.1,
    1e-6,
    9.999999999999999e-7,
    1e-5,
    9.5367431640625e-7,
    1e-7,
    5e-324,
    1.7976931348623157e308,
    9007199254740992.0,
    9007199254740993.5,
    1e16,
    123456789012345680.0,
    999999999999999900000.0,
    100000000000000000000.0,
    4.35,
    1 / 3,
    -1.5,
)
"""Floats on both sides of each rule of RFC 8785, section 3.2.2.3 (ECMAScript's Number::toString).

The first is the rarest, so that a run with a single state shows it."""


def _is_duration(column: str) -> bool:
    return column in ("duration_ms", "latency_ms")


@edits(f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.duration_ms >= 1e20", needs={"states": 1})
def edge_floats(chapter: Chapter, _: Surroundings) -> None:
    """Durations are floats at the edges of how numbers are formatted."""
    turn = count(chapter.number)
    chapter.change(_is_duration, lambda _: EDGE_FLOATS[next(turn) % len(EDGE_FLOATS)])


@edits(
    "SELECT 1 FROM artifacts WHERE run_id = :run_id AND size_bytes = 2147483647",
    needs={"artifacts": 2},
)
def integers_of_31_bits(chapter: Chapter, _: Surroundings) -> None:
    """A size is the largest integer of 32 bits with sign."""
    chapter.artifacts[-1:] = [a._replace(size_bytes=2**31 - 1) for a in chapter.artifacts[-1:]]


@edits(
    "SELECT 1 FROM artifacts WHERE run_id = :run_id AND size_bytes = 9007199254740991",
    needs={"artifacts": 2},
    portable=False,
)
def integers_of_53_bits(chapter: Chapter, _: Surroundings) -> None:
    """A size is the largest integer of canonical JSON; PostgreSQL's Integer has 32 bits."""
    chapter.artifacts[:1] = [a._replace(size_bytes=2**53 - 1) for a in chapter.artifacts[:1]]


def _spoil_duration(chapter: Chapter, duration_ms: float) -> None:
    def spoil(state: NodeStateFact) -> NodeStateFact:
        return state if state.status == "open" else state._replace(duration_ms=duration_ms)

    chapter.node_states[:1] = [spoil(state) for state in chapter.node_states[:1]]


@edits(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.duration_ms > 1.7976931348623157e308",
    needs={"states": 2},
    excludes=frozenset(("nan_durations",)),
    recorder=False,
    corrupt=True,
)
def infinite_durations(chapter: Chapter, _: Surroundings) -> None:
    """Some durations are infinite, which no canonical JSON can carry."""
    _spoil_duration(chapter, float("inf"))


@edits(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status <> 'open' AND s.duration_ms IS NULL",
    needs={"states": 2},
    excludes=frozenset(("infinite_durations",)),
    recorder=False,
    portable=False,
    corrupt=True,
)
def nan_durations(chapter: Chapter, _: Surroundings) -> None:
    """Some durations are not a number; SQLite stores NULL for that."""
    _spoil_duration(chapter, float("nan"))
