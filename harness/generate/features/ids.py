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


# Of every form, two ids that somebody takes for equal. `t` is a text, and `n` a number.
_EQUAL_FORMS = (
    # Compared as UUIDs, or by letters and digits alone.
    ("{t}-1", "{t}1"),
    ("{t}_1", "{t}-1"),
    ("{t}.1", "{t}-1"),
    ("{{{t}}}", "{t}"),
    ("urn:uuid:{t}", "{t}"),
    ('"{t}"', "{t}"),
    # Folded, stripped or normalised.
    ("{t}a", "{t}A"),
    ("{t}ss", "{t}\u00df"),
    ("{t}", "{t} "),
    ("{t}", " {t}"),
    ("{t}\n", "{t}"),
    ("{t} 1", "{t}  1"),
    ("{t}\u00e9", "{t}e\u0301"),
    ("{t}fi", "{t}\ufb01"),
    ("{t}e", "{t}\u00e9"),
    ("{t}\u200b", "{t}"),
    # Read as numbers.
    ("{n}", "0{n}"),
    ("{n}", "{n}.0"),
    ("{n}", "{n}e0"),
    ("{n}", "+{n}"),
    ("{n}", "-{n}"),
    ("{n}0", "{n}_0"),
    # Cut at a length, or at a character.
    ("{t:f<31}1", "{t:f<31}1 more"),
    ("{t:f<32}1", "{t:f<32}2"),
    ("{t:f<36}1", "{t:f<36}2"),
    ("{t:f<64}1", "{t:f<64}2"),
    # These also begin with the first and the last character that a database sorts.
    ("\x01{t:f>32}", "\U0010ffff{t:f>32}"),
    ("{t}\0a", "{t}\0b"),
    # What follows has one hash: CRC-32, Adler-32, a sum of bytes, and h * 31 + c or h * 33 + c of
    # every character. All of them stay equal behind any common text.
    ("{t}-y7ghpm9", "{t}-ve9pto6"),
    ("{t}_dfd", "{t}_ede"),
    ("{t}|12", "{t}|21"),
    ("{t}:Aa", "{t}:BB"),
    ("{t}/ac", "{t}/bB"),
    # The first and the last characters are the same.
    ("{t}-1f", "{t}-2f"),
    ("{t}#1", "{t}#2"),
    ("{t}@1", "{t}@2"),
    ("{t},1", "{t},2"),
    # Patterns, and texts of URLs.
    ("{t}_", "{t}u"),
    ("{t}%", "{t}per cent"),
    ("{t}*", "{t}any"),
    ("{t}[u]", "{t}u"),
    ("{t}%41", "{t}A"),
    ("{t}+1", "{t} 1"),
    ("{t}/", "{t}"),
)
IDS_OF_EQUAL_FORMS = 2 * len(_EQUAL_FORMS)
"""The number of entities of a table with which its ids have every such form."""

SEPARATORS = ("|", ":", "-", "_", "/", ",", ".", ";", "#", " ", "\t", "\n", "\0", "\x1f", "::")
"""What joins the parts of a key to one text."""
IDS_OF_ONE_SEPARATOR = 4
"""So many ids in a row hold the same separator."""

# By table of the id. Of a parent and its child one is of each kind.
_DESCENDING = frozenset(("tok", "edg", "cal", "evt", "art"))


_OTHER_IDS = frozenset(
    (
        "descending_ids",
        "shuffled_ids",
        "interleaved_ids",
        "hostile_ids",
        "long_ids",
        "twin_ids",
        "continued_ids",
        "ids_longer_than_their_columns",
        "short_ids",
    )
)


@renames_ids(
    "SELECT 1 FROM nodes a JOIN nodes b ON b.run_id = a.run_id WHERE a.run_id = :run_id "
    "AND a.node_id <> b.node_id AND replace(a.node_id, '-', '') = b.node_id",
    needs={"nodes": 2},
    excludes=_OTHER_IDS,
    portable=False,
    in_presets=False,
)
def ids_taken_for_equal(id_: str) -> str:
    """Every two ids are equal as UUIDs, as numbers, without case or blanks, or to a length."""
    pair, second = divmod(int(id_[-_FIRST_DIGITS:]), 2)
    tag = id_[-_FIRST_DIGITS - 1 - _TAG : -_FIRST_DIGITS - 1]
    form = _EQUAL_FORMS[pair % len(_EQUAL_FORMS)][second]
    # The letter after the number keeps the ids of other pairs apart.
    return form.format(t=f"{id_[:3]}{tag}{pair}n", n=f"{int(tag, 16)}000{pair:05}")


@renames_ids(
    "SELECT 1 FROM nodes a JOIN nodes b ON b.node_id = a.node_id || '|' || a.node_id "
    "WHERE a.run_id = :run_id AND b.run_id = a.run_id",
    needs={"nodes": 2},
    excludes=_OTHER_IDS | {"ids_taken_for_equal"},
    portable=False,
    in_presets=False,
)
def ids_of_joined_parts(id_: str) -> str:
    """Ids joined by a separator are the same text for several parents and children."""
    group, place = divmod(int(id_[-_FIRST_DIGITS:]), IDS_OF_ONE_SEPARATOR)
    # One part, joined with itself: only the sum of two lengths remains in a joined text.
    part = f"{id_[-_FIRST_DIGITS - 1 - _TAG : -_FIRST_DIGITS - 1]}{group}"
    length = IDS_OF_ONE_SEPARATOR - place if id_[:3] in _DESCENDING else place + 1
    return SEPARATORS[group % len(SEPARATORS)].join([part] * length)


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
