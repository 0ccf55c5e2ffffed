"""The advice of verdicts: an option that it names exists in every command that can print it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.cli.main import COMMANDS, load_command

PACKAGES = ("harness", "querygrowth")
OPTION = re.compile(r"(?<![\w-])(?<!var\()--[a-z][a-z-]*")
NAMES = "|".join(COMMANDS)
COMMAND = re.compile(rf"harness ({NAMES})\b|\b({NAMES})(?= --)")
JUDGING = ("bench", "check", "compare", "gate")
"""The commands that print verdicts with their advice. The others print their own texts."""

# A report shows what others have judged, and a command has options of its own only.
PRINTING = ("harness.cli", "harness.report")


class Advice(NamedTuple):
    """A text of a module that names an option, and the command that it names before; or none."""

    module: str
    line: int
    text: str
    option: str
    command: str


@cache
def tree(module: str) -> ast.Module | None:
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports, at any place."""
    found = set()
    for node in ast.walk(tree(module) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return frozenset(each for each in found if each.partition(".")[0] in PACKAGES and exists(each))


@cache
def exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def judging_modules(command: str) -> set[str]:
    """The modules whose verdicts a command can print."""
    seen: set[str] = set()
    waiting = [f"harness.cli.{command}"]
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            waiting += (new for new in imports(each) if not new.startswith(PRINTING))
    return seen


@cache
def advice(module: str) -> frozenset[Advice]:
    root = tree(module)
    return frozenset(advice_in(module, root) if root else ())


def advice_in(module: str, root: ast.Module) -> Iterator[Advice]:
    """The texts of a module that name an option; docstrings are for readers of the code."""
    docstrings = {id(node.value) for node in ast.walk(root) if isinstance(node, ast.Expr)}
    inside = {
        id(part)
        for node in ast.walk(root)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(root):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                part.value if isinstance(part, ast.Constant) else "X" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        # A lone option is an argument of a program, such as git.
        if id(node) not in docstrings | inside and " " in text:
            for option in OPTION.finditer(text):
                named = [first or other for first, other in COMMAND.findall(text[: option.end()])]
                yield Advice(module, node.lineno, text, option[0], named[-1] if named else "")


@cache
def options_of(command: str) -> frozenset[str]:
    return frozenset(option for each in load_command(command).params for option in each.opts)


def advice_of(command: str) -> set[Advice]:
    return {each for module in judging_modules(command) for each in advice(module)}


def test_options_are_found_in_the_texts_of_verdicts() -> None:
    # Otherwise the test below could pass without having looked at anything.
    found = {each.option for command in JUDGING for each in advice_of(command)}
    assert found >= {"--postgresql", "--bytes-per-record", "--part", "--rows", "--all"}


@pytest.mark.parametrize("command", JUDGING)
def test_an_option_that_advice_names_exists_in_the_command(command: str) -> None:
    missing = [
        f"{each.module}:{each.line}: {each.text}"
        for each in sorted(advice_of(command))
        if each.option not in options_of(each.command or command)
    ]
    assert missing == []


def test_advice_about_an_option_that_is_nowhere_would_be_found() -> None:
    source = "def f(x):\n    return judge(x, next_step=f'declare {x} with --no-such-option')\n"
    (found,) = advice_in("example", ast.parse(source))
    assert found.option == "--no-such-option"
    assert not any(found.option in options_of(command) for command in JUDGING)
