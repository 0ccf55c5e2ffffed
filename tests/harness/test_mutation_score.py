"""Tests of the mutation score: its numbers, its file and its table in the documentation."""

from datetime import date
from pathlib import Path

import pytest

from harness.mutants import all_mutants
from harness.mutants.report import (
    PAGE,
    MutationScore,
    load_score,
    render_score,
    save_score,
    written_page,
)
from harness.mutants.result_file import MutantResult, MutantSelectionError
from querygrowth.verdict import Outcome

DAY = date(2026, 1, 2)


def results(
    *outcomes: tuple[Outcome, str, str], rest: Outcome | None = None, operator: str = ""
) -> list[MutantResult]:
    """Return results of the first mutants, by outcome, depth and check.

    Args:
        outcomes: Of the first mutants.
        rest: The outcome of all others; None leaves them out.
        operator: The operator of the mutants; empty for all.
    """
    found = []
    mutants = [each for each in all_mutants() if operator in ("", each.operator)]
    for number, mutant in enumerate(mutants):
        if number < len(outcomes):
            outcome, depth, check = outcomes[number]
        elif rest is not None:
            outcome, depth, check = rest, "default", "records"
        else:
            break
        found.append(
            MutantResult(
                mutant=mutant.identifier,
                operator=mutant.operator,
                description=mutant.description,
                outcome=outcome,
                depth=depth,  # type: ignore[arg-type]
                check=check,
                cpu_seconds=1,
            )
        )
    return found


MISSED = (Outcome.FAILED, "all", "")
UNDECIDED = (Outcome.INCONCLUSIVE, "all", "")
EQUIVALENT = (Outcome.SKIPPED, "default", "")
LATE = (Outcome.PASSED, "all", "process")
CAUGHT = (Outcome.PASSED, "default", "records")


def test_the_headline_counts_equivalents_apart_and_cuts_shares() -> None:
    score = MutationScore.of(results(MISSED, EQUIVALENT, LATE, CAUGHT, CAUGHT, CAUGHT, CAUGHT), DAY)
    total = len(all_mutants())
    assert score.headline == (
        f"7 of {total:,} mutants, 1 of them equivalent (14.2 %). The default checks catch 4 of the "
        "other 6 (66.6 %), all checks 5 (83.3 %); missed 1."
    )


def test_the_headline_says_that_only_the_default_ran() -> None:
    score = MutationScore.of(results((Outcome.FAILED, "default", ""), CAUGHT), DAY)
    assert score.headline.endswith("(50.0 %), the others did not run on the 1 that these missed.")


def test_what_could_not_be_judged_counts_as_missed() -> None:
    score = MutationScore.of(results(UNDECIDED, CAUGHT), DAY)
    assert score.missed == (all_mutants()[0].identifier,)


def test_the_numbers_do_not_depend_on_the_order_of_results() -> None:
    found = results(MISSED, LATE, CAUGHT, CAUGHT)
    assert MutationScore.of(found[::-1], DAY) == MutationScore.of(found, DAY)


def test_the_goal_needs_all_mutants_and_all_checks() -> None:
    assert MutationScore.of(results(rest=Outcome.PASSED), DAY).outcome is Outcome.PASSED
    assert MutationScore.of(results(CAUGHT, CAUGHT), DAY).outcome is Outcome.INCONCLUSIVE
    one_missed = results(MISSED, rest=Outcome.PASSED)
    assert MutationScore.of(one_missed, DAY).outcome is Outcome.FAILED
    by_default_only = (Outcome.FAILED, "default", "")
    found = results(by_default_only, rest=Outcome.PASSED)
    assert MutationScore.of(found, DAY).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("kind", "share"), [(LATE, 0.02), (EQUIVALENT, 0.1)])
def test_the_goal_is_missed_beyond_a_share(kind: tuple[Outcome, str, str], share: float) -> None:
    most = int(len(all_mutants()) * share)
    reached = MutationScore.of(results(*[kind] * most, rest=Outcome.PASSED), DAY)
    beyond = MutationScore.of(results(*[kind] * (most + 1), rest=Outcome.PASSED), DAY)
    assert reached.outcome is Outcome.PASSED
    assert beyond.outcome is Outcome.FAILED


def test_a_result_of_a_mutant_that_does_not_exist_any_more_is_refused() -> None:
    (result,) = results(CAUGHT)
    gone = result.model_copy(update={"mutant": "batched/drop-row/gone"})
    with pytest.raises(MutantSelectionError, match="batched/drop-row/gone"):
        MutationScore.of([gone], DAY)


def test_a_saved_score_is_read_as_it_was(tmp_path: Path) -> None:
    score = MutationScore.of(results(MISSED, EQUIVALENT, LATE, CAUGHT), DAY)
    save_score(score, tmp_path / "score.json")
    assert load_score(tmp_path / "score.json") == score
    (tmp_path / "score.json").write_text("{}")
    with pytest.raises(MutantSelectionError, match="holds no mutation score"):
        load_score(tmp_path / "score.json")


def test_the_table_names_the_checks_and_the_missed() -> None:
    found = results(MISSED, LATE, CAUGHT, operator="drop-row")
    rendered = render_score(MutationScore.of(found, DAY))
    assert "| drop-row | 3 | 0 | 1 (records 1) | 1 (process 1) | 1 |" in rendered
    assert f"- `{found[0].mutant}`" in rendered


def test_the_page_shows_the_saved_score() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert written_page(page, load_score()) == page


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(MutantSelectionError, match="the page needs the lines"):
        written_page("# A page\n", load_score())


def test_the_saved_score_is_of_operators_that_exist() -> None:
    existing = {mutant.operator for mutant in all_mutants()}
    assert {each.operator for each in load_score().operators} <= existing
