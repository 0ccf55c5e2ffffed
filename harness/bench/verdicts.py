"""Judging what was measured at each size: that it is something, the same, and on target."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.bench.results import Judgement, Place, SizeResult, Topic
from harness.bench.targets import Target, judge_targets
from harness.exporters.observation import Observation, ShapeCount
from querygrowth.verdict import Verdict, judge

_SHOWN_SHAPES = 3


def judge_sizes(
    sizes: Sequence[SizeResult], targets: tuple[Target, ...], *, defined_at: Place | None = None
) -> tuple[Judgement, ...]:
    """Judge every size for vacuity, equivalence and growth, and the last one by the targets.

    `defined_at` is where the candidate is defined, for what has no other place.
    """
    last = sizes[-1]
    judgements = (
        Judgement(Topic.VACUITY, _judge_vacuity(sizes), defined_at),
        *(Judgement(Topic.EQUIVALENCE, each.comparison.verdict(), defined_at) for each in sizes),
        *_judge_growth(sizes),
        *(
            Judgement(Topic.TARGETS, each)
            for each in judge_targets(targets, metrics(last), rows=last.run.rows)
        ),
    )
    # The runs of all sizes begin alike, and so their first differences may be one and the same.
    return tuple(dict.fromkeys(judgements))


def metrics(size: SizeResult) -> dict[str, float]:
    """What targets are about, by the names that targets use."""
    candidate, rows = size.candidate, size.run.rows
    return {
        "queries": candidate.observation.queries,
        "identical": size.comparison.identical,
        "speed_up": size.speed_up,
        "rows_per_second": candidate.timing.per_second(rows),
        "peak_mebibytes": candidate.memory.above_start_bytes / 2**20,
        "first_row_milliseconds": candidate.first_row_seconds * 1000,
        "export_minutes": rows / candidate.timing.per_second(rows) / 60,
    }


def _judge_vacuity(sizes: Sequence[SizeResult]) -> Verdict:
    """Judge whether both exporters did anything at all: nothing done passes every budget."""
    done = [(size.run.rows, each.observation) for size in sizes for each in size.measurements]
    idle = [(rows, each) for rows, each in done if each.is_vacuous]
    return judge(
        "what was measured",
        not idle,
        expected="queries and records from every export",
        seen=f"{len(idle)} of {len(done)} exports did nothing" if idle else "every export did",
        evidence=[
            f"{each.subject}, {rows:,} rows: {each.queries} queries, {each.records} records"
            for rows, each in idle
        ],
        next_step="does it export the run it is asked for, from the database it is given?",
    )


def _judge_growth(sizes: Sequence[SizeResult]) -> Iterator[Judgement]:
    """Judge each shape that is sent more often for a larger run, at the line that sends it."""
    if len(sizes) < 2:
        return
    name = sizes[0].candidate.observation.subject
    rows = [size.run.rows for size in sizes]
    observed = [size.candidate.observation for size in sizes]
    expected = "the same queries for a run of any size"
    growing = _growing_shapes(observed)
    if not growing:
        totals = ", ".join(f"{each.queries:,}" for each in observed)
        sizes_told = ", ".join(f"{size:,}" for size in rows)
        seen = f"{totals} queries at {sizes_told} rows"
        yield Judgement(Topic.GROWTH, judge(name, True, expected=expected, seen=seen))
    for counts, shape in growing:
        verdict = judge(
            name,
            False,
            expected=expected,
            seen=f"queries about {shape.table} grew with rows",
            evidence=(
                *(f"rows  {r:,}  sent {n:,}x" for r, n in zip(rows, counts, strict=True)),
                shape.text,
                *((f"sent from {shape.site}",) if shape.site else ()),
            ),
            next_step="a loop that sends this query: fetch for all at once (a join, an IN list)",
        )
        yield Judgement(Topic.GROWTH, verdict, Place.of(shape.site, Path.cwd()))


def _growing_shapes(
    observed: Sequence[Observation],
) -> Sequence[tuple[tuple[int, ...], ShapeCount]]:
    """The counts at each size of every shape whose count grows, and the shape at the last size."""
    by_text = [{shape.text: shape.count for shape in each.shapes} for each in observed]
    growing = []
    for shape in observed[-1].shapes:
        counts = tuple(each.get(shape.text, 0) for each in by_text)
        if max(counts) > max(1, counts[0]):
            growing.append((counts, shape))
    return sorted(growing, key=lambda each: -each[1].count)[:_SHOWN_SHAPES]
