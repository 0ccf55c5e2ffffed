"""The selftest: its lists, its verdicts, and faults that are caught for the wrong reason."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from harness.checks import selftest
from harness.checks.check import Check
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.selftest import (
    CorrectExporter,
    SeededFault,
    SelftestSelection,
    load_correct_exporters,
    load_seeded_faults,
    run_selftest,
    try_correct,
    try_fault,
)
from harness.checks.setup import CheckSetup
from harness.exporters.subject import SubjectError, load_subject
from querygrowth.verdict import Outcome

FAULTS = load_seeded_faults()

pytestmark = pytest.mark.usefixtures("small_checks", "forked_exporters")


def fault(exporter: str) -> SeededFault:
    (found,) = (each for each in FAULTS if each.exporter.endswith(f":{exporter}"))
    return found


def test_every_one_of_the_34_faults_is_seeded() -> None:
    # More may be added: an exporter and its entry are all that a fault takes.
    assert {each.number for each in FAULTS} >= set(range(1, 35))


def test_every_listed_exporter_can_be_loaded() -> None:
    for each in (*FAULTS, *load_correct_exporters()):
        assert load_subject(each.exporter).reference == each.exporter


# Those that the first runs show; the whole table is for `harness selftest`.
@pytest.mark.parametrize(
    "exporter",
    [
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
def test_a_seeded_fault_is_caught_by_its_name(setup: CheckSetup, exporter: str) -> None:
    verdict = try_fault(fault(exporter), setup).verdict
    assert verdict.outcome is Outcome.PASSED, verdict
    assert verdict.seen == "caught by its name"


def test_a_fault_caught_under_another_name_fails(setup: CheckSetup) -> None:
    renamed = replace(fault("CallsForgotten"), words=("missing", "token"))
    verdict = try_fault(renamed, setup).verdict
    assert verdict.outcome is Outcome.FAILED
    assert verdict.seen == "caught under another name"
    assert verdict.next_step
    assert verdict.evidence[0].startswith("CallsForgotten: missing, call ")


def test_a_fault_caught_by_another_check_fails(setup: CheckSetup) -> None:
    result = try_fault(replace(fault("CallsForgotten"), check=Check.MEMORY), setup)
    assert result.verdict.outcome is Outcome.FAILED
    assert result.verdict.seen == "caught under another name"
    assert result.check is Check.RECORDS


def test_a_fault_that_no_check_catches_is_missed(
    setup: CheckSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.checks.selftest.run_selection", lambda *_, **__: iter(()))
    verdict = try_fault(fault("CallsForgotten"), setup).verdict
    assert verdict.outcome is Outcome.FAILED
    assert verdict.seen == "missed: no check failed"
    assert verdict.next_step


def test_a_correct_exporter_that_fails_a_check_is_a_false_alarm(setup: CheckSetup) -> None:
    accused = CorrectExporter(fault("CallsForgotten").exporter, Declared())
    verdict = try_correct(accused, setup).verdict
    assert verdict.outcome is Outcome.FAILED
    assert verdict.seen == "false alarm by the check records"


@pytest.mark.parametrize("exporter", ["TiesByCollation", "OffsetDropped"])
def test_a_fault_that_shows_on_postgresql_only_is_skipped_without_a_server(exporter: str) -> None:
    (result,) = run_selftest(SelftestSelection((fault(exporter),)))
    assert result.verdict.outcome is Outcome.SKIPPED
    assert "--postgresql" in result.verdict.seen


def test_a_postgresql_that_sorts_by_bytes_cannot_show_a_collation(postgres_server: URL) -> None:
    server = postgres_server.render_as_string(hide_password=False)
    (result,) = run_selftest(SelftestSelection((fault("TiesByCollation"),)), postgresql=server)
    assert result.verdict.outcome is Outcome.SKIPPED
    assert result.verdict.seen.startswith("needs a PostgreSQL with ICU collations; this one")


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match=r"cannot read .*absent\.toml: No such file"):
        load_seeded_faults(tmp_path / "absent.toml")


def test_a_list_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seeded.toml").write_text("")
    with pytest.raises(SubjectError, match="lists nothing"):
        load_seeded_faults(tmp_path / "seeded.toml")


def test_every_need_of_a_fault_that_is_not_met_has_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = fault("CallsForgotten")
    deep = replace(plain, depth=Depth.ALL)
    by_default, everything = (
        SelftestSelection((), depth=each) for each in (Depth.DEFAULT, Depth.ALL)
    )
    server = "postgresql://localhost/never_reached"
    for each, selection, postgresql, reason in (
        (plain, by_default, None, ""),
        (deep, by_default, None, "shows with all checks only: harness selftest --all"),
        (deep, everything, None, ""),
        (
            replace(plain, needs="postgresql"),
            by_default,
            None,
            "shows on PostgreSQL only: harness selftest --postgresql URL",
        ),
        (replace(plain, needs="postgresql"), by_default, server, ""),
    ):
        assert selftest._unmet_need(each, selection, postgresql) == reason

    def without_icu(url: str, *, options: str) -> None:
        raise DBAPIError("CREATE DATABASE", {}, Exception("ICU is not supported\nin this build"))

    monkeypatch.setattr(selftest, "postgresql_databases", without_icu)
    assert selftest._unmet_need(replace(plain, needs="icu"), by_default, server) == (
        "needs a PostgreSQL with ICU collations; this one: ICU is not supported"
    )


def test_the_selection_reaches_every_exporter(
    setup: CheckSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = SelftestSelection((fault("CallsForgotten"),), correct=load_correct_exporters()[:1])
    asked: list[object] = []

    def tried(exporter: Any, found: CheckSetup, chosen: SelftestSelection) -> Any:
        asked.append((exporter, found, chosen))

    monkeypatch.setattr(selftest, "try_fault", tried)
    monkeypatch.setattr(selftest, "try_correct", tried)
    monkeypatch.setattr(selftest, "prepare_checks", lambda: nullcontext(setup))
    assert list(run_selftest(selection)) == [None, None]
    assert asked == [(each, setup, selection) for each in (*selection.faults, *selection.correct)]
