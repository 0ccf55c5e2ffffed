"""The stored runs that a candidate is compared on, and the changes to their databases.

A plan change leaves the contents alone, so an exporter with a total order writes the same bytes. A
corruption is one stored value that no export may carry, so an exporter has to refuse the run.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Select, event, func, literal_column, select, text

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.schema import metadata
from harness.compare.records import path_to_run
from harness.generate.generator import generate_run
from harness.generate.plan import neighbours_of
from harness.generate.presets import preset
from harness.generate.spec import RunSpec
from querygrowth.reports import visible


@dataclass(frozen=True)
class PlanChange:
    """A change of how a database answers queries, which leaves its contents alone.

    Attributes:
        name: The change in a few words.
        dialect: The only backend that supports it; empty for both.
        feature: A feature to add to the run before it is generated; may be empty.
        apply: Changes the database once the run is stored.
    """

    name: str
    dialect: str = ""
    feature: str = ""
    apply: Callable[[LandscapeDB], None] | None = None

    def suits(self, dialect: str) -> bool:
        """Whether a backend supports this change."""
        return self.dialect in ("", dialect)


_MISLEADING_INDEXES = (
    "nodes (run_id, sequence_in_pipeline, node_id DESC)",
    "edges (run_id, edge_id DESC)",
    "rows (run_id, row_id DESC)",
    "tokens (row_id, token_id DESC)",
    "token_parents (token_id, parent_token_id DESC)",
    "node_states (token_id, step_index, state_id DESC)",
    "routing_events (state_id, event_id DESC)",
    "calls (state_id, call_id DESC)",
    "batches (run_id, batch_id DESC)",
    "batch_members (batch_id, token_id DESC)",
    "artifacts (run_id, artifact_id DESC)",
)
"""Indexes that suit a filter by run or by parent, and give ties in the opposite order."""


def _add_indexes(db: LandscapeDB) -> None:
    with db.connection() as connection:
        for number, index in enumerate(_MISLEADING_INDEXES):
            connection.execute(
                text(f"CREATE INDEX harness_plan_change_{number} ON {_covering(index)}")
            )
        # Without statistics planners keep to the indexes of the schema.
        connection.execute(text("ANALYZE"))


def _covering(index: str) -> str:
    """Add the table's other columns, so that the index alone answers a query."""
    # Planners prefer a covering index to that of a unique constraint, which has the right order.
    table = metadata.tables[index.partition(" ")[0]]
    others = [column.name for column in table.columns if column.name not in index]
    return f"{index.removesuffix(')')}, {', '.join(others)})" if others else index


def _reverse_unordered_selects(db: LandscapeDB) -> None:
    @event.listens_for(db.engine, "connect")
    def reverse(driver_connection: Any, _: object) -> None:
        driver_connection.execute("PRAGMA reverse_unordered_selects = ON")

    # The pragma belongs to a connection, and those in the pool were opened without it.
    db.engine.dispose()


def _cluster(db: LandscapeDB) -> None:
    _add_indexes(db)
    with db.connection() as connection:
        for number, index in enumerate(_MISLEADING_INDEXES):
            table = index.partition(" ")[0]
            connection.execute(text(f"CLUSTER {table} USING harness_plan_change_{number}"))
        connection.execute(text("ANALYZE"))


UNCHANGED = PlanChange("none")
PLAN_CHANGES = (
    UNCHANGED,
    PlanChange("shuffled physical order", feature="shuffled_insertion"),
    PlanChange("extra indexes and ANALYZE", apply=_add_indexes),
    PlanChange("reverse_unordered_selects", dialect="sqlite", apply=_reverse_unordered_selects),
    PlanChange("CLUSTER", dialect="postgresql", apply=_cluster),
)
"""All plan changes. The first changes nothing; the others are compared with it."""


@dataclass(frozen=True)
class Corruption:
    """One bad value in one stored row of an SQLite database.

    Attributes:
        table: The table of the row.
        column: The column that gets the value.
        value: The value as SQL.
        where: A condition, as SQL, on the rows that can take the value.
    """

    table: str
    column: str
    value: str
    where: str = "1"

    @property
    def name(self) -> str:
        """The corruption in a few words."""
        return f"{self.table}.{self.column} = {self.value}"

    def apply(self, db: LandscapeDB, run_id: str) -> None:
        """Store the value in the last row of a run that can take it.

        Raises:
            ValueError: The run has no such row.
        """
        # The last row: an exporter that streams has yielded most records before it has to refuse.
        source, run_of_row = path_to_run(metadata.tables[self.table])
        last: Select[tuple[int]] = (
            select(func.max(literal_column(f"{self.table}.rowid")))
            .select_from(source)
            .where(run_of_row == run_id, text(self.where))
        )
        # SQL of constants only. As text, because the value has the wrong type for its column.
        statement = f"UPDATE {self.table} SET {self.column} = {self.value} WHERE rowid = ?"  # noqa: S608
        with db.connection() as connection:
            row = connection.execute(last).scalar()
            changed = connection.exec_driver_sql(statement, (row,)).rowcount
        if changed != 1:
            raise ValueError(f"{self.name}: {changed} rows corrupted instead of one")


