"""Tests of the exporter as one unit: what its folder imports, and that it runs alone."""

import ast
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sample_run import KEY, SampleRun, fixed_clock
from sqlalchemy import Engine, create_engine, make_url, text
from thread_workers import workers_in

import elspeth.core.landscape.export
from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from elspeth.core.landscape.export.exporter import RunExporter
from elspeth.core.landscape.export.record_types import RECORD_TYPES, TABLES
from elspeth.core.landscape.schema import EXPORTED_TABLES

PACKAGE = "elspeth.core.landscape.export"
FOLDER = Path(elspeth.core.landscape.export.__file__).parent

OUTSIDE = {
    "elspeth.contracts.enums",
    "elspeth.contracts.errors",
    "elspeth.core.landscape.schema",
}
"""The modules of the audit trail that the folder needs.

Another checkout has the enums and the schema. `contracts/errors.py` is what it has to add to its
own file of that name, or to map to errors that it has.
"""

THIRD_PARTY = {"orjson", "rfc8785", "sqlalchemy"}


def imported_names() -> Iterator[tuple[str, str]]:
    """Every import in the folder, those for type checkers included, as module and name."""
    for path in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}: a relative import"
                yield from ((str(node.module), alias.name) for alias in node.names)


def outside_modules(names: Iterator[tuple[str, str]]) -> Mapping[str, set[str]]:
    """The imported modules of elspeth outside the folder, each with the names taken from it."""
    found: dict[str, set[str]] = {}
    for module, name in names:
        # `from elspeth.contracts import errors` imports a module, not a name of one.
        dotted = f"{module}.{name}" if f"{module}.{name}" in sys.modules else module
        is_inside = dotted == PACKAGE or dotted.startswith(f"{PACKAGE}.")
        if dotted.split(".")[0] == "elspeth" and not is_inside:
            found.setdefault(dotted, set()).add(name)
    return found


def test_the_folder_imports_three_modules_of_the_audit_trail() -> None:
    assert outside_modules(imported_names()).keys() == OUTSIDE


def test_a_further_import_is_seen() -> None:
    names = [("elspeth.core", "canonical"), ("elspeth.core.landscape.keys", "key_id")]
    assert outside_modules(iter(names)).keys() == {
        "elspeth.core.canonical",
        "elspeth.core.landscape.keys",
    }


def test_of_the_schema_it_takes_tables_alone() -> None:
    taken = outside_modules(imported_names())["elspeth.core.landscape.schema"]
    assert {name for name in taken if not name.endswith("_table")} == {"schema"}
    source = (FOLDER / "record_types.py").read_text(encoding="utf-8")
    used = {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "schema"
    }
    assert used == {f"{table.name}_table" for table in TABLES}


def test_it_needs_three_packages_besides_the_standard_library() -> None:
    roots = {module.split(".")[0] for module, _ in imported_names()}
    assert roots - sys.stdlib_module_names - {"elspeth"} == THIRD_PARTY


def test_its_tables_are_those_that_the_schema_lists_as_exported() -> None:
    assert TABLES == EXPORTED_TABLES
    assert len({record_type.name for record_type in RECORD_TYPES}) == len(TABLES)


@dataclass
class OtherDatabase:
    """A database of another checkout: nothing but an engine, without settings of any kind."""

    engine: Engine


@contextmanager
def opened(url: str) -> Iterator[OtherDatabase]:
    engine = create_engine(url)
    try:
        yield OtherDatabase(engine)
    finally:
        engine.dispose()


def export(url: str, run_id: str, jobs: int) -> bytes:
    """Export a signed run with the folder alone, workers in threads."""
    with opened(url) as database, ThreadPoolExecutor(jobs) as threads, workers_in(threads):
        exporter = RunExporter(database, KEY, clock=fixed_clock)
        blocks = exporter.export_blocks(run_id, sign=True, jobs=jobs)
        return b"".join(block.lines for block in blocks)


@pytest.mark.parametrize("jobs", [1, 2])
def test_any_object_with_an_engine_will_do(
    db: LandscapeDB, sample: SampleRun, landscape_url: str, tmp_path: Path, jobs: int
) -> None:
    exporter = LandscapeExporter(db, KEY, clock=fixed_clock)
    published = exporter.write_jsonl(sample.run_id, tmp_path / "run.jsonl", sign=True)
    assert export(landscape_url, sample.run_id, jobs) == published.path.read_bytes()


def test_records_of_the_folder_are_those_of_the_whole_exporter(
    db: LandscapeDB, sample: SampleRun, landscape_url: str
) -> None:
    expected = LandscapeExporter(db, KEY, clock=fixed_clock)
    with opened(landscape_url) as database:
        exporter = RunExporter(database, KEY, clock=fixed_clock)
        for records in ("export_run", "export_checked"):
            found = list(getattr(exporter, records)(sample.run_id, sign=True))
            assert found == list(expected.export_run(sample.run_id, sign=True))


HOSTILE = ("extra_float_digits = -15", "DateStyle = 'SQL, DMY'", "client_encoding = 'LATIN1'")


@pytest.mark.parametrize("landscape_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_database_sets_does_not_change_the_bytes(
    db: LandscapeDB, sample: SampleRun, landscape_url: str, jobs: int
) -> None:
    """The settings are the snapshot's own: this engine sets none when it connects."""
    before = export(landscape_url, sample.run_id, jobs)
    name = make_url(landscape_url).database
    with db.engine.begin() as connection:
        # More digits than the hostile setting leaves, and text that LATIN1 lacks.
        connection.execute(text("UPDATE calls SET latency_ms = 0.1::float8 + 0.2::float8"))
        assert "𝄞" in connection.scalars(text("SELECT max(path_or_uri) FROM artifacts")).one()
    expected = export(landscape_url, sample.run_id, jobs)
    assert expected != before
    try:
        for setting in HOSTILE:
            with db.engine.begin() as connection:
                connection.exec_driver_sql(f"ALTER DATABASE {name} SET {setting}")
        with opened(landscape_url) as database, database.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW DateStyle").scalar() == "SQL, DMY"
        assert export(landscape_url, sample.run_id, jobs) == expected
    finally:
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} RESET ALL")


@pytest.mark.parametrize("landscape_url", ["postgresql"], indirect=True)
def test_the_settings_end_with_the_snapshot(
    db: LandscapeDB, sample: SampleRun, landscape_url: str
) -> None:
    """Behind a pooler the next client gets the session as it was."""
    with opened(landscape_url) as database:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SET extra_float_digits TO 0")
            connection.commit()
        list(RunExporter(database).export_run(sample.run_id))
        assert database.engine.pool.checkedin() == 1  # type: ignore[attr-defined]
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW extra_float_digits").scalar() == "0"
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "off"
