"""The selftest: what it lists, and that it is not fooled by a fault caught for the wrong reason."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import URL

from harness.checks.costs import Declared
from harness.checks.run import Ground, Part, open_ground
from harness.checks.selftest import (
    CorrectExporter,
    Result,
    SeededFault,
    load_correct_exporters,
    load_seeded_faults,
    run_selftest,
    try_correct,
    try_fault,
)
from harness.exporters.subject import SubjectError, load_subject

FAULTS = load_seeded_faults()


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


def fault(exporter: str) -> SeededFault:
    (found,) = (each for each in FAULTS if each.exporter.endswith(f":{exporter}"))
    return found


def test_every_one_of_the_34_faults_is_seeded() -> None:
    assert {each.number for each in FAULTS} == set(range(1, 35))


def test_every_listed_exporter_can_be_loaded() -> None:
    for each in (*FAULTS, *load_correct_exporters()):
        assert load_subject(each.exporter).reference == each.exporter


# Those that the first runs show; the whole table is for `harness selftest`.
@pytest.mark.parametrize(
    "exporter",
    [
        "EventsByStateId",
        "CallsForgotten",
        "SchemaHashForgotten",
        "EnumAsText",
        "InvertedGuard",
        "BlankInTimestamps",
        "SignsItsSignature",
        "HashesRecords",
        "ExportsNothing",
    ],
)
def test_a_seeded_fault_is_caught_by_its_name(ground: Ground, exporter: str) -> None:
    tried = try_fault(fault(exporter), ground)
    assert tried.result is Result.CAUGHT, tried


def test_a_fault_caught_under_another_name_is_not_caught(ground: Ground) -> None:
    renamed = replace(fault("CallsForgotten"), names=("missing", "token"))
    tried = try_fault(renamed, ground)
    assert tried.result is Result.MISNAMED
    assert tried.failed


def test_a_fault_caught_by_another_part_is_not_caught(ground: Ground) -> None:
    tried = try_fault(replace(fault("CallsForgotten"), part=Part.MEMORY), ground)
    assert tried.result is Result.MISNAMED


def test_a_correct_exporter_that_is_accused_is_a_false_alarm(ground: Ground) -> None:
    accused = CorrectExporter(fault("CallsForgotten").exporter, Declared())
    tried = try_correct(accused, ground)
    assert tried.result is Result.FALSE_ALARM
    assert tried.failed


@pytest.mark.parametrize("exporter", ["TiesByCollation", "OffsetDropped"])
def test_what_shows_on_postgresql_only_is_skipped_without_one_and_never_called_caught(
    exporter: str,
) -> None:
    (tried,) = run_selftest([fault(exporter)], [])
    assert tried.result is Result.SKIPPED
    assert "--postgresql" in tried.words
    assert not tried.is_fine


def test_a_postgresql_that_sorts_by_bytes_cannot_show_a_collation(postgres_server: URL) -> None:
    server = postgres_server.render_as_string(hide_password=False)
    (tried,) = run_selftest([fault("TiesByCollation")], [], postgresql=server)
    assert tried.result is Result.SKIPPED
    assert tried.words.startswith("needs a PostgreSQL with ICU collations; this one")


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match=r"cannot read .*absent\.toml: No such file"):
        load_seeded_faults(tmp_path / "absent.toml")


def test_a_list_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seeded.toml").write_text("")
    with pytest.raises(SubjectError, match="lists nothing"):
        load_seeded_faults(tmp_path / "seeded.toml")
