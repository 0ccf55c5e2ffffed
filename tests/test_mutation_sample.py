"""The sample of mutants that `tox -e mutation-sample` tries, and what is reported of it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutation() -> ModuleType:
    """The script of the environment. mutmut itself is installed only there."""
    spec = importlib.util.spec_from_file_location("mutation", ROOT / ".ci" / "mutation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def names(module: str, count: int) -> list[str]:
    return [f"{module}.x_one__mutmut_{number}" for number in range(1, count + 1)]


class TestSample:
    def test_every_module_has_its_share_rounded_up(self, mutation: ModuleType) -> None:
        chosen = mutation.sample([*names("a.b", 7), *names("a.c", 2), *names("d", 4)], 2)
        modules = [mutation.module_of(name) for name in chosen]
        assert modules == ["a.b"] * 4 + ["a.c"] + ["d"] * 2

    def test_it_is_the_same_in_any_order_and_beside_any_module(self, mutation: ModuleType) -> None:
        alone = mutation.sample(names("a.b", 50), 10)
        assert len(set(alone)) == 5
        assert set(alone) < set(mutation.sample([*names("c", 9), *names("a.b", 50)[::-1]], 10))

    def test_a_larger_share_holds_the_smaller(self, mutation: ModuleType) -> None:
        assert set(mutation.sample(names("a", 90), 30)) < set(mutation.sample(names("a", 90), 10))


class TestReport:
    def test_what_is_explained_is_told_apart_by_its_function_and_line(
        self, mutation: ModuleType
    ) -> None:
        reason = {
            "function": "a.x_one",
            "removed": "return 1",
            "added": "return 2",
            "reason": "why",
        }
        mutant = mutation.Mutant("a.x_one__mutmut_4", "survived", "return 1", "return 2")
        assert mutation.explained(mutant, [reason]) == "why"
        for other in (
            mutation.Mutant("a.x_two__mutmut_4", "survived", "return 1", "return 2"),
            mutation.Mutant("a.x_one__mutmut_5", "survived", "return 1", "return 3"),
            mutation.Mutant("a.x_one__mutmut_5", "survived", "return 0", "return 2"),
        ):
            assert mutation.explained(other, [reason]) == ""

    def test_the_share_counts_what_no_test_reaches_and_leaves_out_what_is_explained(
        self, mutation: ModuleType
    ) -> None:
        mutants = [
            mutation.Mutant("a.x_one__mutmut_1", "killed"),
            mutation.Mutant("a.x_one__mutmut_2", "timeout"),
            mutation.Mutant("a.x_one__mutmut_3", "killed"),
            mutation.Mutant("a.x_one__mutmut_4", "survived", explanation="why"),
            mutation.Mutant("b.x_one__mutmut_1", "no tests"),
        ]
        assert mutation.share_detected(mutants) == 75
        assert mutation.summary(mutants, 1234) == (
            "`tox -e mutation-sample` tried 5 of 1,234 mutants: 3 detected, 1 not detected, "
            "1 explained. That is 75.0 % of those that are not explained."
        )
        assert list(mutation.table(mutants, {"a": 34, "b": 1200}))[2:] == [
            "| a | 34 | 4 | 2 | 1 | 1 | 0 | 0 |",
            "| b | 1200 | 1 | 0 | 0 | 0 | 0 | 1 |",
            "| all | 1234 | 5 | 2 | 1 | 1 | 0 | 1 |",
        ]

    def test_nothing_tried_is_no_success(self, mutation: ModuleType) -> None:
        assert mutation.share_detected([]) == 0


@pytest.mark.parametrize("arguments", [[], ["run-all"], ["report", "more"]])
def test_a_wrong_command_ends_with_the_usage(
    arguments: list[str], mutation: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutation.main(arguments) == 2
    assert "python .ci/mutation.py run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "write"])
def test_a_report_without_results_is_refused(
    command: str,
    mutation: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mutation, "MUTANTS", tmp_path)
    assert mutation.main([command]) == 2
    assert "tox -e mutation-sample" in capsys.readouterr().err
