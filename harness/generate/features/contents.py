"""Features that vary the contents of every column of a type, and runs that lack whole tables.

Other features change a few named columns. These take their columns from the schema, so that they
cover a column that is added later. `harness/checks/column_kinds.py` measures what they reach.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Column, DateTime, Integer, String, Text

from elspeth.contracts.enums import BatchStatus, CallStatus, Determinism, NodeType, RunStatus
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness.generate.entities import Section
from harness.generate.features.feature import (
    NODE_STATES_OF_THE_RUN,
    EditContext,
    edits_sections,
    is_renamed_id,
    renames_ids,
)
from harness.generate.sources import id_start

_Change: TypeAlias = Callable[[Column[Any], Any, int], Any]
"""Returns the new value for a column, its old value, and a number that differs between entities."""

_TABLES = {table.name: table for table in EXPORTED_TABLES}
_MEMBERS = frozenset(("status", "node_type", "determinism", "default_mode", "mode", "call_type"))
"""The columns that hold the members of an enum."""


_GROUPS = frozenset(("fork_group_id", "join_group_id", "expand_group_id"))


def _change_columns(
    section: Section, context: EditContext, columns: Callable[[Column[Any]], bool], change: _Change
) -> None:
    """Change the values of some columns in place, entity by entity.

    Args:
        section: The section to change.
        context: Its seed moves the numbers that `change` takes.
        columns: Returns whether a column is changed. It applies to all tables.
        change: Returns the new value.
    """
    for name, entities in section.tables():
        kind = type(entities[0])
        chosen = {
            place: _TABLES[name].c[column]
            for place, column in enumerate(kind._fields)
            if columns(_TABLES[name].c[column])
        }
        if not chosen:
            continue
        # Neighbouring sections start one apart, and neighbouring columns five: the columns of an
        # entity differ, and a table of few entities has other values in every section.
        first = context.seed + section.number
        setattr(
            section,
            name,
            [
                kind._make(
                    change(chosen[place], value, first + number + 5 * place)
                    if place in chosen
                    else value
                    for place, value in enumerate(entity)
                )
                for number, entity in enumerate(entities)
            ],
        )


# Text.

TEXTS = (
    "",
    " ",
    "0",
    "None",
    " blank before",
    "blank after ",
    "\ttab and newline\n",
    "\u00a0no break\u00a0",
    "Twin",
    "tWIN",
    "e\u0301",
    "\u00e9",
    "\ufb01 \u212b \uff11",
    "\U0001f469\u200d\U0001f4bb \U00010000",
    "007",
    "1.0",
    "1e5",
    "null",
    "true",
    "100%_of [*] a?b",
    "'single' \"double\" `back` \\",
    "\r\n",
    "-1",
    "\u0130\u0131\u00df",
)
"""Texts that a column returns changed if it is stripped, cast, folded, normalised or matched."""

LONG_TEXT_END = "\U0001d11e end"
"""The end of a text that is as long as its column. A cut text lacks it."""


def _text(column: Column[Any], number: int) -> str:
    turn = number % (len(TEXTS) + 1)
    length = getattr(column.type, "length", None) or 300
    if turn < len(TEXTS):
        # PostgreSQL refuses a text that is longer than its column.
        return TEXTS[turn][:length]
    return ("long " * length)[: length - len(LONG_TEXT_END)] + LONG_TEXT_END


def _is_free_text(column: Column[Any]) -> bool:
    return (
        isinstance(column.type, String)
        # The group of a token is an id that refers to no table.
        and (not column.name.endswith(("_id", "_json")) or column.name in _GROUPS)
        and column.name not in _MEMBERS
    )


@edits_sections(
    # hostile_text keeps the first letters, and nul_in_text nearly all.
    "SELECT 1 FROM runs WHERE run_id = :run_id AND canonical_version NOT LIKE '%sha2%'",
    excludes=frozenset(("hostile_text", "nul_in_text")),
    in_presets=False,
)
def texts_of_every_kind(section: Section, context: EditContext) -> None:
    """Text columns are empty, blank, blank at an end, long, numeric, and alike but for case."""
    _change_columns(
        section,
        context,
        lambda column: _is_free_text(column) and column.name != "label",
        lambda column, _, number: _text(column, number),
    )
    # A label has to stay unique among the edges of its node.
    used: set[tuple[str, str]] = set()
    for place, edge in enumerate(section.edges):
        label = TEXTS[(context.seed + place) % len(TEXTS)] if place else _text(_LABEL, len(TEXTS))
        if (edge.from_node_id, label) not in used:
            used.add((edge.from_node_id, label))
            section.edges[place] = edge._replace(label=label)


_LABEL = _TABLES["edges"].c.label

_JSON = ("", "not JSON", " { } ", '{"b":1,"a":[1.0,1e2,"\\u00e9"]}', '{"a":1,"a":2}', "[NaN]")
_JSON_LISTS = ("[]", " [ ] ", '[{"type": "str", "name": "b"}, {"name": "a"}]', "[1,1.0]")
"""The control refuses a text that is not a list where a node's fields are stored."""


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND settings_json NOT LIKE '{\"limit\":%'",
    in_presets=False,
)
def json_of_every_form(section: Section, context: EditContext) -> None:
    """JSON columns hold blanks, unsorted and repeated keys, and text that is not JSON."""

    def reform(column: Column[Any], _: object, number: int) -> object:
        forms = _JSON_LISTS if column.name == "schema_fields_json" else _JSON
        return forms[number % len(forms)]

    _change_columns(section, context, lambda column: isinstance(column.type, Text), reform)