_COMPLETED, _FAILED = "node_states.status = 'completed'", "node_states.status = 'failed'"

CORRUPTIONS = (
    # Members that an enum does not have.
    Corruption("runs", "status", "'mystery'"),
    Corruption("nodes", "node_type", "'mystery'"),
    Corruption("edges", "default_mode", "'mystery'"),
    Corruption("node_states", "status", "'mystery'"),
    Corruption("routing_events", "mode", "'mystery'"),
    Corruption("calls", "call_type", "'mystery'"),
    Corruption("calls", "status", "'mystery'"),
    Corruption("batches", "status", "'mystery'"),
    # Values that the status of a node state requires.
    Corruption("node_states", "output_hash", "NULL", where=_COMPLETED),
    Corruption("node_states", "duration_ms", "NULL", where=_COMPLETED),
    Corruption("node_states", "duration_ms", "NULL", where=_FAILED),
    Corruption("node_states", "completed_at", "NULL", where=_COMPLETED),
    # SQLite reads 9e999 as infinity. Canonical JSON (RFC 8785, section 3.2.2.3) holds neither that
    # nor an integer from 2**53 on, which a double cannot tell from its neighbour.
    Corruption("node_states", "duration_ms", "9e999", where=_COMPLETED),
    Corruption("calls", "latency_ms", "-9e999"),
    Corruption("artifacts", "size_bytes", str(2**53)),
    # SQLite stores a value of any type in any column.
    Corruption("calls", "latency_ms", "'soon'"),
    Corruption("artifacts", "size_bytes", "1.5"),
    Corruption("rows", "row_index", "'second'"),
    Corruption("token_parents", "ordinal", "x'00'"),
    Corruption("rows", "source_data_hash", "x'00ff'"),
    # Text that is not UTF-8.
    Corruption("tokens", "branch_name", "CAST(x'ff' AS TEXT)"),
    Corruption("nodes", "plugin_name", "CAST(x'c328' AS TEXT)"),
    # Timestamps that SQLAlchemy cannot read.
    Corruption("runs", "completed_at", "'yesterday'"),
    Corruption("batches", "created_at", "x'00'"),
)
"""Stored values that no export may carry, at least one of each kind."""


@dataclass(frozen=True)
class Case:
    """One export to compare: the run, and the changes to its database beforehand.

    Attributes:
        spec: The run that is generated.
        run_id: The run that is exported: also a neighbour in the same database, or a run that does
            not exist.
        corruption: A bad value to store after the run.
        plan_change: A change of the database's query plans.
        signed: Whether the export is signed.
        beside: All runs of the database with this one among them; empty if it is alone.
    """

    spec: RunSpec
    run_id: str
    corruption: Corruption | None = None
    plan_change: PlanChange = UNCHANGED
    signed: bool = True
    beside: tuple[RunSpec, ...] = ()

    @property
    def stored(self) -> Hashable:
        """The contents of its database. Cases with the same contents share one."""
        return (self.beside or self.spec, self.corruption, self.plan_change.name)

    def store(self, db: LandscapeDB) -> None:
        """Generate its runs in an empty database, and change the database as the case says."""
        feature = self.plan_change.feature
        for spec in self.beside or (self.spec,):
            features = spec.features | {feature} if feature else spec.features
            generate_run(db, replace(spec, features=features))
        if self.corruption:
            self.corruption.apply(db, self.spec.run_id)
        if self.plan_change.apply:
            self.plan_change.apply(db)

    @property
    def name(self) -> str:
        """The case in a few words."""
        words = [visible(self.run_id)]
        words += [f"with {self.corruption.name}"] if self.corruption else []
        words += [self.plan_change.name] if self.plan_change is not UNCHANGED else []
        words += [] if self.signed else ["unsigned"]
        return ", ".join(words)

    @property
    def without_plan_change(self) -> "Case":
        """The same case on a database with its usual query plans."""
        return replace(self, plan_change=UNCHANGED)


