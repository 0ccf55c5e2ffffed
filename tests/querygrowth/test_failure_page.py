"""The page "A test failed: now what" has every message of querygrowth, and no other one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "querygrowth"
PAGE = ROOT / "docs" / "how-to" / "failed-test.md"

# Caught inside of the package: what users read of these is in the message of another error.
INTERNAL = {
    "AttributeError",
    "NotImplementedError",
    "StopIteration",
    "UnknownConditionError",
    "UnknownTypeError",
}
# Files whose ValueErrors another module of the package catches and words.
INTERNAL_FILES = {
    "tables/annotated_values.py",
    "tables/condition_functions.py",
    "tables/condition_terms.py",
    "tables/decorated_types.py",
}
# Functions that build messages which are raised or judged elsewhere.
WORDING = {
    "contracts/contract.py": {"judge_vacuity", "_judge_total", "_judge_tables", "_table_limits"},
    "counting/engine.py": {"_refusal"},
    "growth/verdicts.py": {"_judge_rows", "_judge_steady", "_judge_work"},
    "pytest_plugin.py": {"pytest_runtest_setup", "_check_markers", "_sources"},
    "rewrites/outcome.py": {"_doubt"},
    "contracts/table_limits.py": {"misspelt_table", "doubtful_tables"},
    "counting/watch.py": {"_message"},
}
SHORTEST = 9  # letters of a fragment that is looked for: shorter ones are in many sentences


def fragments(node: ast.expr) -> Iterator[str]:
    """The longest fixed part of each text that an expression may give."""
    if isinstance(node, ast.JoinedStr):
        fixed = [part.value for part in node.values if isinstance(part, ast.Constant)]
        texts = [text for text in fixed if isinstance(text, str)]
        yield max(texts, key=len, default="")
        for part in node.values:
            if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp):
                yield from fragments(part.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp | ast.BinOp | ast.BoolOp):
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                yield from fragments(part)


def messages(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a module that word a message, and the fixed parts of the message."""
    name = file.relative_to(SOURCE).as_posix()
    wording = WORDING.get(name, set())
    for node in ast.walk(ast.parse(file.read_text())):
        said: list[ast.expr] = []
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            error = ast.unparse(node.exc.func)
            if error not in INTERNAL and name not in INTERNAL_FILES:
                said = node.exc.args
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("Verdict", "judge"):
            said = [*node.args[2:]]
            said += [each.value for each in node.keywords if each.arg in ("expected", "seen")]
        elif isinstance(node, ast.FunctionDef) and node.name in wording:
            said = [each for each in ast.walk(node) if isinstance(each, ast.JoinedStr | ast.IfExp)]
            assigned = [each.value for each in ast.walk(node) if isinstance(each, ast.Assign)]
            said += [part for each in assigned for part in getattr(each, "elts", [each])]
        for each in said:
            for fragment in fragments(each):
                yield node.lineno, " ".join(fragment.split())


def words_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


def on_the_page() -> str:
    return " ".join(PAGE.read_text(encoding="utf-8").split())


def test_the_page_has_every_message() -> None:
    page = on_the_page()
    found = [
        (f"{file.relative_to(SOURCE)}:{line}", text)
        for file in sorted(SOURCE.rglob("*.py"))
        for line, text in dict.fromkeys(messages(file))
        if len(text) >= SHORTEST and " " in text
    ]
    assert len(found) > 150
    assert [name for name in {*WORDING, *INTERNAL_FILES} if not (SOURCE / name).exists()] == []
    assert [(place, text) for place, text in found if text not in page] == []


def test_the_page_has_no_message_that_is_gone() -> None:
    source = {text for file in SOURCE.rglob("*.py") for text in words_of(file)}
    blocks = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    gone = []
    for line in "".join(blocks[1:]).splitlines():  # the first one is an output of the readme
        longest = max(line.split("..."), key=len).strip(" :;,()")
        if not any(longest in text for text in source):
            gone.append(line)
    assert gone == []
