"""How the queries of both functions grow with the tables, as formulas in words."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from querygrowth.growth.formula import ConfoundedAxesError, CountedRun, Formula, attribute
from querygrowth.rewrites.database_search import DatabaseSearch

_GROWN = (2, 4, 8)
_MOST_GROWN_TABLES = 8


def query_growths(search: DatabaseSearch) -> tuple[str, str]:
    """How the queries of both functions grow with the tables."""
    tables = search.schema.drawn[:_MOST_GROWN_TABLES]
    base = dict.fromkeys(search.schema.drawn, _GROWN[0])
    sizes = [base, *({**base, table: size} for table in tables for size in _GROWN[1:])]
    sizes.append(dict.fromkeys(search.schema.drawn, _GROWN[1]))
    sizes.append(dict.fromkeys(search.schema.drawn, _GROWN[-1]))
    runs: list[tuple[Mapping[str, int], int, int]] = []
    for each in sizes:
        maker = search.filled_evenly(each, 0)
        arguments = search.arguments(maker)
        counts = [
            search.trial.log_of(function, maker.rows, arguments).total
            for function in (search.trial.old, search.trial.new)
        ]
        present = {table.name: len(maker.present(table)) for table in tables}
        runs.append((present, counts[0], counts[1]))
    return (
        _growth([(present, before) for present, before, _ in runs]),
        _growth([(present, after) for present, _, after in runs]),
    )


def _growth(runs: Sequence[tuple[Mapping[str, int], int]]) -> str:
    """A count in words: a formula of the tables' sizes, or its range."""
    counts = [count for _, count in runs]
    if len(set(counts)) == 1:
        return str(counts[0])
    sizes = {name: [present[name] for present, _ in runs] for name in runs[0][0]}
    varied = [name for name, values in sizes.items() if len(set(values)) > 1]
    try:
        formula = attribute(
            [
                CountedRun({name: present[name] for name in varied}, {"queries": count})
                for present, count in runs
            ]
        ).total
    except (ConfoundedAxesError, ValueError):
        formula = None
    if formula is not None and formula.exact:
        return _formula(formula)
    # A loop over what a join gave, such as the customers of the orders: no sum of tables' sizes.
    together = [runs[0], *runs[-2:]]
    formula = attribute(
        [
            CountedRun({"n": size}, {"queries": count})
            for size, (_, count) in zip(_GROWN, together, strict=True)
        ]
    ).total
    if formula.exact:
        return f"{_formula(formula)} with n rows in every table"
    return f"{min(counts)} to {max(counts)} as the tables grow from {_GROWN[0]} to {_GROWN[-1]}"


def _formula(formula: Formula) -> str:
    terms = [_factor(term, name) for name, term in formula.terms.items()]
    constant = [str(formula.constant)] if formula.constant or not terms else []
    return " + ".join([*constant, *terms]).replace("+ -", "- ")


def _factor(term: Fraction, name: str) -> str:
    if term == 1:
        return name
    return f"{term if term.denominator == 1 else float(term)} {name}"
