"""Features of timestamps."""

from datetime import datetime

from harness.facts import Chapter
from harness.features.feature import Surroundings, edits


def _is_time(column: str) -> bool:
    return column.endswith("_at")


_MIRROR = datetime(2026, 1, 1)


@edits("SELECT 1 FROM runs WHERE run_id = :run_id AND CAST(started_at AS text) LIKE '2025-%'")
def backward_timestamps(chapter: Chapter, _: Surroundings) -> None:
    """Time runs backwards: what is recorded later carries the earlier timestamp."""

    def mirror(text: str) -> str:
        moment = _MIRROR - (datetime.fromisoformat(text) - _MIRROR)
        return moment.isoformat(" ", "microseconds")

    chapter.change(_is_time, mirror)


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id GROUP BY registered_at HAVING count(*) > 1",
    needs={"nodes": 2},
)
def shared_timestamps(chapter: Chapter, _: Surroundings) -> None:
    """What is recorded together carries the same microsecond."""
    times = [
        value
        for _, facts in chapter.tables()
        for column, value in zip(facts[0]._fields, facts[0], strict=True)
        if _is_time(column) and value is not None
    ]
    if times:
        chapter.change(_is_time, lambda _: times[0])


@edits(
    "SELECT 1 FROM nodes WHERE run_id = :run_id AND (CAST(registered_at AS text) LIKE '%.000000' "
    "OR CAST(registered_at AS text) NOT LIKE '%.%')"
)
def whole_seconds(chapter: Chapter, _: Surroundings) -> None:
    """No timestamp has a fraction of a second."""
    chapter.change(_is_time, lambda text: text[:-6] + "000000")
