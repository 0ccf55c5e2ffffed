"""Failures as GitHub workflow commands, which show on the very line of a pull request."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from harness.bench.results import Judgement, Results
from harness.report.text import visible
from querygrowth.verdict import Outcome

_COMMANDS = {Outcome.FAILED: "error", Outcome.INCONCLUSIVE: "warning"}
_SHOWN = 10
"""GitHub shows so many annotations of a step, and drops the others without a word."""


def render_annotations(results: Results) -> Iterator[str]:
    """Yield one workflow command for each failure, and each thing that could not be decided.

    Those that point at a line come first, and only so many as GitHub shows.
    """
    reported = [each for each in results.ordered_judgements if each.verdict.outcome in _COMMANDS]
    placed_first = sorted(reported, key=lambda each: each.place is None)
    yield from map(_annotation, placed_first[:_SHOWN])


@contextmanager
def commands_stopped(environ: Mapping[str, str], say: Callable[[str], object]) -> Iterator[None]:
    """Have GitHub take no line of the block for a workflow command, wherever it came from.

    What is printed shows names and SQL of unknown origin, and `::error::` at the start of a line
    is a command to its runner. Elsewhere nothing is said.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    token = secrets.token_hex()
    say(f"::stop-commands::{token}")
    try:
        yield
    finally:
        say(f"::{token}::")


def _annotation(each: Judgement) -> str:
    verdict = each.verdict
    properties = {"title": f"{each.topic.value}: {verdict.seen}"}
    if each.place:
        properties = {"file": each.place.path, "line": str(each.place.line), **properties}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[verdict.outcome]} {listed}::{_message(str(verdict))}"


def _message(text: str) -> str:
    """Escape what would end the command, as GitHub's toolkit does, and what a log would obey."""
    return visible(text, kept="\r\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
