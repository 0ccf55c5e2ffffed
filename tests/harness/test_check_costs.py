"""The counts that keep a default check cheap: databases, control exports, processes."""

import subprocess
from collections import Counter
from typing import Any

import pytest
from profiles import is_nightly

from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.legacy_exporter import LegacyLandscapeExporter
from harness.checks import costs
from harness.checks.check import Check
from harness.checks.run import run_checks
from harness.checks.setup import CheckSetup
from harness.exporters.measured import in_own_process
from harness.exporters.subject import DEFAULT_CANDIDATE


@pytest.mark.parametrize(
    "checks",
    [
        (Check.PLAN, Check.QUERIES),
        pytest.param((Check.CALLS,), marks=pytest.mark.nightly),
    ],
    ids=str,
)
@pytest.mark.usefixtures("small_checks", "small_plans")
def test_a_second_candidate_makes_no_database_and_reads_no_run_with_the_control(
    checks: tuple[Check, ...], setup: CheckSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_nightly():
        monkeypatch.setattr(costs, "_AXES", ("rows", "batches"))
    counts: Counter[str] = Counter()

    def count(owner: type, name: str, what: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            counts[what] += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    count(LandscapeDB, "__init__", "databases")
    count(LegacyLandscapeExporter, "_iter_records", "runs read by the control")
    count(subprocess.Popen, "__init__", "processes")
    seen: list[dict[str, int]] = []
    for _ in range(2):
        counts.clear()
        with in_own_process(DEFAULT_CANDIDATE) as candidate:
            found = list(run_checks(candidate, setup, checks=checks))
        assert not any(each.verdict.failed for each in found)
        seen.append(dict(counts))
    _, second = seen
    assert second == {"processes": 1}
