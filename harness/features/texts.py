"""Features of the text that text columns hold."""

from itertools import count

from harness.facts import Chapter
from harness.features.feature import Surroundings, edits

_FREE_TEXT = frozenset(
    (
        "plugin_name",
        "plugin_version",
        "label",
        "branch_name",
        "source_data_ref",
        "reason_ref",
        "request_ref",
        "response_ref",
        "trigger_reason",
        "artifact_type",
        "path_or_uri",
        "content_hash",
        "schema_hash",
        "canonical_version",
        "reproducibility_grade",
    )
)
"""The text columns whose text the recorder takes as it is given."""


@edits(
    "SELECT 1 FROM runs WHERE run_id = :run_id AND reproducibility_grade LIKE '%''s \"quoted\"%'"
)
def hostile_text(chapter: Chapter, around: Surroundings) -> None:
    """Text columns hold quotes, controls, right-to-left, emoji, U+2028 and astral characters."""
    texts, values = around.pools.hostile_texts, around.pools.hostile_values
    turn = count(chapter.number)

    def spoil(text: str) -> str:
        return texts[next(turn) % len(texts)] + text[:4]

    chapter.change(lambda column: column in _FREE_TEXT - {"label"}, spoil)
    # A label is unique among its node's edges, so it keeps the whole of what told it apart.
    chapter.change(lambda column: column == "label", lambda text: spoil(text) + text[4:])
    value = values[chapter.number % len(values)]
    chapter.rows = [row._replace(source_data_hash=value.hash) for row in chapter.rows]


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND instr(plugin_name, char(0)) > 0",
    portable=False,
)
def nul_in_text(chapter: Chapter, _: Surroundings) -> None:
    """Text columns hold a NUL character; PostgreSQL refuses those."""
    chapter.change(lambda column: column in _FREE_TEXT, lambda text: f"{text[:-1]}\0{text[-1:]}")
