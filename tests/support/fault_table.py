"""A pytest plugin that counts the faults that tests inject, and prints a table of the results."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from zlib import crc32

import pytest

FAULTS: Mapping[int, str] = MappingProxyType(
    {
        1: "a writer commits between our reads",
        2: "the write lock held at the status update",
        3: "the database full",
        4: "a page of the database overwritten",
        5: "a truncated file, or none that is a database",
        6: "a mistyped path",
        7: "few variables allowed",
        8: "PostgreSQL backend terminated, killed, stalled",
        9: "the connection cut",
        10: "the session's time zone changed",
        11: "disk full, file size limit, write, fsync or rename failing",
        12: "flushing the directory failing",
        13: "SIGKILL at the k-th write, fsync, rename or unlink",
        14: "SIGKILL between publishing and the status update",
        15: "a signal that ends a command, or two at once",
        16: "too little memory or too few descriptors",
        17: "standard output closed early",
        18: "a directory, a link or an impossible name as target",
        19: "two exports to one target",
        20: "corrupt values",
        21: "children without a parent",
        22: "wrong password, server down",
        23: "baseline or targets missing, empty or corrupt",
        24: "an unsuitable key, or a key that others can read",
        25: "hostile run ids",
        26: "hostile text in reports",
        27: "hostile configuration",
        28: "a pooler in front of PostgreSQL",
        29: "an executor of the caller's own on SQLite, a key in a task",
        30: "a stalled worker and its retry",
        31: "a sink that leads to another place or to other content",
        32: "a second command between any two steps of an export",
        33: "row-level security and other ways to hide rows",
        34: "an attestation made for another place",
        35: "lines and timestamps of unusual forms",
        36: "a pipe, socket, device or link at a hidden name",
        37: "limits of time that a role sets",
        38: "SQLite on read-only media, or with the log of a crash",
        39: "children without a parent of this run",
        40: "reconciling after a key was rotated",
        41: "indexes that are missing, invalid or partial",
        42: "an executor without workers",
        43: "an export with other options, cut off or failing",
        44: "an index that lacks rows, or holds other keys than its table",
        45: "a killed test process, and its PostgreSQL",
    }
)
SWEEP = 13
"""The fault that is injected at every possible place. The table shows it on a separate line."""

TABLE = re.compile(
    "(?<=<!-- the table of `tox -e faults` -->\n).*?(?=<!-- end of the table -->)", re.S
)
"""The place of the table in a page."""
ROW = re.compile(r"^ ?(\d+)  (.*?)  +(?:\d|not run)", re.M)
"""A row of the table: the number and the words of a fault."""

_COUNTS = "fault counts"


class LostError(AssertionError):
    """A target was torn, or evidence changed. No fault may cause that."""


@dataclass
class Tally:
    """The injections of one test and their results."""

    injections: int = 0
    survived: int = 0
    lost: int = 0

    @contextmanager
    def injection(self) -> Iterator[None]:
        """Count one injection, which is survived when the block does not raise."""
        self.injections += 1
        try:
            yield
        except LostError:
            self.lost += 1
            raise
        self.survived += 1


_TALLY = pytest.StashKey[Tally]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --faults, for a short and a full form."""
    parser.addoption(
        "--faults",
        choices=("short", "full"),
        default="short",
        help="The faults to inject: every fault once and a sample of the sweep, or all of them.",
    )
    parser.addoption(
        "--faults-page",
        type=Path,
        help="With --faults=full: the page whose table is replaced by that of this run.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and the table in the process that controls all workers."""
    config.addinivalue_line(
        "markers",
        "fault(number, short=1): a test that injects this fault; the short form runs `short` of "
        "its variants",
    )
    if not hasattr(config, "workerinput"):
        page = config.getoption("--faults-page")
        is_full = config.getoption("--faults") == "full"
        if page is not None and not is_full:
            raise pytest.UsageError("--faults-page needs --faults=full")
        config.pluginmanager.register(_Table(is_full, page))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the short form, keep a few variants of each test and deselect the rest."""
    if config.getoption("--faults") == "full":
        return
    variants: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("fault"):
            variants[item.nodeid.partition("[")[0]].append(item)
    left_out = {each for found in variants.values() for each in _all_but_a_few(found)}
    if left_out:
        config.hook.pytest_deselected(items=[each for each in items if each in left_out])
        items[:] = [each for each in items if each not in left_out]


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """The counts of a test's injections."""
    return request.node.stash.setdefault(_TALLY, Tally())


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether this is the full form."""
    return request.config.getoption("--faults") == "full"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add the number of the fault and the counts to the report of a test."""
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is None or (report.when != "call" and report.passed):
        return report
    (number,) = marker.args
    tally = item.stash.get(_TALLY, Tally())
    if report.when == "call" and report.passed and not tally.injections:
        report.outcome = "failed"
        report.longrepr = "The test has the marker `fault`, but injected none"
    counts = [number, tally.injections, tally.survived, tally.lost]
    report.user_properties.append((_COUNTS, counts))
    return report


def _all_but_a_few(variants: list[pytest.Item]) -> set[pytest.Item]:
    """Return the variants of one test that the short form deselects."""
    # The first one to keep depends on the test's name, so that different tests keep different
    # variants, and the same ones every time.
    marker = variants[0].get_closest_marker("fault")
    count = 1 if marker is None else marker.kwargs.get("short", 1)
    first = crc32(variants[0].nodeid.encode()) % len(variants)
    kept = {variants[(first + k * len(variants) // count) % len(variants)] for k in range(count)}
    return set(variants) - kept


@dataclass
class _Row:
    injections: int = 0
    survived: int = 0
    lost: int = 0
    failed_tests: int = 0
    reasons: set[str] = field(default_factory=set)


class _Table:
    """The results of each fault over all tests."""

    def __init__(self, is_full: bool, page: Path | None) -> None:
        self._is_full = is_full
        self._page = page
        self._rows: defaultdict[int, _Row] = defaultdict(_Row)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, counts in report.user_properties:
            if name == _COUNTS:
                self._add(report, *counts)

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        if self._rows:
            terminalreporter.section("faults")
            for line in self._lines():
                terminalreporter.write_line(line)
            if self._page is not None:
                put_table(self._page, self._lines(), datetime.now(UTC))

    def _add(
        self, report: pytest.TestReport, number: int, injections: int, survived: int, lost: int
    ) -> None:
        row = self._rows[number]
        row.injections += injections
        row.survived += survived
        row.lost += lost
        row.failed_tests += report.failed
        if report.skipped and isinstance(report.longrepr, tuple):
            row.reasons.add(report.longrepr[2].removeprefix("Skipped: "))

    def _lines(self) -> Iterator[str]:
        yield f"{'':2}  {'fault':<58}  injected  survived  lost"
        for number, fault in FAULTS.items():
            if number in self._rows:
                yield from _row_lines(number, fault, self._rows[number])
            elif self._is_full:
                yield f"{number:2}  {fault:<58}  not run"
        yield ""
        swept = self._rows.get(SWEEP, _Row())
        others = [row for number, row in self._rows.items() if number != SWEEP]
        injections = sum(row.injections for row in others)
        survived = sum(row.survived for row in others)
        lost = sum(row.lost for row in others)
        yield f"faults survived {survived}/{injections}, lost {lost}"
        extent = "every k" if self._is_full else "a sample of k"
        yield f"SIGKILL sweep: torn {swept.lost} of {swept.injections} ({extent})"


def put_table(page: Path, lines: Iterable[str], moment: datetime) -> None:
    """Replace the table of a page.

    Args:
        page: A Markdown file with the two comments of `TABLE`.
        lines: The table and what was skipped.
        moment: When it was measured.

    Raises:
        ValueError: The page lacks the comments.
    """
    text = page.read_text(encoding="utf-8")
    block = "\n".join(("```", f"Run of {moment:%Y-%m-%d}", "", *lines, "```", ""))
    replaced, count = TABLE.subn(lambda _: block, text)
    if count != 1:
        raise ValueError(f"{page}: no place for the table of faults")
    page.write_text(replaced, encoding="utf-8")


def _row_lines(number: int, fault: str, row: _Row) -> Iterator[str]:
    yield f"{number:2}  {fault:<58}  {row.injections:8}  {row.survived:8}  {row.lost:4}"
    if row.failed_tests:
        yield f"    tests failed: {row.failed_tests}"
    for reason in sorted(row.reasons):
        yield f"    skipped: {reason}"
