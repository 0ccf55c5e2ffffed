"""What an export leaves out by design, and the refusal of a database that holds more than it knows.

A newer version of the audit trail has tables and columns that this exporter does not read. An
export without them would look complete, so it is refused unless each is left out by name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, DateTime, Float, Integer

from elspeth.core.landscape.export.record_types import RECORD_TYPES, RecordType
from elspeth.core.landscape.export.stored_schema import StoredSchema, StoredTable, quoted

_ORDER = "orders the records"
_CONTENT = "may hold audited data itself; the export holds its hash, or none of it"
_REFERENCE = "names the place of data that is stored elsewhere, and may be purged"
_STATUS = "is about the export, and written after it"
_ORIGINAL = "is not exported by the original exporter, whose bytes are kept"

LEFT_OUT_BY_DESIGN: Mapping[str, str] = MappingProxyType(
    {
        "runs.settings_json": _CONTENT,
        "runs.export_status": _STATUS,
        "runs.export_error": _STATUS,
        "runs.exported_at": _STATUS,
        "runs.export_format": _STATUS,
        "runs.export_sink": _STATUS,
        "nodes.determinism": _ORIGINAL,
        "nodes.config_json": _CONTENT,
        "nodes.registered_at": _ORDER,
        "nodes.schema_mode": _ORIGINAL,
        "nodes.schema_fields_json": _ORIGINAL,
        "edges.created_at": _ORDER,
        "rows.source_data_ref": _REFERENCE,
        "rows.created_at": _ORIGINAL,
        "tokens.expand_group_id": _ORIGINAL,
        "tokens.created_at": _ORDER,
        "node_states.context_before_json": _CONTENT,
        "node_states.context_after_json": _CONTENT,
        "node_states.error_json": _CONTENT,
        "routing_events.reason_ref": _REFERENCE,
        "routing_events.created_at": _ORIGINAL,
        "calls.request_ref": _REFERENCE,
        "calls.response_ref": _REFERENCE,
        "calls.error_json": _CONTENT,
        "calls.created_at": _ORIGINAL,
        "batches.aggregation_state_id": _ORIGINAL,
        "batches.trigger_type": _ORIGINAL,
        "artifacts.idempotency_key": _ORIGINAL,
        "artifacts.created_at": _ORDER,
        "batch_outputs": _ORIGINAL,
        "validation_errors": _CONTENT,
        "transform_errors": _CONTENT,
        "checkpoints": "is the state of a run that may continue, and is deleted at its end",
    }
)
"""By column, or by table that is left out as a whole: why no export holds it."""

KNOWN_USER_VERSIONS = (0,)
"""The values of SQLite's `user_version` of databases whose content this exporter knows."""

_EXPORTED = {record_type.table.name: record_type for record_type in RECORD_TYPES}
# A table with such a column belongs to the audit trail even where it has no foreign key.
_KEYS = frozenset(name for record_type in RECORD_TYPES for name in record_type.primary_key)
_TABLES_BY_DESIGN = frozenset(name for name in LEFT_OUT_BY_DESIGN if "." not in name)
# These reach their run through a row or a batch.
_WITHOUT_RUN_ID = frozenset(
    ("tokens", "token_parents", "node_states", "routing_events", "calls", "batch_members")
)


