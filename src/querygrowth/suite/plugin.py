"""The hooks of `pytest --queries` and `--queries-record`, and the order of events.

A test's body is watched. What it showed goes into its report, which an xdist worker sends to the
controller. The controller merges the reports, and writes everything at the end.
"""

# Only pytest, the standard library and modules that import no more are imported here. A test whose
# process has not imported SQLAlchemy sends no statement, and then nothing else is imported.

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from querygrowth.suite.accepted import (
    Accepted,
    Sorted,
    read_accepted,
    sort_findings,
    write_baseline,
)
from querygrowth.suite.findings import Finding, Findings
from querygrowth.suite.records import Recorded, RecordKeeper, stale_records
from querygrowth.suite.rules import Level
from querygrowth.suite.settings import SettingsError, read_settings, with_report_level

# The attribute of a test's report that holds what its body showed.
_SHOWN = "querygrowth_suite"
_STALE = "querygrowth_stale"  # the key of what a worker of xdist knows of records of no test
_KEY = pytest.StashKey[dict[str, Any]]()
# Tests that use these judge what they send, at several sizes or on many databases.
_JUDGED_ELSEWHERE = frozenset({"query_growth", "same_results"})
_NO_REASON = "the marker allow_queries needs a reason, such as 'at most 3 rows'"
_IMPORTED_LATE = (
    "not watched: it imported SQLAlchemy in its body; import it in a conftest.py or a test module"
)


class QueryPatternWarning(UserWarning):
    """A finding at level warn. The message explains it."""


def register(config: pytest.Config, project: Callable[[], Any]) -> None:
    """Register the plugin that the options ask for.

    Args:
        config: The configuration of pytest.
        project: Returns what counts as the user's code.

    Raises:
        pytest.UsageError: A setting, the baseline or an option cannot be used.
    """
    option = config.option
    reports = bool(option.queries or option.queries_baseline or option.queries_grow)
    for name in ("level", "json", "sarif", "markdown"):
        if getattr(option, f"queries_{name}") and not reports:
            raise pytest.UsageError(f"--queries-{name} needs --queries")
    if not option.collectonly:
        config.pluginmanager.register(SuitePlugin(config, project, reports), "querygrowth-suite")


