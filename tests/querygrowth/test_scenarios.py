"""The corpus: every bad program fails with its finding, and every good one passes."""

import re

import pytest
from scenarios import BAD, GOOD
from scenarios.scenario import Scenario

from querygrowth.contracts.contract import QueryContract
from querygrowth.growth.measure import measure_growth
from querygrowth.growth.verdicts import judge_growth
from querygrowth.verdict import Verdict


@pytest.mark.parametrize("scenario", BAD, ids=str)
def test_a_bad_program_is_caught_and_named(scenario: Scenario) -> None:
    failed = [str(each) for each in judged(scenario) if each.failed]
    assert failed, "nothing was found"
    assert re.search(scenario.finding, "\n".join(failed)), "\n\n".join(failed)


@pytest.mark.parametrize("scenario", GOOD, ids=str)
def test_a_good_program_is_left_alone(scenario: Scenario) -> None:
    assert [str(each) for each in judged(scenario) if each.failed] == []


def test_the_corpus_is_as_large_as_it_claims() -> None:
    assert len({each.name for each in BAD}) == len(BAD) >= 24
    assert len({each.name for each in GOOD}) == len(GOOD) >= 8


def judged(scenario: Scenario) -> tuple[Verdict, ...]:
    contract = QueryContract()
    for table, size in scenario.allowed.items():
        contract = contract.allow(table, **size)
    report = measure_growth(
        scenario.action,
        scenario.populate,
        axes=scenario.axes,
        scales=scenario.scales,
        together=scenario.together,
        work=scenario.work,
        writes=scenario.writes,
    )
    return judge_growth(report, contract)