class SchemaMismatchError(ValueError):
    """The database holds what an export does not know, or holds it in another type.

    Attributes:
        unknown: The names of what may be left out, for `leave_out`.
    """

    def __init__(self, message: str, unknown: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.unknown = tuple(unknown)


class LeaveOutError(ValueError):
    """A name of `leave_out` is not the name of what would be left out."""


@dataclass(frozen=True)
class LeftOut:
    """What one export leaves out on request.

    Attributes:
        names: The names as they are printed and signed, sorted.
        parents: By exported table: its left-out columns that refer to a left-out table.
    """

    names: tuple[str, ...] = ()
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


NOTHING = LeftOut()


def chosen_names(leave_out: Iterable[str]) -> tuple[str, ...]:
    """Return the names of `leave_out` in the order in which an export states them."""
    # A text is an iterable of its letters.
    return tuple(sorted({leave_out} if isinstance(leave_out, str) else set(leave_out)))


def check_completeness(stored: StoredSchema, leave_out: Iterable[str] = ()) -> LeftOut:
    """Refuse a database that holds more of an audit trail than an export reads.

    Tables are unknown if foreign keys link them to an audit trail, also through other tables, or
    if they have a column that is named like the key of an exported table.

    Args:
        stored: The schema of the database.
        leave_out: Names of unknown tables, `table.column` and `user_version=N` to leave out.

    Returns:
        What is left out.

    Raises:
        LeaveOutError: A name is not that of something unknown.
        SchemaMismatchError: Something unknown is not among the names, or a column has a type that
            changes its values.
    """
    names = chosen_names(leave_out)
    tables = list(_unknown_tables(stored))
    columns = list(_unknown_columns(stored))
    unknown = [table.name for table in tables]
    unknown += [f"{table.name}.{quoted(column)}" for table, column in columns]
    if stored.user_version not in KNOWN_USER_VERSIONS:
        unknown.append(f"user_version={stored.user_version}")
    for name in names:
        if name not in unknown:
            raise LeaveOutError(f"Nothing can be left out as {name!r}: {_refusal(stored, name)}")
    _refuse_hidden_rows(stored)
    _refuse_unusable(stored)
    remaining = [name for name in unknown if name not in names]
    if remaining:
        option = ",".join(sorted({*remaining, *names}))
        raise SchemaMismatchError(
            f"this exporter does not know {', '.join(remaining)}, and an export would be incomplete"
            f" without it; to leave it out by name, and to have that stated: --leave-out {option}"
            " (leave_out in Python and in settings)",
            remaining,
        )
    gone = {table.key for table in tables}
    parents: dict[str, tuple[str, ...]] = {}
    for table, column in columns:
        if any(linked == (column, key) for linked in table.linked for key in gone):
            parents[table.key] = (*parents.get(table.key, ()), column)
    return LeftOut(names, parents) if names else NOTHING


def _unknown_tables(stored: StoredSchema) -> Iterator[StoredTable]:
    known = {*_EXPORTED, *_TABLES_BY_DESIGN}
    namespaces = {table.namespace for key, table in stored.tables.items() if key in _EXPORTED}
    # A view stores nothing, and a partition is read through its table.
    others = [
        table
        for key, table in stored.tables.items()
        if key not in known and not table.is_view and not table.is_part
    ]
    related = known | {
        table.key
        for table in others
        if table.namespace in namespaces
        and any(stored.fold(column.name) in _KEYS for column in table.columns)
    }
    while found := {table.key for table in others if _is_linked(stored, table, related)} - related:
        related |= found
    yield from (table for table in others if table.key in related)


def _is_linked(stored: StoredSchema, table: StoredTable, related: set[str]) -> bool:
    """Whether foreign keys link a table to a related one, in either direction."""
    if any(target in related for _, target in table.linked):
        return True
    sources = (stored.tables[key] for key in related if key in stored.tables)
    return any(target == table.key for source in sources for _, target in source.linked)


def _unknown_columns(stored: StoredSchema) -> Iterator[tuple[StoredTable, str]]:
    for record_type, table in _exported_tables(stored):
        known = _known_columns(record_type)
        for column in table.columns:
            if stored.fold(column.name) not in known:
                yield table, column.name


def _exported_tables(stored: StoredSchema) -> Iterator[tuple[RecordType, StoredTable]]:
    for name, record_type in _EXPORTED.items():
        if name in stored.tables:
            yield record_type, stored.tables[name]


def _known_columns(record_type: RecordType) -> frozenset[str]:
    name = record_type.table.name
    by_design = (each.partition(".") for each in LEFT_OUT_BY_DESIGN)
    run_id = () if name in _WITHOUT_RUN_ID else ("run_id",)
    return frozenset(
        (*record_type.fields, *run_id, *(column for table, _, column in by_design if table == name))
    )


def _refuse_hidden_rows(stored: StoredSchema) -> None:
    """Refuse what makes PostgreSQL return fewer rows than are stored, without an error."""
    if stored.reads_damage:
        raise SchemaMismatchError(
            f"{stored.reads_damage} is on, so what a damaged page held would be missing from an "
            "export, or wrong in it, without an error: turn it off for this role and database"
        )
    exported = {kind.table.name: table for kind, table in _exported_tables(stored)}
    namespaces = {table.namespace for table in exported.values()}
    for name, table in exported.items():
        # The search path decides which one is read, table by table.
        twins = [each for each in namespaces if f"{each}.{name}" in stored.tables]
        if twins:
            raise SchemaMismatchError(
                f"the table {name} is in the schemas {', '.join(sorted({table.namespace, *twins}))}"
                ", and the search path shows exported tables of both: set a search path that shows "
                "one audit trail"
            )
    for table in stored.tables.values():
        # What another server shows is not of the same moment, and it may have policies too.
        is_read = table.is_part and any(stored.fold(each.name) in _KEYS for each in table.columns)
        if table.is_foreign and (is_read or table.key in exported):
            raise SchemaMismatchError(
                f"{table.name} is a foreign table, and an export reads one database"
            )


def _refuse_unusable(stored: StoredSchema) -> None:
    """Refuse a view in place of an exported table, and a column whose type changes its values."""
    for record_type, table in _exported_tables(stored):
        if table.is_view:
            raise SchemaMismatchError(f"{table.name} is a view, and an export reads tables")
        fields = {name: record_type.table.c[name] for name in record_type.fields}
        for column in table.columns:
            expected = fields.get(stored.fold(column.name))
            if expected is not None and (kind := _kind(expected)) not in column.keeps:
                article = "an" if kind == "integer" else "a"
                raise SchemaMismatchError(
                    f"the column {table.name}.{quoted(column.name)} has the type "
                    f"{column.type or 'of no name'}, which does not keep {article} {kind} unchanged"
                )


def _kind(column: Column[Any]) -> str:
    match column.type:
        case Integer():
            return "integer"
        case Float():
            return "number"
        case DateTime():
            return "timestamp"
        case _:
            return "text"


def _refusal(stored: StoredSchema, name: str) -> str:
    """Return why a name cannot be left out."""
    folded = stored.fold(name)
    table, _, column = folded.partition(".")
    if folded in LEFT_OUT_BY_DESIGN or table in _TABLES_BY_DESIGN:
        return "no export holds it; leave the name away"
    record_type = _EXPORTED.get(table)
    if record_type is not None and (not column or column in _known_columns(record_type)):
        return "an export needs it"
    if table in stored.tables and not column:
        return "it is no part of the audit trail; leave the name away"
    if name.startswith("user_version"):
        return f"the database has user_version={stored.user_version}"
    return "the database has no such table or column" if name else "the name is empty"
