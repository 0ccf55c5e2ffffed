"""The errors of an export: the exporter did not finish it, or the harness could not run it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from querygrowth.places.call_sites import CallSite
from querygrowth.reports import visible
from querygrowth.verdict import CRASH, Outcome, Verdict

_SHOWN_FRAMES = 3


HANG = "hang"
"""The kind of a failed verdict on an export that did not end in time."""

OTHER_DESCRIPTOR = "it wrote to a descriptor that is not its own"
"""What is said of an exporter that wrote to a pipe or a file of the harness."""

UNNAMED = "the exporter"
"""The name in an error that is found in a file, and not at the exporter."""


class ExportFailedError(Exception):
    """An exporter raised an error, or its process ended, hung or answered nonsense.

    Attributes:
        verdict: The failed verdict, in one line, with the line of the exporter if one is known.
    """

    def __init__(
        self,
        name: str,
        seen: str,
        *,
        frames: Sequence[CallSite] = (),
        timed_out: bool = False,
    ) -> None:
        """Keep the failure as a verdict.

        Args:
            name: The exporter's name.
            seen: What it did, such as "it raised KeyError: 'x'".
            frames: The lines of its files that an error passed through, the outermost first.
            timed_out: Whether it did not end in time.
        """
        message = visible(seen)
        # The last line of its own files: a library below it raised, but was called from there.
        site = frames[-1] if frames else None
        self.verdict = Verdict(
            name,
            Outcome.FAILED,
            expected="an export that ends without an error",
            seen=message,
            evidence=tuple(f"called from {each}" for each in frames[-2 : -2 - _SHOWN_FRAMES : -1]),
            next_step="the line of the exporter that raised" if site else "",
            site=site,
            kind=HANG if timed_out else CRASH,
        )
        super().__init__(f"{name}: {message}{f' at {site}' if site else ''}")


class NotCountedError(ExportFailedError):
    """An exporter hid from the counters of the harness what it did, so that no count may pass."""

    def __init__(self, name: str, reason: str) -> None:
        """Keep the reason, in words that follow "not counted"."""
        super().__init__(name, f"not counted: {reason}")
        self.verdict = replace(
            self.verdict,
            expected="an export that can be counted",
            next_step="a progress handler, trace callback or trace function that the exporter sets",
            kind="",
        )


def refuse_replaced_hooks(name: str, hooks: Sequence[str]) -> None:
    """Refuse counts that are too low, since they could not fail.

    Args:
        name: The exporter's name.
        hooks: The hooks of counters that the exporter replaced, in words.

    Raises:
        NotCountedError: There are any.
    """
    if hooks:
        raise NotCountedError(
            name, f"it took the place of {' and of '.join(hooks)}, by which the harness counts"
        )


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file that was written in the process of an exporter.

    Raises:
        ExportFailedError: The file holds something else. The harness writes records only, so that
            the exporter wrote to the file itself.
    """
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise ExportFailedError(UNNAMED, OTHER_DESCRIPTOR)
            yield record


class BrokenRunnerError(Exception):
    """The harness itself could not go on, which says nothing about the exporter."""
