"""What the full benchmark compares with, and how it judges."""

from pathlib import Path

import pytest
from harness.bench.full import Figure
from harness.fixtures.usual_exporter import UsualExporter

from elspeth.core.landscape import LandscapeDB, LandscapeExporter
from harness.compare.exports import SIGNING_KEY, fixed_clock
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.log import count_queries


def test_the_usual_exporter_writes_the_same_bytes_and_looks_for_no_orphans(
    db: LandscapeDB, tmp_path: Path
) -> None:
    run_id = generate_run(db, RunSpec.typical(20)).run_id
    written = []
    for exporter in (UsualExporter, LandscapeExporter):
        with count_queries(db.engine, call_sites=False) as log:
            published = exporter(db, SIGNING_KEY, clock=fixed_clock).write_jsonl(
                run_id, tmp_path / "run.jsonl", sign=True
            )
        written.append((published.sha256, log.total))
    assert written == [(published.sha256, 12), (published.sha256, 13)]


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("speed", 1.7, "x", at_least=1.7), True),
        (Figure("speed", 1.69, "x", at_least=1.7), False),
        (Figure("memory", 64.0, "MiB", at_most=64), True),
        (Figure("memory", 64.1, "MiB", at_most=64), False),
        (Figure("rate", 1.0, "/s"), True),
    ],
)
def test_a_figure_is_reached_within_what_was_agreed(figure: Figure, reached: bool) -> None:
    assert figure.is_reached is reached
