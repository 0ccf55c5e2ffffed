"""Leave out the findings that a project has accepted: its baseline file, and its ignores."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from querygrowth.suite.findings import Finding, Findings
from querygrowth.suite.settings import Ignore, Settings, SettingsError

_VERSION = 1
_FIELDS = ("rule", "place", "loop", "about")

Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Accepted:
    """What a project has accepted.

    Attributes:
        baseline: The findings of the baseline, and the tests that showed them, by key.
        ignores: The ignores that hold.
        expired: The ignores whose last day has passed. They hold no more.
    """

    baseline: dict[Key, tuple[str, ...]]
    ignores: tuple[Ignore, ...]
    expired: tuple[Ignore, ...]

    def is_known(self, finding: Finding) -> bool:
        """Whether the baseline holds a finding."""
        return finding.key in self.baseline

    def ignore_of(self, finding: Finding) -> Ignore | None:
        """The ignore that fits a finding."""
        return next((each for each in self.ignores if fits(each, finding)), None)


def fits(ignore: Ignore, finding: Finding) -> bool:
    """Whether an ignore is about a finding: by the place of its statements or of its loop."""
    if ignore.rule and ignore.rule != finding.rule:
        return False
    if ignore.about and ignore.about not in (finding.about, finding.table):
        return False
    pattern = ignore.place if "::" in ignore.place else f"{ignore.place}::*"
    return any(fnmatchcase(place, pattern) for place in (finding.place, finding.loop) if place)


def read_accepted(settings: Settings, *, today: date, writing: bool) -> Accepted:
    """Read what a project has accepted.

    Args:
        settings: The settings of the project.
        today: The day, for ignores that expire.
        writing: Whether the baseline is about to be written, and may be missing.

    Raises:
        SettingsError: The baseline is missing or cannot be read.
    """
    path = settings.baseline
    baseline: dict[Key, tuple[str, ...]] = {}
    if path.exists():
        try:
            baseline = _read(path)
        except SettingsError:
            if not writing:
                raise
    elif settings.baseline_is_named and not writing:
        raise SettingsError(
            f"there is no baseline {path}; write it with: pytest --queries --queries-baseline=write"
        )
    holds = {each: each.expires is None or each.expires >= today for each in settings.ignores}
    return Accepted(
        baseline,
        tuple(each for each in settings.ignores if holds[each]),
        tuple(each for each in settings.ignores if not holds[each]),
    )


def _read(path: Path) -> dict[Key, tuple[str, ...]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        version, entries = content["version"], content["findings"]
        read = {
            tuple(str(entry.get(name, "")) for name in _FIELDS): tuple(map(str, entry["tests"]))
            for entry in entries
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"cannot read the baseline {path}: {type(error).__name__}: {error}; write it again "
            "with: pytest --queries --queries-baseline=write"
        ) from None
    if version != _VERSION:
        raise SettingsError(
            f"the baseline {path} has version {version}, and this querygrowth reads {_VERSION}"
        )
    return read  # type: ignore[return-value]  # a tuple of as many texts as there are fields


def write_baseline(
    path: Path, findings: Iterable[Finding], before: Accepted, tests_run: set[str]
) -> int:
    """Write the findings of a run as the baseline.

    Entries of tests that did not run are kept, so that a part of the suite can be written.

    Args:
        path: The file.
        findings: The findings of the run, without those that an ignore fits.
        before: The baseline until now.
        tests_run: The node IDs of the tests that ran.

    Returns:
        The number of entries.

    Raises:
        OSError: The file cannot be written.
    """
    entries = {key: tests for key, tests in before.baseline.items() if tests_run.isdisjoint(tests)}
    entries |= {finding.key: finding.tests for finding in findings}
    content = {
        "version": _VERSION,
        "findings": [
            {
                **{name: text for name, text in zip(_FIELDS, key, strict=True) if text},
                "tests": list(tests),
            }
            for key, tests in sorted(entries.items())
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return len(entries)


@dataclass(frozen=True)
class Sorted:
    """The findings of a run, by what a project has accepted.

    Attributes:
        new: Those to report.
        known: How many the baseline holds.
        ignored: How many an ignore fits.
        unused: The ignores that fit no finding.
    """

    new: tuple[Finding, ...]
    known: int
    ignored: int
    unused: tuple[Ignore, ...]


def sort_findings(findings: Findings, accepted: Accepted) -> Sorted:
    """Separate the findings to report from those that a project has accepted."""
    ignores = {finding.key: accepted.ignore_of(finding) for finding in findings}
    left = [finding for finding in findings if ignores[finding.key] is None]
    new = tuple(finding for finding in left if not accepted.is_known(finding))
    used = set(ignores.values())
    return Sorted(
        new,
        known=len(left) - len(new),
        ignored=len(findings) - len(left),
        unused=tuple(each for each in accepted.ignores if each not in used),
    )
