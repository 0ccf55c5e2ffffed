"""Fixtures for the harness: shared runs, checks at small sizes, and processes by forks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from profiles import is_nightly

from harness.checks import byte_search, cases, costs, large_runs, memory, record_counts
from harness.checks.cost_runs import everything
from harness.checks.joint_growth import axes_together
from harness.checks.setup import CheckSetup, prepare_checks
from harness.checks.specs import TO_CORRUPT
from harness.exporters.child_process import Launch, Launcher, RunningProcess, start_interpreter
from harness.exporters.measured import InThisProcess
from harness.exporters.observation import MemoryUse
from harness.exporters.subprocess_probe import ExporterProcess, Probe
from harness.generate import strategies
from harness.generate.spec import RunSpec
from harness.mutants.fork_server import ForkServer


@pytest.fixture(scope="session")
def shared_setup() -> Iterator[CheckSetup]:
    """The reference runs that all tests of this process share, generated when first needed."""
    with prepare_checks() as setup:
        yield setup


@pytest.fixture
def setup(shared_setup: CheckSetup) -> Iterator[CheckSetup]:
    """The shared reference runs. What one test does to them is not reported by the next test."""
    yield shared_setup
    # A test that stops at the first verdict has not asked for it.
    for runs in shared_setup.runs.values():
        runs.damage()


@pytest.fixture
def prepared_checks(setup: CheckSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands of this process use the shared reference runs, unless they name a server."""

    @contextmanager
    def prepare(
        *, postgresql: str | None = None, max_records: int | None = None
    ) -> Iterator[CheckSetup]:
        if postgresql is None and max_records is None:
            yield setup
            return
        with prepare_checks(postgresql=postgresql, max_records=max_records) as own:
            yield own

    for command in ("harness.cli.check", "harness.gate"):
        monkeypatch.setattr(f"{command}.prepare_checks", prepare)


@pytest.fixture(scope="session")
def fork() -> Iterator[Launcher]:
    """A launcher that forks a process which has imported the products.

    It starts an interpreter where a fork would have other environment variables.
    """
    variables = _variables()
    with ForkServer() as server:

        def launch(launch: Launch) -> RunningProcess:
            is_like = launch.environment is None and variables == _variables()
            return server.launch(launch) if is_like else start_interpreter(launch)

        yield launch


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture
def forked_exporters(fork: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of exporters, for tests of what is judged and not of the process.

    A new interpreter takes 0.3 CPU seconds to import SQLAlchemy. The forked process has the working
    directory of the test session.
    """
    start = ExporterProcess.__init__

    def start_forked(process: ExporterProcess, probe: Probe, launcher: Launcher = fork) -> None:
        # A foreign exporter is imported from elsewhere than the server has imported it from.
        start(process, probe, start_interpreter if probe.is_foreign else launcher)

    monkeypatch.setattr(ExporterProcess, "__init__", start_forked)


@pytest.fixture
def small_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge costs along fewer axes and on smaller runs, except in the nightly run.

    The judges are the same. What changes is how often they judge, and the time to make the runs.
    `harness selftest` tries every seeded fault at the real sizes.
    """
    if is_nightly():
        return
    # Batches and members, artifacts, calls, and rows: what the seeded faults of costs grow along.
    axes = ("rows", "calls", "batches", "members", "artifacts")
    monkeypatch.setattr(costs, "_AXES", axes)
    monkeypatch.setattr(costs, "_FEW", (3, 10, 30))
    monkeypatch.setattr(costs, "_MANY", (3, 10, 30))
    monkeypatch.setattr(costs, "_WORK_SCALES", (3, 9, 27))
    monkeypatch.setattr(costs, "_ROW_WORK_SCALES", (4, 12, 36))
    monkeypatch.setattr(costs, "_OTHER_RUNS", (10, 40, 160))
    monkeypatch.setattr(record_counts, "VARIABLES", 999)
    together = {name: axes_together()[name] for name in ("all entities of a run", "all axes")}
    monkeypatch.setattr(costs, "axes_together", lambda: together)
    monkeypatch.setattr(costs, "kinds_of_entities", lambda **_: {})
    monkeypatch.setattr(costs, "references_to_all", dict)
    monkeypatch.setattr(strategies, "run_specs", _few_specs)
    monkeypatch.setattr(costs, "_EXAMPLES", 20)
    drawn_specs = byte_search.drawn_specs
    monkeypatch.setattr(byte_search, "drawn_specs", lambda: drawn_specs()[:15])
    # Above the thousand at which the faults of sizes begin.
    large = everything(1_201, run_id="large", features=large_runs.UNORDERED)
    monkeypatch.setattr(large_runs, "LARGE", large)
    monkeypatch.setattr(large_runs, "BELOW_ONE_PARENT", ())
    monkeypatch.setattr(memory, "_LEAKS", everything(10, run_id="leaks"))


@pytest.fixture
def few_growing_runs(small_checks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow few runs beside those that a test chooses, except in the nightly run."""
    if is_nightly():
        return
    together = {"all axes": axes_together()["all axes"]}
    monkeypatch.setattr(costs, "_AXES", ("rows", "batches"))
    monkeypatch.setattr(costs, "_OTHER_RUNS", (16, 32))
    monkeypatch.setattr(costs, "axes_together", lambda: together)


@pytest.fixture
def small_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check query plans on one small run, except in the nightly run."""
    if is_nightly():
        return
    few = replace(TO_CORRUPT, run_id="tied", rows=3, features=frozenset())
    monkeypatch.setattr(cases, "TIED", few)
    monkeypatch.setattr(cases, "ORDERED", ())


@pytest.fixture
def many_rows(small_checks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small checks, but with enough rows for a second chunk of 500."""
    monkeypatch.setattr(costs, "_MANY", (2, 20, 501))


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process for the memory of every exporter, except in the nightly run."""
    if not is_nightly():
        monkeypatch.setattr(InThisProcess, "measure_memory", lambda *_: MemoryUse(1, 2))


def _few_specs(*, max_rows: int) -> st.SearchStrategy[RunSpec]:
    """Draw specs along three axes: a search then has few choices to shrink."""
    return st.builds(
        RunSpec,
        rows=st.integers(1, max_rows),
        forks=st.integers(0, 3),
        joins=st.integers(0, 3),
    )
