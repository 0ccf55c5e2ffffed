"""Property tests: an export of any stored values verifies, or it is refused and names a row.

The values go into the columns that an export sorts by, in databases as the schema makes them and in
others that SQLite allows: without constraints, with a collation, in UTF-16.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st
from profiles import fewer_examples
from sample_run import KEY, fixed_clock, record_sample_run

from elspeth.contracts.errors import CorruptAuditDataError
from elspeth.core.landscape import (
    LandscapeDB,
    LandscapeExporter,
    LandscapeRecorder,
    LegacyLandscapeExporter,
)
from elspeth.core.landscape.export.completeness import LEFT_OUT_BY_DESIGN
from elspeth.core.landscape.verification.verify import verify

RUN_ID = "run-1"
OTHER_RUN = "run-2"

TIMES = (
    "'2026-01-01 00:00:00.000000'",
    "'2026-01-01 00:00:00'",
    "'2026-01-01T00:00:00'",
    "'2026-01-01 00:00:00.5'",
    "'2026-01-01 00:00:00,5'",
    "'2026-01-01 00:00:00+11:00'",
    "'2026-01-01T00:00:00Z'",
    "'2026-01-01 00:00'",
    "'2026-01-01'",
    "'20260101T000000'",
    "'2026-W01-4'",
    "'2025-12-31 23:59:59.999999'",
    "'0001-01-01 00:00:00'",
    "'9999-12-31 23:59:59.999999-01:00'",
)
NUMBERS = ("0", "1", "-1", "2", "3", "'1'", "' 1'", "1.0", "1.5", "9007199254740991", "9e999")
TEXTS = ("'a'", "'A'", "'b'", "'é'", "'Ā'", "char(65535)", "char(128512)", "'a' || char(0)", "'a '")
ANYTHING = ("NULL", "''", "x'61'", "20260101", "CAST(x'ff' AS TEXT)", "1767225600.5")

KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nodes.sequence_in_pipeline": (NUMBERS, ANYTHING),
    "nodes.registered_at": (TIMES, ANYTHING),
    "edges.created_at": (TIMES, ANYTHING),
    "rows.row_index": (NUMBERS, ANYTHING),
    "tokens.created_at": (TIMES, ANYTHING),
    "token_parents.ordinal": (NUMBERS, ANYTHING),
    "node_states.step_index": (NUMBERS, ANYTHING),
    "node_states.attempt": (NUMBERS, ANYTHING),
    "routing_events.ordinal": (NUMBERS, ANYTHING),
    "routing_events.event_id": (TEXTS, ANYTHING),
    "calls.call_index": (NUMBERS, ANYTHING),
    "batches.created_at": (TIMES, ANYTHING),
    "batches.batch_id": (TEXTS, ANYTHING),
    "batch_members.ordinal": (NUMBERS, ANYTHING),
    "artifacts.created_at": (TIMES, ANYTHING),
    "artifacts.artifact_id": (TEXTS, ANYTHING),
}
"""The columns that an export sorts by, each with usual and unusual values as SQL."""


def _without_constraints(statement: str) -> str:
    """Return a table's statement with its columns and types alone."""
    lines = [line for line in statement.splitlines() if not line.strip().startswith(_CONSTRAINTS)]
    text = "\n".join(line.replace(" NOT NULL", "") for line in lines)
    return text.rstrip().removesuffix(")").rstrip().removesuffix(",") + ")"


_CONSTRAINTS = ("PRIMARY KEY", "FOREIGN KEY", "UNIQUE", "CONSTRAINT")

FORMS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "as the schema": ("UTF-8", str),
    "without constraints": ("UTF-8", _without_constraints),
    "with a collation": ("UTF-8", lambda sql: sql.replace("(64)", "(64) COLLATE NOCASE")),
    "in UTF-16": ("UTF-16le", str),
}
"""By name: the encoding of a database, and the change of the statements that create its tables."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return two recorded runs in databases of every form."""
    folder = tmp_path_factory.mktemp("forms")
    recorded = folder / "recorded.db"
    with LandscapeDB(f"sqlite:///{recorded}") as db:
        numbers = count(1)
        recorder = LandscapeRecorder(db, new_id=lambda: f"id-{next(numbers):03}")
        record_sample_run(recorder)
        record_sample_run(recorder, OTHER_RUN)
    paths = {}
    for number, (name, (encoding, change)) in enumerate(FORMS.items()):
        paths[name] = folder / f"{number}.db"
        with (
            closing(sqlite3.connect(recorded)) as source,
            closing(sqlite3.connect(paths[name])) as copy,
            copy,
        ):
            copy.execute(f"PRAGMA encoding = '{encoding}'")
            tables = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
            for table, statement in source.execute(tables).fetchall():
                copy.execute(change(statement))
                for row in source.execute(f"SELECT * FROM {table}"):
                    marks = ", ".join("?" * len(row))
                    copy.execute(f"INSERT INTO {table} VALUES ({marks})", row)
    return paths


