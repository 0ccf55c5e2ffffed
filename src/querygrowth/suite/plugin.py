"""The hooks of `pytest --queries` and `--queries-record`, and the order of events.

A test's body is watched. What it showed goes into its report, which an xdist worker sends to the
controller. The controller merges the reports and writes everything at the end.
"""

# Only pytest, the standard library and modules that import no more are imported here. A test whose
# process has not imported SQLAlchemy sends no statement, and then nothing else is imported.

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from querygrowth.suite.accepted import Accepted, Sorted, read_accepted, sort_findings
from querygrowth.suite.findings import Finding, Findings
from querygrowth.suite.rules import Level
from querygrowth.suite.settings import SettingsError, read_settings, with_report_level

# The attribute of a test's report that holds what its body showed.
_SHOWN = "querygrowth_suite"
_KEY = pytest.StashKey[dict[str, Any]]()
# Tests that use these judge what they send, at several sizes or on many databases.
_JUDGED_ELSEWHERE = frozenset({"query_growth", "same_results"})


class QueryPatternWarning(UserWarning):
    """A finding at level warn. The message explains it."""


class SuiteReport:
    """The plugin that is registered for `--queries`.

    Args:
        config: The configuration of pytest.
        project: Returns what counts as the user's code.

    Raises:
        pytest.UsageError: A setting, or the baseline, cannot be used.
    """

    def __init__(self, config: pytest.Config, project: Callable[[], Any]) -> None:
        option = config.getoption
        self._config = config
        self._project = project
        self._root: Path = config.rootpath
        self._writes_baseline = option("--queries-baseline") == "write"
        try:
            self._settings = read_settings(self._root, option("--queries-level"))
            self._accepted = read_accepted(
                self._settings, today=date.today(), writing=self._writes_baseline
            )
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from None
        if self._writes_baseline:
            self._settings = with_report_level(self._settings)
        self._is_worker = hasattr(config, "workerinput")
        self._watcher: Any = None  # a Watcher, once SQLAlchemy is imported
        self._warned: set[tuple[str, ...]] = set()
        self._findings = Findings()
        self._tests_run: set[str] = set()
        self._queries = 0
        self._watched = 0
        self._not_watched: dict[str, tuple[str, int]] = {}
        self._proven: list[tuple[str, int, str]] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Watch the body of a test, and judge what it sent."""
        watching = self._begin(item)
        try:
            result = yield
        except BaseException as error:  # it wins over findings, which are noted all the same
            self._end(item, watching, error)
            raise
        for finding in self._end(item, watching, None):
            self._act_on(finding)
        return result

    def _begin(self, item: pytest.Item) -> bool:
        """Begin to watch. Nothing that goes wrong here changes the outcome of a test."""
        shown: dict[str, Any] = {}
        item.stash[_KEY] = shown
        if not _JUDGED_ELSEWHERE.isdisjoint(getattr(item, "fixturenames", ())):
            return False
        marker = item.get_closest_marker("allow_queries")
        if marker is not None:
            reason = marker.args[0] if len(marker.args) == 1 else marker.kwargs.get("reason")
            if isinstance(reason, str) and reason.strip():
                return False
            shown["not_watched"] = (
                "its marker needs a reason, such as allow_queries('at most 3 rows')"
            )
            return False
        if "sqlalchemy" not in sys.modules:
            return False
        try:
            if self._watcher is None:
                from querygrowth.suite.watcher import Watcher

                self._watcher = Watcher(
                    self._project(), self._settings, self._root, self._config.getini("python_files")
                )
            self._watcher.begin()
        except (Exception, pytest.fail.Exception) as error:
            shown["not_watched"] = _first_line(error)
            return False
        return True

    def _end(self, item: pytest.Item, watching: bool, error: BaseException | None) -> list[Finding]:
        """Note what the test showed, and return the findings that count."""
        shown = item.stash[_KEY]
        if not watching:
            if "query_growth" in getattr(item, "fixturenames", ()):
                shown["proven"] = _proven_by(error)
            return []
        try:
            # A package that is imported here must not warn in a test that turns warnings to errors.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found, queries = self._watcher.end(item)
        except (Exception, pytest.fail.Exception) as failure:
            shown["not_watched"] = _first_line(failure)
            return []
        shown |= {"queries": queries, "found": [finding.to_plain() for finding in found]}
        return [
            finding
            for finding in found
            if not self._accepted.is_known(finding) and self._accepted.ignore_of(finding) is None
        ]

    def _act_on(self, finding: Finding) -> None:
        """Warn of a finding, or fail the test, as its level says."""
        if finding.level not in (Level.WARN, Level.ERROR):
            return
        from querygrowth.suite.report import lines_of

        text = "\n".join(lines_of(finding))
        if finding.level is Level.ERROR:
            raise pytest.fail.Exception(text, pytrace=False)
        if finding.key not in self._warned:
            self._warned.add(finding.key)
            site = finding.site
            warnings.warn_explicit(QueryPatternWarning(text), None, site.path, site.line)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add what the test showed to its report."""
        report = yield
        if report.when == "call" and item.stash.get(_KEY, None):
            setattr(report, _SHOWN, item.stash[_KEY])
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Merge what a test showed. A run of it that is repeated does not count."""
        if report.when != "call" or str(report.outcome) == "rerun":  # of pytest-rerunfailures
            return
        self._tests_run.add(report.nodeid)
        shown = getattr(report, _SHOWN, None)
        if not shown or self._is_worker:
            return
        if "not_watched" in shown:
            first, count = self._not_watched.get(shown["not_watched"], (report.nodeid, 0))
            self._not_watched[shown["not_watched"]] = (first, count + 1)
        for path, line in shown.get("proven", ()):
            self._proven.append((path, line, report.nodeid))
        if "found" in shown:
            self._watched += 1
            self._queries += shown["queries"]
            self._findings.add(map(Finding.from_plain, shown["found"]), report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report, and write it to the files that were asked for."""
        from querygrowth.suite import report

        found = self._sorted()
        totals = report.Totals(
            self._watched, self._queries, self._not_watched, self._accepted.expired
        )
        terminalreporter.section("queries")
        for line in report.terminal_lines(totals, found):
            terminalreporter.write_line(line)
        if self._writes_baseline:
            terminalreporter.write_line(self._write_baseline())
        option = self._config.getoption
        files: list[tuple[str | None, Callable[[], str]]] = [
            (option("--queries-json"), lambda: report.as_json(totals, found, self._root)),
            (option("--queries-sarif"), lambda: report.as_sarif(found.new, self._root)),
            (option("--queries-markdown"), lambda: report.as_markdown(totals, found, self._root)),
        ]
        for name, text in files:
            if name:
                self._write(terminalreporter, Path(name), text(), "w")
        if os.environ.get("GITHUB_ACTIONS") == "true":
            for line in report.github_lines(found.new, self._root):
                terminalreporter.write_line(line)
            job = os.environ.get("GITHUB_STEP_SUMMARY")
            if job:
                markdown = report.as_markdown(totals, found, self._root)
                self._write(terminalreporter, Path(job), markdown, "a")

    def _sorted(self) -> Sorted:
        proven: dict[tuple[str, int], list[str]] = {}
        for path, line, test in self._proven:
            proven.setdefault((path, line), []).append(test)
        for key, finding in list(self._findings.by_key.items()):
            tests = tuple(dict.fromkeys(proven.get((finding.site.path, finding.site.line), ())))
            if tests:
                self._findings.by_key[key] = replace(finding, proven_by=tests)
        # While a baseline is written, all findings are shown but those that an ignore fits.
        accepted = (
            Accepted({}, self._accepted.ignores, self._accepted.expired)
            if self._writes_baseline
            else self._accepted
        )
        return sort_findings(self._findings, accepted)

    def _write_baseline(self) -> str:
        from querygrowth.suite.accepted import write_baseline

        path = self._settings.baseline
        try:
            count = write_baseline(path, self._sorted().new, self._accepted, self._tests_run)
        except OSError as error:
            return f"cannot write the baseline {path}: {error}"
        return f"wrote {count} {'entry' if count == 1 else 'entries'} to {path}"

    def _write(
        self, terminalreporter: pytest.TerminalReporter, path: Path, text: str, mode: str
    ) -> None:
        try:
            with path.open(mode, encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as error:
            terminalreporter.write_line(f"cannot write {path}: {error}")

    def pytest_unconfigure(self) -> None:
        """Leave no listener attached."""
        if self._watcher is not None:
            self._watcher.detach()


def register(config: pytest.Config, project: Callable[[], Any]) -> None:
    """Register the plugins that the options ask for.

    Args:
        config: The configuration of pytest.
        project: Returns what counts as the user's code.

    Raises:
        pytest.UsageError: A setting, the baseline or an option cannot be used.
    """
    option = config.getoption
    if option("--queries") or option("--queries-baseline"):
        config.pluginmanager.register(SuiteReport(config, project), "querygrowth-suite")
        return
    for name in ("level", "json", "sarif", "markdown"):
        if option(f"--queries-{name}"):
            raise pytest.UsageError(f"--queries-{name} needs --queries")


def _proven_by(error: BaseException | None) -> list[tuple[str, int]]:
    """The lines whose growth a failed growth test has proven."""
    verdict = sys.modules.get("querygrowth.verdict")
    if verdict is None or not isinstance(error, verdict.VerdictError):
        return []
    sites = [each.site for each in error.verdicts if each.failed and each.site is not None]
    return [(site.path, site.line) for site in sites]


def _first_line(error: BaseException) -> str:
    with suppress(Exception):
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return type(error).__name__
