"""The suite report in words, and as JSON, SARIF, GitHub annotations and Markdown."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from querygrowth.places.call_sites import CallSite
from querygrowth.reports import Reported, Rule, plain, sarif_log, site_within, visible
from querygrowth.suite.accepted import Sorted
from querygrowth.suite.findings import Finding
from querygrowth.suite.rules import RULES, Level
from querygrowth.suite.settings import Ignore
from querygrowth.verdict import Outcome, Verdict

_VERSION = 1
_MOST_TOGETHER = 5  # lines for further findings of one loop, or in test code
_LONGEST_TITLE = 120  # characters of a finding that is shown with others
_MEANING = (
    "A pattern is what the rows of these tests repeat. Only query_growth proves that it grows."
)


@dataclass
class Totals:
    """What was watched.

    Attributes:
        tests: The tests whose bodies were watched.
        queries: The queries that they sent.
        notes: What has to be said of tests, such as why they were not watched, and the first of
            these tests with their number.
        expired: The ignores that hold no more.
    """

    tests: int = 0
    queries: int = 0
    notes: dict[str, tuple[str, int]] = field(default_factory=dict)
    expired: tuple[Ignore, ...] = ()


def lines_of(finding: Finding) -> Iterator[str]:
    """Yield the lines that explain a finding, the title first."""
    return map(visible, _lines_of(finding))


def _lines_of(finding: Finding) -> Iterator[str]:
    yield f"{_certainty(finding)}{finding.title}"
    yield f"  sent at: {finding.site}"
    if finding.loop_site is not None:
        yield f"  in the loop at: {finding.loop_site}"
    yield from (f"  {line}" for line in finding.evidence)
    if finding.tests:
        yield f"  {tests_of(finding)}"
    if finding.proven_by:
        yield f"  proven to grow by: {', '.join(finding.proven_by)}"
    yield f"  fix: {finding.fix}"


def _certainty(finding: Finding) -> str:
    return "proven " if finding.proven_by else ""


def tests_of(finding: Finding) -> str:
    """The tests that show a finding, in words."""
    more = finding.test_count - len(finding.tests)
    shown = ", ".join(finding.tests) + (f", and {more} more" if more > 0 else "")
    return f"{number_of(finding.test_count, 'test')}: {shown}"


def _shortened(title: str) -> str:
    return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 3]}..."


def number_of(number: int, name: str) -> str:
    """A number of things in words."""
    return f"{number:,} {name}" + ("" if number == 1 else "s")


def summary(totals: Totals, found: Sorted) -> str:
    """The report in one line."""
    queries = "query" if totals.queries == 1 else "queries"
    watched = f"{number_of(totals.tests, 'test')} watched, {totals.queries:,} {queries}"
    places = len({finding.loop or finding.place for finding in found.new})
    at = f" in {number_of(places, 'place')}" if places else ""
    parts = [f"{watched}: {number_of(len(found.new), 'finding')}{at}"]
    if found.known:
        parts.append(f"{found.known} in the baseline")
    if found.ignored:
        parts.append(f"{found.ignored} ignored")
    return ", ".join(parts)


def terminal_lines(totals: Totals, found: Sorted) -> Iterator[str]:
    """Yield the lines of the report."""
    yield summary(totals, found)
    application = [finding for finding in found.new if not finding.in_test_code]
    in_tests = [finding for finding in found.new if finding.in_test_code]
    for first, others in _by_place(application):
        yield ""
        yield from lines_of(first)
        if others:
            yield f"  also {'in this loop' if first.loop else 'here'}:"
            for each in others[:_MOST_TOGETHER]:
                yield visible(f"    {_shortened(each.title)} ({each.site})")
            if len(others) > _MOST_TOGETHER:
                yield f"    and {len(others) - _MOST_TOGETHER} more"
    if in_tests:
        yield ""
        yield f'in test code ({number_of(len(in_tests), "place")}; test-code = "off" hides them):'
        for finding in in_tests[:_MOST_TOGETHER]:
            yield visible(f"  {_shortened(finding.title)}")
            yield visible(f"    sent at: {finding.site}; {tests_of(finding)}")
        if len(in_tests) > _MOST_TOGETHER:
            yield f"  and {len(in_tests) - _MOST_TOGETHER} more"
    notes = list(map(visible, _notes(totals, found)))
    if notes:
        yield ""
        yield from notes
    if any(RULES[finding.rule].threshold > 1 for finding in application):
        yield ""
        yield _MEANING


def _by_place(findings: Sequence[Finding]) -> Iterator[tuple[Finding, Sequence[Finding]]]:
    """Yield the findings of a loop, or of a function, together: one cause has many statements."""
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        places.setdefault(finding.loop or finding.place, []).append(finding)
    for group in places.values():
        yield group[0], group[1:]


def _notes(totals: Totals, found: Sorted) -> Iterator[str]:
    for text, (test, count) in totals.notes.items():
        yield f"{test}{f' and {count - 1} more' if count > 1 else ''}: {text}"
    for ignore in totals.expired:
        yield f"expired on {ignore.expires}, and ignores nothing any more: {ignore}"
    for ignore in found.unused:
        yield f"ignores nothing in this run: {ignore}"


def as_json(
    totals: Totals, found: Sorted, root: Path, grown: Mapping[str, object] | None = None
) -> str:
    """The report for programs.

    Args:
        totals: What was watched.
        found: The findings.
        root: The root of the project, to which paths are relative.
        grown: What the growing run has shown; None without one.

    Returns:
        JSON text: `version` (1), `tests`, `queries`, `baseline` and `ignored` (numbers), and
        `findings`, each with `rule`, `level`, `about`, `table`, `place`, `file`, `line`,
        `function`, `loop`, `most`, `tests`, `test_count`, `in_test_code`, `proven_by`, `evidence`
        and `fix`. With a growing run, `grown` has what it has shown.
    """
    content: dict[str, object] = {
        "version": _VERSION,
        "tests": totals.tests,
        "queries": totals.queries,
        "baseline": found.known,
        "ignored": found.ignored,
        "findings": [plain_finding(finding, root) for finding in found.new],
    }
    if grown is not None:
        content["grown"] = grown
    return json.dumps(content, indent=1) + "\n"


def plain_finding(finding: Finding, root: Path) -> Mapping[str, object]:
    """A finding for programs, with its path relative to the root."""
    site = site_within(finding.site, root) or finding.site
    values = finding.to_plain()
    del values["site"], values["loop_site"]
    return {**values, "file": site.path, "line": site.line, "function": site.function}


def reported(findings: Iterable[Finding]) -> Iterator[Reported]:
    """Yield findings in the form that SARIF, GitHub annotations and Markdown are written from.

    A finding that fails its tests is failed. Any other one is inconclusive: a pattern proves
    nothing.
    """
    for finding in findings:
        lines = [line.strip() for line in lines_of(finding)][1:-1]
        failed = finding.level is Level.ERROR
        yield Reported(
            finding.rule,
            Verdict(
                subject=finding.about,
                outcome=Outcome.FAILED if failed else Outcome.INCONCLUSIVE,
                expected=f"fewer than {RULES[finding.rule].threshold} in one call"
                if RULES[finding.rule].threshold > 1
                else "none",
                seen=f"{_certainty(finding)}{finding.title}",
                evidence=tuple(lines[1:]),
                next_step=finding.fix,
                site=finding.site,
                kind=finding.rule,
            ),
            is_note=finding.level is Level.REPORT,
        )


def as_sarif(found: Iterable[Reported], rules: Mapping[str, Rule], root: Path) -> str:
    """Findings as a SARIF 2.1.0 log.

    Args:
        found: The findings.
        rules: The rules of the growing run, if there was one.
        root: The root of the project, to which paths are relative.
    """
    described = {rule.name: Rule(rule.text) for rule in RULES.values()} | dict(rules)
    return sarif_log(found, tool="querygrowth", rules=described, root=root)


def as_markdown(totals: Totals, found: Sorted, root: Path) -> str:
    """The report as a Markdown section, for the summary of a job."""
    lines = ["## Queries", "", f"{plain(summary(totals, found))}.", ""]
    if found.new:
        lines += ["| rule | about | most in one call | sent at | tests | fix |"]
        lines += ["|---|---|---|---|---|---|"]
    for finding in found.new:
        cells = (
            f"{finding.rule}{' (test code)' if finding.in_test_code else ''}",
            finding.about,
            str(finding.most) if RULES[finding.rule].threshold > 1 else "",
            _shown(finding.site, root),
            tests_of(finding),
            finding.fix,
        )
        lines.append(f"| {' | '.join(map(plain, cells))} |")
    notes = list(_notes(totals, found))
    lines += ["", *(f"- {plain(note)}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def _shown(site: CallSite, root: Path) -> str:
    return str(site_within(site, root) or site)
