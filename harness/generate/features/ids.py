"""Features of ids that are alike, short or empty; `values.py` has those of other orders."""

from harness.generate.entities import Section
from harness.generate.features.contents import LONGEST_CUT
from harness.generate.features.feature import (
    EditContext,
    edits_sections,
    is_renamed_id,
    renames_ids,
)
from harness.generate.sources import id_start

_ID_FORMS = (
    "t{tag}{number}",
    "T{tag}{number}",
    "t{tag}{number} ",
    " t{tag}{number}",
    "t{tag}%{number}",
    "t{tag}_{number}",
    "t{tag}*{number}",
    "t{tag}?{number}",
    "t{tag}[{number}]",
    "t{tag}'{number}",
    't{tag}"{number}',
    "t{tag}\\{number}",
    "t{tag}{number}\t",
    "te\u0301{tag}{number}",
    "t\u00e9{tag}{number}",
    "t\ue000{tag}{number}",
    "t\U00010000{tag}{number}",
    "t{tag},{number}",
    "t{tag};{number}",
    "t{tag}:{number}",
    "t{tag}|{number}",
    "t{tag}/{number}",
    "t{tag}\x1f{number}",
)
"""Forms of ids: case twins, prefixes, blanks at an end, wildcards, quotes, composed letters.

Also what separates the parts of a list. Their number is prime, so that every second or third token
of a row has every form too.
"""

_FIRST_DIGITS = 19
_TAG = 8


@renames_ids(
    "SELECT 1 FROM nodes a JOIN nodes b ON b.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.node_id < b.node_id AND lower(a.node_id) = lower(b.node_id)",
    needs={"nodes": 2},
    excludes=frozenset(
        ("descending_ids", "shuffled_ids", "interleaved_ids", "hostile_ids", "long_ids")
    ),
    in_presets=False,
)
def twin_ids(id_: str) -> str:
    """Ids differ by case, by a blank or by one more digit, and hold quotes and wildcards."""
    tag = id_[-_FIRST_DIGITS - 1 - _TAG : -_FIRST_DIGITS - 1]
    number = int(id_[-_FIRST_DIGITS:])
    # Not padded, so that an id is the prefix of another.
    form = _ID_FORMS[number % len(_ID_FORMS)]
    return form.format(tag=f"{id_[:3]}{tag}", number=number // len(_ID_FORMS))


@renames_ids(
    "SELECT 1 FROM nodes a JOIN nodes b ON b.node_id = a.node_id || '1' "
    "AND b.run_id = a.run_id WHERE a.run_id = :run_id",
    needs={"nodes": 2},
    excludes=frozenset(
        (
            "descending_ids",
            "shuffled_ids",
            "interleaved_ids",
            "hostile_ids",
            "long_ids",
            "twin_ids",
            "ids_longer_than_their_columns",
        )
    ),
    in_presets=False,
)
def continued_ids(id_: str) -> str:
    """Of every two ids the second is the first with a digit more."""
    number = int(id_[-_FIRST_DIGITS:])
    # The letter before the digit keeps the ids of other pairs apart.
    return f"{id_[:-_FIRST_DIGITS]}{number // 2}n{'1' if number % 2 else ''}"


@renames_ids(
    # The function length() of SQLite counts the characters before the first NUL.
    "SELECT 1 FROM rows WHERE run_id = :run_id AND length(CAST(row_id AS BLOB)) > 64",
    needs={"rows": 1},
    excludes=frozenset(
        (
            "descending_ids",
            "shuffled_ids",
            "interleaved_ids",
            "hostile_ids",
            "long_ids",
            "twin_ids",
        )
    ),
    portable=False,
    in_presets=False,
)
def ids_longer_than_their_columns(id_: str) -> str:
    """Ids are longer than their columns, and a NUL is before their last character."""
    return f"{id_.ljust(LONGEST_CUT + 1, 'f')}\0f"


@edits_sections(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND node_id = '7'",
    needs={"neighbours": 1},
    excludes=frozenset(
        (
            "descending_ids",
            "shuffled_ids",
            "interleaved_ids",
            "hostile_ids",
            "long_ids",
            "twin_ids",
            "ids_longer_than_their_columns",
            "continued_ids",
            "references_to_other_runs",
            "edges_and_events_of_other_runs",
        )
    ),
    in_presets=False,
)
def short_ids(section: Section, context: EditContext) -> None:
    """The first ids of every table are empty, blank, and numbers that are equal but for zeros."""
    # Only the main run: an id occurs once in a table, and neighbours have the same features.
    if context.other_run is None or context.other_run.token_id is None:
        return
    start = id_start(section.run_id)

    def shortened(id_: str) -> str:
        number = int(id_[-_FIRST_DIGITS:]) if id_[3:].startswith(start) else len(_SHORT_IDS)
        return _SHORT_IDS[number] if number < len(_SHORT_IDS) else id_

    section.change(is_renamed_id, shortened)


# In this order parents, children and routing groups have one of every kind.
_SHORT_IDS = ("7", " ", "07", "  ", "", "7.0")
