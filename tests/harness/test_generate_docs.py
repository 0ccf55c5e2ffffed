"""docs/generating.md: its examples run, and print the output that the page shows."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shown_output import as_pattern

import harness
from harness.generate.presets import PRESETS

PAGE = (Path(__file__).parents[2] / "docs" / "generating.md").read_text(encoding="utf-8")
COMMAND = [sys.executable, "-c", "from harness.cli.main import main; main()"]
SUPPORTED = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")}
SHOWN = re.compile(r"  # (.+)$", re.MULTILINE)

NEW_FEATURE = """
from dataclasses import replace
from elspeth.core.landscape import LandscapeDB
from run_coverage import SUMMARIES, drawn_specs, held_features
from harness.generate.generator import generate_run
from harness.generate.spec import RunSpec
from harness.generate.strategies import run_specs

name = "instant_run"
assert SUMMARIES[name] == "The run ends in the microsecond in which it started"
assert RunSpec.from_json(RunSpec(features=[name]).to_json()).features == {name}
assert any(name in spec.features for spec in drawn_specs(run_specs(), 50))
for features in ([], [name]):
    with LandscapeDB.in_memory() as db:
        generate_run(db, RunSpec(features=features))
        assert held_features(db, "run") == set(features)
"""
"""Checks the page's feature, in a copy of the harness that has it, as all features are checked."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_commands_print_the_output_of_the_page() -> None:
    for block in blocks("console"):
        for command, shown in sessions(block):
            printed = run(command)
            lines = printed.splitlines()
            assert len(lines) >= len(shown), f"{command} printed:\n{printed}"
            for line, expected in zip(lines, shown, strict=False):
                assert re.fullmatch(as_pattern(expected), line), f"{command} printed:\n{printed}"


def sessions(block: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block with the output that is shown below them."""
    for session in block.split("$ ")[1:]:
        command, *shown = session.splitlines()
        yield command, shown


def run(command: str) -> str:
    """The output of a command, which has to succeed. `>` writes it to a file too."""
    program, *arguments = shlex.split(command)
    assert program == "harness"
    target = arguments.index(">") if ">" in arguments else len(arguments)
    done = subprocess.run(
        [*COMMAND, *arguments[:target]], check=True, capture_output=True, text=True
    )
    if arguments[target:]:
        Path(arguments[-1]).write_text(done.stdout, encoding="utf-8")
    return done.stdout


def test_the_python_examples_print_the_output_in_their_comments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = [block for block in blocks("python") if not block.startswith("# harness/")]
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "generating.md", "exec"), {})
        assert capsys.readouterr().out.splitlines() == SHOWN.findall(example)


def test_the_example_of_the_page_is_enough_to_add_a_feature(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("python") if block.startswith("# harness/"))
    (original,) = harness.__path__
    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(original, tmp_path / "harness", ignore=ignored)
    place, _, feature = block.partition("\n")
    with (copy.parent / place.removeprefix("# ")).open("a", encoding="utf-8") as module:
        module.write(f"\n\n{feature}")
    subprocess.run([sys.executable, "-c", NEW_FEATURE], check=True, cwd=tmp_path, env=SUPPORTED)


def test_every_preset_is_listed_with_its_rows() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", PAGE, re.MULTILINE))
    assert listed == {name: f"{make().rows:,}" for name, make in PRESETS.items()}
