"""Fuzz targets: each reads bytes as one kind of file, and raises for a defect alone.

Hypothesis (`test_fuzzing.py`) and atheris (`fuzz.py`) both run these. What a reader documents, a
finding or its typed error, is no defect; any other exception is, and so is a message that could
reach a terminal with control codes, or on more than one line.
"""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

from elspeth.core.landscape.verification.defects import Reading
from elspeth.core.landscape.verification.jsonl import read_jsonl
from elspeth.core.landscape.verification.record_shapes import SIGNATURE, known_shapes
from elspeth.core.landscape.verification.verify import Verification, verify
from elspeth.core.settings import SettingsError, load_settings
from harness.bench.result_file import load_results, save_results
from harness.bench.results import ResultsError
from harness.gate import completed, decide
from harness.report.markdown import render_markdown
from harness.report.text import render_annotations, render_sarif

KEY = b"k" * 32
CORPUS = Path(__file__).with_name("corpus")
ENVIRONMENTS = ({}, {"ELSPETH_LANDSCAPE__EXPORT__SIGN": "true"})
SHAPES = known_shapes()
_DIGEST = re.compile("[0-9a-f]{64}")
_HEADING = re.compile(rb"^=== ([a-z_]{1,20}\.csv)\n", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """One reader under fire: its corpus is the directory of its name."""

    name: str
    run: Callable[[bytes], None]

    @property
    def corpus(self) -> tuple[Path, ...]:
        """The inputs that are kept: a valid document, and one for each defect that was found."""
        return tuple(sorted((CORPUS / self.name).iterdir()))

    @property
    def valid(self) -> bytes:
        """A document in which the reader finds nothing wrong, to be mutated."""
        (path,) = (CORPUS / self.name).glob("valid*")
        return path.read_bytes()


def read_as_jsonl(content: bytes) -> None:
    """Verify a file of JSON Lines, and hold the fast reading of its lines to the exact one."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        path = Path(directory, "run.jsonl")
        path.write_bytes(content)
        _verify_in_every_way(path)
    lines = content.splitlines(keepends=True) if b"\r" not in content else []
    for line, reading in zip(lines, read_jsonl(BytesIO(content), SHAPES), strict=False):
        if line.endswith(b"\n"):
            # A reader that has seen no line before knows no form to be fast with.
            (exact,) = read_jsonl(BytesIO(line), SHAPES)
            assert _said(reading) == _said(exact), line


def read_as_csv(content: bytes) -> None:
    """Verify a directory of CSV files; in `content` each stands under a line `=== its_name.csv`."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        for name, text in csv_files(content).items():
            Path(directory, name).write_bytes(text)
        _verify_in_every_way(Path(directory))


def csv_files(content: bytes) -> Mapping[str, bytes]:
    """Take the files of a directory apart; the last of one name counts."""
    parts = _HEADING.split(content)
    return {name.decode(): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def read_as_settings(content: bytes) -> None:
    """Load settings, with no variable set and with one."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        path = Path(directory, "settings.yaml")
        path.write_bytes(content)
        for environ in ENVIRONMENTS:
            try:
                load_settings(path, environ=environ)
            except SettingsError as error:
                _check_message(str(error))


def read_as_results(content: bytes) -> None:
    """Read saved results; what is read can be reported and decided, and read when saved again."""
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
        for finding in found.findings:
            _check_message(str(finding))


def _check_sums(found: Verification) -> None:
    assert 0 <= found.valid_count <= found.record_count
    assert found.valid_count == found.record_count or not found.ok
    assert len(found.findings) == min(found.finding_count, 20)


def _check_message(message: str) -> None:
    assert message.isprintable(), message


def _said(reading: Reading) -> tuple[object, ...]:
    """What a line says, whatever its number; types told apart, so that 1 is not 1.0."""
    # A signature of another form is wrong whatever it is compared with, and read fast it may be.
    is_digest = reading.signature is not None and _DIGEST.fullmatch(reading.signature)
    messages = tuple(reading.messages) if is_digest else ()
    # The fast reading leaves the signature in the record, where nobody looks.
    record = {name: value for name, value in reading.record.items() if name != SIGNATURE}
    return tuple(reading.problems), reading.kind, json.dumps(record), reading.signature, messages


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
