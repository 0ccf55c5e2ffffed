"""Results as Markdown: the summary of a CI job."""

import re
from collections.abc import Iterator

from harness.bench.results import Judgement, Results
from harness.report.text import (
    OUTCOME_WORDS,
    bytes_line,
    headline,
    measurement_cells,
    speed_line,
)

_LINKED = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp)(?=:)|\bwww(?=\.)")
"""What GitHub makes a link of, without any markup."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-!|<>&~@])")


def render_markdown(results: Results) -> str:
    """Render a summary: how it came out, failures explained, numbers, every verdict."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield f"# Landscape export: {results.outcome.value}"
    yield ""
    yield plain(headline(results))
    for each in results.failures:
        yield from _failure(each)
    if results.sizes:
        yield from _numbers(results)
    for name, formula in results.formulas.items():
        yield from ("", f"{plain(name)}: {code(f'queries = {formula}')}")
    yield from _verdicts(results)
    environment = results.environment
    measured_on = f"{environment.machine}; CPython {environment.python}, {environment.database}"
    yield from ("", plain(f"Measured on {measured_on}, revision {environment.commit}"))


def _failure(each: Judgement) -> Iterator[str]:
    verdict = each.verdict
    yield from ("", f"## {plain(f'{each.topic.value}: {verdict.subject}')}", "")
    yield f"**{plain(verdict.seen)}**"
    if verdict.evidence:
        yield from ("", *(f"    {one_line(line)}" for line in verdict.evidence))
    yield from ("", f"Expected: {plain(verdict.expected)}")
    if each.place:
        yield from ("", f"At: {code(str(each.place))}")
    if verdict.next_step:
        yield from ("", f"Look at: {plain(verdict.next_step)}")


def _numbers(results: Results) -> Iterator[str]:
    size = results.largest
    control, candidate = (measurement_cells(each, size.run.rows) for each in size.measurements)
    names = [plain(each.observation.subject) for each in size.measurements]
    yield from ("", f"## Both exporters, {size.run.rows:,} rows", "")
    yield f"| | control: {names[0]} | candidate: {names[1]} |"
    yield "|---|---:|---:|"
    for name, cell in control.items():
        yield f"| {name} | {plain(cell)} | {plain(candidate[name])} |"
    yield from ("", f"{plain(speed_line(results))}. Files {plain(bytes_line(results))}.")


def _verdicts(results: Results) -> Iterator[str]:
    yield from ("", "## Every verdict", "", "| | topic | about | expected | seen |")
    yield "|---|---|---|---|---|"
    for each in results.ordered_judgements:
        verdict = each.verdict
        cells = (each.topic.value, verdict.subject, verdict.expected, verdict.seen)
        yield f"| {OUTCOME_WORDS[verdict.outcome]} | {' | '.join(map(plain, cells))} |"


def plain(text: str) -> str:
    """Text of unknown origin that shows as itself: no markup, no mention, no line break."""
    escaped = _SPECIAL.sub(r"\\\1", one_line(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")
    return _LINKED.sub(r"\g<0>\\", escaped)


def code(text: str) -> str:
    """Text of unknown origin as a code span, whatever backticks are in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {one_line(text)} {fence}"


def one_line(text: str) -> str:
    """Text without line breaks and control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
