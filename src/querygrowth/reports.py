"""Verdicts as SARIF 2.1.0, GitHub annotations and Markdown, and the escaping that each needs.

The texts of verdicts hold names, SQL and error messages of unknown origin. A terminal, a browser or
GitHub's runner must not take a part of them for markup or a command.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from querygrowth.places.call_sites import CallSite
from querygrowth.verdict import Outcome, Verdict

# The outcomes that are reported, by the level that SARIF and GitHub have a common name for.
_LEVELS = {Outcome.FAILED: "error", Outcome.INCONCLUSIVE: "warning"}

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

# GitHub shows so many annotations of a step, and drops the others without a message.
_SHOWN_ANNOTATIONS = 10

# GitHub turns these into links without any markup.
_AUTOLINKED = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp)(?=:)|\bwww(?=\.)")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-!|<>&~@])")


@dataclass(frozen=True)
class Reported:
    """A verdict, and the name of the rule that it is about ("growth").

    Attributes:
        rule: The name.
        verdict: The verdict.
        is_note: Whether it is only worth a note: `note` in SARIF, `notice` on GitHub.
    """

    rule: str
    verdict: Verdict
    is_note: bool = False


@dataclass(frozen=True)
class Rule:
    """What a rule asks for, as code scanning shows it.

    Args:
        text: One short sentence.
        help: A paragraph: what a failure means, and what to do about it. May be empty.
        help_uri: The address of a page about the rule. May be empty.
    """

    text: str
    help: str = ""
    help_uri: str = ""

    def descriptor(self, name: str) -> dict[str, Any]:
        """The rule as a SARIF `reportingDescriptor`, by its name."""
        described: dict[str, Any] = {
            "id": _rule_id(name),
            "shortDescription": {"text": self.text},
        }
        if self.help:
            described["fullDescription"] = {"text": self.help}
            described["help"] = {"text": self.help}
        if self.help_uri:
            described["helpUri"] = self.help_uri
        return described


def visible(text: str, *, kept: str = "") -> str:
    """Escape control characters, so that all of the text is visible, on one line.

    Args:
        text: Text of unknown origin.
        kept: Control characters to leave as they are, such as line breaks.
    """
    # Among the characters that are not printable are those that a terminal obeys, those that change
    # the direction of writing, and lone surrogates, which UTF-8 cannot encode.
    return "".join(
        char
        if char.isprintable() or char in kept
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def visible_verdict(verdict: Verdict) -> Verdict:
    """The verdict with control characters escaped in all its texts."""
    site = verdict.site
    return replace(
        verdict,
        subject=visible(verdict.subject),
        expected=visible(verdict.expected),
        seen=visible(verdict.seen),
        evidence=tuple(map(visible, verdict.evidence)),
        next_step=visible(verdict.next_step),
        site=site and replace(site, path=visible(site.path), function=visible(site.function)),
    )


def site_within(site: CallSite | None, root: Path) -> CallSite | None:
    """The site with its path relative to a checkout, in POSIX form.

    A path that is relative already, as in a saved result, stays the same.

    Args:
        site: A line of source, or None.
        root: The checkout's root.

    Returns:
        None for a file outside `root` or in an installed library, whose line no report can show.
    """
    if site is None or "site-packages" in PurePath(site.path).parts:
        return None
    path = Path(site.path)
    if not path.is_absolute():
        return None if ".." in path.parts else site
    if not path.resolve().is_relative_to(root.resolve()):
        return None
    return replace(site, path=path.resolve().relative_to(root.resolve()).as_posix())


def with_relative_site(verdict: Verdict, root: Path) -> Verdict:
    """The verdict with its site as `site_within` gives it."""
    return replace(verdict, site=site_within(verdict.site, root))


def sarif_log(
    reported: Iterable[Reported], *, tool: str, rules: Mapping[str, str | Rule], root: Path
) -> str:
    """Write failed and inconclusive verdicts as a SARIF 2.1.0 log for code scanning.

    Args:
        reported: All verdicts, in the order in which to list them. Others are left out.
        tool: The name of the program that judged.
        rules: The rule by its name, or only the short sentence that describes it.
        root: The checkout's root. Paths in the log are relative to it ("SRCROOT").

    Returns:
        The log as JSON text with a line break at the end.
    """
    driver = {
        "name": tool,
        "rules": [
            (rule if isinstance(rule, Rule) else Rule(rule)).descriptor(name)
            for name, rule in rules.items()
        ],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The checkout's root"}}},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(entry, root) for entry in _with_level(reported)],
    }
    return (
        json.dumps({"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"
    )


def _sarif_result(reported: Reported, root: Path) -> dict[str, Any]:
    verdict = with_relative_site(reported.verdict, root)
    result: dict[str, Any] = {
        "ruleId": _rule_id(reported.rule),
        "level": "note" if reported.is_note else _LEVELS[verdict.outcome],
        # A "text" message may hold links, `[here](target)` (SARIF 2.1.0, section 3.11.6).
        "message": {"text": str(visible_verdict(verdict)).replace("](", "] (")},
    }
    if verdict.site:
        location = {
            "artifactLocation": {
                "uri": quote(verdict.site.path, errors="surrogateescape"),
                "uriBaseId": "SRCROOT",
            },
            "region": {"startLine": verdict.site.line},
        }
        result["locations"] = [{"physicalLocation": location}]
    return result


def _rule_id(name: str) -> str:
    return name.replace(" ", "-")


def _with_level(reported: Iterable[Reported]) -> list[Reported]:
    return [entry for entry in reported if entry.verdict.outcome in _LEVELS]


def annotations(reported: Iterable[Reported], *, root: Path) -> Iterator[str]:
    """Yield GitHub workflow commands that show failures at their lines of a pull request.

    Verdicts with a line come first. At most as many are yielded as GitHub shows.

    Args:
        reported: All verdicts, in order. Those that are neither failed nor inconclusive are left
            out.
        root: The checkout's root. GitHub takes paths as relative to it.
    """
    placed = [
        replace(entry, verdict=with_relative_site(entry.verdict, root))
        for entry in _with_level(reported)
    ]
    # The sort is stable: the caller's order holds within both groups.
    placed.sort(key=lambda entry: entry.verdict.site is None)
    yield from map(_annotation, placed[:_SHOWN_ANNOTATIONS])


def _annotation(reported: Reported) -> str:
    verdict = reported.verdict
    named = reported.rule in verdict.seen.partition(":")[0].split()
    properties = {"title": verdict.seen if named else f"{reported.rule}: {verdict.seen}"}
    if verdict.site:
        line = str(verdict.site.line)
        properties = {"file": verdict.site.path, "line": line, **properties}
    listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    level = "notice" if reported.is_note else _LEVELS[verdict.outcome]
    return f"::{level} {listed}::{_message(str(verdict))}"


def _message(text: str) -> str:
    """Escape control characters, and characters that end a command, as GitHub's toolkit does."""
    return visible(text, kept="\r\n").replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


