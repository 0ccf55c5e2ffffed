"""The corpus of rewrites: every wrong one is caught, and no right one is."""

import pytest
from rewrites import REWRITES
from rewrites.rewrite import Function, Rewrite

from querygrowth.rewrite import compare_results
from querygrowth.verdict import Outcome

RIGHT = [(each, new) for each in REWRITES for new in each.right]
WRONG = [(each, new) for each in REWRITES for new in each.wrong]
FIRST = {next(iter(each.wrong)) for each in REWRITES}


def names(pairs: list[tuple[Rewrite, Function]]) -> list[str]:
    return [f"{each.old.__name__}-{new.__name__}" for each, new in pairs]


def test_the_corpus_has_at_least_forty_pairs() -> None:
    assert len(RIGHT) >= 30
    assert len(WRONG) >= 40


@pytest.mark.parametrize(
    ("entry", "new"),
    [
        pytest.param(each, new, id=name, marks=[] if new in FIRST else pytest.mark.nightly)
        for (each, new), name in zip(WRONG, names(WRONG), strict=True)
    ],
)
def test_a_wrong_rewrite_is_caught(entry: Rewrite, new: Function) -> None:
    report = compare_results(entry.old, new, models=entry.models, **entry.options)
    assert report.outcome is Outcome.FAILED, str(report)
    assert entry.wrong[new] in ("", report.verdict.kind), str(report)


@pytest.mark.parametrize(("entry", "new"), RIGHT, ids=names(RIGHT))
def test_a_right_rewrite_passes(entry: Rewrite, new: Function) -> None:
    report = compare_results(
        entry.old, new, models=entry.models, databases=30, growth=False, **entry.options
    )
    assert report.outcome is Outcome.PASSED, str(report)
