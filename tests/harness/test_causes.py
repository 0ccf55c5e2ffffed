"""One failure for a cause: what follows from it is beneath it, and other causes stay apart."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench.causes import failures_by_cause
from harness.bench.result_file import load_results
from harness.bench.results import NOT_JUDGED, Judgement, Results, Topic
from harness.compare.difference import SNAPSHOT, Kind
from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import CRASH, GROWTH, Outcome, Verdict

PASSED = load_results(Path("fixtures/results/passed.json"))
LOOP = CallSite("src/exporter.py", 18, "Exporter.export_run")
SAME_FUNCTION = CallSite("src/exporter.py", 15, "Exporter.export_run")
ELSEWHERE = CallSite("src/exporter.py", 90, "Exporter.calls")


def failed(
    topic: Topic, seen: str, kind: str = "", site: CallSite | None = None, about: str = ""
) -> Judgement:
    verdict = Verdict("Exporter", Outcome.FAILED, "expected", seen, site=site, kind=kind)
    return Judgement(topic, replace(verdict, about=about))


def target(metric: str) -> Judgement:
    found = next(each for each in PASSED.targets if each.metric == metric)
    verdict = Verdict(f"{found.id} {found.title}", Outcome.FAILED, "reached", "not reached")
    return Judgement(Topic.TARGETS, verdict)


def grouped(*judgements: Judgement) -> list[tuple[Judgement, set[Judgement]]]:
    results: Results = replace(PASSED, judgements=judgements)
    found = failures_by_cause(results)
    everything = [each for failure in found for each in (failure.cause, *failure.results)]
    assert sorted(map(str, everything)) == sorted(map(str, judgements))
    return [(each.cause, set(each.results)) for each in found]


GROWN = failed(Topic.GROWTH, "queries grew with rows", GROWTH, LOOP)
OTHER_LOOP = failed(Topic.GROWTH, "queries grew with calls", GROWTH, ELSEWHERE)
OTHER_BYTES = failed(Topic.EQUIVALENCE, "field, node n1", "field", about="node.name")
CRASHED = failed(Topic.VACUITY, "it raised KeyError", CRASH, LOOP)
RISEN = failed(Topic.BASELINE, "14, above the baseline")
SLOWER = failed(Topic.SPEED, "ratio 0.8")

FOLLOWS = {
    "growth along another axis": (
        GROWN,
        failed(Topic.GROWTH, "queries grew with forks", GROWTH, LOOP),
    ),
    "transactions of the loop": (
        GROWN,
        failed(Topic.GROWTH, "2 transactions", "", SAME_FUNCTION),
    ),
    "no snapshot": (GROWN, failed(Topic.EQUIVALENCE, "shows a writer", SNAPSHOT)),
    "the target of queries": (GROWN, target("queries")),
    "the baseline": (GROWN, RISEN),
    "the speed": (GROWN, SLOWER),
    "the same field in another run": (
        OTHER_BYTES,
        failed(Topic.EQUIVALENCE, "field, node n2", "field", about="node.name"),
    ),
    "the target of bytes": (OTHER_BYTES, target("identical")),
    "a crash in another check": (CRASHED, failed(Topic.EQUIVALENCE, "error", CRASH, ELSEWHERE)),
    "the same crash without a line in another check": (
        failed(Topic.EQUIVALENCE, "exited with code 3", CRASH),
        failed(Topic.GROWTH, "exited with code 3", CRASH),
    ),
    "speed after a further constant query": (RISEN, SLOWER),
    "a further topic that nothing judged": (
        failed(Topic.BASELINE, "nothing was judged", NOT_JUDGED),
        failed(Topic.SELFTEST, "nothing was judged", NOT_JUDGED),
    ),
}

APART = {
    "two loops": (GROWN, OTHER_LOOP),
    "memory that grows and no snapshot": (
        failed(Topic.GROWTH, "400 bytes for a record"),
        failed(Topic.EQUIVALENCE, "shows a writer", SNAPSHOT),
    ),
    "two crashes without a line": (
        failed(Topic.GROWTH, "exited with code 3", CRASH),
        failed(Topic.EQUIVALENCE, "exited with code 4", CRASH),
    ),
    "a loop and other bytes": (GROWN, OTHER_BYTES),
    "a loop and lost bytes at its line": (
        GROWN,
        failed(Topic.EQUIVALENCE, "missing, token t1", "missing", about="token"),
    ),
    "two fields": (
        OTHER_BYTES,
        failed(Topic.EQUIVALENCE, "field, call c1", "field", about="call.status"),
    ),
    "a field and the order": (
        OTHER_BYTES,
        failed(Topic.EQUIVALENCE, "order, node n1", Kind.ORDER.value, about="node.name"),
    ),
    "a loop and the target of bytes": (GROWN, target("identical")),
    "other bytes and the speed": (OTHER_BYTES, SLOWER),
    "a loop and a crash": (GROWN, failed(Topic.EQUIVALENCE, "error", CRASH, LOOP)),
    "a loop and work elsewhere": (
        GROWN,
        failed(Topic.GROWTH, "vm_steps grew faster than rows", "", ELSEWHERE),
    ),
    "a loop and a fault of the harness": (GROWN, failed(Topic.SELFTEST, "missed")),
}


@pytest.mark.parametrize(("cause", "result"), FOLLOWS.values(), ids=FOLLOWS)
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
def test_what_follows_from_a_cause_is_beneath_it(
    cause: Judgement, result: Judgement, backwards: bool
) -> None:
    both = (result, cause) if backwards else (cause, result)
    alike = cause.verdict.kind == result.verdict.kind and cause.topic is result.topic
    # Of two alike, the first is the one that is explained.
    expected = both if alike else (cause, result)
    assert grouped(*both) == [(expected[0], {expected[1]})]


@pytest.mark.parametrize(("one", "other"), APART.values(), ids=APART)
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
def test_another_cause_is_a_failure_by_itself(
    one: Judgement, other: Judgement, backwards: bool
) -> None:
    both = (other, one) if backwards else (one, other)
    assert dict(grouped(*both)) == {one: set(), other: set()}


def test_every_result_is_a_line_of_the_cause() -> None:
    results = replace(PASSED, judgements=(GROWN, RISEN, SLOWER))
    (failure,) = failures_by_cause(results)
    assert failure.explained().evidence == (
        "as a result: baseline: Exporter: 14, above the baseline (expected: expected)",
        "as a result: speed against base: Exporter: ratio 0.8 (expected: expected)",
    )


@pytest.mark.parametrize("name", ["n_plus_one", "retry_order"])
def test_a_saved_result_has_one_failure(name: str) -> None:
    assert len(failures_by_cause(load_results(Path(f"fixtures/results/{name}.json")))) == 1
    assert failures_by_cause(PASSED) == ()