def record_cases(dialect: str) -> Iterator[Case]:
    """Yield runs that together have every feature, on databases with their usual plans."""
    for spec in (*_specs(), *_CONTENTS):
        if dialect == "sqlite" or spec.is_portable:
            # Neighbours first: a wrong join adds records to a neighbour's export and can lose them
            # from this one. "extra, cross-run" names that cause better than "missing".
            neighbours = neighbours_of(spec) if "references_to_other_runs" in spec.features else ()
            yield from (Case(spec, each.run_id) for each in neighbours)
            yield Case(spec, spec.run_id)
    small = _small_runs(dialect)
    yield from (Case(each, each.run_id, beside=small) for each in small)
    yield Case(_SPARSE, _SPARSE.run_id, signed=False)
    yield Case(_SPARSE, "no such run")
    if dialect == "sqlite":
        yield from (Case(_TO_CORRUPT, _TO_CORRUPT.run_id, each) for each in CORRUPTIONS)


def plan_cases(dialect: str) -> Iterator[Case]:
    """Yield one run full of ties, under every plan change of the backend."""
    changes = (each for each in PLAN_CHANGES if each.suits(dialect))
    yield from (Case(_TIED, _TIED.run_id, plan_change=each) for each in changes)


def tie_cases() -> Iterator[Case]:
    """Yield runs in which times tie or run backwards, and ids sort against every other order."""
    for ids in ("descending_ids", "shuffled_ids", "hostile_ids"):
        features = _TIED.features | {"whole_seconds", ids}
        spec = replace(_TIED, run_id=f"tied_{ids}", features=features)
        yield Case(spec, spec.run_id)
    yield from (Case(spec, spec.run_id) for spec in _ORDERED)


_SPARSE = RunSpec(
    run_id="sparse",
    rows=7,
    forks=1,
    states=3,
    batches=3,
    members=2,
    features=frozenset(
        (
            "rows_without_tokens",
            "tokens_without_states",
            "batches_without_members",
            "open_run",
            "open_states",
            "open_batches",
            "failed_states",
            "failed_states_with_output",
            "whole_seconds",
        )
    ),
)
# One of everything: there are many corruptions, and the control exports the run for each.
_TO_CORRUPT = RunSpec(
    run_id="corrupt",
    forks=1,
    states=2,
    retries=1,
    routing_groups=1,
    calls=1,
    batches=1,
    members=1,
    artifacts=1,
    features=frozenset(("failed_states",)),
)
_TIED = RunSpec(
    run_id="tied",
    rows=6,
    forks=1,
    joins=1,
    parents=2,
    states=3,
    retries=2,
    routing_groups=2,
    routing_events=3,
    calls=3,
    nodes=8,
    edges=6,
    batches=4,
    members=4,
    artifacts=8,
    features=frozenset(("shared_timestamps", "null_sequences", "groups_in_one_state")),
)

# Enough entities that no key is in the right order by luck. tests/harness/test_order_keys.py
# measures it.
_MANY_CHILDREN = RunSpec(
    run_id="backwards",
    rows=3,
    forks=1,
    joins=1,
    parents=2,
    states=2,
    retries=1,
    routing_groups=3,
    routing_events=2,
    calls=12,
    nodes=12,
    edges=26,
    batches=3,
    members=5,
    artifacts=8,
    features=frozenset(("backward_timestamps", "groups_in_one_state", "null_sequences")),
)
_ORDERED = (
    _MANY_CHILDREN,
    replace(
        _MANY_CHILDREN,
        run_id="batch_retried",
        batch_retries=3,
        features=frozenset(
            ("shared_timestamps", "groups_in_one_state", "null_sequences", "descending_ids")
        ),
    ),
    replace(
        _MANY_CHILDREN,
        run_id="descending_integers",
        retries=3,
        calls=3,
        features=frozenset(("descending_integers",)),
    ),
    replace(
        _MANY_CHILDREN,
        run_id="no_order",
        rows=8,
        calls=4,
        batches=8,
        artifacts=24,
        features=frozenset(
            (
                "groups_in_one_state",
                "duplicate_sequences",
                "integers_of_every_kind",
                "times_of_every_kind",
                "twin_ids",
                "shuffled_insertion",
            )
        ),
    ),
)

