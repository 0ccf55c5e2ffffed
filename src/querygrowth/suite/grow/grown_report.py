"""The growing run in words, and as values for JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from querygrowth.reports import Reported, Rule, code, plain, site_within, visible
from querygrowth.suite.accepted import Accepted
from querygrowth.suite.findings import Finding, Findings
from querygrowth.suite.grow.process import GrowingRun
from querygrowth.suite.report import lines_of, number_of, plain_finding, tests_of
from querygrowth.suite.rules import ROW_BY_ROW_WRITE
from querygrowth.verdict import Outcome, Verdict

GROWTH_RULE: Mapping[str, Rule] = {
    "growth": Rule(
        "the statements of a line grow with the rows",
        "The tests were run again with their rows copied. The line sent more statements in one "
        "call when each row was there twice, and more again when it was there four times.",
    )
}
_MEANING = "Growth is reported here. It changes no outcome and no exit code."


@dataclass(frozen=True)
class GrownFinding:
    """Statements of one place that grew, with the counts of the test that shows most.

    Attributes:
        finding: The place, the tests, the evidence and the fix.
        control: The most statements in one call without copies.
        one: The same with one copy of each row.
        three: The same with three copies.
        rows: What was copied in words.
        test_to_paste: The source of a `query_growth` test; may be empty.
        paste_beside: The test beside which to paste it.
    """

    finding: Finding
    control: int
    one: int
    three: int
    rows: str
    test_to_paste: str
    paste_beside: str

    @property
    def counts(self) -> str:
        """The statements in one call without copies, with one copy and with three."""
        return f"{self.control} -> {self.one} -> {self.three}"


@dataclass
class GrownReport:
    """What the growing run has shown.

    Attributes:
        tests: How many tests were to be run again.
        judged: How many were judged.
        stopped_early: How many of these ended in a failed assertion in all runs with copies.
        runs: How often tests were run in all.
        reasons: Why tests were not judged, with their number.
        failure: Why the run ended early; may be empty.
        found: The findings, also those of the baseline, which only says that they are known.
        ignored: The number of findings that an ignore fits.
    """

    tests: int
    judged: int = 0
    stopped_early: int = 0
    runs: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    failure: str = ""
    found: list[GrownFinding] = field(default_factory=list)
    ignored: int = 0


def grown_report(run: GrowingRun, accepted: Accepted) -> GrownReport:
    """Merge what the tests show by place.

    Args:
        run: The growing run.
        accepted: The ignores of the project.
    """
    report = GrownReport(run.tests, failure=run.failure)
    merged = Findings()
    strongest: dict[tuple[str, ...], tuple[dict[str, Any], str]] = {}
    for result in run.results:
        if not result.get("judged"):
            report.reasons[result["reason"]] += 1
            continue
        report.judged += 1
        report.stopped_early += result["stopped_early"]
        report.runs += result["runs"]
        for each in result["found"]:
            finding = Finding.from_plain(each["finding"])
            merged.add([finding], result["test"])
            known = strongest.get(finding.key)
            if known is None or each["three"] > known[0]["three"]:
                strongest[finding.key] = (each, result["test"])
    missing = run.tests - len(run.results)
    if missing:
        report.reasons["the growing run ended before it"] += missing
    for finding in merged:
        if accepted.ignore_of(finding):
            report.ignored += 1
            continue
        values, test = strongest[finding.key]
        own = {name: values[name] for name in ("control", "one", "three", "rows", "test_to_paste")}
        found = replace(finding, most=values["three"])
        report.found.append(GrownFinding(found, **own, paste_beside=test))
    return report


def grown_lines(report: GrownReport) -> Iterator[str]:
    """Yield the lines of the report."""
    yield ""
    yield summary(report)
    reads = [each for each in report.found if each.finding.rule != ROW_BY_ROW_WRITE.name]
    writes = [each for each in report.found if each.finding.rule == ROW_BY_ROW_WRITE.name]
    for each in (*reads, *writes):
        yield ""
        yield from _lines_of(each)
    if report.reasons or report.failure:
        yield ""
    if report.failure:
        yield visible(f"the growing run failed: {report.failure}")
    for reason, count in report.reasons.most_common():
        yield visible(f"not judged, {number_of(count, 'test')}: {reason}")
    if report.stopped_early:
        stopped = number_of(report.stopped_early, "test")
        yield f"judged up to a failed assertion, {stopped}: copies of rows were not expected there"
    yield ""
    yield _MEANING


def summary(report: GrownReport) -> str:
    """The report in one line."""
    tests = number_of(report.tests, "test")
    found = number_of(len(report.found), "place")
    ignored = f", {report.ignored} ignored" if report.ignored else ""
    return (
        f"{tests} run again with rows copied, {report.judged:,} judged: "
        f"statements grow at {found}{ignored}"
    )


def _lines_of(grown: GrownFinding) -> Iterator[str]:
    finding = grown.finding
    title, *rest = lines_of(finding)
    yield f"grows: {title}"
    yield visible(
        f"  statements in one call: {grown.counts} with {grown.rows} there once, twice, four times"
    )
    yield from rest
    if grown.test_to_paste:
        yield visible(f"  a test that holds it, to paste beside {grown.paste_beside}:")
        for line in grown.test_to_paste.splitlines():
            yield f"    {visible(line)}".rstrip()


def reported_growth(report: GrownReport) -> Iterator[Reported]:
    """Yield the findings as notes for SARIF and GitHub annotations. None of them fails a build."""
    for each in report.found:
        finding = each.finding
        _, _, *evidence, _ = (line.strip() for line in lines_of(finding))
        verdict = Verdict(
            subject=finding.about,
            outcome=Outcome.INCONCLUSIVE,
            expected="as many statements in one call with any number of rows",
            seen=f"{finding.rule}: {finding.about} grows, {each.counts}",
            evidence=(
                f"statements in one call with {each.rows} there once, twice, four times",
                *evidence,
            ),
            next_step=finding.fix,
            site=finding.site,
            kind="growth",
        )
        yield Reported("growth", verdict, is_note=True)


def grown_markdown(report: GrownReport, root: Path) -> Iterator[str]:
    """Yield the lines of a Markdown section, for the summary of a job.

    Args:
        report: The report.
        root: The root of the project, to which paths are relative.
    """
    yield from ("## Growth", "", f"{plain(summary(report))}. {_MEANING}")
    if report.found:
        yield from ("", "| rule | about | in one call | with | sent at | tests | fix |")
        yield "|---|---|---|---|---|---|---|"
    for each in report.found:
        finding = each.finding
        site = str(site_within(finding.site, root) or finding.site)
        cells = (each.counts, each.rows, site, tests_of(finding), finding.fix)
        yield f"| {' | '.join(map(plain, (finding.rule, finding.about, *cells)))} |"
    for each in report.found:
        if each.test_to_paste:
            yield from ("", f"A test that holds it, to paste beside {code(each.paste_beside)}:")
            yield from ("", *(f"    {visible(line)}" for line in each.test_to_paste.splitlines()))
    notes = [
        f"not judged, {number_of(n, 'test')}: {why}" for why, n in report.reasons.most_common()
    ]
    notes += [f"the growing run failed: {report.failure}"] if report.failure else []
    yield from ("", *(f"- {plain(note)}" for note in notes)) if notes else ()


def as_plain(report: GrownReport, root: Path) -> Mapping[str, Any]:
    """The report as values for JSON; each finding with its counts and the test to paste.

    Args:
        report: The report.
        root: The root of the project, to which paths are relative.
    """
    return {
        "tests": report.tests,
        "judged": report.judged,
        "stopped_early": report.stopped_early,
        "runs": report.runs,
        "not_judged": dict(report.reasons),
        "failure": report.failure,
        "ignored": report.ignored,
        "findings": [
            {
                **plain_finding(each.finding, root),
                "control": each.control,
                "one": each.one,
                "three": each.three,
                "rows": each.rows,
                "test_to_paste": each.test_to_paste,
                "paste_beside": each.paste_beside,
            }
            for each in report.found
        ],
    }