# Numbers and times.


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

    _change_columns(section, context, lambda column: isinstance(column.type, Integer), changed)


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
    _change_columns(
        section,
        context,
        lambda column: isinstance(column.type, Integer),
        # As text these do not descend: 20, 9, -2, -13.
        lambda _column, value, _number: None if value is None else 20 - 11 * value,
    )


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
    4_102_444_800_000_000,
)
"""Moments in microseconds since 1970: whole seconds, their neighbours, leap days, clock changes."""


def _times(section: Section, context: EditContext, texts: tuple[str, ...]) -> None:
    _change_columns(
        section,
        context,
        lambda column: isinstance(column.type, DateTime),
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
    moments = (_EPOCH + timedelta(microseconds=each) for each in _MICROSECONDS)
    _times(section, context, tuple(each.isoformat(" ", "microseconds") for each in moments))


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
    texts = (
        "0001-01-01 00:00:00.000000",
        "2026-01-01 00:00:00.500000",
        "9999-12-31 23:59:59.999999",
        "1969-12-31 23:59:59.999999",
    )
    _times(section, context, texts)


# Values that a status does not go with.


def _turns(members: type[Any], number: int) -> str:
    values = [member.value for member in members]
    return str(values[number % len(values)])


@edits_sections(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'open' AND s.duration_ms IS NOT NULL",
    needs={"rows": 3, "states": 1},
    in_presets=False,
)
def values_against_the_status(section: Section, context: EditContext) -> None:
    """Every member of every enum occurs, beside values that do not go with it."""
    turn = context.seed + section.number
    # The rows that other features give an open or failed state are left alone.
    if section.number % 3:
        section.node_states = [
            _against_status(state, place) for place, state in enumerate(section.node_states)
        ]
    section.runs = [run._replace(status=_turns(RunStatus, turn)) for run in section.runs]
    section.nodes = [
        node._replace(
            node_type=_turns(NodeType, turn + place), determinism=_turns(Determinism, turn + place)
        )
        for place, node in enumerate(section.nodes)
    ]
    section.batches = [
        batch._replace(
            status=_turns(BatchStatus, turn + place),
            completed_at=None if (turn + place) % 3 == 0 else batch.completed_at,
        )
        for place, batch in enumerate(section.batches)
    ]
    section.calls = [
        call._replace(status=_turns(CallStatus, turn + place))
        for place, call in enumerate(section.calls)
    ]


def _against_status(state: Any, number: int) -> Any:
    """Return a node state as open with an output, failed without an error, or the like."""
    match number % 4:
        case 0:
            return state._replace(status="open", output_hash=state.output_hash or "stray")
        case 1:
            return state._replace(status="failed", error_json=None)
        case 2 if state.output_hash is not None and state.duration_ms is not None:
            return state._replace(status="completed", error_json='{"type":"stray"}')
        case _:
            return state


# NULL, last: other features fill what this one empties.

_OTHER_FEATURES = frozenset(
    (
        "output_hash",
        "duration_ms",
        "completed_at",
        "sequence_in_pipeline",
        "aggregation_state_id",
    )
)
"""The columns whose NULL depends on a status, or has a feature already."""


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND schema_mode IS NULL",
    needs={"nodes": 3},
    excludes=frozenset(("hostile_text",)),
    in_presets=False,
)
def nulls_in_all_columns(section: Section, context: EditContext) -> None:
    """Every column that may be NULL is NULL in a third of the entities."""
    _change_columns(
        section,
        context,
        lambda column: bool(column.nullable) and column.name not in _OTHER_FEATURES,
        lambda _, value, number: None if number % 3 == 0 else value,
    )


# Ids.

_ID_FORMS = (
    "t{tag}{number}",
    "T{tag}{number}",
    "t{tag}{number} ",
    " t{tag}{number}",
    "t{tag}%{number}",
    "t{tag}_{number}",
    "t{tag}*{number}",
    "t{tag}?{number}",
    "t{tag}[{number}]",
    "t{tag}'{number}",
    't{tag}"{number}',
    "t{tag}\\{number}",
    "t{tag}{number}\t",
    "te\u0301{tag}{number}",
    "t\u00e9{tag}{number}",
    "t\ue000{tag}{number}",
    "t\U00010000{tag}{number}",
)
"""Forms of ids: case twins, prefixes, blanks at an end, wildcards, quotes, composed letters."""

