"""The pytest plugin of the growing process: runs each test several times with its rows copied."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from sqlalchemy import Engine

from querygrowth.counting.every_engine import EveryEngine
from querygrowth.counting.listener import attached
from querygrowth.counting.log import log_of_every_engine
from querygrowth.suite.allowed import begin_blocks, end_blocks
from querygrowth.suite.grow.calls import CallFinder
from querygrowth.suite.grow.counts import (
    Growth,
    Tally,
    grew,
    growths,
    is_steady,
    may_grow,
    strongest,
    tally,
)
from querygrowth.suite.grow.grower import Grower, Grown
from querygrowth.suite.grow.pasted import pasted_test
from querygrowth.suite.grow.process import FOLDER, RESULTS
from querygrowth.suite.grow.row_sets import EVERYTHING, MOST_SETS, parent_of
from querygrowth.suite.settings import Settings, read_settings
from querygrowth.suite.trails import TestBody, TestFiles

# What these options write or choose belongs to the run that decides.
_OPTIONS_OFF: Mapping[str, object] = {
    "xmlpath": None,
    "log_file": None,
    "pastebin": None,
    "report_log": None,
    "htmlpath": None,
    "json_report": False,
    "allure_report_dir": None,
    "lf": False,
    "failedfirst": False,
    "newfirst": False,
    "stepwise": False,
    "stepwise_skip": False,
    "maxfail": 0,
    "numprocesses": None,
    "dist": "no",
    "tx": [],
    "usepdb": False,
    "trace": False,
    "reruns": 0,
    "benchmark_disable": True,
}
_JUDGED_ELSEWHERE = frozenset({"query_growth", "same_results"})


def run(given: Mapping[str, Any]) -> None:
    """Run the tests that the other process names.

    Args:
        given: Its arguments of pytest, and the node IDs of the tests.
    """
    results = Path(os.environ.pop(FOLDER)) / RESULTS
    pytest.main(list(given["arguments"]), plugins=[GrowRunner(given["tests"], results)])


class GrowRunner:
    """Runs tests again, and writes what they show, one line of JSON for each.

    Args:
        tests: The node IDs of the tests; None for all.
        results: The file to write to.
    """

    __name__ = "querygrowth-grow"  # under which pytest registers it

    def __init__(self, tests: Collection[str] | None, results: Path) -> None:
        self._tests = None if tests is None else frozenset(tests)
        self._results = results
        self._parent = os.getppid()
        self._attached = ExitStack()
        self.project: Callable[[], Any] = lambda: None  # set by querygrowth.pytest_plugin

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> None:
        """Switch off what must not happen twice."""
        option = config.option
        for name, value in _OPTIONS_OFF.items():
            if hasattr(option, name):
                setattr(option, name, value)
        for name in vars(option):
            if name.startswith("queries"):
                setattr(option, name, None)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the tests that are to be run, and attach the listeners."""
        if self._tests is not None:
            items[:] = [item for item in items if item.nodeid in self._tests]
        self._settings: Settings = read_settings(config.rootpath)
        self._files = TestFiles(config.rootpath, config.getini("python_files"))
        self._finder = CallFinder(self.project(), self._files)
        self._every = EveryEngine(count_rows=False)
        self._every.pause()
        self._grower = Grower(self._finder, self._every)
        # Rows are copied before the statement that follows them is recorded.
        self._attached.enter_context(attached(Engine, self._grower.listeners()))
        self._attached.enter_context(attached(Engine, self._every.listeners()))

    def pytest_unconfigure(self) -> None:
        """Leave no listener attached, and no folder if the other process cannot remove it."""
        self._attached.close()
        if self._is_alone():
            shutil.rmtree(self._results.parent, ignore_errors=True)

    def _is_alone(self) -> bool:
        """Whether the run that decides has ended, and nobody waits for the results any more."""
        return os.getppid() != self._parent

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a test as often as needed, and write what it showed."""
        if self._is_alone():
            item.session.shouldstop = "the run that decides has ended"
            return True
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"test": item.nodeid, **self._shown(item)}) + "\n")
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def _shown(self, item: pytest.Item) -> dict[str, Any]:
        fixtures = getattr(item, "fixturenames", ())
        if not isinstance(item, pytest.Function):
            return {"reason": "not a function"}
        if not _JUDGED_ELSEWHERE.isdisjoint(fixtures):
            return {"reason": "judges its growth itself"}
        if item.get_closest_marker("allow_queries") is not None:
            return {"reason": "has the marker allow_queries"}
        self._files.add(str(item.path))
        self._grower.begin_test()
        try:
            return GrownTest(item, self._run, self._settings).shown()
        except Exception as error:  # of code that nobody has tried before
            words = str(error).strip().partition("\n")[0]
            return {"reason": f"could not be judged: {type(error).__name__}: {words}"}

    def _run(self, item: pytest.Function, rows: str, number: int, alike: bool) -> Run:
        """Run a test once with its fixtures; `alike` puts back what its last run has changed."""
        item._initrequest()
        if alike:
            self._grower.put_back()
        self._finder.begin(TestBody(getattr(item, "function", None), item.fixturenames))
        self._grower.begin(rows, number)
        self._tally = Tally()
        # With its parent as the next item, the fixtures of the function are torn down.
        reports = runtestprotocol(item, nextitem=item.parent, log=False)  # type: ignore[arg-type]
        found = Run(
            self._tally,
            self._grower.grown,
            self._grower.names,
            self._grower.refused,
            self._finder.source,
        )
        self._grower.end()
        for report in reports:
            if report.failed or report.skipped:
                found.ended[report.when] = _first_line(report)
        return found

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> None:
        """Note the moment from which on changes belong to one run of a test."""
        if fixturedef.scope == "function":
            self._grower.keep_state()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Record the body of a test."""
        self._every.begin(self._finder)
        begin_blocks()
        self._grower.begin_body()
        try:
            return (yield)
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._tally = tally(log_of_every_engine(self._every), self._finder, self._settings)
            self._every.pause()
            end_blocks()
            self._grower.end_body()