def exports_and_verifies(path: Path) -> bool:
    """Export the run and verify the file; return False if the export is refused."""
    target = path.with_suffix(".jsonl")
    with LandscapeDB(f"sqlite:///{path}") as db:
        refused = None
        try:
            LandscapeExporter(db, KEY, clock=fixed_clock).write_jsonl(RUN_ID, target, sign=True)
        except CorruptAuditDataError as error:
            refused = error
        if refused is None:
            assert verify(target, KEY, unique=True).defects == ()
            assert control_lines(db) in ([], target.read_bytes().splitlines(keepends=True))
        assert (refused is None) == target.exists()
    return refused is None


def control_lines(db: LandscapeDB) -> list[bytes]:
    """The lines of the control, or none if it refuses a value that no export holds."""
    control = LegacyLandscapeExporter(db, KEY, clock=fixed_clock)
    try:
        return [rfc8785.dumps(each) + b"\n" for each in control.export_run(RUN_ID, sign=True)]
    except CorruptAuditDataError as error:
        # It loads whole entities.
        if f"{error.table}.{error.column}" in LEFT_OUT_BY_DESIGN:
            return []
        raise


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Columns, each with the values of its first rows."""
    columns = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=2, unique=True))
    return [
        (
            column,
            draw(
                st.lists(
                    # Mostly usual values: an unusual one is refused alone.
                    st.sampled_from(KEYS[column][0] * 3 + KEYS[column][1]),
                    min_size=2,
                    max_size=4,
                )
            ),
        )
        for column in columns
    ]


@fewer_examples(1 / 6)
@given(form=st.sampled_from(sorted(FORMS)), changed=changes())
@example("as the schema", [("batches.created_at", [TIMES[0], TIMES[2], TIMES[5]])])
@example("without constraints", [("rows.row_index", ["1", "1"])])
@example("without constraints", [("node_states.attempt", ["1", "1", "1"])])
@example(
    "with a collation",
    [("batches.created_at", [TIMES[0]] * 4), ("batches.batch_id", ["'b'", "'A'"])],
)
@example(
    "in UTF-16", [("batches.created_at", [TIMES[0]] * 4), ("batches.batch_id", ["'Ā'", "'a'"])]
)
@example(
    "in UTF-16",
    [("routing_events.event_id", ["'Ā'", "'a'"]), ("routing_events.ordinal", ["1", "1"])],
)
def test_an_export_verifies_or_is_refused(
    stored: Mapping[str, Path], form: str, changed: list[tuple[str, list[str]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(stored[form], folder))
        with closing(sqlite3.connect(path)) as connection, connection:
            for column, values in changed:
                table, name = column.split(".")
                rowids = connection.execute(f"SELECT rowid FROM {table} ORDER BY rowid").fetchall()
                for (rowid,), value in zip(rowids, values, strict=False):
                    # A constraint may forbid it.
                    with suppress(sqlite3.IntegrityError):
                        connection.execute(
                            f"UPDATE {table} SET {name} = {value} WHERE rowid = {rowid}"
                        )
        exports_and_verifies(path)


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_database_alone_is_no_reason_to_refuse(
    stored: Mapping[str, Path], tmp_path: Path, form: str
) -> None:
    assert exports_and_verifies(Path(shutil.copy(stored[form], tmp_path)))


TABLES = sorted({column.split(".")[0] for column in KEYS})


@pytest.mark.parametrize("table", [*TABLES, "runs"])
def test_a_row_that_is_stored_twice_is_refused(
    stored: Mapping[str, Path], tmp_path: Path, table: str
) -> None:
    path = Path(shutil.copy(stored["without constraints"], tmp_path))
    with closing(sqlite3.connect(path)) as connection, connection:
        # The first row belongs to the exported run.
        connection.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = 1")
    with (
        LandscapeDB(f"sqlite:///{path}") as db,
        pytest.raises(CorruptAuditDataError, match="stored in two rows") as refused,
    ):
        LandscapeExporter(db, KEY).write_jsonl(RUN_ID, tmp_path / "run.jsonl", sign=True)
    assert refused.value.table == table


def test_a_row_of_another_run_that_is_stored_twice_is_not_looked_at(
    stored: Mapping[str, Path], tmp_path: Path
) -> None:
    path = Path(shutil.copy(stored["without constraints"], tmp_path))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"INSERT INTO rows SELECT * FROM rows WHERE run_id = '{OTHER_RUN}'")
    assert exports_and_verifies(path)
