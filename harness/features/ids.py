"""Features of ids, which rename every one of them."""

from harness.features.feature import renames

_DIGITS = 19
"""Digits at the end of a generated id."""


def is_id(column: str) -> bool:
    """Say whether a column holds ids that a feature may rename."""
    # A spec names its runs itself, and expand_group_id has room for 32 characters only.
    return column.endswith("_id") and column not in ("run_id", "expand_group_id")


def _renumber(id_: str, number: int) -> str:
    return f"{id_[:-_DIGITS]}{number % 10**_DIGITS:0{_DIGITS}d}"


@renames(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.row_index = 0 AND b.row_index = 1 AND a.row_id > b.row_id",
    needs={"rows": 3},
    excludes=frozenset(("shuffled_ids", "hostile_ids")),
)
def descending_ids(id_: str) -> str:
    """Ids sort opposite to the order of emission."""
    return _renumber(id_, -1 - int(id_[-_DIGITS:]))


@renames(
    "SELECT 1 FROM rows a JOIN rows b ON b.run_id = a.run_id "
    "JOIN rows c ON c.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.row_index = 0 AND b.row_index = 1 AND c.row_index = 2 "
    "AND a.row_id < c.row_id AND c.row_id < b.row_id",
    needs={"rows": 3},
    excludes=frozenset(("descending_ids", "hostile_ids")),
)
def shuffled_ids(id_: str) -> str:
    """Ids sort in no order at all, as random ones do."""
    # Multiplying by a number without the factors 2 and 5 permutes the remainders of 10**19.
    return _renumber(id_, int(id_[-_DIGITS:]) * 6180339887498948483)


_ID_STARTS = ("Node_", "node-", "n", "N", "'\"", "\ue000", "\U00010000", "\u202e", "%s", "\u00e9")
"""Sort differently by bytes, by UTF-16, and by any language's collation."""


@renames(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND node_id LIKE 'Node!_%' ESCAPE '!'",
    excludes=frozenset(("descending_ids", "shuffled_ids")),
)
def hostile_ids(id_: str) -> str:
    """Ids mix case, punctuation and scripts, and sort differently in every collation."""
    return _ID_STARTS[int(id_[-1])] + id_


@renames("SELECT 1 FROM rows WHERE run_id = :run_id AND length(row_id) = 64", needs={"rows": 1})
def long_ids(id_: str) -> str:
    """Ids have the 64 characters that their columns hold."""
    return id_.ljust(64, "f")
