"""Features of values: timestamps, texts, numbers, ids, and where rows lie on disk."""

from datetime import datetime
from itertools import count
from typing import Any

from harness.generate.features.feature import (
    NODE_STATES_OF_THE_RUN,
    Surroundings,
    arranges,
    edits,
    renames,
)
from harness.generate.rows import Chapter, NodeStateFact

# Features of timestamps.


def _is_time(column: str) -> bool:
    return column.endswith("_at")


_MIRROR = datetime(2026, 1, 1)


@edits("SELECT 1 FROM runs WHERE run_id = :run_id AND CAST(started_at AS text) LIKE '2025-%'")
def backward_timestamps(chapter: Chapter, _: Surroundings) -> None:
    """Time runs backwards: what is recorded later carries the earlier timestamp."""

    def mirror(text: str) -> str:
        moment = _MIRROR - (datetime.fromisoformat(text) - _MIRROR)
        return moment.isoformat(" ", "microseconds")

    chapter.change(_is_time, mirror)


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id GROUP BY registered_at HAVING count(*) > 1",
    needs={"nodes": 2},
)
def shared_timestamps(chapter: Chapter, _: Surroundings) -> None:
    """What is recorded together carries the same microsecond."""
    times = [
        value
        for _, facts in chapter.tables()
        for column, value in zip(facts[0]._fields, facts[0], strict=True)
        if _is_time(column) and value is not None
    ]
    if times:
        chapter.change(_is_time, lambda _: times[0])


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND (CAST(registered_at AS text) LIKE '%.000000' "
    "OR CAST(registered_at AS text) NOT LIKE '%.%')"
)
def whole_seconds(chapter: Chapter, _: Surroundings) -> None:
    """No timestamp has a fraction of a second."""
    chapter.change(_is_time, lambda text: text[:-6] + "000000")


# Features of the text that text columns hold.

_FREE_TEXT = frozenset(
    (
        "plugin_name",
        "plugin_version",
        "label",
        "branch_name",
        "source_data_ref",
        "reason_ref",
        "request_ref",
        "response_ref",
        "trigger_reason",
        "artifact_type",
        "path_or_uri",
        "content_hash",
        "schema_hash",
        "canonical_version",
        "reproducibility_grade",
    )
)
"""The text columns whose text the recorder takes as it is given."""


@edits(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND reproducibility_grade LIKE '%''s \"quoted\"%'"
)
def hostile_text(chapter: Chapter, around: Surroundings) -> None:
    """Text columns hold quotes, controls, right-to-left, emoji, U+2028 and astral characters."""
    texts, values = around.pools.hostile_texts, around.pools.hostile_values
    turn = count(chapter.number)

    def spoil(text: str) -> str:
        return texts[next(turn) % len(texts)] + text[:4]

    chapter.change(lambda column: column in _FREE_TEXT - {"label"}, spoil)
    # A label is unique among its node's edges, so it keeps the whole of what told it apart.
    chapter.change(lambda column: column == "label", lambda text: spoil(text) + text[4:])
    value = values[chapter.number % len(values)]
    chapter.rows = [row._replace(source_data_hash=value.hash) for row in chapter.rows]


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND instr(plugin_name, char(0)) > 0",
    portable=False,
)
def nul_in_text(chapter: Chapter, _: Surroundings) -> None:
    """Text columns hold a NUL character; PostgreSQL refuses those."""
    chapter.change(lambda column: column in _FREE_TEXT, lambda text: f"{text[:-1]}\0{text[-1:]}")


# Features of numbers at the edges of their formats.

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


# Features of ids, which rename every one of them.

_DIGITS = 19
"""Digits at the end of a generated id."""


def is_id(column: str) -> bool:
    """Say whether a column holds ids that a feature may rename."""
    # A spec names its runs itself, and expand_group_id has room for 32 characters only.
    return column.endswith("_id") and column not in ("run_id", "expand_group_id")


def _renumber(id_: str, number: int) -> str:
    return f"{id_[:-_DIGITS]}{number % 10**_DIGITS:0{_DIGITS}d}"


@renames(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.row_index = 0 AND b.row_index = 1 AND a.row_id > b.row_id",
    needs={"rows": 3},
    excludes=frozenset(("shuffled_ids", "hostile_ids")),
)
def descending_ids(id_: str) -> str:
    """Ids sort opposite to the order of emission."""
    return _renumber(id_, -1 - int(id_[-_DIGITS:]))


@renames(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id "
    "JOIN rows c ON c.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.row_index = 0 AND b.row_index = 1 AND c.row_index = 2 "
    "AND a.row_id < c.row_id AND c.row_id < b.row_id",
    needs={"rows": 3},
    excludes=frozenset(("descending_ids", "hostile_ids")),
)
def shuffled_ids(id_: str) -> str:
    """Ids sort in no order at all, as random ones do."""
    # Multiplying by a number without the factors 2 and 5 permutes the remainders of 10**19.
    return _renumber(id_, int(id_[-_DIGITS:]) * 6180339887498948483)


_ID_STARTS = ("Node_", "node-", "n", "N", "'\"", "\ue000", "\U00010000", "\u202e", "%s", "\u00e9")
"""Sort differently by bytes, by UTF-16, and by any language's collation."""


@renames(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND node_id LIKE 'Node!_%' ESCAPE '!'",
    excludes=frozenset(("descending_ids", "shuffled_ids")),
)
def hostile_ids(id_: str) -> str:
    """Ids mix case, punctuation and scripts, and sort differently in every collation."""
    return _ID_STARTS[int(id_[-1])] + id_


@renames("SELECT 1 FROM rows WHERE run_id = :run_id AND length(row_id) = 64", needs={"rows": 1})
def long_ids(id_: str) -> str:
    """Ids have the 64 characters that their columns hold."""
    return id_.ljust(64, "f")


# Features of where facts lie on disk.


@arranges(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id "
    "WHERE a.run_id = :run_id AND a.row_index < b.row_index "
    "AND a.{physical_place} > b.{physical_place}",
    needs={"rows": 3},
    recorder=False,
)
def shuffled_insertion(facts: list[Any]) -> None:
    """Facts lie on disk in another order than they were recorded in."""
    facts[:] = [*facts[1::2], *facts[::2]]
