"""Features of stored values: timestamps, texts, numbers, ids, and their order on disk."""

from datetime import datetime
from itertools import count
from typing import Any

from harness.generate.entities import Section, StoredNodeState
from harness.generate.features.feature import (
    NODE_STATES_OF_THE_RUN,
    EditContext,
    edits_sections,
    renames_ids,
    reorders_inserts,
)

# Timestamps.


def _is_time(column: str) -> bool:
    return column.endswith("_at")


# Before the start of every run, so that all mirrored times lie in the year before.
_MIRROR = datetime(2026, 1, 1)


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND CAST(started_at AS text) LIKE '2025-%'"
)
def backward_timestamps(section: Section, _: EditContext) -> None:
    """Time runs backwards: entities recorded later have earlier timestamps."""

    def mirror(text: str) -> str:
        moment = _MIRROR - (datetime.fromisoformat(text) - _MIRROR)
        return moment.isoformat(" ", "microseconds")

    section.change(_is_time, mirror)


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id GROUP BY registered_at HAVING count(*) > 1",
    needs={"nodes": 2},
)
def shared_timestamps(section: Section, _: EditContext) -> None:
    """Entities recorded together have the same timestamp."""
    times = [
        value
        for _, entities in section.tables()
        for column, value in zip(entities[0]._fields, entities[0], strict=True)
        if _is_time(column) and value is not None
    ]
    # A section without entities has no time, such as the edges of a run without edges.
    if times:
        section.change(_is_time, lambda _: times[0])


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND (CAST(registered_at AS text) LIKE '%.000000' "
    "OR CAST(registered_at AS text) NOT LIKE '%.%')"
)
def whole_seconds(section: Section, _: EditContext) -> None:
    """No timestamp has a fraction of a second."""
    section.change(_is_time, lambda text: text[:-6] + "000000")


# Text in text columns.

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
"""The text columns for which the recorder takes any text."""


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND reproducibility_grade LIKE '%''s \"quoted\"%'"
)
def hostile_text(section: Section, context: EditContext) -> None:
    """Text columns hold quotes, controls, right-to-left, emoji, U+2028 and astral characters."""
    texts, values = context.pools.hostile_texts, context.pools.hostile_values
    turn = count(section.number)

    def make_hostile(text: str) -> str:
        return texts[next(turn) % len(texts)] + text[:4]

    section.change(lambda column: column in _FREE_TEXT - {"label"}, make_hostile)
    # A label has to stay unique among the edges of its node, so it keeps its whole old text.
    section.change(lambda column: column == "label", lambda text: make_hostile(text) + text[4:])
    value = values[section.number % len(values)]
    section.rows = [row._replace(source_data_hash=value.hash) for row in section.rows]


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND instr(plugin_name, char(0)) > 0",
    portable=False,
)
def nul_in_text(section: Section, _: EditContext) -> None:
    """Text columns hold a NUL character, which PostgreSQL cannot store."""
    section.change(lambda column: column in _FREE_TEXT, lambda text: f"{text[:-1]}\0{text[-1:]}")


# Numbers at the limits of their formats.

