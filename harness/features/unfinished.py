"""Features of what has not ended, or has failed."""

from collections.abc import Callable

from harness.facts import Chapter, NodeStateFact
from harness.features.feature import NODE_STATES_OF_THE_RUN, Surroundings, edits


@edits("SELECT 1 FROM runs WHERE run_id = :run_id AND completed_at IS NULL")
def open_run(chapter: Chapter, _: Surroundings) -> None:
    """The run has not ended."""
    chapter.runs = [run._replace(status="running", completed_at=None) for run in chapter.runs]


def _change_a_state(
    chapter: Chapter, place: int, change: Callable[[NodeStateFact], NodeStateFact]
) -> None:
    """Change one state of every third row, if it has one at that place."""
    if chapter.number % 3 == 0 and chapter.node_states[place:]:
        chapter.node_states[place] = change(chapter.node_states[place])


@edits(f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'open'", needs={"states": 2})
def open_states(chapter: Chapter, _: Surroundings) -> None:
    """Some node states have not ended."""
    _change_a_state(
        chapter,
        -1,
        lambda state: state._replace(
            status="open",
            output_hash=None,
            context_after_json=None,
            duration_ms=None,
            error_json=None,
            completed_at=None,
        ),
    )


@edits(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'failed' AND s.output_hash IS NULL",
    needs={"states": 2},
)
def failed_states(chapter: Chapter, around: Surroundings) -> None:
    """Some node states failed and put nothing out."""
    error = around.pools.errors[chapter.number % len(around.pools.errors)].json
    _change_a_state(
        chapter,
        0,
        lambda state: state._replace(status="failed", output_hash=None, error_json=error),
    )


@edits(
    f"SELECT 1 {NODE_STATES_OF_THE_RUN} s.status = 'failed' AND s.output_hash IS NOT NULL",
    needs={"states": 3},
)
def failed_states_with_output(chapter: Chapter, around: Surroundings) -> None:
    """Some node states failed and have an output all the same."""
    output = around.pools.rows[chapter.number % len(around.pools.rows)].hash
    _change_a_state(chapter, 1, lambda state: state._replace(status="failed", output_hash=output))


@edits(
    "SELECT 1 FROM batches WHERE run_id = :run_id AND completed_at IS NULL",
    needs={"batches": 1},
)
def open_batches(chapter: Chapter, _: Surroundings) -> None:
    """Some batches have not ended."""
    if chapter.batches and chapter.number % 2 == 0:
        last = chapter.batches[-1]._replace(
            status="draft", aggregation_state_id=None, trigger_reason=None, completed_at=None
        )
        chapter.batches[-1] = last
