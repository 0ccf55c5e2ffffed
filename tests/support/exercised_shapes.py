"""Exercised shapes: what the runs of all property tests of a session held, told at its end."""

from collections.abc import Callable

import pytest
from run_coverage import coverage_lines, shape_coverage

from harness.generate.spec import RunSpec

RUNS = pytest.StashKey[list[frozenset[str]]]()
OUTPUT = "exercised_shapes"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUNS] = []


@pytest.fixture(scope="session")
def exercise(pytestconfig: pytest.Config) -> Callable[[RunSpec], None]:
    """A function to tell of each spec whose run a property test goes through."""
    runs = pytestconfig.stash[RUNS]
    return lambda spec: runs.append(spec.shapes)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what this process of several saw."""
    if hasattr(session.config, "workeroutput"):
        runs = session.config.stash[RUNS]
        session.config.workeroutput[OUTPUT] = [sorted(shapes) for shapes in runs]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take over what another process saw; one that crashed hands nothing over."""
    config: pytest.Config = node.config  # type: ignore[attr-defined]
    seen = getattr(node, "workeroutput", {}).get(OUTPUT, [])
    config.stash[RUNS] += map(frozenset, seen)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    runs = config.stash[RUNS]
    if runs and not hasattr(config, "workerinput"):
        terminalreporter.section("shapes of the runs of property tests")
        coverage = shape_coverage(runs)
        lines = coverage_lines(coverage) if config.get_verbosity() > 0 else [str(coverage)]
        for line in lines:
            terminalreporter.write_line(line)
