"""What is compared on large runs, and at which sizes: without an export."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elspeth.core.landscape import LandscapeDB
from harness.checks import large_runs, single_checks
from harness.checks.declared import Declared
from harness.checks.depth import Depth
from harness.checks.large_runs import VARIABLES, ExpectedExport, judge_boundaries
from harness.compare.difference import Kind
from harness.exporters.subject import SubjectError
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from querygrowth.verdict import CRASH, Outcome, Verdict


def test_every_length_of_lists_has_a_run_below_at_and_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[list[RunSpec]] = []

    def judge_runs(
        candidate: object, runs: object, specs: tuple[RunSpec, ...], *_: object
    ) -> Iterator[Verdict]:
        stored.append(list(specs))
        yield Verdict(f"{candidate} {runs}", Outcome.PASSED, "the same bytes", "the same bytes")

    monkeypatch.setattr(large_runs, "_judge_runs", judge_runs)
    names: Any = ("exporter", "runs")
    verdicts = judge_boundaries(*names, Declared(), tmp_path)
    assert [each.subject for each in verdicts] == ["exporter runs"] * 3
    larger, lists, variables = stored
    assert larger == [large_runs.LARGER]
    sizes = {size for n in (500, 512, 1_000, 1_024, 2_000, 4_096) for size in (n - 1, n, n + 1)}
    rows, forks = lists[::2], lists[1::2]
    assert {each.rows for each in rows} == {each.forks for each in forks} == sizes
    for each in rows:
        assert {each.nodes, each.edges, each.batches, each.artifacts} == {each.rows}
    assert {each.members for each in forks} == sizes
    assert [each.rows for each in variables] == [VARIABLES, VARIABLES + 1, VARIABLES + 2]
    ids = [each.run_id for specs in stored for each in specs]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("line", "with_manifest", "number"),
    [(0, False, 1), (2, True, 3), (-1, True, -1), (-1, False, None), (None, True, None)],
)
def test_the_first_line_that_differs_is_found_and_the_manifest_only_where_it_is_asked_for(
    line: int | None, with_manifest: bool, number: int | None, tmp_path: Path
) -> None:
    with LandscapeDB(f"sqlite:///{tmp_path / 'run.db'}") as db:
        run_id = generate_run(db, RunSpec(run_id="run", rows=2)).run_id
        expected = ExpectedExport.of(db, run_id, tmp_path)
    lines = expected.signed_file.read_bytes().splitlines(keepends=True)
    assert len(lines) == expected.count + 1
    if line is not None:
        lines[line] = b" " + lines[line]
    path = tmp_path / "found.jsonl"
    path.write_bytes(b"".join(lines))
    found = large_runs._difference_in_lines(expected, path, with_manifest=with_manifest)
    if number is None:
        assert found is None
    else:
        assert found is not None
        assert (found.kind, found.place, found.number) == (
            Kind.BYTES,
            "found.jsonl",
            number % (len(lines) + 1),
        )
        assert found.hint == "canonical JSON (RFC 8785), one record a line"
        assert found.expected != found.found
    missing = tmp_path / "missing.jsonl"
    assert large_runs._difference_in_lines(expected, missing, with_manifest=True) is None


def memory_request(backend: str, depth: Depth, left_out: list[Verdict]) -> Any:
    """A request to check memory; `asked` collects what is expected of large runs."""
    asked: list[str] = []

    def too_slow(expected: str) -> list[Verdict]:
        asked.append(expected)
        return left_out

    return SimpleNamespace(
        backend=backend,
        depth=depth,
        candidate=SimpleNamespace(name="Exporter"),
        costs=("candidate", "runs", "declared", "folder"),
        too_slow=too_slow,
        asked=asked,
    )


def test_memory_is_judged_in_another_process_on_sqlite_alone_and_a_crash_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verdict(words: str) -> Verdict:
        return Verdict("Exporter", Outcome.PASSED, words, words)

    for name in ("judge_memory", "judge_long_values", "judge_leaks"):
        answer = verdict(name)
        whole = [answer] if name == "judge_memory" else answer
        monkeypatch.setattr(single_checks, name, lambda *_, found=whole: found)
    request = memory_request("sqlite", Depth.DEFAULT, [])
    assert [each.seen for each in single_checks._check_memory(request)] == [
        "judge_memory",
        "judge_long_values",
        "judge_leaks",
    ]
    assert request.asked == ["few bytes held by Python for each record"]
    slow = memory_request("sqlite", Depth.DEFAULT, [verdict("left out")])
    assert next(single_checks._check_memory(slow)).seen == "left out"
    assert not list(single_checks._check_memory(memory_request("postgresql", Depth.ALL, [])))

    def crashes(*_: object) -> Verdict:
        raise SubjectError("it ended\nwith 3")

    monkeypatch.setattr(single_checks, "judge_leaks", crashes)
    *_, crash = single_checks._check_memory(request)
    assert (crash.subject, crash.outcome, crash.kind) == ("Exporter", Outcome.FAILED, CRASH)
    assert crash.expected == "an export in another process"
    assert crash.seen.startswith("it ended")
