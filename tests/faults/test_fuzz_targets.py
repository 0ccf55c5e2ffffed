"""Readers of files from outside: for any bytes they give a documented finding or error.

Every input that once broke a reader is kept in `corpus/` and read again here. `tox -e fuzz` tests
the same targets with coverage-guided inputs.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_targets
import pytest
from fuzz_targets import CORPUS, KEY, TARGETS, Target, csv_files
from hypothesis import example, given
from hypothesis import strategies as st
from profiles import fewer_examples

from elspeth.core.landscape.verification.verify import verify
from elspeth.core.settings import load_settings
from harness.bench.result_file import load_results

EVERY_INPUT = [(target, path) for target in TARGETS.values() for path in target.corpus]
HAZARDS = [
    *(b"\0", b"\r\n", b"\n", b'"', b'""', b"\\ud800", b"\\UFFFFFFFF", b"\xff", b"\xed\xa0\x80"),
    *(b"1e999", b"-0", b"1e16", b"9" * 5000, b"0x" + b"f" * 4000, b"1:2:3.0", b"NaN", b"null"),
    *(b"[" * 40, b"{" * 40, b"[" * 5000, b"&a ", b"*a", b"!!", b"<<", b"? ", b"--- ", b"- ", b": "),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    # Halves of surrogate pairs: JSON and YAML can escape them, UTF-8 cannot encode them.
    | st.text(st.characters(categories=["Cs", "Cc"]), max_size=3)
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@st.composite
def edited(draw: st.DrawFn, content: bytes) -> bytes:
    """A document with some bytes removed, inserted or copied from another place in it."""
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        until = draw(st.sampled_from([at, min(at + 1, until), until]))
        copied = draw(st.integers(0, len(content)))
        piece = draw(
            st.sampled_from([*HAZARDS, content[copied : copied + 60]]) | st.binary(max_size=8)
        )
        content = content[:at] + piece + content[until:]
    return content


@st.composite
def with_another_value(draw: st.DrawFn, tree: Any) -> Any:
    """A JSON document with one value replaced, or moved to another key."""
    if not tree or not isinstance(tree, dict | list) or draw(st.integers(0, 5)) == 0:
        return draw(trees)
    where: Any = draw(st.sampled_from(sorted(tree) if isinstance(tree, dict) else range(len(tree))))
    changed: Any = tree.copy()
    if isinstance(tree, dict) and draw(st.integers(0, 5)) == 0:
        changed[draw(st.text(st.characters(), max_size=5))] = changed.pop(where)
    else:
        changed[where] = draw(with_another_value(tree[where]))
    return changed


def _lines(content: bytes) -> st.SearchStrategy[bytes]:
    """JSON Lines with one value changed. The lines keep the form of exports."""
    records = [json.loads(line) for line in content.splitlines()]
    return with_another_value(records).map(
        lambda lines: b"".join(_compact(line) + b"\n" for line in _as_list(lines))
    )


def _csv(content: bytes) -> st.SearchStrategy[bytes]:
    """A directory of CSV files with one field changed."""
    fields = content.split(b",")
    texts = st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.tuples(st.integers(0, len(fields) - 1), texts | st.sampled_from(HAZARDS)).map(
        lambda change: b",".join([*fields[: change[0]], change[1], *fields[change[0] + 1 :]])
    )


def _settings(_: bytes) -> st.SearchStrategy[bytes]:
    """Settings of the right names and any values; JSON is read as YAML."""
    keys = ["landscape", "sinks", "export", "enabled", "sink", "sign", "url", "plugin", "options"]
    sections = st.recursive(
        scalars,
        lambda inner: st.dictionaries(st.sampled_from(keys) | st.text(max_size=3), inner),
        max_leaves=10,
    )
    return sections.map(_compact)


def _results(content: bytes) -> st.SearchStrategy[bytes]:
    return with_another_value(json.loads(content)).map(_compact)


def _as_list(tree: Any) -> list[Any]:
    return tree if isinstance(tree, list) else [tree]


def _compact(tree: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()


STRUCTURED: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
    "jsonl": _lines,
    "csv": _csv,
    "settings": _settings,
    "results": _results,
}


def documents(name: str) -> st.SearchStrategy[bytes]:
    """Bytes for a target: random bytes, an edited valid document, or one with a changed value."""
    valid = TARGETS[name].valid
    return st.binary(max_size=200) | edited(valid) | STRUCTURED[name](valid)


@given(documents("jsonl"))
@fewer_examples(0.5)
@example(b"")
def test_no_json_lines_break_the_verifier(content: bytes) -> None:
    TARGETS["jsonl"].run(content)


@given(documents("csv"))
@fewer_examples(0.5)
@example(b"")
def test_no_directory_of_csv_files_breaks_the_verifier(content: bytes) -> None:
    TARGETS["csv"].run(content)


@given(documents("settings"))
@example(b"")
def test_no_file_breaks_the_settings_loader(content: bytes) -> None:
    TARGETS["settings"].run(content)


@given(documents("results"))
@example(b"")
def test_no_file_breaks_the_reader_of_results(content: bytes) -> None:
    TARGETS["results"].run(content)


@pytest.mark.parametrize(
    ("target", "path"), EVERY_INPUT, ids=[f"{t.name}-{path.stem}" for t, path in EVERY_INPUT]
)
def test_an_input_that_once_broke_a_reader_is_handled(target: Target, path: Path) -> None:
    target.run(path.read_bytes())


def test_the_valid_document_of_every_target_is_valid(tmp_path: Path) -> None:
    for name, text in csv_files(TARGETS["csv"].valid).items():
        (tmp_path / name).write_bytes(text)
    assert verify(tmp_path, KEY).ok
    assert verify(CORPUS / "jsonl" / "valid.jsonl", KEY).ok
    assert load_settings(CORPUS / "settings" / "valid.yaml", environ={}).landscape.export.sign
    assert load_results(CORPUS / "results" / "valid.json").judgements


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert len(sizes) < 100
    assert sum(sizes) < 100_000


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("jsonl", "verify"),
        ("csv", "verify"),
        ("settings", "load_settings"),
        ("results", "load_results"),
    ],
)
@pytest.mark.parametrize("defect", [KeyError, OverflowError, RecursionError, ValueError])
def test_a_target_does_not_hide_other_errors(
    name: str, reader: str, defect: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise defect("broken")

    monkeypatch.setattr(fuzz_targets, reader, broken)
    with pytest.raises(defect, match="broken"):
        TARGETS[name].run(TARGETS[name].valid)


def test_a_message_with_a_control_code_is_a_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class ControlCodeError(fuzz_targets.SettingsError):
        def __str__(self) -> str:
            return "clear \x1b[2J"

    def raising(*_: object, **__: object) -> None:
        raise ControlCodeError("")

    monkeypatch.setattr(fuzz_targets, "load_settings", raising)
    with pytest.raises(AssertionError, match="clear"):
        TARGETS["settings"].run(b"")


def test_an_unknown_target_is_refused() -> None:
    command = [sys.executable, str(Path(fuzz_targets.__file__).with_name("fuzz.py")), "1", "xml"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "")
    assert ended.stdout == "no such target: xml; known: jsonl, csv, settings, results\n"
