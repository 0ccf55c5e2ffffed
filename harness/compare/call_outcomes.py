"""The first difference between two exporters that performed the same call script.

The outcomes of `call_script.perform` are compared step by step: records, errors, groups and files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

from harness.compare.capture import Spool
from harness.compare.difference import Difference, Kind
from harness.compare.exports import first_difference
from harness.compare.records import Records, WithoutTime
from harness.exporters.probe.call_script import Outcome
from harness.exporters.probe.folders import TARGETS

Step: TypeAlias = Mapping[str, Any]
"""One step of a call script."""

_REFUSALS_OF_JOBS = frozenset(("ParallelExportError", "NotImplementedError", "ValueError"))
"""Classes of errors by which an exporter may refuse several jobs: they are an option."""


@dataclass(frozen=True)
class CallScript:
    """A named sequence of calls.

    Attributes:
        name: The script in a few words, as verdicts name it.
        steps: The calls.
        next_step: Where to look when an exporter fails it.
    """

    name: str
    steps: tuple[Step, ...]
    next_step: str = ""


@dataclass(frozen=True)
class Performance:
    """A script that an exporter performed: one outcome a step, and the folder of its files."""

    script: CallScript
    outcomes: Sequence[Outcome]
    directory: Path

    @property
    def takes_clock(self) -> bool:
        """Whether the exporter takes a clock, so that manifests can be compared to the byte."""
        return all(each.get("takes_clock", True) for each in self.outcomes)

    @property
    def wrote_all_files(self) -> bool:
        """Whether the exporter has all methods that steps call, and did not refuse several jobs."""
        pairs = zip(self.script.steps, self.outcomes, strict=True)
        return not any("missing" in found or _refuses_jobs(step, found) for step, found in pairs)

    def records(self, number: int) -> Records:
        """Return the records of a step by its place; none if it wrote no file of records."""
        name = self.outcomes[number].get("records")
        return Spool(self.directory / name) if name else ()

    def content(self, number: int) -> bytes:
        """Return the file of records of a step; empty if it wrote none."""
        name = self.outcomes[number].get("records")
        return (self.directory / name).read_bytes() if name else b""


@dataclass(frozen=True)
class CallDifference:
    """The first difference between two performances, and the step that shows it, from 0."""

    difference: Difference
    script: CallScript
    number: int

    @property
    def headline(self) -> str:
        """The difference and the script, on one line."""
        return f"{self.difference.headline}: {self.script.name}"

    @property
    def kind(self) -> str:
        """The kind of the difference; empty for an error that only one of the two raised."""
        one_sided = "no error" in (self.difference.expected, self.difference.found)
        return "" if one_sided else self.difference.kind.value

    @property
    def evidence(self) -> tuple[str, ...]:
        """The expected and the found value, and the calls up to the difference."""
        calls = self.script.steps[: self.number + 1]
        return (*self.difference.evidence, *(f"call       {described(each)}" for each in calls))


def described(step: Step) -> str:
    """Return a step as a call: `export('a', run_id='r', sign=True)`."""
    arguments = ", ".join(
        f"{name}={value!r:.40}" for name, value in step.items() if name not in ("step", "key")
    )
    return f"{step['step']}({arguments})"


def first_difference_in_calls(
    control: Performance, candidate: Performance
) -> CallDifference | None:
    """Compare two performances of one script, step by step.

    A method that the candidate does not have is not compared. The class of an error is compared as
    far as callers can rely on it: a ValueError has to be one.
    """
    # The key of the exporter that an exporter or an iterator of a step belongs to, by their names.
    keys: dict[str, str | None] = {}
    for number, step in enumerate(control.script.steps):
        if step["step"] == "build":
            keys[step["exporter"]] = step["key"]
        elif step["step"] == "open":
            keys[step["iterator"]] = keys[step["exporter"]]
        key = keys.get(step.get("exporter", step.get("iterator", "")))
        difference = _in_step(control, candidate, number, key)
        if difference is not None:
            return CallDifference(difference, control.script, number)
    return None


def error_text(outcome: Outcome) -> str:
    """Return the error of an outcome on one line; `no error` if there is none."""
    error = outcome["error"]
    if error is None:
        return "no error"
    lines = error["message"].splitlines()
    return f"{error['classes'][0]}: {lines[0] if lines else ''}"


def difference_in_records(
    control: Performance, candidate: Performance, numbers: tuple[int, int], key: str | None
) -> Difference | None:
    """Compare the records of a step of each performance.

    Args:
        control: The control's performance.
        candidate: The candidate's performance.
        numbers: The step of the control, and that of the candidate.
        key: The signing key in hexadecimal digits.
    """
    expected, found = numbers
    # Most steps have equal files, which is quicker to see than equal records.
    if control.content(expected) == candidate.content(found):
        return None
    sides = (control.records(expected), candidate.records(found))
    if not candidate.takes_clock and key is not None:
        secret = bytes.fromhex(key)
        # Only the control shows the offset of a clock that a script has set.
        sides = (WithoutTime(sides[0], secret, True), WithoutTime(sides[1], secret))
    return first_difference(*sides)


def difference_in_files(
    control: Performance, candidate: Performance, number: int, *, contents: bool = True
) -> Difference | None:
    """Compare the files that a step lists, by name, form and mode, and by their contents if asked.

    Args:
        control: The control's performance.
        candidate: The candidate's performance.
        number: The step.
        contents: Whether to compare the contents of the files.
    """
    if TARGETS not in control.outcomes[number] or not candidate.wrote_all_files:
        return None
    # The manifest of an exporter without a clock has another time.
    signs = any(each.get("sign") for each in control.script.steps)
    with_content = contents and (candidate.takes_clock or not signs)
    files = (_files(control.outcomes[number]), _files(candidate.outcomes[number]))
    for name in sorted({*files[0], *files[1]}):
        wanted, seen = files[0].get(name), files[1].get(name)
        if wanted is None:
            return Difference(Kind.EXTRA_FILE, "no file", "a file", place=name)
        if seen is None:
            return Difference(Kind.MISSING_FILE, "a file", "none", place=name)
        if _form(wanted[1]) != _form(seen[1]):
            kind = Kind.MISSING_FILE if _form(wanted[1]) == "a file" else Kind.EXTRA_FILE
            return Difference(kind, _form(wanted[1]), _form(seen[1]), place=name)
        if wanted[0] != seen[0]:
            return Difference(Kind.MODE, f"mode {wanted[0]}", f"mode {seen[0]}", place=name)
        if with_content and wanted[1] != seen[1]:
            paths = [each.directory / TARGETS / name for each in (control, candidate)]
            return _first_different_line(name, *paths)
    return None


def _in_step(
    control: Performance, candidate: Performance, number: int, key: str | None
) -> Difference | None:
    expected, found = control.outcomes[number], candidate.outcomes[number]
    step = control.script.steps[number]
    if "missing" in expected or "missing" in found or _refuses_jobs(step, found):
        return None
    return (
        _in_errors(expected, found)
        or _in_groups(expected, found)
        or difference_in_records(control, candidate, (number, number), key)
        or difference_in_files(control, candidate, number)
    )


def _refuses_jobs(step: Step, found: Outcome) -> bool:
    error = found["error"]
    return "jobs" in step and error is not None and error["classes"][0] in _REFUSALS_OF_JOBS


def _in_errors(expected: Outcome, found: Outcome) -> Difference | None:
    wanted, seen = expected["error"], found["error"]
    if wanted is None and seen is None:
        return None
    both = wanted is not None and seen is not None
    if both and ("ValueError" not in wanted["classes"] or "ValueError" in seen["classes"]):
        return None
    return Difference(Kind.ERROR, error_text(expected), error_text(found))


def _in_groups(expected: Outcome, found: Outcome) -> Difference | None:
    wanted, seen = expected.get("groups"), found.get("groups")
    if wanted == seen:
        return None
    return Difference(Kind.ORDER, f"{wanted}", f"{seen}", place="groups")


def _files(outcome: Outcome) -> dict[str, tuple[str, str]]:
    return {name: (mode, content) for name, mode, content in outcome[TARGETS]}


def _form(content: str) -> str:
    return f"a {content}" if content == "folder" or content.startswith("link to ") else "a file"


def _first_different_line(name: str, control: Path, candidate: Path) -> Difference:
    # A later step may have replaced the files. Then only the fact of the difference remains.
    lines = [
        path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        for path in (control, candidate)
    ]
    for number, (wanted, seen) in enumerate(zip_longest(*lines), start=1):
        if wanted != seen:
            return Difference(
                Kind.BYTES, _line_text(wanted), _line_text(seen), place=name, number=number
            )
    return Difference(Kind.BYTES, "the control's bytes", "other bytes", place=name)


def _line_text(line: bytes | None) -> str:
    return "the end of the file" if line is None else repr(line)[1:]
