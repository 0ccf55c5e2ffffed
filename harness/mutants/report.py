"""The mutation score: what the checks catch by operator, saved in a file and shown on a page.

`python -m harness.mutants.report RESULTS...` computes the score of the results of all shards, saves
it and writes its table into the documentation.
"""

import platform
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

import sqlalchemy
from pydantic import BaseModel, ConfigDict, ValidationError

from harness import packaged
from harness.mutants import all_mutants
from harness.mutants.result_file import MutantResult, MutantSelectionError, read_results
from querygrowth.verdict import Outcome, exit_code

PAGE = packaged.FIXTURES.parent / "docs" / "comparison.md"
"""The page with its table."""

_BEGIN = "<!-- Written by harness.mutants.report: do not edit. -->"
_END = "<!-- End of what harness.mutants.report wrote. -->"

_HIGHEST_EQUIVALENT = 0.10
_LOWEST_BY_DEFAULT = 0.98


class OperatorScore(BaseModel):
    """The mutants of one operator.

    Attributes:
        operator: The operator.
        mutants: How many of its mutants ran.
        equivalent: How many are proven to be equivalent.
        caught_by_default: By check: how many the default checks caught.
        caught_by_all: By check: how many of the others all checks caught.
        missed: The identifiers of those that no check caught.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operator: str
    mutants: int
    equivalent: int = 0
    caught_by_default: Mapping[str, int] = {}
    caught_by_all: Mapping[str, int] = {}
    missed: tuple[str, ...] = ()

    @classmethod
    def of(cls, operator: str, results: Sequence[MutantResult]) -> "OperatorScore":
        """Compute the score of an operator from the results of its mutants."""
        caught = [each for each in results if each.outcome is Outcome.PASSED]
        checks = {
            depth: Counter(each.check for each in caught if each.depth == depth)
            for depth in ("default", "all")
        }
        return cls(
            operator=operator,
            mutants=len(results),
            equivalent=sum(each.outcome is Outcome.SKIPPED for each in results),
            caught_by_default=dict(checks["default"].most_common()),
            caught_by_all=dict(checks["all"].most_common()),
            # What a check could not judge counts as missed.
            missed=tuple(
                each.mutant
                for each in results
                if each.outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE)
            ),
        )


class MutationScore(BaseModel):
    """The score of a run over mutants.

    Attributes:
        day: The day of the run.
        versions: The versions of Python and libraries that it ran with.
        existing: The number of mutants that existed. Fewer ran in a sample.
        all_checks: Whether all checks ran on what the default missed.
        cpu_seconds: The CPU seconds of all mutants.
        operators: The scores by operator.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["harness mutation score"] = "harness mutation score"
    version: Literal[1] = 1
    day: date
    versions: Mapping[str, str]
    existing: int
    all_checks: bool
    cpu_seconds: float
    operators: tuple[OperatorScore, ...]

    @classmethod
    def of(cls, results: Sequence[MutantResult], day: date) -> "MutationScore":
        """Compute the score of results of mutants.

        Args:
            results: The results, at least one, of mutants that exist.
            day: The day of the run.

        Raises:
            MutantSelectionError: A mutant does not exist any more.
        """
        by_operator: dict[str, list[MutantResult]] = {}
        existing = {mutant.identifier: mutant.operator for mutant in all_mutants()}
        known = {each.mutant: each for each in results}
        for unknown in known.keys() - existing.keys():
            raise MutantSelectionError(f"there is no mutant {unknown!r} any more: run them again")
        # In the order of the mutants: results come in the order in which their checks end.
        for identifier, operator in existing.items():
            if identifier in known:
                by_operator.setdefault(operator, []).append(known[identifier])
        return cls(
            day=day,
            versions={
                "Python": platform.python_version(),
                "SQLite": sqlite3.sqlite_version,
                "SQLAlchemy": sqlalchemy.__version__,
            },
            existing=len(existing),
            all_checks=all(
                each.depth == "all"
                for each in results
                if each.outcome in (Outcome.FAILED, Outcome.INCONCLUSIVE)
            ),
            cpu_seconds=round(sum(each.cpu_seconds for each in results)),
            operators=tuple(
                OperatorScore.of(operator, found) for operator, found in by_operator.items()
            ),
        )

    @property
    def mutants(self) -> int:
        """The number of mutants that ran."""
        return sum(each.mutants for each in self.operators)

    @property
    def equivalent(self) -> int:
        """The number of mutants that are proven to be equivalent."""
        return sum(each.equivalent for each in self.operators)

    @property
    def faulty(self) -> int:
        """The number of the others."""
        return self.mutants - self.equivalent

    @property
    def caught_by_default(self) -> int:
        """How many of these the default checks caught."""
        return sum(sum(each.caught_by_default.values()) for each in self.operators)

    @property
    def caught_by_all(self) -> int:
        """How many more all checks caught."""
        return sum(sum(each.caught_by_all.values()) for each in self.operators)

    @property
    def missed(self) -> tuple[str, ...]:
        """The mutants that no check caught."""
        return tuple(identifier for each in self.operators for identifier in each.missed)

    @property
    def outcome(self) -> Outcome:
        """Whether the goal is reached: 98 % by default, all with --all, at most 10 % equivalent.

        A sample, or a run of the default checks only, is inconclusive at best.
        """
        if (
            self.caught_by_default < _LOWEST_BY_DEFAULT * self.faulty
            or self.equivalent > _HIGHEST_EQUIVALENT * self.mutants
            or (self.all_checks and self.missed)
        ):
            return Outcome.FAILED
        is_whole = self.mutants == self.existing and self.all_checks
        return Outcome.PASSED if is_whole else Outcome.INCONCLUSIVE

    @property
    def headline(self) -> str:
        """The score in one sentence."""
        caught = self.caught_by_default + self.caught_by_all
        which = (
            f"{self.mutants:,} mutants"
            if self.mutants == self.existing
            else f"{self.mutants:,} of {self.existing:,} mutants"
        )
        rest = (
            f"all checks {caught:,} ({_percent(caught, self.faulty)}); missed {len(self.missed):,}."
            if self.all_checks
            else f"the others did not run on the {len(self.missed):,} that these missed."
        )
        return (
            f"{which}, {self.equivalent:,} of them equivalent "
            f"({_percent(self.equivalent, self.mutants)}). The default checks catch "
            f"{self.caught_by_default:,} of the other {self.faulty:,} "
            f"({_percent(self.caught_by_default, self.faulty)}), {rest}"
        )


