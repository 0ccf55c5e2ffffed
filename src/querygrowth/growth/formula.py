"""Express a query count as a linear formula of what a run contains: "1 + 2.00 orders".

`attribute` fits the formula of every count over several runs of different sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from querygrowth.contracts.contract import number

# Rational numbers, because a formula must give the exact count of every run or the amount by which
# it misses. With floats, a rounding error could pass for either.
Row = list[Fraction]


@dataclass(frozen=True)
class CountedRun:
    """The sizes of one run, and its counts.

    Args:
        cardinalities: The number of items in the run, by kind ("orders": 5).
        counts: The number of queries, by shape, by table, or by another name.
    """

    cardinalities: Mapping[str, int]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Formula:
    """A count as `constant + sum(term * cardinality)`.

    Args:
        constant: The count of an empty run.
        terms: The factors by cardinality; factors of zero are left out.
        off_by: The largest difference between the formula and the count of a run.
        runs: The number of runs that it was found from.
        unknowns: The number of factors that were to be found, the constant included.
    """

    constant: Fraction
    terms: Mapping[str, Fraction]
    off_by: Fraction
    runs: int
    unknowns: int

    @property
    def exact(self) -> bool:
        """Whether the formula gives the count of every run, with runs left to prove it.

        As many runs as unknowns give some formula for any counts, so that nothing is proven then.
        """
        return self.off_by == 0 and self.observations > 0

    @property
    def observations(self) -> int:
        """The runs beyond the unknowns. Each of them could have refuted the formula."""
        return self.runs - self.unknowns

    def __str__(self) -> str:
        parts = [f"{_shown(term)} {axis}" for axis, term in self.terms.items()]
        if self.constant or not parts:
            whole = self.constant.denominator == 1
            parts.insert(0, str(self.constant) if whole else _shown(self.constant))
        miss = ""
        if self.off_by:
            miss = f" (off by up to {_shown(self.off_by)})"
        elif not self.exact:
            miss = f" (not proven: {self.runs} runs for {self.unknowns} unknowns, add a run)"
        return " + ".join(parts).replace("+ -", "- ") + miss


def _shown(value: Fraction) -> str:
    """A value with two decimals, or with two digits where it would be shown as zero."""
    return f"{float(value):.2f}" if abs(value) >= Fraction(1, 200) else f"{float(value):.2g}"


@dataclass(frozen=True)
class Attribution:
    """The formula of the total, and the formulas of the counts by their names."""

    total: Formula
    by_name: Mapping[str, Formula]

    def __str__(self) -> str:
        return f"queries = {self.total}"

    @property
    def evidence(self) -> str:
        """What the formula of the total is proven by, in words."""
        total = self.total
        return (
            f"{total.runs} runs, {total.unknowns} unknowns: "
            f"{number(total.observations, 'observation')} that could have refuted it"
        )


class ConfoundedAxesError(ValueError):
    """Some cardinalities depend on each other in every run, so their terms are not determined."""

    def __init__(self, axes: tuple[str, ...]) -> None:
        if len(axes) == 1:
            explained = f"{axes[0]} is the same in every run: vary it"
        else:
            explained = (
                f"{', '.join(axes)} cannot be separated, they move together in every run: "
                "vary one without the others"
            )
        super().__init__(explained)
        self.axes = axes


def attribute(runs: Sequence[CountedRun]) -> Attribution:
    """Find the formulas of all counts, and of their total.

    Args:
        runs: More runs than there are cardinalities; all name the same cardinalities. One run more
            than cardinalities determines a formula. Each further one can prove it.

    Raises:
        ConfoundedAxesError: Some cardinalities move together in every run; it names them.
        ValueError: There are too few runs, or they name different cardinalities.
    """
    axes = _common_axes(runs)
    design = [[Fraction(1), *(Fraction(run.cardinalities[axis]) for axis in axes)] for run in runs]
    _check_independent(design, axes)
    names = dict.fromkeys(name for run in runs for name in run.counts)
    return Attribution(
        total=_fit(design, axes, [sum(run.counts.values()) for run in runs]),
        by_name={name: _fit(design, axes, [r.counts.get(name, 0) for r in runs]) for name in names},
    )


def _common_axes(runs: Sequence[CountedRun]) -> tuple[str, ...]:
    axes = tuple(runs[0].cardinalities) if runs else ()
    if any(set(run.cardinalities) != set(axes) for run in runs):
        raise ValueError("all runs must name the same cardinalities")
    # The constant is one more unknown than the axes. Fewer runs leave the unknowns undetermined.
    if len(runs) <= len(axes):
        raise ValueError(
            f"{len(axes)} cardinalities need at least {len(axes) + 1} runs, got {len(runs)}"
        )
    return axes


def _check_independent(design: Sequence[Row], axes: Sequence[str]) -> None:
    """Raise if the columns of the design depend on each other. Column 0 is the constant's."""
    # In reduced row echelon form, a column without a pivot is a combination of the pivot columns
    # that have an entry in it. Those are the axes that cannot be separated from it.
    reduced, pivots = _reduced([list(row) for row in design])
    for free in range(len(axes) + 1):
        if free not in pivots:
            tied = [column for row, column in enumerate(pivots) if reduced[row][free]] + [free]
            raise ConfoundedAxesError(tuple(axes[column - 1] for column in tied if column > 0))


def _fit(design: Sequence[Row], axes: Sequence[str], counts: Sequence[int]) -> Formula:
    """Fit by least squares, which gives the exact solution if one exists."""
    # The normal equations have one solution, because the columns were checked to be independent.
    # Their bad numerical condition does no harm in rational arithmetic.
    width = len(axes) + 1
    normal = [
        [sum((row[i] * row[j] for row in design), Fraction(0)) for j in range(width)]
        + [sum((row[i] * n for row, n in zip(design, counts, strict=True)), Fraction(0))]
        for i in range(width)
    ]
    solved, _ = _reduced(normal)
    solution = [row[-1] for row in solved]
    misses = [
        abs(n - sum((a * b for a, b in zip(row, solution, strict=True)), Fraction(0)))
        for row, n in zip(design, counts, strict=True)
    ]
    return Formula(
        constant=solution[0],
        terms={axis: term for axis, term in zip(axes, solution[1:], strict=True) if term},
        off_by=max(misses),
        runs=len(counts),
        unknowns=width,
    )


def _reduced(rows: list[Row]) -> tuple[list[Row], list[int]]:
    """Reduce rows in place (Gauss-Jordan). Returns them with the pivot columns, in order."""
    pivots: list[int] = []
    for column in range(len(rows[0])):
        top = len(pivots)
        found = next((row for row in range(top, len(rows)) if rows[row][column]), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        # Fractions are exact, so any entry but zero serves as the pivot. With floats, it would have
        # to be the largest.
        lead = rows[top][column]
        rows[top] = [value / lead for value in rows[top]]
        for other in range(len(rows)):
            factor = rows[other][column]
            if other != top and factor:
                rows[other] = [
                    value - factor * pivot
                    for value, pivot in zip(rows[other], rows[top], strict=True)
                ]
        pivots.append(column)
    return rows, pivots
