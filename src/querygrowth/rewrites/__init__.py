"""Prove a rewrite: the old and the new function give the same on databases full of nasty rows.

`assert_same_results(old, new, models=[Customer, Order])` draws small databases from the schema,
calls both functions on each, and compares results, exceptions and changed tables. It also says how
the queries of both grow. This package needs the extra `search` (Hypothesis).

`comparison` is the main flow. `database_search` draws rows and arguments, `trial` calls both
functions, `differences` compares what they gave, and `outcome` puts the outcome into words.
"""

from querygrowth.rewrites.comparison import (
    InconclusiveError,
    assert_same_results,
    compare_results,
)
from querygrowth.rewrites.outcome import SameResults

__all__ = ["InconclusiveError", "SameResults", "assert_same_results", "compare_results"]
