"""The checks that are most likely to catch the mutants of an operator, which therefore run first.

All selected checks run on a mutant that these miss, so that the order decides the time only.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from harness.checks.check import Check
from harness.checks.selection import Selection
from harness.mutants.mutant import Mutant

_CALLS, _EFFECTS, _ERRORS = (Check.CALLS,), (Check.SIDE_EFFECTS,), (Check.ERRORS,)
_GROWTH = (Check.QUERIES, Check.SIZE)

_ORDER = (Check.PLAN, Check.RECORDS)
_LARGE = (Check.SIZE,)

LIKELY_CHECKS: Mapping[str, tuple[Check, ...]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "swap-order-keys",
                "drop-order-key",
                "reverse-order-key",
                "replace-order-key",
                "order-by-second",
                "order-as-text",
                "order-nocase",
                "order-trimmed",
                "order-as-integer",
            ),
            _ORDER,
        ),
        **dict.fromkeys(
            ("chunks-unsorted", "keyset-not-unique", "page-loses-row", "page-repeats-row"), _LARGE
        ),
        **dict.fromkeys(("keep-between-calls", "share-between-iterators"), _CALLS),
        **dict.fromkeys(("reuse-records", "ignore-argument", "break-grouped"), _CALLS),
        **dict.fromkeys(("break-refusal", "change-key", "change-clock"), _CALLS),
        "break-after-error": (Check.ERRORS, Check.CALLS),
        "break-jobs": _CALLS,
        **dict.fromkeys(
            (
                "fetch-whole-table",
                "transaction-per-table",
                "transaction-per-query",
                "query-per-entity",
                "query-per-block",
                "query-per-other-run",
                "engine-per-export",
            ),
            _GROWTH,
        ),
        **dict.fromkeys(("work-cross-join", "work-per-entity"), (Check.WORK,)),
        **dict.fromkeys(("memory-per-entity", "leak-per-export"), (Check.MEMORY,)),
        "no-snapshot": (Check.SNAPSHOT, Check.QUERIES),
        **dict.fromkeys(
            (
                "repeat-after-error",
                "swallow-query-error",
                "swallow-fetch-error",
                "sign-truncated",
                "swallow-export-error",
                "repeat-export-after-error",
                "keep-connection-after-error",
            ),
            _ERRORS,
        ),
        **dict.fromkeys(
            (
                "keep-connection",
                "keep-connection-when-abandoned",
                "keep-transaction",
                "write-to-database",
                "change-process",
            ),
            _EFFECTS,
        ),
    }
)
"""Checks by the name of the operator. Without an entry the usual order holds."""

# Parts that name a number of records or rows: only a large run has as many.
_LARGE_NUMBERS = ("1000", "1024", "2000", "4096", "5000", "10000", "20000", "1-mb", "5-mb")


def likely_first(selection: Selection, mutant: Mutant) -> Selection:
    """Return a selection of the same checks, with the likely ones of a mutant first.

    Args:
        selection: The checks to run.
        mutant: The mutant that they run on.
    """
    likely = LIKELY_CHECKS.get(mutant.operator, ())
    if mutant.part.endswith(_LARGE_NUMBERS):
        likely = (*_LARGE, *likely)
    first = [each for each in dict.fromkeys(likely) if each in selection.checks]
    rest = [each for each in selection.checks if each not in first]
    return replace(selection, checks=(*first, *rest))