class Run:
    """One run of a test.

    Attributes:
        tally: What the application sent.
        grown: What was copied.
        names: The sets of rows that are worth a run, with the tables that they copy.
        refused: Why rows of tables could not be copied.
        source: The name by which the test reaches the database; may be empty.
        ended: Why a phase of the test failed or was skipped, by the name of the phase.
    """

    def __init__(
        self,
        tally: Tally,
        grown: Grown,
        names: Mapping[str, frozenset[str]],
        refused: dict[str, str],
        source: str,
    ) -> None:
        self.tally = tally
        self.grown = grown
        self.names = names
        self.refused = refused
        self.source = source
        self.ended: dict[str, str] = {}


class GrownTest:
    """Decides which runs a test needs, and what they show.

    Args:
        item: The test.
        run: Runs it once, with the name of a set of rows, the number of copies, and whether the
            databases are put back before.
        settings: The levels of the rules.
    """

    def __init__(
        self,
        item: pytest.Function,
        run: Callable[[pytest.Function, str, int, bool], Run],
        settings: Settings,
    ) -> None:
        self._item = item
        self._run = run
        self._settings = settings
        self._runs = 0
        self._alike = True

    def _once(self, rows: str, number: int) -> Run:
        self._runs += 1
        return self._run(self._item, rows, number, self._alike and self._runs > 1)

    def shown(self) -> dict[str, Any]:
        """What the test shows, as values for JSON: `reason` where it is not judged."""
        first = self._once(EVERYTHING, 1)
        reason = _not_judged(first)
        if reason:
            return {"reason": reason}
        probes = {EVERYTHING: first}
        for name in _worth_a_run(first)[:MOST_SETS]:
            probes[name] = self._once(name, 1)
        found: list[Growth] = []
        suspects = {name: probe for name, probe in probes.items() if may_grow(probe.tally)}
        if suspects:
            control = self._once(EVERYTHING, 0)
            if control.ended:  # what the process remembers may not go with what was put back
                self._alike = False
                control = self._once(EVERYTHING, 0)
            if "call" in control.ended:
                return {"reason": f"fails when it is run again: {control.ended['call']}"}
            for name, probe in suspects.items():
                if grew(probe.tally, control.tally):
                    three = self._once(name, 3).tally
                    found += growths(control.tally, probe.tally, three, name, self._settings)
        if found:  # what differs between two runs without copies grows by itself
            again = self._once(EVERYTHING, 0).tally
            found = [each for each in found if is_steady(each, control.tally, again)]
        stopped = sum("call" in probe.ended for probe in probes.values()) == len(probes)
        if not any(probe.grown.added for probe in probes.values()):
            return {"reason": _no_copies(probes)}
        return {
            "judged": True,
            "stopped_early": stopped,
            "runs": self._runs,
            "found": [
                {**each.to_plain(), "test_to_paste": self._pasted(each, first.source)}
                for each in strongest(found)
            ],
        }

    def _pasted(self, growth: Growth, source: str) -> str:
        """The test to paste; empty where none can be written, which must not hide the finding."""
        with suppress(Exception):
            return pasted_test(self._item, growth, source)
        return ""


def _worth_a_run(first: Run) -> list[str]:
    """The sets of rows to try after every row: those that copy different tables that are read."""
    known: set[tuple[str, frozenset[str]]] = set()
    found: list[str] = []
    for name, copied in first.names.items():
        read = copied & first.tally.tables
        # What stays makes no difference where the application does not read it.
        parent = parent_of(name).rpartition(".")[2].casefold()
        key = (parent if parent in first.tally.tables else "", read)
        if name != EVERYTHING and read and key not in known:
            known.add(key)
            found.append(name)
    return found


def _not_judged(first: Run) -> str:
    if "setup" in first.ended:
        return f"its fixtures fail when it is run again: {first.ended['setup']}"
    if first.grown.stopped:
        return f"rows could not be copied: {first.grown.stopped}"
    if not first.grown.calls and "call" in first.ended:
        return f"fails before its application reads: {first.ended['call']}"
    if not first.grown.calls:
        return "its application sends no SELECT"
    if not first.names:
        return "its database has no rows when the application reads"
    return ""


def _no_copies(probes: Mapping[str, Run]) -> str:
    reasons = {table: why for each in probes.values() for table, why in each.refused.items()}
    shown = "; ".join(f"{table}: {why}" for table, why in list(reasons.items())[:2])
    return f"no row can be there twice ({shown})" if shown else "no row can be there twice"


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(getattr(crash, "message", report.longrepr)).strip()
    return text.partition("\n")[0][:160]
