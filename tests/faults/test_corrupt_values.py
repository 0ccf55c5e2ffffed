"""Faults 20 and 21: stored values that an export must refuse, and children without a parent."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from audit_trail import Trail
from fault_injection import CORRUPT_DATA, inject_fault
from formats import in_turn

from elspeth.core.landscape.export.record_types import primary_key_columns
from elspeth.core.landscape.schema import metadata

ENUM = "unknown enum"
NULL = "NULL where required"
NOT_UTF8 = "text that is not UTF-8"
SURROGATE = "lone surrogate"
TEXT = "text in a column of numbers"
BLOB = "bytes in a column of text"
LARGE = "integer of 2^53 and more"
INFINITE = "infinity"
NAN = "NaN"
TIME = "text that is not a timestamp"


@dataclass(frozen=True)
class Corruption:
    """A value, as SQL, in one column of one row of a table."""

    kind: str
    table: str
    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.table}.{self.column}"

    @property
    def key(self) -> str:
        return str(primary_key_columns(metadata.tables[self.table])[0].name)

    @property
    def statements(self) -> list[str]:
        first = f"{self.key} = (SELECT min({self.key}) FROM {self.table})"
        update = f"UPDATE {self.table} SET {self.column} = {self.value} WHERE {first}"
        if self.kind != NULL:
            return [update]
        # The schema forbids NULL here, so the test changes the schema first.
        allow = (
            "UPDATE sqlite_master SET sql = replace(sql, "
            f"'{self.column} VARCHAR(64) NOT NULL', '{self.column} VARCHAR(64)') "
            f"WHERE name = '{self.table}'"
        )
        return ["PRAGMA writable_schema = ON", allow, "PRAGMA writable_schema = RESET", update]


ON_SQLITE = [
    Corruption(ENUM, "runs", "status", "'done'"),
    Corruption(ENUM, "nodes", "node_type", "'hub'"),
    Corruption(ENUM, "calls", "call_type", "'fax'"),
    Corruption(ENUM, "routing_events", "mode", "'teleport'"),
    Corruption(NULL, "rows", "source_data_hash", "NULL"),
    Corruption(NULL, "calls", "request_hash", "NULL"),
    Corruption(NULL, "nodes", "config_hash", "NULL"),
    Corruption(NOT_UTF8, "nodes", "plugin_name", "CAST(x'ff' AS TEXT)"),
    Corruption(NOT_UTF8, "artifacts", "path_or_uri", "CAST(x'61c3' AS TEXT)"),
    Corruption(SURROGATE, "rows", "source_data_hash", "CAST(x'eda080' AS TEXT)"),
    Corruption(SURROGATE, "edges", "label", "CAST(x'edbfbf' AS TEXT)"),
    Corruption(TEXT, "rows", "row_index", "'zero'"),
    Corruption(TEXT, "calls", "latency_ms", "'slow'"),
    Corruption(BLOB, "rows", "source_data_hash", "x'00'"),
    Corruption(LARGE, "artifacts", "size_bytes", "9007199254740992"),
    Corruption(LARGE, "rows", "row_index", "-9007199254740992"),
    Corruption(INFINITE, "calls", "latency_ms", "9e999"),
    Corruption(INFINITE, "calls", "latency_ms", "-9e999"),
    Corruption(TIME, "node_states", "started_at", "'yesterday'"),
]
ON_POSTGRESQL = [
    Corruption(ENUM, "calls", "call_type", "'fax'"),
    Corruption(NAN, "calls", "latency_ms", "'NaN'"),
    Corruption(INFINITE, "calls", "latency_ms", "'-Infinity'"),
]


@pytest.mark.fault(20, short=19)
@in_turn("corruption", ON_SQLITE, ids=str)
def test_a_corrupt_value_on_sqlite_is_refused_with_its_place(
    trail: Trail, corruption: Corruption
) -> None:
    whole = trail.save()
    _assert_refused(trail, corruption, lambda: trail.put_back(whole))


@pytest.mark.fault(20)
@pytest.mark.parametrize("backend", ["postgresql"])
@in_turn("corruption", ON_POSTGRESQL, ids=str)
def test_a_corrupt_value_on_postgresql_is_refused_with_its_place(
    trail: Trail, corruption: Corruption
) -> None:
    table, column, key = corruption.table, corruption.column, corruption.key
    # Without the name of a key: a table with one would be taken for a part of the audit trail.
    trail.execute(f"CREATE TABLE saved AS SELECT {key} AS owner, {column} AS value FROM {table}")

    def put_back() -> None:
        trail.execute(
            f"UPDATE {table} SET {column} = saved.value FROM saved "
            f"WHERE saved.owner = {table}.{key}"
        )

    try:
        _assert_refused(trail, corruption, put_back)
    finally:
        trail.execute("DROP TABLE saved")


@pytest.mark.fault(20)
@pytest.mark.parametrize("export_format", ["json"])
def test_a_corrupt_value_in_a_worker_is_refused_with_its_place(trail: Trail) -> None:
    whole = trail.save()
    corruption = Corruption(ENUM, "calls", "call_type", "'fax'")
    _assert_refused(trail, corruption, lambda: trail.put_back(whole), "--jobs", "2")


def _assert_refused(
    trail: Trail, corruption: Corruption, put_back: Callable[[], None], *more: str
) -> None:
    with inject_fault(trail) as injection:
        trail.execute(*corruption.statements)
        injection.accept_change()
        refused = trail.export(*more)
        place = rf"{corruption.table} \({corruption.key}='[^']+'[^)]*\): {corruption.column} "
        assert re.search(place, refused.err), refused
        injection.assert_survived(refused, CORRUPT_DATA, repair=lambda: injection.repair(put_back))


CHILDREN = [
    ("tokens", "row_id"),
    ("token_parents", "token_id"),
    ("node_states", "token_id"),
    ("routing_events", "state_id"),
    ("calls", "state_id"),
    ("batch_members", "batch_id"),
]


@pytest.mark.fault(21, short=6)
@in_turn(("table", "column"), CHILDREN)
def test_a_child_without_a_parent_is_refused_with_its_place(
    trail: Trail, table: str, column: str
) -> None:
    whole = trail.save()
    with inject_fault(trail) as injection:
        trail.execute(
            f"UPDATE {table} SET {column} = 'nobody' WHERE rowid = (SELECT max(rowid) FROM {table})"
        )
        injection.accept_change()
        refused = trail.export()
        assert re.search(rf"{table} \([^)]+\): {column} names 'nobody'", refused.err), refused
        injection.assert_survived(
            refused, CORRUPT_DATA, repair=lambda: injection.repair(lambda: trail.put_back(whole))
        )
