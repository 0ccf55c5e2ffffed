"""Print what querygrowth and other plugins cost: start-up, a test, a query, packages, megabytes.

All are measured in one run, in alternating rounds, in processor time; the least of the rounds
counts, because other load on the machine only adds. A plugin is loaded alone. The costs of no
plugin are subtracted, and ratios to querygrowth are the last column. Run it with `tox -e peers`.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

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
QUERIES = 40

EMPTY = "def test_nothing(): pass\n"
UNUSED = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""
# A suite that uses SQLAlchemy has imported it, whichever plugin it has.
DATABASE = """
import os
import pytest
from sqlalchemy import create_engine, text

statement = text("SELECT 1")
budget = eval(os.environ["BUDGET"] or "lambda test: test")

@pytest.fixture(scope="session")
def engine():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(statement).all()
    yield engine
    engine.dispose()

@budget
@pytest.mark.parametrize("number", range({tests}))
def test_one_query(engine, number):
    with engine.connect() as connection:
        for _ in range({queries}):
            connection.execute(statement).all()
"""

Costs = Mapping[str, Mapping[str, float]]


def main() -> None:
    """Measure all installed tools and print the table."""
    tools = [NONE, *(tool for tool in TOOLS if installed(tool[0]))]
    suites = {
        "one test": EMPTY,
        "many tests": UNUSED.format(tests=TESTS),
        "one with a query": DATABASE.format(tests=1, queries=1),
        "many with a query": DATABASE.format(tests=TESTS, queries=1),
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number, (suite, text) in enumerate(suites.items()):
            files[suite] = Path(folder) / f"test_{number}.py"
            files[suite].write_text(text)
        rounds: dict[tuple[str, str], list[float]] = {}
        for _ in range(ROUNDS):
            for name, plugin, budget in tools:
                for suite, file in files.items():
                    rounds.setdefault((name, suite), []).append(seconds(file, plugin, budget))
    least = {key: min(times) for key, times in rounds.items()}

    def over(name: str, suite: str) -> float:
        return least[name, suite] - least[NONE[0], suite]

    sys.stdout.write(
        f"{'':20} {'start-up':>9} {'unused test':>12} {'budget, test':>13} "
        f"{'packages':>9} {'MB':>6}\n{'':20} {'ms':>9} {'us':>12} {'us':>13}\n"
    )
    for name, _, _ in tools[1:]:
        start = over(name, "one test") * 1e3
        unused = (over(name, "many tests") - over(name, "one test")) / TESTS * 1e6
        marked = (over(name, "many with a query") - over(name, "one with a query")) / TESTS * 1e6
        needed = dict(closure(name))
        size = sum(map(size_of, needed.values())) / 1e6
        sys.stdout.write(
            f"{name:20} {start:9.0f} {unused:12.0f} {marked:13.0f} {len(needed):9} {size:6.1f}\n"
        )


def seconds(file: Path, plugin: str, budget: str) -> float:
    """Processor seconds of a pytest process that loads one plugin, or none."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
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
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