class SuitePlugin:
    """The plugin of `--queries` and `--queries-record`.

    Args:
        config: The configuration of pytest.
        project: Returns what counts as the user's code.
        reports: Whether findings are reported.

    Raises:
        pytest.UsageError: A setting, or the baseline, cannot be used.
    """

    def __init__(self, config: pytest.Config, project: Callable[[], Any], reports: bool) -> None:
        option = config.option
        self._config = config
        self._project = project
        self._reports = reports
        self._root: Path = config.rootpath
        self._writes_baseline = option.queries_baseline == "write"
        try:
            self._settings = read_settings(self._root, option.queries_level)
            self._accepted = read_accepted(
                self._settings, today=date.today(), writing=self._writes_baseline or not reports
            )
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from None
        if self._writes_baseline:
            self._settings = with_report_level(self._settings)
        writes = bool(option.queries_record_write)
        in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
        self._keeper: RecordKeeper | None = None
        if option.queries_record or writes:
            self._keeper = RecordKeeper(self._root, writes, in_ci)
        self._recorded = Recorded(writes, in_ci)
        self._is_worker = hasattr(config, "workerinput")
        self._watcher: Any = None  # a Watcher, once SQLAlchemy is imported
        self._warned: set[tuple[str, ...]] = set()
        self._findings = Findings()
        self._tests_run: set[str] = set()
        self._counts = {"tests": 0, "queries": 0}
        self._notes: dict[str, tuple[str, int]] = {}
        self._proven: dict[tuple[str, int], list[str]] = {}
        self._used: set[tuple[str, ...]] = set()  # eager loads that some test has read
        self._lines: list[str] = []
        self._passed: dict[str, None] = {}
        self._process: Any = None  # a GrowingProcess, where tests are to be run again
        if option.queries_grow and not self._is_worker:
            from querygrowth.suite.grow.process import GrowingProcess

            self._process = GrowingProcess(config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Find the records of tests that are gone, before some tests are deselected."""
        partial = any("::" in argument for argument in self._config.args)
        # The options of pytest's cache leave tests out while it collects.
        if self._keeper is None or partial or self._config.getoption("lf", False):
            return
        collected: dict[Path, set[str]] = {}
        for item in items:
            collected.setdefault(item.path, set()).add(_name(item.nodeid))
        stale = stale_records(collected)
        if self._is_worker:
            output: dict[str, Any] = self._config.workeroutput  # type: ignore[attr-defined]
            output[_STALE] = {str(path): sorted(tests) for path, tests in stale.items()}
        self._recorded.stale = stale

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take what a worker of xdist knows of records of tests that are gone."""
        for path, tests in getattr(node, "workeroutput", {}).get(_STALE, {}).items():
            self._recorded.stale[Path(path)] = set(tests)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Watch the body of a test, and judge what it sent."""
        watching = self._begin(item)
        try:
            result = yield
        except BaseException as error:  # it wins over findings, which are noted all the same
            self._end(item, watching, error)
            raise
        complaints = self._end(item, watching, None)
        if complaints:
            raise pytest.fail.Exception("\n\n".join(complaints), pytrace=False)
        return result

    def _begin(self, item: pytest.Item) -> bool:
        """Begin to watch. Nothing that goes wrong here changes the outcome of a test."""
        shown: dict[str, Any] = {}
        item.stash[_KEY] = shown
        if not _JUDGED_ELSEWHERE.isdisjoint(getattr(item, "fixturenames", ())):
            return False
        if "sqlalchemy" not in sys.modules:
            return False
        try:
            if self._watcher is None:
                from querygrowth.suite.watcher import Watcher

                self._watcher = Watcher(
                    self._project(), self._settings, self._root, self._config.getini("python_files")
                )
            self._watcher.begin(item)
        except (Exception, pytest.fail.Exception) as error:
            shown["note"] = f"not watched: {_first_line(error)}"
            return False
        return True

    def _end(self, item: pytest.Item, watching: bool, error: BaseException | None) -> list[str]:
        """Note what the test showed, and return why it fails."""
        shown = item.stash[_KEY]
        if not watching:
            fixtures = getattr(item, "fixturenames", ())
            if "query_growth" in fixtures:
                shown["proven"] = _proven_by(error)
            elif "sqlalchemy" in sys.modules and _JUDGED_ELSEWHERE.isdisjoint(fixtures):
                shown.setdefault("note", _IMPORTED_LATE)
            return []
        try:
            judged = self._reports and not self._is_allowed(item)
            # What is imported here must not warn in a test that turns warnings into errors.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                watched = self._watcher.end(
                    judged=judged, recorded=self._keeper is not None and error is None
                )
        except (Exception, pytest.fail.Exception) as failure:
            shown["note"] = f"not watched: {_first_line(failure)}"
            return []
        if judged:
            shown |= {
                "queries": watched.queries,
                "found": [finding.to_plain() for finding in watched.found],
                "used": watched.used,
            }
        if error is not None:
            return []
        complaints = list(self._act_on(watched.found))
        if self._keeper is not None:
            shown["record"] = [str(item.path), watched.record]
            complaint = self._keeper.complaint(item.path, _name(item.nodeid), watched.record)
            complaints += [complaint] if complaint else []
        return complaints

    def _is_allowed(self, item: pytest.Item) -> bool:
        """Whether the marker leaves a test out of the report. Without a reason it does not."""
        marker = item.get_closest_marker("allow_queries")
        if marker is None:
            return False
        reason = marker.args[0] if len(marker.args) == 1 else marker.kwargs.get("reason")
        if isinstance(reason, str) and reason.strip():
            return True
        item.stash[_KEY]["note"] = _NO_REASON
        return False

    def _act_on(self, found: list[Finding]) -> Iterator[str]:
        """Warn of the findings that have this level, and yield those that fail the test."""
        for finding in found:
            if finding.level not in (Level.WARN, Level.ERROR):
                continue
            if self._accepted.is_known(finding) or self._accepted.ignore_of(finding):
                continue
            from querygrowth.suite.report import lines_of

            text = "\n".join(lines_of(finding))
            if finding.level is Level.ERROR:
                yield text
            elif finding.key not in self._warned:
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
        # The outcome "rerun" is one of pytest-rerunfailures.
        if self._is_worker or report.when != "call" or str(report.outcome) == "rerun":
            return
        self._tests_run.add(report.nodeid)
        if report.passed:
            self._passed[report.nodeid] = None
        shown: dict[str, Any] = getattr(report, _SHOWN, None) or {}
        if "note" in shown:
            first, count = self._notes.get(shown["note"], (report.nodeid, 0))
            self._notes[shown["note"]] = (first, count + 1)
        for path, line in shown.get("proven", ()):
            self._proven.setdefault((path, line), []).append(report.nodeid)
        if "found" in shown:
            self._counts["tests"] += 1
            self._counts["queries"] += shown["queries"]
            self._findings.add(map(Finding.from_plain, shown["found"]), report.nodeid)
            self._used.update(map(tuple, shown["used"]))
        if "record" in shown and report.passed:
            path, lines = shown["record"]
            self._recorded.add(Path(path), _name(report.nodeid), lines)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write what was asked for: the report, the baseline, and the records."""
        if self._is_worker:
            return
        if exitstatus == pytest.ExitCode.INTERRUPTED:  # somebody wants it to end
            self._process = None
        if self._reports:
            self._lines += self._report()
        if self._keeper is not None:
            self._lines += self._recorded.write()

    def _report(self) -> Iterator[str]:
        """Write the report to the files that were asked for, and yield the lines to print."""
        from querygrowth.reports import annotations
        from querygrowth.suite import report

        found = self._sorted()
        grown = self._grow()
        totals = report.Totals(**self._counts, notes=self._notes, expired=self._accepted.expired)
        yield from report.terminal_lines(totals, found)
        markdown = report.as_markdown(totals, found, self._root)
        reported = list(report.reported(found.new))
        rules: dict[str, Any] = {}
        grown_values = None
        if grown is not None:
            from querygrowth.suite.grow import grown_report as growth

            yield from growth.grown_lines(grown)
            grown_values = growth.as_plain(grown, self._root)
            markdown += "\n".join(("", *growth.grown_markdown(grown, self._root), ""))
            reported += growth.reported_growth(grown)
            rules |= growth.GROWTH_RULE
        if self._writes_baseline:
            path = self._settings.baseline
            try:
                count = write_baseline(path, found.new, self._accepted, self._tests_run)
                yield f"wrote {count} {'finding' if count == 1 else 'findings'} to {path}"
            except OSError as error:
                yield f"cannot write the baseline {path}: {error}"
        on_github = os.environ.get("GITHUB_ACTIONS") == "true"
        option = self._config.option
        for name, mode, text in (
            (option.queries_json, "w", report.as_json(totals, found, self._root, grown_values)),
            (option.queries_sarif, "w", report.as_sarif(reported, rules, self._root)),
            (option.queries_markdown, "w", markdown),
            (os.environ.get("GITHUB_STEP_SUMMARY") if on_github else None, "a", markdown),
        ):
            if not name:
                continue
            try:
                with Path(name).open(mode, encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
            except OSError as error:
                yield f"cannot write {name}: {error}"
        if on_github:
            yield from annotations(reported, root=self._root)

    def _grow(self) -> Any:
        """Run the tests that have passed again with their rows copied, and return the report."""
        if self._process is None:
            return None
        from querygrowth.suite.grow.grown_report import grown_report

        tests = list(self._passed)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        return grown_report(self._process.run(tests, terminal), self._accepted)

    def _sorted(self) -> Sorted:
        for key, finding in list(self._findings.by_key.items()):
            if key in self._used:
                del self._findings.by_key[key]
                continue
            tests = self._proven.get((finding.site.path, finding.site.line))
            if tests:
                self._findings.by_key[key] = replace(finding, proven_by=tuple(dict.fromkeys(tests)))
        # While a baseline is written, all findings are shown but those that an ignore fits.
        baseline = {} if self._writes_baseline else self._accepted.baseline
        return sort_findings(
            self._findings, Accepted(baseline, self._accepted.ignores, self._accepted.expired)
        )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report."""
        if self._lines:
            terminalreporter.section("queries")
            for line in self._lines:
                terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Leave no listener attached."""
        if self._watcher is not None:
            self._watcher.detach()


def _name(node_id: str) -> str:
    """The name of a test in its file."""
    return node_id.partition("::")[2]


def _proven_by(error: BaseException | None) -> list[tuple[str, int]]:
    """The lines whose growth a failed growth test has proven."""
    verdict = sys.modules.get("querygrowth.verdict")
    if verdict is None or not isinstance(error, verdict.VerdictError):
        return []
    sites = [each.site for each in error.verdicts if each.failed and each.site is not None]
    return [(site.path, site.line) for site in sites]


def _first_line(error: BaseException) -> str:
    if isinstance(error, ImportError) and error.name:
        return f"{error}; try: pip install {error.name.partition('.')[0]}"
    with suppress(Exception):
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return type(error).__name__
