"""`harness` with any of its options and hostile values: a documented exit code and one line.

A call that would measure ends where the measurement begins.
"""

import json
import os
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest
import typer
from command_fuzz import SECRET, Pools, assert_ended_well, call, calls_of, nothing_else_changes
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from profiles import is_nightly

from harness import packaged
from harness.cli import main as cli

EXAMPLES = settings().max_examples if is_nightly() else 200
SAVED = packaged.GOLDEN.parent / "results" / "passed.json"
FUZZED = "given/fuzzed"
MEASURES = (
    ("bench", "run_experiment"),
    ("gate", "run_gate"),
    ("check", "prepare_checks"),
    ("check", "reading_database"),
    ("compare", "checked_out"),
    ("baseline", "count_costs"),
    ("golden", "sqlite_files"),
    ("generate", "generate_run"),
    ("selftest", "run_selftest"),
    ("selftest", "run_mutants"),
)


class Started(SystemExit):
    """A call has reached its measurement: all its options were accepted."""


def start(*_: object, **__: object) -> NoReturn:
    raise Started(0)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["format", "rows", "run_id", "seed", "target", "judgements"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)
CONTENTS = st.one_of(
    st.binary(max_size=100),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.tuples(
        st.sampled_from(["format", "settings", "counts", "judgements", "host", "rows"]), JSON
    ).map(lambda change: _saved_with(*change)),
    st.sampled_from(
        [
            *(b"a=" + b"[" * 50_000, b"a=" + b"9" * 5000, b"[" * 50_000, b"9" * 5000),
            *(b"[[target]]\nid='a'", b"candidate='x:y'\nrows-per-record=nan", b"candidate=1"),
        ]
    ),
)


def _saved_with(key: str, value: object) -> bytes:
    content = json.loads(SAVED.read_text())
    content[key] = value
    return json.dumps(content).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of the calls, with files of several kinds."""
    folder = tmp_path_factory.mktemp("calls")
    for name in ("given", "given/folder", "out"):
        (folder / name).mkdir()
    shutil.copy(SAVED, folder / "given" / "results.json")
    (folder / "given" / "empty").touch()
    (folder / "given" / "noise").write_bytes(bytes(range(256)))
    (folder / "given" / "link").symlink_to("nowhere")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


PATHS = (
    *(FUZZED, "given/results.json", "given/empty", "given/noise", "given/folder", "given/link"),
    *("given/missing", "/dev/null", "", ".", "/", "given/\udcff", "n" * 300, "given/empty/below"),
)
WRITTEN = ("out/a", "out/b/c", "out/\udcff", "out/" + "n" * 300, "given/empty", "/dev/null", "")
POOLS = Pools(
    paths=PATHS,
    outputs=WRITTEN,
    by_option={
        "--candidate": (
            "",
            "x",
            "x:y",
            "json:loads",
            "harness.gate:nothing",
            "a b:c",
            ":",
            "\udcff:x",
        ),
        "--database": ("x:y", "json:loads", "", ":"),
        "--python": ("given/missing", "given/folder", "given/empty", "", "\udcff"),
        "--db": (
            "sqlite:///out/a.db",
            "sqlite://",
            "x",
            "",
            "sqlite:///given/noise",
            "nonsense://",
        ),
        "--postgresql": (f"postgresql://u:{SECRET}@127.0.0.1:x/d", "sqlite://", "", "x"),
        "--file": (FUZZED, "out/history.jsonl", "out/missing", "given/folder", "out"),
        "--directory": ("out/golden", "given/folder", "given/empty", ""),
        "--resume": ("out/mutants.jsonl", "given/folder"),
        "--rows": ("10", "0", "-1", "x", "9" * 5000, "1e3"),
    },
    wanted=frozenset({"--results", "--add", "--spec", "--targets"}),
)


@given(arguments=calls_of(typer.main.get_command(cli.app), POOLS), content=CONTENTS)
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_a_call_ends_with_a_documented_code_and_changes_only_its_target(
    folder: Path, arguments: list[str], content: bytes
) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    (folder / FUZZED).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in MEASURES:
            patch.setattr(import_module(f"harness.cli.{module}"), name, start)
        # `history --add` appends to its file, which may be an empty one.
        adds = "history" in arguments and "--add" in arguments
        targets = (folder / "out", *((folder / FUZZED,) if adds else ()))
        with nothing_else_changes(folder, but=targets):
            called = call(cli.main, arguments)

    assert_ended_well(called)
    event(ascii(f"{arguments[0] if arguments else ''} {called.code}"))