@contextmanager
def commands_stopped(environ: Mapping[str, str], say: Callable[[str], object]) -> Iterator[None]:
    """Keep GitHub's runner from taking a line printed in the block for a workflow command.

    Args:
        environ: The environment. Outside GitHub's runner, nothing happens.
        say: Prints a line.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    # To the runner, `::error::` at the start of any line is a command. A random token switches
    # commands off and on again, so that no printed text can switch them on.
    token = secrets.token_hex()
    say(f"::stop-commands::{token}")
    try:
        yield
    finally:
        say(f"::{token}::")


def plain(text: str) -> str:
    """Text of unknown origin for Markdown, without markup, links, mentions and line breaks."""
    escaped = _MARKDOWN.sub(r"\\\1", visible(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")
    return _AUTOLINKED.sub(r"\g<0>\\", escaped)


def code(text: str) -> str:
    """Text of unknown origin as a code span in Markdown. It may contain backticks."""
    # A code span ends at a run of as many backticks as began it, so the fence is one longer than
    # any run in the text (CommonMark, section 6.1).
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {visible(text)} {fence}"


def markdown_failure(reported: Reported, *, root: Path) -> Iterator[str]:
    """Yield the lines of a Markdown section that explains one failure.

    Args:
        reported: The failure.
        root: The checkout's root. Paths are shown relative to it.
    """
    verdict = with_relative_site(reported.verdict, root)
    yield from (f"## {plain(f'{reported.rule}: {verdict.subject}')}", "")
    yield f"**{plain(verdict.seen)}**"
    if verdict.evidence:
        yield from ("", *(f"    {visible(line)}" for line in verdict.evidence))
    if verdict.site:
        yield from ("", f"At: {code(str(verdict.site))}")
    yield from ("", f"Expected: {plain(verdict.expected)}")
    if verdict.next_step:
        yield from ("", f"Look at: {plain(verdict.next_step)}")


def markdown_table(reported: Iterable[Reported]) -> Iterator[str]:
    """Yield the lines of a Markdown table with one row for a verdict."""
    yield from ("| outcome | topic | about | expected | seen |", "|---|---|---|---|---|")
    for entry in reported:
        verdict = entry.verdict
        cells = (entry.rule, verdict.subject, verdict.expected, verdict.seen)
        yield f"| {verdict.outcome.value} | {' | '.join(map(plain, cells))} |"
