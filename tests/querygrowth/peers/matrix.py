"""Print the table of the scenarios that querygrowth and three other pytest plugins report.

Every mark comes from a new run. A plugin runs in a separate pytest process on `peer_suite.py`;
querygrowth runs as in `test_scenarios.py`. Run this with `tox -e peers`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from scenarios import BAD, GOOD  # noqa: E402
from test_scenarios import judged  # noqa: E402


@dataclass(frozen=True)
class Peer:
    """A pytest plugin: distribution, plugin name, and the options that enable its checks."""

    distribution: str
    plugin: str
    options: tuple[str, ...]


PEERS = (
    Peer(
        "pytest-queryguard",
        "queryguard",
        ("--queryguard-index-check", "-o", "queryguard_write_loop_threshold=5"),
    ),
    Peer("pytest-querycount", "querycount", ()),
    Peer("queryspy", "queryspy", ("--queryspy-strict",)),
)


def main() -> None:
    """Run everything and print the table."""
    failures = {"querygrowth": failures_here()}
    failures |= {peer.plugin: failures_under(peer) for peer in PEERS}
    versions = {"querygrowth": version("querygrowth")}
    versions |= {peer.plugin: version(peer.distribution) for peer in PEERS}
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in table(failures, versions))


def failures_here() -> frozenset[str]:
    """The scenarios that fail under querygrowth."""
    return frozenset(
        scenario.name
        for scenario in (*BAD, *GOOD)
        if any(verdict.failed for verdict in judged(scenario))
    )


def failures_under(peer: Peer) -> frozenset[str]:
    """The scenarios with a test that fails under the peer."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        others = [f"no:{other.plugin}" for other in PEERS if other is not peer]
        command = [
            sys.executable, "-m", "pytest", str(HERE / "peer_suite.py"), f"--junitxml={report}",
            "--noconftest", "--rootdir", str(HERE), "-c", os.devnull, "-p", "no:cacheprovider",
            *(option for plugin in (*others, "no:querygrowth") for option in ("-p", plugin)),
            *peer.options,
        ]  # fmt: skip
        path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PEER": peer.plugin, "PYTHONPATH": path}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode not in (0, 1):
            sys.exit(f"{peer.plugin} could not be run:\n{run.stdout}\n{run.stderr}")
        return frozenset(failed_scenarios(ElementTree.parse(report).getroot()))


def failed_scenarios(report: ElementTree.Element) -> Iterator[str]:
    """The scenario of each failed test, from the test's id."""
    for case in report.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            yield case.attrib["name"].partition("[")[2].partition("|")[0]


def table(failures: Mapping[str, frozenset[str]], versions: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for a scenario, with a column for a tool and a mark where the tool failed it."""
    width = max(len(each.name) for each in (*BAD, *GOOD))
    yield f"{'':{width}}  " + "".join(f"{tool:>12}" for tool in versions)
    yield f"{'':{width}}  " + "".join(f"{number:>12}" for number in versions.values())
    for title, scenarios, word in (("bad", BAD, "caught"), ("good", GOOD, "false alarm")):
        yield ""
        yield f"{title}: {word}"
        for each in scenarios:
            marks = (word if each.name in failed else "-" for failed in failures.values())
            yield f"{each.name:{width}}  " + "".join(f"{mark:>12}" for mark in marks)
        sums = (sum(each.name in failed for each in scenarios) for failed in failures.values())
        counted = "".join(f"{number:>12}" for number in sums)
        yield f"{f'of {len(scenarios)}':{width}}  {counted}"


if __name__ == "__main__":
    main()
