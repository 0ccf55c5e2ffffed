"""Keep each test's statements in a file beside the test, and compare them (`--queries-record`).

The order of statements is not compared, because threads and tasks change it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_VERSION = 1
_SUFFIX = ".queries.json"
_AGAIN = "pytest --queries-record=write"


class RecordError(ValueError):
    """A file of records that cannot be read. The message is one line."""


def record_file(test_file: Path) -> Path:
    """The file that holds the records of a test file."""
    return test_file.with_suffix(_SUFFIX)


def read_records(path: Path) -> dict[str, list[str]]:
    """Read the statements of the tests of one file, by the name of the test.

    Args:
        path: The file; without it there are no records.

    Raises:
        RecordError: The file cannot be read.
    """
    if not path.exists():
        return {}
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        tests = {
            str(test): [str(line) for line in lines] for test, lines in content["tests"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"cannot read the records {path}: {type(error).__name__}: {error}; write them again "
            f"with: {_AGAIN}"
        ) from None
    if content.get("version") != _VERSION:
        raise RecordError(
            f"the records {path} have version {content.get('version')}, and this querygrowth "
            f"reads {_VERSION}; write them again with: {_AGAIN}"
        )
    return tests


def write_records(path: Path, records: Mapping[str, Sequence[str]]) -> None:
    """Write the records of one file, or remove the file if there are none.

    Raises:
        OSError: The file cannot be written.
    """
    if not records:
        path.unlink(missing_ok=True)
        return
    content = {"version": _VERSION, "tests": {name: records[name] for name in sorted(records)}}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")


def lines_of_record(texts: Iterable[str]) -> list[str]:
    """The record of a test: its statements with their counts, in order of first sending."""
    return [f"{count}x {text}" for text, count in Counter(texts).items()]


def difference(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The lines that differ, without regard to the order of statements; empty if none do."""
    gone = [f"- {line}" for line in before if line not in after]
    new = [f"+ {line}" for line in after if line not in before]
    if not gone and not new:
        return []
    same = sum(line in after for line in before)
    others = f"  {same} other {'statement' if same == 1 else 'statements'} unchanged"
    # A statement whose count changed stands beside itself.
    paired = sorted([*gone, *new], key=lambda line: (line[2:].partition("x ")[2], line[0] == "+"))
    return [*paired, *([others] if same else [])]


@dataclass
class RecordKeeper:
    """Compares the tests of one process with their records.

    Args:
        root: The root of the project, for paths in messages.
        writes: Whether records are written again.
        in_ci: Whether a missing record fails its test.
    """

    root: Path
    writes: bool
    in_ci: bool
    _read: dict[Path, dict[str, list[str]]] = field(default_factory=dict)

    def complaint(self, test_file: Path, test: str, lines: Sequence[str]) -> str:
        """Compare a test that passed.

        Args:
            test_file: The file of the test.
            test: Its name in that file.
            lines: Its record now.

        Returns:
            Why it fails; empty if it does not.
        """
        if self.writes:
            return ""
        path = record_file(test_file)
        try:
            if path not in self._read:
                self._read[path] = read_records(path)
        except RecordError as error:
            return str(error)
        shown = self._shown(path)
        recorded = self._read[path].get(test)
        again = f"{_AGAIN} '{self._shown(test_file)}::{test}'"
        if recorded is None:
            if not lines or not self.in_ci:
                return ""
            return f"there is no record of its statements in {shown}; write it with: {again}"
        changed = difference(recorded, lines)
        if not changed:
            return ""
        return "\n".join(
            [f"its statements differ from the record in {shown}:", *changed, f"accept: {again}"]
        )

    def _shown(self, path: Path) -> str:
        inside = path.is_relative_to(self.root)
        return (path.relative_to(self.root) if inside else path).as_posix()


@dataclass
class Recorded:
    """The records of a whole run, which the controlling process writes at the end.

    Args:
        writes: Whether records are written again; otherwise only missing ones are added.
        in_ci: Whether missing records are left missing.
    """

    writes: bool
    in_ci: bool
    new: dict[Path, dict[str, list[str]]] = field(default_factory=dict)
    stale: dict[Path, set[str]] = field(default_factory=dict)

    def add(self, test_file: Path, test: str, lines: list[str]) -> None:
        """Note the record of a test that passed."""
        self.new.setdefault(record_file(test_file), {})[test] = lines

    def write(self) -> Iterator[str]:
        """Write what has to be written, and yield what was done in words."""
        for path in sorted({*self.new, *self.stale}):
            try:
                yield from self._write(path)
            except (OSError, RecordError) as error:
                yield f"cannot write the records {path}: {error}"

    def _write(self, path: Path) -> Iterator[str]:
        try:
            before = read_records(path)
        except RecordError:
            if not self.writes:
                raise  # the tests have failed with the same message
            before = {}
        now = dict(before)
        for test, lines in self.new.get(path, {}).items():
            if self.writes and not lines:
                now.pop(test, None)
            elif self.writes and (test not in before or difference(before[test], lines)):
                now[test] = lines
            elif lines and not self.in_ci:
                now.setdefault(test, lines)
        gone = sorted(self.stale.get(path, set()) & before.keys())
        if gone and self.writes:
            for test in gone:
                now.pop(test, None)
        elif gone:
            names = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
            yield f"{path} has records of tests that are gone: {names}; {_AGAIN} removes them"
        if now != before:
            write_records(path, now)
            count = sum(now.get(test) != before.get(test) for test in {*now, *before})
            yield f"wrote {count} {'record' if count == 1 else 'records'} to {path}"


def stale_records(collected: Mapping[Path, set[str]]) -> dict[Path, set[str]]:
    """The records of tests that are gone, by file of records.

    Args:
        collected: The names of all tests, by test file, of files that were collected as a whole.
    """
    stale: dict[Path, set[str]] = {}
    for test_file, names in collected.items():
        stale |= _gone(record_file(test_file), names)
    for folder in {test_file.parent for test_file in collected}:
        for path in folder.glob(f"*{_SUFFIX}"):
            if not path.with_name(path.name.removesuffix(_SUFFIX) + ".py").exists():
                stale |= _gone(path, set())
    return stale


def _gone(path: Path, names: set[str]) -> dict[Path, set[str]]:
    try:
        gone = read_records(path).keys() - names
    except RecordError:
        return {}
    return {path: gone} if gone else {}