EDGE_FLOATS = (
    # First, because the evidence looks for it: a run with one node state has it too.
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
"""Floats on both sides of the limits of RFC 8785, section 3.2.2.3 (ECMAScript Number::toString)."""


def _is_duration(column: str) -> bool:
    return column in ("duration_ms", "latency_ms")


@edits_sections(f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.duration_ms >= 1e20", needs={"states": 1})
def edge_floats(section: Section, _: EditContext) -> None:
    """Durations are floats at the limits between number formats."""
    turn = count(section.number)
    section.change(_is_duration, lambda _: EDGE_FLOATS[next(turn) % len(EDGE_FLOATS)])


@edits_sections(
    "SELECT 1 FROM artifacts WHERE run_id = :run_id AND size_bytes = 2147483647",
    needs={"artifacts": 2},
)
def integers_of_31_bits(section: Section, _: EditContext) -> None:
    """A size is the largest signed 32-bit integer."""
    section.artifacts[-1:] = [a._replace(size_bytes=2**31 - 1) for a in section.artifacts[-1:]]


@edits_sections(
    "SELECT 1 FROM artifacts WHERE run_id = :run_id AND size_bytes = 9007199254740991",
    needs={"artifacts": 2},
    portable=False,
)
def integers_of_53_bits(section: Section, _: EditContext) -> None:
    """A size is the largest integer of canonical JSON, which PostgreSQL's Integer cannot hold."""
    section.artifacts[:1] = [a._replace(size_bytes=2**53 - 1) for a in section.artifacts[:1]]


def _set_duration(section: Section, duration_ms: float) -> None:
    """Set the duration of the first node state of each section, unless that state is open."""

    def changed(state: StoredNodeState) -> StoredNodeState:
        return state if state.status == "open" else state._replace(duration_ms=duration_ms)

    section.node_states[:1] = [changed(state) for state in section.node_states[:1]]


@edits_sections(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.duration_ms > 1.7976931348623157e308",
    needs={"states": 2},
    excludes=frozenset(("nan_durations",)),
    corrupt=True,
)
def infinite_durations(section: Section, _: EditContext) -> None:
    """Some durations are infinite, which canonical JSON cannot represent."""
    _set_duration(section, float("inf"))


@edits_sections(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status <> 'open' AND s.duration_ms IS NULL",
    needs={"states": 2},
    excludes=frozenset(("infinite_durations",)),
    portable=False,
    corrupt=True,
)
def nan_durations(section: Section, _: EditContext) -> None:
    """Some durations are NaN, for which SQLite stores NULL."""
    _set_duration(section, float("nan"))


# Ids: these features rename every id of a run.

_DIGITS = 19
"""The number of digits at the end of a generated id."""
_IDS: int = 10**_DIGITS
"""How many numbers these digits write."""


def _renumber(id_: str, number: int) -> str:
    return f"{id_[:-_DIGITS]}{number % _IDS:0{_DIGITS}d}"


@renames_ids(
    # The first node has the number 0, and the greatest number after the renaming.
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND node_id LIKE '%-9999999999999999999%'",
    needs={"rows": 3},
    excludes=frozenset(("shuffled_ids", "hostile_ids")),
)
def descending_ids(id_: str) -> str:
    """Ids sort opposite to the order in which they were made."""
    return _renumber(id_, -1 - int(id_[-_DIGITS:]))


@renames_ids(
    # The second row has the number 1, and the factor as its number after the renaming.
    "SELECT 1 FROM rows WHERE run_id = :run_id AND row_id LIKE '%-6180339887498948483%'",
    needs={"rows": 3},
    excludes=frozenset(("descending_ids", "hostile_ids")),
)
def shuffled_ids(id_: str) -> str:
    """Ids sort as if they were random."""
    return _renumber(id_, _shuffled(int(id_[-_DIGITS:])))


def _shuffled(number: int) -> int:
    # A factor without the divisors 2 and 5 permutes the remainders of 10**19: ids stay distinct.
    return number * 6180339887498948483 % _IDS


@renames_ids(
    "SELECT 1 FROM rows WHERE run_id = :run_id AND substr(row_id, 24, 1) = '-'",
    needs={"rows": 1},
    excludes=frozenset(("descending_ids", "shuffled_ids", "hostile_ids")),
    in_presets=False,
)
def interleaved_ids(id_: str) -> str:
    """Ids sort as if they were random, and those of other runs lie between them."""
    shuffled = _shuffled(int(id_[-_DIGITS:]))
    return f"{id_[:4]}{shuffled:0{_DIGITS}d}{id_[3:-_DIGITS].removesuffix('-')}"


_ID_STARTS = ("Node_", "node-", "n", "N", "'\"", "\ue000", "\U00010000", "\u202e", "%s", "\u00e9")
"""Prefixes that sort differently by bytes, by UTF-16 units and by a language's collation."""


@renames_ids(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND node_id LIKE 'Node!_%' ESCAPE '!'",
    excludes=frozenset(("descending_ids", "shuffled_ids")),
)
def hostile_ids(id_: str) -> str:
    """Ids mix case, punctuation and scripts, and sort differently in each collation."""
    return _ID_STARTS[int(id_[-1])] + id_


@renames_ids("SELECT 1 FROM rows WHERE run_id = :run_id AND length(row_id) = 64", needs={"rows": 1})
def long_ids(id_: str) -> str:
    """Ids have 64 characters, the length of their columns."""
    return id_.ljust(64, "f")


# Order on disk.


@reorders_inserts(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id "
    "WHERE a.run_id = :run_id AND a.row_index < b.row_index "
    "AND a.{physical_place} > b.{physical_place}",
    needs={"rows": 3},
)
def shuffled_insertion(entities: list[Any]) -> None:
    """Entities are on disk in another order than the one in which they were recorded."""
    entities[:] = [*entities[1::2], *entities[::2]]
