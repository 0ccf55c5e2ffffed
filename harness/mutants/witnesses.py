"""Witnesses: legal runs with unusual contents, which show what a mutant does wrong.

The runs of one database are filled from the schema, with random values from pools that hold the
limits of every type: NULL, zero, negative, blank at the ends, equal but for the case, tied.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Column, DateTime, Float, Integer, Table, insert

from elspeth.contracts import Determinism, ExportStatus, TriggerType
from elspeth.contracts.errors import MAX_INTEGER
from elspeth.core.landscape import LandscapeDB, schema
from elspeth.core.landscape.export.record_types import NODE_STATE, RECORD_TYPES

RUN_IDS = (
    "ru_",
    "run",
    "RUN",
    " run ",
    "run of a longer name than thirty-two characters",
    "re\u0301sume\u0301",
    "a",
    "%",
)
"""The ids of the runs in a witness database: similar to each other in every way that a wrong
condition may confuse."""

MISSING_RUN = "b"
"""The id of a run that does not exist, between the ids of two that do."""

_TEXTS = (
    "",
    "plain",
    " blank at both ends ",
    "UPPER and lower",
    "e\u0301 decomposed",
    "nul\0inside",
    "\U0001f600 astral",
    "x" * 63 + "63",
    "y" * 260,
    "z" * 5_000,
    "None",
    "0",
)
_INTEGERS = (0, 1, 2, 9, 10, -1, -9, 2**31, MAX_INTEGER, -MAX_INTEGER)
_FLOATS = (0.0, 5.0, -1.5, 1 / 3, 1e-7, 12.3456789, 123456789.12345678, 1e21)
_START = datetime(2026, 1, 1)
_MOMENTS = tuple(
    _START + timedelta(seconds=seconds, microseconds=fraction)
    for seconds in (0, 1, 3_600)
    for fraction in (0, 1_234, 500_000, 999_999)
)


@dataclass
class Witness:
    """Writes runs into an empty database.

    Attributes:
        db: The database.
        size: The number of entities of a kind in a run, about.
        seed: The seed of the random choices.
    """

    db: LandscapeDB
    size: int = 12
    seed: int = 0
    _ids: set[tuple[str, str]] = field(default_factory=set)
    _turns: Counter[str] = field(default_factory=Counter)
    _last_id: dict[str, str] = field(default_factory=dict)
    _rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the random choices."""
        self._random = random.Random(self.seed)  # noqa: S311

    def write(self, run_ids: Sequence[str] = RUN_IDS) -> None:
        """Write the runs, in the order of their ids in the argument."""
        for number, run_id in enumerate(run_ids):
            self._write_run(number, run_id)
        with self.db.connection() as connection:
            for table in schema.metadata.sorted_tables:
                rows = self._rows.get(table.name, [])
                # Another order than that of any key.
                self._random.shuffle(rows)
                if rows:
                    connection.execute(insert(table), rows)

    def _write_run(self, number: int, run_id: str) -> None:
        s, size, choose = schema, self.size, self._random.choice
        # In some runs all integers and times tie, in others most of them, and in the first few do.
        self._choices = (None, 1, 2)[number % 3]
        few = max(3, size // 3)
        self._add(s.runs_table, run_id=run_id)
        nodes = [self._add(s.nodes_table, run_id=run_id)["node_id"] for _ in range(size)]
        # Most references stay in the run, others lead to an earlier one.
        known = [each["node_id"] for each in self._rows["nodes"]]
        reachable = nodes + known
        edges = [
            self._add(
                s.edges_table,
                run_id=run_id,
                from_node_id=choose(reachable),
                to_node_id=choose(reachable),
                label=f"{at}{choose(_TEXTS)}" if at else "",
            )["edge_id"]
            for at in range(size)
        ]
        reachable_edges = edges + [each["edge_id"] for each in self._rows["edges"]]
        rows = [
            self._add(
                s.rows_table, run_id=run_id, row_index=index, source_node_id=choose(reachable)
            )["row_id"]
            for index in self._indexes(size)
        ]
        # The last row stays without tokens, and the last token without children.
        tokens = [
            self._add(s.tokens_table, row_id=choose(rows[:few]))["token_id"]
            for _ in range(2 * size)
        ]
        for token in tokens[:-1]:
            parents = self._random.sample(tokens, k=min(3, len(tokens)))
            for ordinal, parent in zip(self._indexes(3), parents, strict=False):
                self._add(
                    s.token_parents_table, token_id=token, parent_token_id=parent, ordinal=ordinal
                )
        states = []
        for token in tokens[:size]:
            steps = self._random.sample((*range(-1, 11), 2**31), k=3)
            for at, node in enumerate(self._random.sample(known, k=3)):
                for attempt in self._random.sample((0, 1, 2, 10, -1, -3, 2**31), k=2):
                    states.append(self._state(token, node, steps[at], attempt))
        states += [
            self._state(tokens[0], node, 20, 100 + at) for at, node in enumerate(nodes[:few])
        ]
        for state in states[:-1]:
            for _ in range(2):
                group = self._new_id("routing groups")
                for ordinal in self._indexes(2):
                    self._add(
                        s.routing_events_table,
                        state_id=state,
                        edge_id=choose(reachable_edges),
                        routing_group_id=group,
                        ordinal=ordinal,
                    )
            for index in self._indexes(3):
                self._add(s.calls_table, state_id=state, call_index=index)
        for at in range(size):
            batch = self._add(
                s.batches_table,
                run_id=run_id,
                aggregation_node_id=choose(reachable),
                aggregation_state_id=choose((None, *states)),
            )["batch_id"]
            if at < size - 1:  # The last has no members.
                members = self._random.sample(tokens, k=3)
                for ordinal, token in zip(self._indexes(3), members, strict=True):
                    self._add(
                        s.batch_members_table, batch_id=batch, token_id=token, ordinal=ordinal
                    )
        for at in range(size):
            self._add(
                s.artifacts_table,
                run_id=run_id,
                produced_by_state_id=states[at // 2],
                sink_node_id=choose(reachable),
            )

    def _state(self, token: str, node: str, step: int, attempt: int) -> str:
        table = schema.node_states_table
        row = self._row(table, token_id=token, node_id=node, step_index=step, attempt=attempt)
        status = row["status"]
        # An export refuses an open state that holds a result.
        row |= dict.fromkeys(NODE_STATE.null_when.get(status, ()))
        if status != "open":
            row["duration_ms"] = self._random.choice(_FLOATS)
            row["completed_at"] = self._random.choice(_MOMENTS)
        if status == "completed":
            row["output_hash"] = self._random.choice(_TEXTS)
        self._rows.setdefault(table.name, []).append(row)
        return str(row["state_id"])

    def _indexes(self, count: int) -> list[int]:
        """Return different integers in random order: gaps, negative ones, and the limits."""
        return self._random.sample((*_INTEGERS, *range(11, 11 + count)), k=count)

    def _add(self, table: Table, **values: Any) -> dict[str, Any]:
        row = self._row(table, **values)
        self._rows.setdefault(table.name, []).append(row)
        return row

    def _row(self, table: Table, **values: Any) -> dict[str, Any]:
        return {column.name: self._value(table, column, values) for column in table.c}

    def _value(self, table: Table, column: Column[Any], given: dict[str, Any]) -> Any:
        choose = self._random.choice
        if column.name in given:
            return given[column.name]
        if column.primary_key:
            return self._new_id(table.name)
        if column.nullable and self._random.random() < 0.3:
            return None
        if (table.name, column.name) in _CHOICES:
            return choose(_CHOICES[table.name, column.name])
        match column.type:
            case Integer():
                return choose(_INTEGERS[: self._choices])
            case Float():
                return choose(_FLOATS)
            case DateTime():
                return choose(_MOMENTS[: self._choices])
            case _:
                return self._next_text(column)

    def _next_text(self, column: Column[Any]) -> str:
        """Return the texts in turn, so that few rows hold all of them."""
        # Columns start at different texts: a row must not hold one text in all of them.
        turn = self._turns[str(column)]
        self._turns[str(column)] += 1
        start = 5 * self.seed + 5 * list(column.table.c).index(column)
        return _TEXTS[(start + turn) % len(_TEXTS)]

    def _new_id(self, kind: str) -> str:
        # The first id of a kind is empty. Most others resemble the one before, of the same run.
        if kind not in self._last_id:
            self._ids.add((kind, ""))
            self._last_id[kind] = "x"
            return ""
        is_new = self._random.random() < 0.3
        if is_new:
            self._last_id[kind] = f"{self._random.choice('abXY')}{len(self._ids)}"
        base = self._last_id[kind]
        while True:
            found = base if is_new else self._random.choice(_DECORATIONS)(base)
            is_new = False
            if (kind, found) not in self._ids:
                self._ids.add((kind, found))
                return found
            base = self._last_id[kind] = f"{base}{self._random.choice('abXY')}"


_DECORATIONS: tuple[Callable[[str], str], ...] = (
    str.swapcase,
    str.swapcase,
    lambda text: f" {text}",
    lambda text: f" {text} ",
    lambda text: f"{text} ",
    lambda text: f"{text}_",
    lambda text: text[1:],
    lambda text: f"{text}e\u0301",
    lambda text: f"{text}\0nul",
    lambda text: text.ljust(64, "-"),
    lambda text: text.ljust(300, "-"),
)


def _values(enum: type[Enum]) -> tuple[str, ...]:
    return tuple(str(member.value) for member in enum)


# The control loads whole entities, so the values of columns that no export holds are legal too.
_CHOICES = {
    ("runs", "export_status"): _values(ExportStatus),
    ("nodes", "determinism"): _values(Determinism),
    ("nodes", "schema_fields_json"): ("[]",),
    ("batches", "trigger_type"): _values(TriggerType),
} | {
    (record_type.table.name, name): _values(enum)
    for record_type in RECORD_TYPES
    for name, enum in record_type.enums.items()
}
