"""Print what querygrowth and other plugins cost: start-up, a test, packages, megabytes.

A plugin is loaded alone, and all are measured in one run, in alternating rounds, in processor time.
The costs of no plugin are subtracted. Start-up is the least of the rounds, because other load on
the machine only adds; it is measured for a suite that uses neither SQLAlchemy nor the plugin, and
for one that uses both. A test costs what the fastest tenth of many tests costs at most.
`tests/bench/counting_cost.py` measures the cost of a query. `tox -e peers` runs both.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

# Distribution, plugin, and the marker that sets a budget of one query.
TOOLS = (
    ("querygrowth", "querygrowth", "query_budget(1)"),
    ("pytest-queryguard", "queryguard", "max_queries(1)"),
    ("pytest-querycount", "querycount", "max_queries(1)"),
    ("queryspy", "queryspy", "queryspy(max_queries=1)"),
)
NONE = ("no plugin", "", "")
ROUNDS = 5
TESTS = 400

UNUSED = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""
DATABASE = """
import os
import pytest
from sqlalchemy import create_engine, text

statement = text("SELECT 1")
budget = eval(os.environ["BUDGET"] or "lambda test: test")

@pytest.fixture(scope="session")
def engine():
    engine = create_engine("sqlite://")
    yield engine
    engine.dispose()

@budget
@pytest.mark.parametrize("number", range({tests}))
def test_one_query(engine, number):
    with engine.connect() as connection:
        connection.execute(statement).all()
"""
STOPWATCH = """
import time
import pytest

costs = []

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol():
    began = time.process_time()
    try:
        return (yield)
    finally:
        costs.append(time.process_time() - began)

def pytest_unconfigure():
    # The first test imports what is imported when it is first needed.
    print("one test:", sorted(costs)[len(costs) // 10])
"""


def main() -> None:
    """Measure all installed tools and print the table."""
    tools = [NONE, *(tool for tool in TOOLS if installed(tool[0]))]
    with tempfile.TemporaryDirectory() as folder:
        conftest = Path(folder, "conftest.py")
        conftest.write_text(STOPWATCH)
        suites = {}
        for name, text in (("unused", UNUSED), ("used", DATABASE)):
            for tests in (1, TESTS):
                suites[name, tests] = Path(folder, f"test_{name}_{tests}.py")
                suites[name, tests].write_text(text.format(tests=tests))
        rounds: dict[tuple[str, str, int], list[Cost]] = {}
        for _ in range(ROUNDS):
            for tool in tools:
                for (name, tests), file in suites.items():
                    rounds.setdefault((tool[0], name, tests), []).append(cost(file, *tool[1:]))

    def start_up(tool: str, suite: str) -> float:
        return min(each.process for each in rounds[tool, suite, 1]) * 1e3

    def one_test(tool: str, suite: str) -> float:
        return min(each.test for each in rounds[tool, suite, TESTS]) * 1e6

    sys.stdout.write(
        f"{'':20} {'start-up, ms':>20} {'one test, us':>20}\n{'':20}"
        f"{'unused':>10} {'used':>10} {'unused':>9} {'budget':>10} {'packages':>9} {'MB':>6}\n"
    )
    for tool, _, _ in tools[1:]:
        needed = dict(closure(tool))
        size = sum(map(size_of, needed.values())) / 1e6
        costs = [
            measure(tool, suite) - measure(NONE[0], suite)
            for measure in (start_up, one_test)
            for suite in ("unused", "used")
        ]
        shown = " ".join(f"{each:10.0f}" for each in costs)
        sys.stdout.write(f"{tool:18} {shown} {len(needed):9} {size:6.1f}\n")


class Cost(NamedTuple):
    """Processor seconds of a whole process, and of one of its tests."""

    process: float
    test: float


def cost(file: Path, plugin: str, budget: str) -> Cost:
    """The cost of a pytest process that loads one plugin, or none."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(file)]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "BUDGET": f"pytest.mark.{budget}" if budget else "",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [
            *command,
            *(("-p", plugin) if plugin else ()),
            "--rootdir",
            str(file.parent),
            "-W",
            "ignore",
        ],
        env=environment,
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(f"{plugin or 'pytest'} failed:\n{ran.stdout}\n{ran.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(spent, float(ran.stdout.rpartition("one test:")[2].split()[0]))


def closure(name: str) -> Iterator[tuple[str, Distribution]]:
    """A distribution and what it needs, without extras and markers that do not hold here."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        project = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        found = installed(project)
        if project in seen or found is None:
            continue
        seen.add(project)
        yield project, found
        for requirement in found.requires or ():
            needed, _, marker = requirement.partition(";")
            if "extra ==" not in marker:
                waiting.append(re.split(r"[\s\[<>=!~(]", needed.strip())[0])


def installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def size_of(package: Distribution) -> int:
    """Bytes of the files that the distribution's wheel holds."""
    return sum(file.size or 0 for file in package.files or ())


if __name__ == "__main__":
    main()
