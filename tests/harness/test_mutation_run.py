"""Tests of the run over mutants: selection, first catch, resumed files, and the fixed sample."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from profiles import is_nightly
from test_hostile_exporters import CRASHES, FAILURES, marks_of

from elspeth.cli.runtime import Terminated
from harness.checks.check import Check
from harness.checks.depth import Depth
from harness.checks.reference_runs import ReferenceRuns
from harness.checks.run import run_checks
from harness.checks.selection import Selection
from harness.checks.setup import prepare_checks
from harness.cli import selftest
from harness.cli.main import main
from harness.exporters.failure import BrokenRunnerError
from harness.exporters.measured import InOwnProcess
from harness.exporters.subject import SubjectError
from harness.exporters.subprocess_probe import ExporterProcess, Probe
from harness.mutants import all_mutants, result_file, run
from harness.mutants.fork_server import ForkedProcess, ForkServer
from harness.mutants.likely_checks import LIKELY_CHECKS, likely_first
from harness.mutants.result_file import MutantResult, MutantSelectionError, read_results
from harness.mutants.run import MutantSelection, run_mutants
from querygrowth.verdict import Outcome

MOST_LATE = 1
"""The most mutants of the sample that only the checks of `--all` catch: 2 % of it, and a little."""

CAUGHT = "batched/drop-row/nodes/first"
EQUIVALENT = "batched/distinct/nodes"

SAMPLE = 24 if is_nightly() else 8
"""The mutants of the fixed sample. The smaller one is a part of the larger one."""


@pytest.fixture(scope="module")
def shared() -> Iterator[run.MutantChecks]:
    """Return checks and a server of processes for all tests that need them."""
    with ForkServer() as server, prepare_checks() as setup:
        yield run.MutantChecks(setup, server)


def result_of(identifier: str, outcome: Outcome, depth: str = "default") -> MutantResult:
    """Return a result without a run."""
    return MutantResult(
        mutant=identifier,
        operator=identifier.split("/")[1],
        description="",
        outcome=outcome,
        depth=depth,  # type: ignore[arg-type]
        check="records" if outcome is Outcome.PASSED else "",
    )


def file_of(path: Path, *results: MutantResult, source: str | None = None) -> Path:
    """Write a file of results."""
    header = result_file.Header(source=source or result_file.source_digest())
    path.write_text("".join(f"{each.model_dump_json()}\n" for each in (header, *results)))
    return path


def test_a_sample_depends_on_the_seed_and_not_on_the_other_mutants() -> None:
    mutants = all_mutants()
    drawn = MutantSelection(sample=20).of(mutants)
    assert len(drawn) == 20
    assert MutantSelection(sample=20).of(mutants[::-1]) == drawn[::-1]
    # Without a mutant that was not drawn, the same ones are drawn.
    others = [each for each in mutants if each in drawn or each.operator != "drop-row"]
    assert MutantSelection(sample=20).of(others) == drawn
    assert MutantSelection(sample=20, seed=1).of(mutants) != drawn


def test_the_shards_together_hold_every_mutant_once() -> None:
    mutants = all_mutants()
    shards = [MutantSelection(shard=(number, 3)).of(mutants) for number in (1, 2, 3)]
    together = [each.identifier for shard in shards for each in shard]
    assert sorted(together) == sorted(each.identifier for each in mutants)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (MutantSelection(operators=("drop-rows",)), "the nearest is 'drop-row'"),
        (MutantSelection(designs=("batchd",)), "the nearest is 'batched'"),
        (MutantSelection(mutants=(CAUGHT[:-1],)), f"the nearest is '{CAUGHT}'"),
        (MutantSelection(shard=(4, 3)), "no shard 4 of 3"),
        (MutantSelection(sample=0), "no mutants"),
    ],
)
def test_a_selection_without_mutants_is_refused(selection: MutantSelection, words: str) -> None:
    with pytest.raises(MutantSelectionError, match=words):
        list(run_mutants(selection))


def test_an_equivalent_mutant_is_skipped_with_its_proof_and_no_process() -> None:
    (result,) = run_mutants(MutantSelection(mutants=(EQUIVALENT,)))
    assert result.outcome is Outcome.SKIPPED
    assert "unique key" in result.proof
    assert result.cpu_seconds == 0


def test_a_mutant_is_checked_up_to_its_first_failure_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    selection = MutantSelection(mutants=(CAUGHT,))
    announced: list[int] = []
    (result,) = run_mutants(selection, resume=path, workers=1, on_start=announced.append)
    assert announced == [1]
    assert (result.outcome, result.depth, result.check) == (Outcome.PASSED, "default", "records")
    assert "missing, node" in result.line
    assert result.cpu_seconds > 0
    # Resumed, also under --all: what the default caught does not run again.
    written = path.read_bytes()
    assert list(run_mutants(selection, resume=path, every=True)) == [result]
    assert path.read_bytes() == written


def test_a_missed_mutant_goes_through_all_checks_when_they_are_asked_for(tmp_path: Path) -> None:
    missed = result_of(CAUGHT, Outcome.FAILED)
    path = file_of(tmp_path / "results.jsonl", missed)
    assert set(result_file.known_results(path, "default")) == {CAUGHT}
    assert not result_file.known_results(path, "all")
    file_of(path, result_of(CAUGHT, Outcome.FAILED, "all"))
    assert set(result_file.known_results(path, "all")) == {CAUGHT}


def test_the_deeper_checks_run_only_on_what_the_default_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    depths: list[Depth] = []

    def nothing_found(
        candidate: object, setup: object, selection: run.Selection, **_: object
    ) -> object:
        depths.append(selection.depth)
        return iter(())

    monkeypatch.setattr(run, "run_selection", nothing_found)
    mutant = run.mutants_by_identifier()[CAUGHT]
    setup: run.CheckSetup = None  # type: ignore[assignment]
    with ForkServer() as server:
        checks = run.MutantChecks(setup, server)
        assert run.check_mutant(mutant, checks, "default").outcome is Outcome.FAILED
        assert depths == [Depth.DEFAULT]
        assert run.check_mutant(mutant, checks, "all").depth == "all"
    assert depths == [Depth.DEFAULT, Depth.DEFAULT, Depth.ALL]


def test_the_likely_checks_of_a_mutant_run_first_and_all_others_after_them() -> None:
    chosen = Selection.of_depth(Depth.DEFAULT)
    by_operator = {each.operator: each for each in all_mutants()}
    assert set(LIKELY_CHECKS) <= set(by_operator)
    for operator, mutant in by_operator.items():
        ordered = likely_first(chosen, mutant)
        assert sorted(ordered.checks) == sorted(chosen.checks)
        assert replace(ordered, checks=chosen.checks) == chosen
        likely = LIKELY_CHECKS.get(operator, chosen.checks[:1])
        assert {*likely, Check.SIZE} & set(ordered.checks[:2]), operator


def test_a_forked_process_is_described_and_ended_like_another_one() -> None:
    probe = Probe(f"harness.mutants.exporters:{CAUGHT}")
    with ForkServer() as server:
        with server.process(probe) as forked, ExporterProcess(probe) as other:
            assert forked.description == other.description
        assert server.cpu_seconds > 0
        with pytest.raises(SubjectError, match="no-such-mutant"):
            _ = server.process(Probe("harness.mutants.exporters:no-such-mutant")).description


@pytest.mark.parametrize(
    "exporter",
    [
        pytest.param(each, marks=marks_of(each))
        for each in (*CRASHES, "LeavesAProcess", "LeavesADaemon", "LeavesAThread")
    ],
)
def test_a_hostile_exporter_in_a_forked_process_fails_as_in_another_one(
    shared: run.MutantChecks, exporter: str
) -> None:
    probe = Probe(f"hostile_exporters:{exporter}")
    words = {**CRASHES, **FAILURES}[exporter]
    with InOwnProcess(probe, process=shared.server.process(probe)) as candidate:
        seen = [
            each.verdict.seen
            for each in run_checks(candidate, shared.setup, checks=(Check.PLAN,))
            if each.verdict.failed
        ]
    assert any(words in each for each in seen), seen
    # The server forks on.
    with shared.server.process(Probe(f"harness.mutants.exporters:{CAUGHT}")) as following:
        assert following.description["takes_clock"]


def test_a_dead_fork_server_ends_the_run_and_counts_no_mutant_as_caught() -> None:
    mutant = run.mutants_by_identifier()[CAUGHT]
    with ForkServer() as server, prepare_checks(is_strict=True) as setup:
        server._server.kill()
        server._server.wait()
        with pytest.raises(BrokenRunnerError, match="the fork server has ended"):
            run.check_mutant(mutant, run.MutantChecks(setup, server), "default")


def test_a_killed_keeper_is_no_end_of_the_mutant() -> None:
    output, their_output = os.pipe()
    ending, their_ending = os.pipe()
    for each in (their_output, their_ending):
        os.close(each)
    server: ForkServer = None  # type: ignore[assignment]
    process = ForkedProcess(0, output, ending, server)
    with process.stdout, pytest.raises(BrokenRunnerError, match="was killed"):
        process.wait(0)
    assert process.wait(0) == -signal.SIGKILL


def test_an_error_of_the_harness_ends_the_checks_of_a_mutant(
    shared: run.MutantChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise KeyError("ours")

    monkeypatch.setattr(ReferenceRuns, "compare", broken)
    checks = replace(shared, setup=replace(shared.setup, is_strict=True))
    with pytest.raises(BrokenRunnerError, match="the check records: KeyError: 'ours'"):
        run.check_mutant(run.mutants_by_identifier()[CAUGHT], checks, "default")


def test_a_signal_ends_the_checks_and_is_no_failure_of_the_exporter(
    shared: run.MutantChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(*_: object) -> object:
        raise Terminated

    monkeypatch.setattr(ReferenceRuns, "compare", terminated)
    with pytest.raises(Terminated):
        run.check_mutant(run.mutants_by_identifier()[CAUGHT], shared, "default")


@pytest.mark.parametrize(
    "error", [BrokenRunnerError("the fork server has ended"), BrokenProcessPool("a worker died")]
)
def test_a_broken_runner_is_reported_with_the_mutant(error: Exception) -> None:
    future: Future[MutantResult] = Future()
    future.set_exception(error)
    with pytest.raises(BrokenRunnerError, match=f"{CAUGHT} could not be checked: .*{error}"):
        run._result_of(future, CAUGHT)


def test_a_broken_runner_ends_the_command_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> Iterator[MutantResult]:
        yield result_of(CAUGHT, Outcome.PASSED)
        raise BrokenRunnerError(f"{EQUIVALENT} could not be checked: the fork server has ended")

    monkeypatch.setattr(selftest, "run_mutants", broken)
    monkeypatch.setattr(sys, "argv", ["harness", "selftest", "--mutants"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err == f"error: {EQUIVALENT} could not be checked: the fork server has ended\n"
    assert "goal" not in said.out


def test_a_line_that_was_cut_is_run_again(tmp_path: Path) -> None:
    path = file_of(tmp_path / "results.jsonl", result_of(CAUGHT, Outcome.PASSED))
    whole = path.read_text()
    path.write_text(whole + '{"mutant": "batched/dr')
    assert set(result_file.known_results(path, "default")) == {CAUGHT}
    assert path.read_text() == whole


def test_results_of_another_source_are_not_resumed(tmp_path: Path) -> None:
    path = file_of(tmp_path / "results.jsonl", source="before")
    with pytest.raises(MutantSelectionError, match="another source"):
        list(run_mutants(MutantSelection(mutants=(CAUGHT,)), resume=path))


@pytest.mark.parametrize(
    "content", ["", "{}\n", "not JSON\n", "\xff", '{"version": 1}\n{"a": 1}\n']
)
def test_a_file_of_anything_else_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(MutantSelectionError, match="holds no results of mutants"):
        list(run_mutants(MutantSelection(mutants=(CAUGHT,)), resume=path))


def test_the_files_of_shards_are_joined_and_the_later_result_counts(tmp_path: Path) -> None:
    early = file_of(tmp_path / "1.jsonl", result_of(CAUGHT, Outcome.FAILED))
    late = file_of(
        tmp_path / "2.jsonl",
        result_of(CAUGHT, Outcome.FAILED, "all"),
        result_of(EQUIVALENT, Outcome.SKIPPED),
    )
    joined = {each.mutant: each.depth for each in read_results([early, late])}
    assert joined == {CAUGHT: "all", EQUIVALENT: "default"}
    file_of(early, source="before")
    with pytest.raises(MutantSelectionError, match="several sources"):
        read_results([early, late])


def test_a_file_of_results_holds_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    list(run_mutants(MutantSelection(mutants=(EQUIVALENT,)), resume=path))
    header, result = map(json.loads, path.read_text().splitlines())
    assert (header["format"], header["version"]) == ("harness mutant results", 1)
    assert (result["mutant"], result["outcome"]) == (EQUIVALENT, "skipped")


def test_the_checks_catch_the_fixed_sample() -> None:
    # One worker: a second one would generate the same databases again.
    results = list(run_mutants(MutantSelection(sample=SAMPLE), every=True, workers=1))
    assert len(results) == SAMPLE
    missed = {
        each.mutant: f"{each.outcome}: {each.line}"
        for each in results
        if each.outcome not in (Outcome.PASSED, Outcome.SKIPPED)
    }
    # Also what the saved score lists as missed: a list must not excuse it here.
    assert not missed
    late = {each.mutant: each.check for each in results if each.depth == "all"}
    assert len(late) <= MOST_LATE, late
    proven = [each.mutant for each in results if each.outcome is Outcome.SKIPPED]
    assert all(each.proof for each in results if each.mutant in proven)
    assert len(proven) < SAMPLE // 4
