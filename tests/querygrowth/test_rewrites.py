"""The corpus of rewrites: every wrong one is caught, and no right one is."""

import pytest
from profiles import is_nightly
from rewrites import REWRITES
from rewrites.rewrite import Function, Rewrite
from sqlalchemy.orm import Session

from querygrowth.rewrites import compare_results, smallest_rows
from querygrowth.verdict import Outcome

pytestmark = pytest.mark.skipif(
    not hasattr(Session, "get_one"), reason="the examples need Session.get_one of SQLAlchemy 2.0.22"
)

RIGHT = [(each, new) for each in REWRITES for new in each.right]
WRONG = [(each, new) for each in REWRITES for new in each.wrong]
# Every other entry, with one wrong rewrite and one right one, in each build; all of them nightly.
DAILY = {new for each in REWRITES[::2] for new in (*each.right[:1], next(iter(each.wrong)))}


def cases(pairs: list[tuple[Rewrite, Function]]) -> list[object]:
    return [
        pytest.param(
            each,
            new,
            id=f"{each.old.__name__}-{new.__name__}",
            marks=[] if new in DAILY else pytest.mark.nightly,
        )
        for each, new in pairs
    ]


def test_the_corpus_has_at_least_forty_pairs() -> None:
    assert len(RIGHT) >= 30
    assert len(WRONG) >= 40


@pytest.mark.parametrize(("entry", "new"), cases(WRONG))
def test_a_wrong_rewrite_is_caught(
    entry: Rewrite, new: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The shrinking takes most of the time of a failure, and `test_rewrite.py` proves it.
    monkeypatch.setattr(smallest_rows, "_MOST_TRIES", 600 if is_nightly() else 0)
    report = compare_results(entry.old, new, models=entry.models, **entry.options)
    assert report.outcome is Outcome.FAILED, str(report)
    assert entry.wrong[new] in ("", report.verdict.kind), str(report)


@pytest.mark.parametrize(("entry", "new"), cases(RIGHT))
def test_a_right_rewrite_passes(entry: Rewrite, new: Function) -> None:
    # A few databases are enough for most; more than half of them had fewer than two records of one.
    for databases in (20 if is_nightly() else 10, 100):
        report = compare_results(
            entry.old, new, models=entry.models, databases=databases, growth=False, **entry.options
        )
        if report.outcome is not Outcome.INCONCLUSIVE:
            break
    assert report.outcome is Outcome.PASSED, str(report)