# Together they hold every kind of value in every column: docs/generated-runs.md.
_EVERY_KIND = RunSpec(
    run_id="every_kind",
    # With this seed the run has no reproducibility grade.
    seed=2,
    rows=25,
    forks=1,
    expansions=1,
    joins=1,
    parents=2,
    states=1,
    routing_groups=1,
    routing_events=2,
    calls=2,
    nodes=26,
    edges=30,
    batches=25,
    members=4,
    artifacts=26,
    neighbours=1,
    features=frozenset(
        (
            "nulls_in_all_columns",
            "texts_of_every_kind",
            "json_of_every_form",
            "integers_at_the_limits",
            "times_at_the_limits",
            "values_against_the_status",
            "twin_ids",
            "edge_floats",
            "null_sequences",
            "references_to_all_entities",
            "edges_and_events_of_other_runs",
        )
    ),
)
_CONTENTS = (
    _EVERY_KIND,
    replace(
        _EVERY_KIND,
        run_id="every_portable_kind",
        seed=14,
        rows=6,
        batches=6,
        artifacts=6,
        features=_EVERY_KIND.features
        - {"integers_at_the_limits", "times_at_the_limits", "null_sequences"}
        | {"integers_of_every_kind", "times_of_every_kind", "references_to_other_runs"},
    ),
    RunSpec(
        run_id="short_ids",
        rows=5,
        forks=1,
        joins=1,
        parents=2,
        states=1,
        routing_groups=1,
        calls=1,
        nodes=6,
        edges=6,
        batches=6,
        members=3,
        artifacts=6,
        neighbours=1,
        features=frozenset(("short_ids", "references_to_all_entities")),
    ),
)

_TWINS = (
    "twin",
    "Twin",
    "TWIN",
    "twin ",
    " twin",
    "twi",
    "twin1",
    "tw_n",
    "tw%",
    "%",
    "tw*",
    "tw[i]n",
    "twin'",
    'twin"',
    "twin\\",
    "tw\u00edn",
    "twi\u0301n",
    "1",
    "01",
    "1.0",
    " ",
    "\U0001d54bwin",
    "tw?n",
    "twin\t",
    "None",
)
"""Run ids that a pattern, a folded case, a cast or a stripped blank takes for one another."""

_TWIN = RunSpec(
    rows=3,
    states=1,
    routing_groups=1,
    calls=1,
    edges=1,
    batches=1,
    members=1,
    artifacts=1,
    features=frozenset(
        (
            "texts_of_every_kind",
            "json_of_every_form",
            "times_of_every_kind",
            "values_against_the_status",
        )
    ),
)
_PLAIN_TWIN = replace(_TWIN, rows=1, features=frozenset())
_LACKING = (
    RunSpec(run_id="bare", features=frozenset(("bare_run",))),
    RunSpec(run_id="no_rows", batches=2, features=frozenset(("run_without_rows",))),
    replace(
        _PLAIN_TWIN, run_id="no_nodes", neighbours=1, features=frozenset(("run_without_nodes",))
    ),
    replace(_PLAIN_TWIN, run_id="no_edges", features=frozenset(("run_without_edges",))),
)


def _small_runs(dialect: str) -> tuple[RunSpec, ...]:
    """Return small runs for one database: twins by their ids, and runs that lack whole tables."""
    at_limits = _TWIN.features - {"times_of_every_kind"} | {"times_at_the_limits"}
    return (
        *(
            replace(
                _TWIN,
                run_id=run_id,
                # A run has one row of the table of runs, whose values the seed chooses.
                seed=seed,
                features=at_limits if dialect == "sqlite" and seed % 2 else _TWIN.features,
            )
            for seed, run_id in enumerate(_TWINS)
        ),
        *_LACKING,
    )


TYPICAL = Case(preset("typical", 20, run_id="typical"), "typical")
BOTH_BACKENDS = Case(preset("adversarial", 6, run_id="both"), "both")
"""A run with every feature that both backends support, and the same contents on both."""


def _specs() -> Iterator[RunSpec]:
    yield TYPICAL.spec
    yield replace(
        preset("forky", 12, run_id="lineage"),
        states=2,
        routing_groups=2,
        artifacts=5,
        features=frozenset(("parents_in_other_rows", "shuffled_ids", "duplicate_sequences")),
    )
    yield _SPARSE
    yield replace(
        preset("tiny", 9, run_id="foreign"),
        batches=3,
        members=2,
        neighbours=2,
        features=frozenset(("references_to_other_runs", "null_sequences", "long_ids")),
    )
    yield replace(
        preset("typical", 12, run_id="values"),
        features=frozenset(("hostile_text", "edge_floats", "integers_of_31_bits")),
    )
    yield replace(
        preset("tiny", 3, run_id="sqlite_values"),
        features=frozenset(("nul_in_text", "integers_of_53_bits", "edge_floats")),
    )
    # One row more than two chunks of 250 or one of 500: an exporter that reads in chunks and does
    # not merge them shows a wrong order.
    yield RunSpec(run_id="many_rows", rows=501, features=frozenset(("shuffled_ids",)))
