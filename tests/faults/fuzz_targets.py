"""Fuzz targets: functions that read bytes as one kind of file, and raise only for a defect.

Hypothesis (`test_fuzz_targets.py`) and atheris (`fuzz.py`) run them. A documented finding or error
of a reader is not a defect. Any other exception is one, and so is a message with control codes or
line breaks, because it could reach a terminal.
"""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from elspeth.core.landscape.verification.defects import ParsedLine
from elspeth.core.landscape.verification.jsonl import FastPath, read_lines
from elspeth.core.landscape.verification.line_patterns import LinePatterns
from elspeth.core.landscape.verification.record_shapes import SIGNATURE
from elspeth.core.landscape.verification.verify import Verification, verify
from elspeth.core.settings import SettingsError, load_settings
from harness.bench.result_file import load_results, save_results
from harness.bench.results import ResultsError
from harness.gate import completed, decide
from harness.report.text import render_annotations, render_markdown, render_sarif

KEY = b"k" * 32
CORPUS = Path(__file__).with_name("corpus")
ENVIRONMENTS = ({}, {"ELSPETH_LANDSCAPE__EXPORT__SIGN": "true"})
_DIGEST = re.compile("[0-9a-f]{64}")
_HEADING = re.compile(rb"^=== ([a-z_]{1,20}\.csv)\n", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A reader to fuzz. Its corpus is the directory of its name."""

    name: str
    run: Callable[[bytes], None]

    @property
    def corpus(self) -> tuple[Path, ...]:
        """The committed inputs: a valid document, and one input for each defect found so far."""
        return tuple(sorted((CORPUS / self.name).iterdir()))

    @property
    def valid(self) -> bytes:
        """A document in which the reader finds nothing wrong, as a start for mutations."""
        (path,) = (CORPUS / self.name).glob("valid*")
        return path.read_bytes()


def read_as_jsonl(content: bytes) -> None:
    """Verify a file of JSON Lines, and compare the fast path of the reader with the exact one."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        path = Path(directory, "run.jsonl")
        path.write_bytes(content)
        _verify_in_every_way(path)
    lines = content.splitlines(keepends=True) if b"\r" not in content else []
    for line, reading in zip(lines, read_lines(content, 1, FastPath()), strict=False):
        if line.endswith(b"\n"):
            # A new reader has seen no layout yet, so it takes the exact path.
            (exact,) = read_lines(line, 1, FastPath())
            assert _comparable(reading) == _comparable(exact), line
            for is_signed in (True, False):
                block = _patterns(is_signed=is_signed).read(line)
                if block is not None:
                    assert not exact.defects, line
                    assert list(block.record_types) == [exact.record_type]


@cache
def _patterns(*, is_signed: bool) -> LinePatterns:
    """The patterns for the run that the inputs of the corpus are of."""
    return LinePatterns("run", is_signed=is_signed)


def read_as_csv(content: bytes) -> None:
    """Verify a directory of CSV files. In `content` a line `=== name.csv` starts each file."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        for name, text in csv_files(content).items():
            Path(directory, name).write_bytes(text)
        _verify_in_every_way(Path(directory))


def csv_files(content: bytes) -> Mapping[str, bytes]:
    """Split `content` into files by name. The last file of a name counts."""
    parts = _HEADING.split(content)
    return {name.decode(): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def read_as_settings(content: bytes) -> None:
    """Load settings without an environment variable, and with one."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        path = Path(directory, "settings.yaml")
        path.write_bytes(content)
        for environ in ENVIRONMENTS:
            try:
                load_settings(path, environ=environ)
            except SettingsError as error:
                _check_message(str(error))


def read_as_results(content: bytes) -> None:
    """Read saved results. What was read is reported, decided and saved, and is readable again."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        path = Path(directory, "results.json")
        path.write_bytes(content)
        try:
            results = load_results(path)
        except ResultsError as error:
            _check_message(str(error))
            return
        assert results.outcome
        assert len(results.ordered_judgements) == len(results.judgements)
        for text in (render_markdown(results), *render_annotations(results)):
            assert "\x1b" not in text
        assert json.loads(render_sarif(results))
        assert decide(completed(results)) is not None
        save_results(results, path)
        assert load_results(path) == results


def _verify_in_every_way(path: Path) -> None:
    for found in (
        verify(path, KEY),
        verify(path, KEY, run_id="run", unique=True, allow_unsigned=True),
    ):
        _check_sums(found)
        for defect in found.defects:
            _check_message(str(defect))


def _check_sums(found: Verification) -> None:
    assert 0 <= found.valid_count <= found.record_count
    assert found.valid_count == found.record_count or not found.ok
    assert len(found.defects) == min(found.defect_count, 20)


def _check_message(message: str) -> None:
    assert message.isprintable(), message


def _comparable(reading: ParsedLine) -> tuple[object, ...]:
    """Return what a reader found in a line, without the line number. 1 and 1.0 are different."""
    # A signature of another form fails in any case, and the fast path may accept its form.
    is_digest = reading.signature is not None and _DIGEST.fullmatch(reading.signature)
    messages = tuple(reading.messages) if is_digest else ()
    # The fast path leaves the signature in the record, where it is not used.
    record = {name: value for name, value in reading.record.items() if name != SIGNATURE}
    return (
        tuple(reading.defects),
        reading.record_type,
        json.dumps(record),
        reading.signature,
        messages,
    )


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("jsonl", read_as_jsonl),
            Target("csv", read_as_csv),
            Target("settings", read_as_settings),
            Target("results", read_as_results),
        )
    }
)
