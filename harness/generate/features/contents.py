"""Features that vary the text of every column, its NULLs, and what goes with a status.

Other features change a few named columns. These take their columns from the schema, so that they
cover a column that is added later. `harness/checks/column_kinds.py` measures what they reach.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Column, String, Text

from elspeth.contracts.enums import (
    BatchStatus,
    CallStatus,
    Determinism,
    NodeType,
    RunStatus,
)
from elspeth.core.landscape.schema import EXPORTED_TABLES
from harness.generate.entities import Section
from harness.generate.features.feature import (
    NODE_STATES_OF_THE_RUN,
    EditContext,
    edits_sections,
)

_Change: TypeAlias = Callable[[Column[Any], Any, int], Any]
"""Returns the new value for a column, its old value, and a number that differs between entities."""

_TABLES = {table.name: table for table in EXPORTED_TABLES}
_MEMBERS = frozenset(
    (
        "status",
        "export_status",
        "node_type",
        "determinism",
        "default_mode",
        "mode",
        "call_type",
        "trigger_type",
    )
)
"""The columns that hold the members of an enum."""


_GROUPS = frozenset(("fork_group_id", "join_group_id", "expand_group_id"))


def change_columns(
    section: Section, context: EditContext, columns: Callable[[Column[Any]], bool], change: _Change
) -> None:
    """Change the values of some columns in place, entity by entity.

    Args:
        section: The section to change.
        context: Its seed moves the numbers that `change` takes.
        columns: Returns whether a column is changed. It applies to all tables. Its answers are
            kept, so that it must be the same function for every section.
        change: Returns the new value.
    """
    # Hot path: every section comes here, and most have a few entities of a table.
    for name, entities in section.tables():
        kind: Any = type(entities[0])
        chosen = _chosen(name, kind, columns)
        if not chosen:
            continue
        # Neighbouring sections start one apart, and neighbouring columns five: the columns of an
        # entity differ, and a table of few entities has other values in every section.
        changed = []
        for number, entity in enumerate(entities, start=context.seed + section.number):
            values = list(entity)
            for place, column in chosen:
                values[place] = change(column, values[place], number + 5 * place)
            changed.append(kind._make(values))
        setattr(section, name, changed)


@lru_cache(maxsize=500)
def _chosen(
    table: str, kind: Any, columns: Callable[[Column[Any]], bool]
) -> tuple[tuple[int, Column[Any]], ...]:
    """Return the places of the changed columns in an entity, and the columns."""
    of_table = _TABLES[table].c
    places = enumerate(kind._fields)
    return tuple((place, of_table[name]) for place, name in places if columns(of_table[name]))


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
    "a,b;c:d|e/f=g&h\x1fi\x1ej\u2028k",
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


def is_free_text_but_label(column: Column[Any]) -> bool:
    """Whether a column holds text that no constraint needs: no id, JSON, member or label."""
    return _is_free_text(column) and column.name != "label"


def _change_texts(
    section: Section,
    context: EditContext,
    columns: Callable[[Column[Any]], bool],
    text: Callable[[Column[Any], int], str],
) -> None:
    change_columns(
        section,
        context,
        columns,
        # A failed state without an output has a feature, and stays one.
        lambda column, value, number: (
            None if value is None and column.name == "output_hash" else text(column, number)
        ),
    )


@edits_sections(
    # hostile_text keeps the first letters, and nul_in_text nearly all.
    "SELECT 1 FROM runs WHERE run_id = :run_id AND canonical_version NOT LIKE '%sha2%'",
    excludes=frozenset(("hostile_text", "nul_in_text")),
    in_presets=False,
)
def texts_of_every_kind(section: Section, context: EditContext) -> None:
    """Text columns are empty, blank, blank at an end, long, numeric, and alike but for case."""
    _change_texts(section, context, is_free_text_but_label, _text)
    change_labels(
        section,
        lambda place: (
            TEXTS[(context.seed + place) % len(TEXTS)] if place else _text(_LABEL, len(TEXTS))
        ),
    )


def change_labels(section: Section, label_of: Callable[[int], str]) -> None:
    """Change the labels of edges by their places, as far as they stay unique at their node."""
    used: set[tuple[str, str]] = set()
    for place, edge in enumerate(section.edges):
        label = label_of(place)
        if (edge.from_node_id, label) not in used:
            used.add((edge.from_node_id, label))
            section.edges[place] = edge._replace(label=label)


_LABEL = _TABLES["edges"].c.label

LONGEST_CUT = 4_096
"""The greatest length to which an exporter may be expected to cut a text by mistake."""


@edits_sections(
    # The function length() of SQLite counts the characters before the first NUL.
    "SELECT 1 FROM runs WHERE run_id = :run_id AND length(CAST(canonical_version AS BLOB)) > 64",
    excludes=frozenset(("hostile_text", "nul_in_text", "texts_of_every_kind")),
    portable=False,
    in_presets=False,
)
def texts_longer_than_their_columns(section: Section, context: EditContext) -> None:
    """Texts are longer than their columns, and a NUL is before their last character."""
    _change_texts(
        section,
        context,
        _is_free_text,
        lambda _column, number: f"{number} {'long ' * (LONGEST_CUT // 5)}\0.",
    )


LIKE_OTHERS = (
    "2026-01-31 12:30:00.250000",
    "2026-01-31T12:30:00+00:00",
    "2026-01-31",
    "1769862600.25",
    "nan",
    "-Infinity",
    "0x10",
    "1_000",
    "False",
    '{"a": 1}',
    "[]",
    '"quoted"',
    "RunStatus.COMPLETED",
    "completed",
    "0F8FAD5B-D9CB-469F-A165-70867728950E",
    "AAECAwQ=",
    "b'bytes'",
    "%20&amp;\\n\\u0041",
    "undefined",
    # Several hazards in one text, because each further text needs an entity more in every table.
    '\ufeffa\u200bb  c \u00ad\\t"',
    "file://./a//b/../$HOME/",
    "~/a\\b",
    "s3://me:secret@bucket/key?b=%7E&a=1#top",
    "v1.10",
    "1.10",
    "sha256:00FF",
    "continue",
    "package.module_name",
    "NULL",
    "NA",
    "N/A",
    "NaN",
    # What somebody hides: an address, a number, a secret. The first characters are of formulas.
    "+1 555 0100 jane.doe@example.com 4111 1111 1111 1111 10.0.0.1",
    "@a password=hunter2 token: Bearer eyJh.eyJz.c2ln sk-0123456789",
    "=C:\\jane 31/01/2026 12:30 PM 1,000.50 TRUE <b>&lt;</b>",
)
"""Texts that look like a value of another type, or like something that was encoded."""


@edits_sections(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND canonical_version NOT LIKE '%sha2%'",
    excludes=frozenset(
        ("hostile_text", "nul_in_text", "texts_of_every_kind", "texts_longer_than_their_columns")
    ),
    in_presets=False,
)
def texts_like_other_types(section: Section, context: EditContext) -> None:
    """Texts look like times, numbers, JSON, members of an enum, paths, or encoded values."""

    def text(column: Column[Any], number: int) -> str:
        return LIKE_OTHERS[number % len(LIKE_OTHERS)][: getattr(column.type, "length", None)]

    _change_texts(section, context, is_free_text_but_label, text)
    change_labels(section, lambda place: text(_LABEL, context.seed + place))


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

    change_columns(section, context, _is_json, reform)


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, Text)


# Values that a status does not go with.


def _turns(members: type[Any], number: int) -> str:
    values = [member.value for member in members]
    return str(values[number % len(values)])


@edits_sections(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'open' AND s.error_json IS NOT NULL",
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
    """Return a node state as open with an error, failed without one, or the like."""
    match number % 4:
        case 0:
            # No export holds the error. An output, a duration or an end would be refused.
            return state._replace(
                status="open",
                output_hash=None,
                duration_ms=None,
                completed_at=None,
                error_json='{"type":"stray"}',
            )
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
        "trigger_type",
    )
)
"""The columns whose NULL depends on a status, or has a feature already."""


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND schema_mode IS NULL",
    # Of any five numbers in a row three are in one group of nine.
    needs={"nodes": 5},
    excludes=frozenset(("hostile_text",)),
    in_presets=False,
)
def nulls_in_all_columns(section: Section, context: EditContext) -> None:
    """Every column that may be NULL is NULL in a third of the entities."""
    change_columns(
        section,
        context,
        _takes_null,
        # By nines, because the numbers of two columns of an entity differ by a constant: the two
        # would be NULL in the same entities, or in no entity both.
        lambda _, value, number: None if (number + (number // 9) ** 2) % 3 == 0 else value,
    )


def _takes_null(column: Column[Any]) -> bool:
    return bool(column.nullable) and column.name not in _OTHER_FEATURES
