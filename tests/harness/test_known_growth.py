"""A growth that the check of queries found is reported once, and large runs are left out then."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.checks.check import Check, CheckVerdict
from harness.checks.known_growth import KnownGrowth
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import CRASH, Outcome, Verdict

SITE = CallSite("exporter.py", 7, "export")
GREW = Verdict("Exporter", Outcome.FAILED, "13", "queries grew with rows", site=SITE)


def known(check: Check = Check.QUERIES, verdict: Verdict = GREW) -> KnownGrowth:
    growth = KnownGrowth()
    growth.add(CheckVerdict(check, "sqlite", verdict))
    return growth


def exporter(queries: int) -> Any:
    """An exporter whose every export sends so many queries."""
    activity = SimpleNamespace(activity=SimpleNamespace(queries=queries))
    return SimpleNamespace(name="Exporter", observe=lambda task, work: activity)


def runs(records: int) -> Any:
    run = SimpleNamespace(cardinalities=SimpleNamespace(records=records))
    return SimpleNamespace(stored=lambda specs: SimpleNamespace(db=None, runs={"counted": run}))


def test_only_another_axis_or_another_count_is_reported_again() -> None:
    axis = Verdict("Exporter", Outcome.FAILED, "13", "queries grew with calls", site=SITE)
    work = Verdict("Exporter", Outcome.FAILED, "13", "branches quadratic", site=SITE)
    assert known().unrepeated([GREW, axis, work]) == [axis, work]


@pytest.mark.parametrize(
    ("growth", "queries", "is_left_out"),
    [
        (known(), 2_600, True),
        # A list of ids in chunks grows too, and exports of thousands of entities are fast.
        (known(), 20, False),
        (KnownGrowth(), 2_600, False),
        (known(Check.WORK), 2_600, False),
        (
            known(verdict=Verdict("Exporter", Outcome.FAILED, "13", "KeyError", kind=CRASH)),
            2_600,
            False,
        ),
    ],
)
def test_large_runs_are_left_out_for_an_exporter_with_a_query_for_each_entity(
    growth: KnownGrowth, queries: int, is_left_out: bool
) -> None:
    found = growth.left_out(exporter(queries), runs(1_300), Path(), expected="the same bytes")
    assert [each.outcome for each in found] == [Outcome.SKIPPED] * is_left_out
    for verdict in found:
        assert "queries grew, 2,600 for 1,300 records" in verdict.seen
        assert verdict.expected == "the same bytes"