_FIRST_DIGITS = 19
_TAG = 8


@renames_ids(
    "SELECT 1 FROM nodes a JOIN nodes b ON b.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.node_id < b.node_id AND lower(a.node_id) = lower(b.node_id)",
    needs={"nodes": 2},
    excludes=frozenset(("descending_ids", "shuffled_ids", "hostile_ids", "long_ids")),
    in_presets=False,
)
def twin_ids(id_: str) -> str:
    """Ids differ by case, by a blank or by one more digit, and hold quotes and wildcards."""
    tag = id_[-_FIRST_DIGITS - 1 - _TAG : -_FIRST_DIGITS - 1]
    number = int(id_[-_FIRST_DIGITS:])
    # Not padded, so that an id is the prefix of another.
    form = _ID_FORMS[number % len(_ID_FORMS)]
    return form.format(tag=f"{id_[:3]}{tag}", number=number // len(_ID_FORMS))


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND node_id = ''",
    needs={"neighbours": 1, "nodes": 5},
    excludes=frozenset(
        (
            "descending_ids",
            "shuffled_ids",
            "hostile_ids",
            "long_ids",
            "twin_ids",
            "references_to_other_runs",
            "edges_and_events_of_other_runs",
        )
    ),
    in_presets=False,
)
def short_ids(section: Section, context: EditContext) -> None:
    """The first ids of every table are empty, blank, and numbers that are equal but for zeros."""
    # Only the main run: an id occurs once in a table, and neighbours have the same features.
    if context.other_run is None or context.other_run.token_id is None:
        return
    start = id_start(section.run_id)

    def shortened(id_: str) -> str:
        number = int(id_[-_FIRST_DIGITS:]) if id_[3:].startswith(start) else len(_SHORT_IDS)
        return _SHORT_IDS[number] if number < len(_SHORT_IDS) else id_

    section.change(is_renamed_id, shortened)


# In this order parents, children and routing groups have one of every kind.
_SHORT_IDS = ("7", " ", "07", "  ", "", "7.0")


# Runs that lack whole tables.


def _keep_only(section: Section, *kept: str) -> None:
    for table in _TABLES:
        if table not in kept:
            setattr(section, table, [])


@edits_sections(
    "SELECT 1 FROM runs r WHERE r.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.run_id = r.run_id) "
    "AND NOT EXISTS (SELECT 1 FROM rows w WHERE w.run_id = r.run_id)",
    alone=True,
    in_presets=False,
)
def bare_run(section: Section, _: EditContext) -> None:
    """The run has nothing but its own record."""
    _keep_only(section, "runs")


@edits_sections(
    "SELECT 1 FROM nodes n WHERE n.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM rows w WHERE w.run_id = n.run_id)",
    alone=True,
    in_presets=False,
)
def run_without_rows(section: Section, _: EditContext) -> None:
    """The run has nodes, edges and batches, and no row."""
    _keep_only(section, "runs", "nodes", "edges", "batches")


@edits_sections(
    "SELECT 1 FROM rows w WHERE w.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.run_id = w.run_id)",
    needs={"neighbours": 1, "rows": 1},
    alone=True,
    in_presets=False,
)
def run_without_nodes(section: Section, context: EditContext) -> None:
    """The run has rows, tokens, batches and artifacts, but no node and no edge."""
    other = context.other_run
    # Of a neighbour, a token cannot be referred to. A neighbour keeps its nodes.
    if other is None or other.token_id is None:
        return
    section.nodes, section.edges, section.routing_events = [], [], []
    section.change(lambda column: column.endswith("node_id"), lambda _: other.node_id)
    # A token has one state for a node and an attempt.
    first = {(state.token_id, state.attempt): state for state in reversed(section.node_states)}
    section.node_states = list(first.values())[::-1]
    kept = {state.state_id for state in section.node_states}
    section.calls = [call for call in section.calls if call.state_id in kept]


@edits_sections(
    "SELECT 1 FROM nodes n WHERE n.run_id = :run_id "
    "AND NOT EXISTS (SELECT 1 FROM edges e WHERE e.run_id = n.run_id) "
    "AND EXISTS (SELECT 1 FROM rows w WHERE w.run_id = n.run_id)",
    needs={"rows": 1, "edges": 1},
    alone=True,
    in_presets=False,
)
def run_without_edges(section: Section, _: EditContext) -> None:
    """The run has rows and nodes, and no edge."""
    section.edges, section.routing_events = [], []