def _percent(part: int, whole: int) -> str:
    """Return a share with one digit. It is cut: 99.96 % must not read as 100 %."""
    return f"{(1000 * part // whole) / 10:.1f} %" if whole else "none"


def load_score(path: Path = packaged.MUTATION_SCORE) -> MutationScore:
    """Read a saved score.

    Raises:
        MutantSelectionError: The file cannot be read, or does not hold a score.
    """
    try:
        return MutationScore.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise MutantSelectionError(f"{path} holds no mutation score: {reason}") from None


def save_score(score: MutationScore, path: Path = packaged.MUTATION_SCORE) -> None:
    """Save a score; default: as that of this checkout."""
    path.write_text(f"{score.model_dump_json(indent=1)}\n", encoding="utf-8")


def render_score(score: MutationScore) -> str:
    """Return a score as Markdown: the headline, the table by operator, and what was missed."""
    versions = ", ".join(f"{name} {version}" for name, version in score.versions.items())
    lines = [
        score.headline,
        "",
        f"Measured on {score.day} with {versions}, in {score.cpu_seconds / 60:,.0f} CPU minutes.",
        "",
        "| Operator | Mutants | Equivalent | Caught by default | Caught with `--all` | Missed |",
        "|---|--:|--:|---|---|--:|",
    ]
    lines += [
        f"| {each.operator} | {each.mutants:,} | {each.equivalent:,} | "
        f"{_by_check(each.caught_by_default)} | {_by_check(each.caught_by_all)} | "
        f"{len(each.missed):,} |"
        for each in score.operators
    ]
    if score.missed:
        lines += ["", "Missed:", "", *(f"- `{identifier}`" for identifier in score.missed)]
    return "\n".join(lines)


def _by_check(caught: Mapping[str, int]) -> str:
    if not caught:
        return "-"
    checks = ", ".join(f"{check} {number:,}" for check, number in caught.items())
    return f"{sum(caught.values()):,} ({checks})"


def written_page(page: str, score: MutationScore) -> str:
    """Return the text of a page with the score between the two marks.

    Raises:
        MutantSelectionError: The page lacks one of the marks.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise MutantSelectionError(f"the page needs the lines {_BEGIN!r} and {_END!r}")
    return f"{before}{begin}\n\n{render_score(score)}\n\n{end}{after}"


def publish(paths: Iterable[Path], day: date) -> MutationScore:
    """Save the score of files of results, write it into the page, and return it.

    Raises:
        MutantSelectionError: A file does not hold results of mutants that exist.
    """
    score = MutationScore.of(read_results(paths), day)
    save_score(score)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(written_page(page, score), encoding="utf-8")
    return score


if __name__ == "__main__":
    published = publish(map(Path, sys.argv[1:]), datetime.now(UTC).date())
    sys.stdout.write(f"{published.headline}\n")
    sys.exit(exit_code(published.outcome))
