"""The budget of a test: find the ones that are plainly kept, without reading any statement.

Most tests keep their budget by far. Where their counts leave no doubt, nothing is computed from the
statements, which costs more than to count them, and no contract is built.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from querygrowth.counting.query_log import QueryLog
from querygrowth.counting.statements import StatementKind


class Limits(Protocol):
    """The limits of a budget or contract on one test; None where there is none."""

    @property
    def total(self) -> int | None:
        """The most queries."""

    @property
    def per_table(self) -> int | Mapping[str, int] | None:
        """The most queries about a table."""

    @property
    def transactions(self) -> int | None:
        """The most transactions begun."""


class Budget(NamedTuple):
    """The arguments of a marker `query_budget` that are numbers."""

    total: int | None = None
    per_table: int | None = None
    transactions: int | None = None


def plain_budget(args: Sequence[object], kwargs: Mapping[str, object]) -> Budget | None:
    """The budget that the arguments of a marker describe if they are right and name no table.

    None says nothing about them: `querygrowth.assertions.query_budget` reads them then, and says
    what is wrong.
    """
    limits = {name: value for name, value in kwargs.items() if name != "engine"}
    if len(args) > 1 or (args and "total" in limits):
        return None
    given = [*args, *limits.values()]
    # A bool is an int in Python, and a mistake as a limit.
    if not given or not all(type(limit) is int and limit >= 0 for limit in given):
        return None
    if not limits.keys() <= set(Budget._fields):
        return None
    engine = kwargs.get("engine", "")
    names = engine if isinstance(engine, list | tuple) and engine else (engine,)
    if not all(isinstance(name, str) for name in names):
        return None
    return Budget(*args, **limits)  # type: ignore[arg-type]  # they are numbers, as was checked


def is_plainly_kept(limits: Limits, log: QueryLog) -> bool:
    """Whether all statements together stay within every limit, so that no part can exceed one.

    A test that sent no query does not keep its budget plainly.
    """
    kinds = log.kinds
    if StatementKind.QUERY not in kinds:
        return False
    sent = len(kinds)
    per_table = limits.per_table
    lowest = min(per_table.values()) if isinstance(per_table, Mapping) else per_table
    return (
        (limits.total is None or sent <= limits.total)
        and (lowest is None or sent <= lowest)
        and (limits.transactions is None or log.transactions_begun <= limits.transactions)
    )
