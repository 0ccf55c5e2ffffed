"""Declared reasons for a shape to be sent more than once (`Allowance`), and checks of arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from querygrowth.counting.activity import Activity, ShapeActivity
from querygrowth.counting.table_names import is_named


@dataclass(frozen=True)
class Allowance:
    """A declared reason for one shape to be sent more than once.

    With `chunk`, one query is granted for every `chunk` values sent or fetched, and one for the
    rest. For INSERT statements, these are the rows that they carry. With `page`, one for every
    `page` rows fetched, and one that finds no more. The allowance covers one shape about `table`:
    of those whose text contains `containing`, the one sent most.

    With `page` and `of`, it covers a query about `table` for every range of `page` rows of the
    table `of`, in any number of shapes: the first and the last range often have conditions that the
    others lack. A range of tokens by their source rows fetches any number of tokens, also none.

    Args:
        table: The table that the shape is about.
        chunk: Values in a full chunk, at least 1.
        page: Rows in a full page, at least 1. Either `chunk` or `page` is given, not both.
        containing: A part of the shape's text, to distinguish it from other shapes about the table.
        of: The table whose fetched rows count, which may be `table` itself; only with `page`, and
            without `containing`.

    Raises:
        ValueError: Not exactly one size is given, it is not a whole number of at least 1, `table`
            or `of` names no single table, or `of` is given with other arguments than `page`.
    """

    table: str
    chunk: int | None = None
    page: int | None = None
    containing: str = ""
    of: str | None = None

    def __post_init__(self) -> None:
        # The contract does not take "*" here as it does in per_table, because an allowance is for
        # one shape.
        if not is_name(self.table) or self.table == "*":
            raise ValueError(f"allow needs the name of one table, got {self.table!r}")
        sizes = [size for size in (self.chunk, self.page) if size is not None]
        if len(sizes) != 1 or not is_whole(sizes[0], least=1):
            raise ValueError(
                f"allow({self.table!r}) needs either chunk or page, a whole number of at least 1, "
                f"got chunk={self.chunk!r}, page={self.page!r}"
            )
        if self.of is not None and (not is_name(self.of) or self.of == "*"):
            raise ValueError(f"allow({self.table!r}): of needs one table, got {self.of!r}")
        if self.of is not None and (self.page is None or self.containing):
            raise ValueError(f"allow({self.table!r}, of={self.of!r}) needs page, and nothing else")

    def covers(self, activity: Activity) -> ShapeActivity | None:
        """The shape that this allowance is for; None if the action did not send it."""
        candidates = [
            sent
            for sent in activity.shapes
            if is_named(self.table, sent.shape.table, sent.shape.qualified)
            and self.containing in sent.shape.text
        ]
        return max(candidates, key=lambda sent: sent.count, default=None)

    def extra_queries(self, activity: Activity) -> int:
        """The number of queries granted beyond the first."""
        if self.page is not None and self.of is not None:
            return self._rows_in_ranges(activity, self.page, self.of) // self.page
        covered = self.covers(activity)
        if covered is None:
            return 0
        # The grant follows from the values that the queries carried and not from their number.
        # A loop that sends one value a query therefore does not pass as chunks, even where it sends
        # as many queries as chunks of all the data would need.
        if self.chunk is not None:
            return max(0, -(-(covered.rows_sent or covered.values) // self.chunk) - 1)
        # Whether a full page was the last one is known only from an empty page after it. Some loops
        # ask for it after a page that is not full too.
        full, rest = divmod(covered.rows_fetched or covered.values, self.page or 1)
        return full + (1 if rest and covered.empty else 0)

    def _rows_in_ranges(self, activity: Activity, page: int, of: str) -> int:
        """The rows of the table `of` that were read in ranges of at most `page`."""
        shapes = [sent for sent in activity.shapes if sent.shape.table == of]
        # A loop that reads a row a query adds a row for a query, so that it is granted nearly none.
        # A query that reads the whole table is no range of it, and must not grant any to a loop.
        ranges = sum(sent.rows_fetched for sent in shapes if sent.rows_fetched <= page * sent.count)
        if of == self.table:
            return ranges
        # One query may read the other table, and the ranges of this one follow its rows.
        return max(ranges, *(sent.rows_fetched for sent in shapes), 0)

    def __str__(self) -> str:
        if self.of is not None:
            return f"{self.table} in ranges of {self.page} rows of {self.of}"
        size = f"chunks of {self.chunk}" if self.chunk else f"pages of {self.page}"
        return f"{self.table} in {size}"


def is_whole(value: object, *, least: int = 0) -> bool:
    """Whether a value is a whole number, and none too small."""
    # A bool is an int in Python. As a limit it is a mistake: True would allow one query.
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_fraction(value: object) -> bool:
    """Whether a value is a finite fraction that is not negative."""
    return isinstance(value, float) and isfinite(value) and value >= 0


def is_name(value: object) -> bool:
    """Whether a value can be the name of a table."""
    return isinstance(value, str) and value != ""


def check_limit(name: str, limit: object) -> None:
    """Refuse a limit that is not a whole number.

    Raises:
        ValueError: It is another value, or negative.
    """
    if not is_whole(limit):
        raise ValueError(f"{name} must be a whole number that is not negative, got {limit!r}")


def describe_allowances(allowances: Sequence[Allowance]) -> str:
    """The words that allowances add to an expectation; empty without allowances."""
    return f", but {', '.join(map(str, allowances))}" if allowances else ""
