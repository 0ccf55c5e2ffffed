"""Every `harness` command: `-h`, examples that parse, the version; a clean working directory."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command

from harness.cli.main import COMMANDS, load_command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_to_both_options_with_examples(
    harness_command: Command, command: str
) -> None:
    short, long = harness_command(command, "-h"), harness_command(command, "--help")
    assert short == long
    assert short.code == 0
    examples = short.out.partition("Examples:\n")[2].splitlines()
    assert examples
    for example in examples:
        words = example.split()
        assert words[:2] == ["harness", command]
        # It parses, so its options exist.
        load_command(command).make_context(command, words[2:])


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_the_version_is_that_of_the_distribution(
    harness_command: Command, command: tuple[str, ...]
) -> None:
    shown = harness_command(*command, "--version")
    assert (shown.code, shown.out.split()[0]) == (0, "elspeth-landscape")


def test_the_list_of_commands_has_whole_sentences_and_examples(harness_command: Command) -> None:
    shown = harness_command("-h").out
    listed, _, examples = shown.partition("Commands:\n")[2].partition("Examples:\n")
    for name, line in zip(COMMANDS, listed.strip().splitlines(), strict=True):
        assert line.split()[0] == name
        assert line.endswith(".")
        assert not line.endswith("...")
    assert {words.split()[1] for words in examples.splitlines()} <= set(COMMANDS)


SEARCHES = {
    "bytes": "from harness.checks.byte_search import drawn_specs; drawn_specs()",
    "costs": """
from types import SimpleNamespace
from harness.checks import costs
from harness.checks.declared import Declared
from querygrowth.counting.activity import Activity
costs._observe = lambda *_: Activity(shapes=())
runs = SimpleNamespace(stored=lambda _: SimpleNamespace(db=None))
assert costs.search_blow_up(SimpleNamespace(name="exporter"), runs, Declared(), None).passed
""",
}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_leaves_nothing_in_the_working_directory(tmp_path: Path, search: str) -> None:
    # In a process that has not loaded the tables of Hypothesis yet.
    subprocess.run([sys.executable, "-c", SEARCHES[search]], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
