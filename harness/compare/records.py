"""Records as a comparison reads them: their types, identities, runs, and manifests without time.

An exporter whose clock cannot be set is compared with `WithoutTime`: the time and the signature of
its manifest are verified instead of compared.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias

import rfc8785
from sqlalchemy import Column, FromClause, Table, select
from sqlalchemy.exc import SQLAlchemyError

from elspeth.core.landscape import schema
from elspeth.core.landscape.database import LandscapeDB

Record: TypeAlias = Mapping[str, Any]
Records: TypeAlias = Iterable[Record]
"""Records of an export in emission order. They can be iterated more than once."""

Identity: TypeAlias = tuple[Any, ...]
"""A record's type, and the values that tell it from every other record of that type."""

RunLookup: TypeAlias = Callable[[Record], str | None]
"""Returns the id of the stored run that a record belongs to; None if it belongs to no run."""

MANIFEST = "manifest"


@dataclass(frozen=True)
class RecordType:
    """One record type.

    Attributes:
        name: The value of `record_type`.
        key: The fields that identify a record; empty for a type with one record in an export.
        order: The columns that sort the records below one parent. Some are stored and not exported,
            such as `registered_at` of a node.
        parent: The field that holds the key of the parent.
        table: The table that stores these records; None for the manifest.
    """

    name: str
    key: tuple[str, ...]
    order: tuple[str, ...]
    parent: str | None = None
    table: Table | None = None


# Written down here again, and not taken from an exporter: a comparison must not repeat the mistakes
# of the exporters that it compares.
RECORD_TYPES: Mapping[str, RecordType] = MappingProxyType(
    {
        each.name: each
        for each in (
            RecordType("run", (), (), table=schema.runs_table),
            RecordType(
                "node",
                ("node_id",),
                ("sequence_in_pipeline", "registered_at", "node_id"),
                table=schema.nodes_table,
            ),
            RecordType("edge", ("edge_id",), ("created_at", "edge_id"), table=schema.edges_table),
            RecordType("row", ("row_id",), ("row_index",), table=schema.rows_table),
            RecordType(
                "token", ("token_id",), ("created_at", "token_id"), "row_id", schema.tokens_table
            ),
            RecordType(
                "token_parent",
                ("token_id", "parent_token_id"),
                ("ordinal",),
                "token_id",
                schema.token_parents_table,
            ),
            RecordType(
                "node_state",
                ("state_id",),
                ("step_index", "attempt"),
                "token_id",
                schema.node_states_table,
            ),
            RecordType(
                "routing_event",
                ("event_id",),
                ("ordinal", "event_id"),
                "state_id",
                schema.routing_events_table,
            ),
            RecordType("call", ("call_id",), ("call_index",), "state_id", schema.calls_table),
            RecordType(
                "batch", ("batch_id",), ("created_at", "batch_id"), table=schema.batches_table
            ),
            RecordType(
                "batch_member",
                ("batch_id", "token_id"),
                ("ordinal",),
                "batch_id",
                schema.batch_members_table,
            ),
            RecordType(
                "artifact",
                ("artifact_id",),
                ("created_at", "artifact_id"),
                table=schema.artifacts_table,
            ),
            RecordType(MANIFEST, (), ()),
        )
    }
)
"""Every record type that an export may contain, in emission order."""


def type_of(record: Record) -> RecordType:
    """Return a record's type. A record of an unknown type is identified by all of its fields."""
    name = record.get("record_type")
    known = RECORD_TYPES.get(name) if isinstance(name, str) else None
    return known or RecordType(str(name), tuple(record), ())


def identity_of(record: Record) -> Identity:
    """Return the type of a record and the values of its key."""
    kind = type_of(record)
    return (kind.name, *(record.get(field) for field in kind.key))


def label(record: Record) -> str:
    """Name a record in a message by its type and its id: `node_state s17`."""
    name, *key = identity_of(record)
    return " ".join((str(name), "/".join(map(str, key)))).rstrip()


def run_lookup(db: LandscapeDB) -> RunLookup:
    """Return the function that finds the run of a record in a database.

    It follows the path of an export, from the record through its parents to a table with `run_id`.
    """

    def run_of(record: Record) -> str | None:
        kind = type_of(record)
        if kind.table is None or not kind.key:
            return None
        source, run_id = path_to_run(kind.table)
        # By its key alone: a wrong exporter writes the exported run into the field `run_id`.
        key = [kind.table.c[name] == record.get(name) for name in kind.key]
        found = None
        # No stored key can be a list, a text without an encoding, or too large a number.
        with suppress(SQLAlchemyError, ValueError, OverflowError), db.connection() as connection:
            found = connection.execute(select(run_id).select_from(source).where(*key)).scalar()
        return None if found is None else str(found)

    return run_of


def path_to_run(table: Table) -> tuple[FromClause, Column[Any]]:
    """Return the join from a stored table to the table that holds its `run_id`, and that column."""
    source: FromClause = table
    while (parent := _parent_key(table)) is not None:
        source = source.join(parent.table, table.c[parent.name] == parent)
        table = parent.table
    return source, table.c.run_id


def _parent_key(table: Table) -> Column[Any] | None:
    """Return the key column of a table's parent; None for a table that has `run_id` itself."""
    (kind,) = (each for each in RECORD_TYPES.values() if each.table is table)
    for each in RECORD_TYPES.values():
        if kind.parent and each.table is not None and each.key == (kind.parent,):
            return each.table.c[kind.parent]
    return None


@dataclass(frozen=True)
class WithoutTime:
    """Records whose manifest has placeholders for a valid time and a valid signature.

    Attributes:
        records: The records.
        signing_key: The key that the signature is checked with.
        any_offset: Whether a time with another offset than UTC's is valid: that of a control whose
            clock was set to it.
    """

    records: Records
    signing_key: bytes
    any_offset: bool = False

    def __iter__(self) -> Iterator[Record]:
        for record in self.records:
            is_manifest = record.get("record_type") == MANIFEST
            yield (
                without_time(record, self.signing_key, any_offset=self.any_offset)
                if is_manifest
                else record
            )


def without_time(
    manifest: Record, signing_key: bytes, *, any_offset: bool = False
) -> dict[str, Any]:
    """Replace a valid time and a signature that verifies by placeholders.

    A wrong time or signature is left alone. `any_offset` is that of WithoutTime.
    """
    # A wrong one then differs from the placeholder of the control's manifest.
    result = dict(manifest)
    offset = _offset_of(manifest.get("exported_at"))
    if offset is not None and (any_offset or not offset):
        result["exported_at"] = "any time"
    if _is_signed(manifest, signing_key):
        result["signature"] = "verifies"
    return result


def signature_of(message: bytes, key: bytes) -> str:
    """Return the HMAC-SHA256 of a message in hexadecimal digits."""
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _offset_of(text: object) -> timedelta | None:
    """Return the offset from UTC of an ISO 8601 time; None if the text is no such time."""
    try:
        return datetime.fromisoformat(str(text)).utcoffset()
    except ValueError:
        return None


def _is_signed(record: Record, key: bytes) -> bool:
    """Whether a record's signature covers the canonical JSON of its other fields."""
    unsigned = {name: value for name, value in record.items() if name != "signature"}
    try:
        expected = signature_of(rfc8785.dumps(unsigned), key)
    except ValueError:  # A value without a canonical form cannot have been signed.
        return False
    return hmac.compare_digest(expected, str(record.get("signature")))
