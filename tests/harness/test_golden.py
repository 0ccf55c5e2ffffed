"""Golden exports: both exporters still write them, and a change is reported."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Command
from sqlalchemy import text

from elspeth.core.landscape import LandscapeDB
from harness import packaged
from harness.checks.golden import (
    GoldenError,
    check_golden,
    dump_tables,
    golden_specs,
    restore_tables,
    update_golden,
)
from harness.checks.reference_runs import NewDatabase, sqlite_files
from harness.exporters.subject import CONTROL, DEFAULT_CANDIDATE, Subject, load_subject
from harness.generate.features import FEATURES

BACKENDS = ["sqlite", "postgresql"]
PHYSICAL_PLACE = {"sqlite": "rowid", "postgresql": "ctid"}


@pytest.fixture
def new_database(tmp_path: Path) -> Iterator[NewDatabase]:
    with sqlite_files(tmp_path) as new:
        yield new


@pytest.fixture
def control() -> Subject:
    return load_subject(CONTROL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the golden exports of SQLite, to be changed."""
    shutil.copytree(packaged.GOLDEN / "sqlite", tmp_path / "golden" / "sqlite")
    return tmp_path / "golden"


@pytest.mark.parametrize("reference", [CONTROL, DEFAULT_CANDIDATE])
def test_both_exporters_write_the_golden_exports_on_every_backend(
    reference: str, db: LandscapeDB
) -> None:
    backend = db.engine.dialect.name
    verdicts = list(
        check_golden(
            load_subject(reference), backend, lambda: db.connection_string, golden=packaged.GOLDEN
        )
    )
    assert len(verdicts) == len(golden_specs(backend))
    assert all(each.passed for each in verdicts), "\n".join(map(str, verdicts))


def test_the_golden_runs_hold_every_feature_of_their_backend(db: LandscapeDB) -> None:
    backend = db.engine.dialect.name
    restore_tables(db, packaged.GOLDEN / backend / "tables.jsonl")
    run_ids = [each.name for each in (packaged.GOLDEN / backend).iterdir() if each.is_dir()]
    held = [
        each
        for each in FEATURES.values()
        if each.in_presets and (backend == "sqlite" or each.portable)
    ]
    with db.connection() as connection:
        missing = [
            each.name
            for each in held
            if not any(
                connection.execute(
                    text(each.evidence.replace("{physical_place}", PHYSICAL_PLACE[backend])),
                    {"run_id": run_id},
                ).first()
                for run_id in run_ids
            )
        ]
    assert missing == []


def test_a_changed_byte_of_a_golden_file_is_named(
    control: Subject, new_database: NewDatabase, copy: Path
) -> None:
    changed = copy / "sqlite" / "golden_1" / "export.jsonl"
    changed.write_bytes(
        changed.read_bytes().replace(b'"record_type":"edge"', b'"record_type":"e"', 1)
    )
    failed = [
        each for each in check_golden(control, "sqlite", new_database, golden=copy) if each.failed
    ]
    assert len(failed) == 1
    assert "sqlite/golden_1: bytes, export.jsonl, line " in failed[0].seen


def test_a_refusal_in_other_words_is_named(
    control: Subject, new_database: NewDatabase, copy: Path
) -> None:
    (copy / "sqlite" / "golden_nan_durations" / "refusal.txt").write_text("Error: something\n")
    failed = [
        each for each in check_golden(control, "sqlite", new_database, golden=copy) if each.failed
    ]
    assert [each.expected for each in failed] == ["Error: something"]


def test_a_changed_stored_value_changes_the_export(
    control: Subject, new_database: NewDatabase, copy: Path
) -> None:
    tables = copy / "sqlite" / "tables.jsonl"
    content = tables.read_text()
    assert '"completed"' in content
    tables.write_text(content.replace('"completed"', '"failed"', 1))
    assert any(each.failed for each in check_golden(control, "sqlite", new_database, golden=copy))


def test_an_update_shows_its_changes_and_writes_them_only_on_request(
    control: Subject, new_database: NewDatabase, copy: Path
) -> None:
    changed = copy / "sqlite" / "golden_2" / "csv" / "run.csv"
    golden = changed.read_bytes()
    changed.write_bytes(golden + b"x")
    shown = update_golden(control, "sqlite", new_database, golden=copy, write=False)
    assert [each.name for each in shown] == ["sqlite/golden_2"]
    assert "bytes, csv/run.csv" in shown[0].difference
    assert changed.read_bytes() == golden + b"x"
    update_golden(control, "sqlite", new_database, golden=copy, write=True)
    assert changed.read_bytes() == golden
    assert not update_golden(control, "sqlite", new_database, golden=copy, write=True)


def test_an_update_without_golden_exports_makes_them(
    control: Subject, new_database: NewDatabase, tmp_path: Path
) -> None:
    # The folder may be left of an update that was stopped.
    (tmp_path / "new" / "sqlite").mkdir(parents=True)
    made = update_golden(control, "sqlite", new_database, golden=tmp_path / "new", write=True)
    assert [each.name for each in made] == sorted(
        f"sqlite/{spec.run_id}" for spec in golden_specs("sqlite")
    )
    candidate = load_subject(DEFAULT_CANDIDATE)
    verdicts = check_golden(candidate, "sqlite", new_database, golden=tmp_path / "new")
    assert all(each.passed for each in verdicts)


def test_missing_golden_exports_are_an_error(
    control: Subject, new_database: NewDatabase, tmp_path: Path
) -> None:
    with pytest.raises(GoldenError, match="no golden exports in"):
        list(check_golden(control, "sqlite", new_database, golden=tmp_path))


@pytest.mark.parametrize("backend", BACKENDS)
def test_restored_tables_have_the_same_values_and_physical_order(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = "fresh_postgres_url" if backend == "postgresql" else "sqlite_url"
    golden = packaged.GOLDEN / backend / "tables.jsonl"
    with LandscapeDB(request.getfixturevalue(url)) as db:
        restore_tables(db, golden)
        dump_tables(db, tmp_path / "tables.jsonl")
    assert (tmp_path / "tables.jsonl").read_bytes() == golden.read_bytes()


def test_a_removed_golden_export_fails_and_an_update_writes_it_again(
    control: Subject, new_database: NewDatabase, copy: Path
) -> None:
    for name in ("golden_1", "golden_2"):
        shutil.rmtree(copy / "sqlite" / name)
    failed = [
        each for each in check_golden(control, "sqlite", new_database, golden=copy) if each.failed
    ]
    assert [each.seen.partition(" in ")[0] for each in failed] == [
        f"sqlite/{name}: there is no golden export of this stored run"
        for name in ("golden_1", "golden_2")
    ]
    update_golden(control, "sqlite", new_database, golden=copy, write=True)
    written = copy / "sqlite" / "golden_2" / "export.jsonl"
    assert (
        written.read_bytes()
        == (packaged.GOLDEN / "sqlite" / "golden_2" / "export.jsonl").read_bytes()
    )


def test_the_command_prints_the_outcome_of_every_golden_export(
    harness_command: Command, copy: Path
) -> None:
    (copy / "postgresql").mkdir()
    shutil.rmtree(copy / "sqlite" / "golden_1")
    ended = harness_command("golden", "--check", "--directory", copy)
    assert ended.code == 1
    runs, exporters = len(golden_specs("sqlite")), ("LegacyLandscapeExporter", "LandscapeExporter")
    for exporter in exporters:
        printed = Counter(re.findall(rf"^(\w+)  {exporter}: ", ended.out, re.MULTILINE))
        assert printed == {"passed": runs - 1, "failed": 1, "skipped": 1}
