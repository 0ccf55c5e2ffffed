"""Find the statement and the line that most of a count's rise with the scale comes from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from querygrowth.counting.activity import BYPASSES, FETCHED_ROWS, Activity, ShapeActivity
from querygrowth.counting.causes import CountCause, Origin, causes_by_shape, largest_rise, rise
from querygrowth.counting.statements import NO_TABLE
from querygrowth.counting.work import VM_STEPS
from querygrowth.fixes.commands import command_fix
from querygrowth.fixes.queries import shortened
from querygrowth.places.call_sites import CallSite, callers_line

# The counts that a shape of queries has too.
_OF_SHAPES: Mapping[str, Callable[[ShapeActivity | Origin], int]] = {
    FETCHED_ROWS: lambda sent: sent.rows_fetched,
    VM_STEPS: lambda sent: sent.steps,
}


def site_of_rise(activities: Sequence[Activity], name: str) -> CallSite | None:
    """The line that caused most of the rise of a count, where it is known.

    Args:
        activities: The activities at rising scales.
        name: The name of the count, as in `Activity.sites`, or `FETCHED_ROWS`.
    """
    risen = _largest_rise(activities, name)
    cause = None if risen else _cause_of_rise(activities, name)
    return risen.site if risen else cause.site if cause else activities[-1].sites.get(name)


def risen_shapes(
    activities: Sequence[Activity], measure: Callable[[Origin], int] = lambda each: each.queries
) -> Sequence[ShapeActivity]:
    """All shapes as the largest scale that sends them shows them, with the cause of their rise.

    Their `origins` are those of the rise.

    Args:
        activities: The activities at rising scales.
        measure: What rises, if not the number of queries.
    """
    last = {sent.shape: sent for act in activities for sent in act.shapes}
    first = {sent.shape: sent.origins for sent in activities[0].shapes}
    risen = {
        shape: [each for each in rise(first.get(shape, ()), sent.origins) if measure(each)]
        for shape, sent in last.items()
    }
    # A shape that does not rise keeps its origins, so that the lines which it shares are known.
    known = {shape: risen[shape] or sent.origins for shape, sent in last.items() if sent.origins}
    causes = causes_by_shape(known, measure)
    return [
        replace(
            sent,
            cause=causes.get(shape, sent.cause),
            site=causes[shape].site if shape in causes else sent.site,
            origins=tuple(risen[shape]),
        )
        for shape, sent in last.items()
    ]


def concerned(activities: Sequence[Activity], name: str) -> Iterator[str]:
    """Yield the table and the statement that most of a count's rise is about, where it is known."""
    risen = _largest_rise(activities, name)
    cause = _cause_of_rise(activities, name)
    known = cause.words if cause else activities[-1].concerns.get(name, "")
    if risen is not None:
        about = "" if risen.shape.table == NO_TABLE else f"{risen.shape.table}: "
        yield f"most for {about}{shortened(risen.shape.text)}"
        if len(risen.cause.chain) > 1:
            yield callers_line(risen.cause.chain)
    elif known:
        yield f"most for {shortened(known)}"


def repair_of_rise(activities: Sequence[Activity], name: str) -> str:
    """What to send instead of the command that most of a count's rise is; empty if unknown.

    Args:
        activities: The activities at rising scales.
        name: The name of the count, as in `Activity.sites`.
    """
    cause = _cause_of_rise(activities, name)
    return command_fix(cause.text) if cause else ""


def _largest_rise(activities: Sequence[Activity], name: str) -> ShapeActivity | None:
    """The shape whose queries caused most of the rise of fetched rows or machine steps."""
    measure = _OF_SHAPES.get(name)
    if measure is None:
        return None
    before = {sent.shape.text: measure(sent) for sent in activities[0].shapes}
    last = {sent.shape for sent in activities[-1].shapes}
    shapes = [sent for sent in risen_shapes(activities, measure) if sent.shape in last]
    rises = {sent: measure(sent) - before.get(sent.shape.text, 0) for sent in shapes}
    most = max(rises, key=lambda sent: (rises[sent], measure(sent)), default=None)
    return most if most is not None and measure(most) > 0 else None


def _cause_of_rise(activities: Sequence[Activity], name: str) -> CountCause | None:
    """The cause of most of the rise of a count that shapes do not have; None if it is unknown."""
    after = activities[-1].causes.get(name)
    # Bypasses are not allowed at any scale.
    before = {} if name == BYPASSES else activities[0].causes.get(name, {})
    if not after or name in _OF_SHAPES:
        return None
    shapes = risen_shapes(activities)
    return largest_rise(before, after, {sent.shape.text: sent.site for sent in shapes})
