"""The corpus of rewrites: an old function, a right rewrite of it, and wrong ones."""

from rewrites import endpoints, filters, joins, loading, order, sums, writes
from rewrites.rewrite import Rewrite

REWRITES: tuple[Rewrite, ...] = (
    *loading.REWRITES,
    *joins.REWRITES,
    *filters.REWRITES,
    *sums.REWRITES,
    *order.REWRITES,
    *writes.REWRITES,
    *endpoints.REWRITES,
)
