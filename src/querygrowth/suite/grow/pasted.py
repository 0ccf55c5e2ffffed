"""Write the `query_growth` test that holds what a growing run has found."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from querygrowth.suite.grow.counts import Growth
from querygrowth.suite.grow.row_sets import parent_of

_INDENT = "    "
_BLOCKS = (ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.If, ast.While, ast.Try)
_MARKS = re.compile(r"^@?pytest\.mark\.(parametrize|asyncio|anyio|usefixtures|django_db)\b")


def pasted_test(item: Any, growth: Growth, source: str) -> str:
    """The test to paste into the module, or class, of the test that shows the growth.

    Args:
        item: The test, as a `pytest.Function`.
        growth: What was found.
        source: What leads to the database in the test, as code; empty if that is not known.

    Returns:
        Its source; empty where the source of the test cannot be read, or leads to no database.
    """
    if not source:
        return ""
    function = inspect.unwrap(item.function)
    try:
        lines, _ = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return ""
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    line = _line_of(function.__code__, growth)
    if line is None:
        return ""
    body = list(_statements(tree.body, line - function.__code__.co_firstlineno + 1, growth, source))
    name = re.sub(r"\W+", "_", growth.finding.site.function.rpartition(".")[2]).strip("_")
    about = "" if growth.finding.rule != "lazy-load" else growth.finding.about.rpartition(".")[2]
    tree.name = "_".join(filter(None, ("test", name, about, "does_not_grow")))
    is_method = inspect.isclass(getattr(item, "cls", None))
    names = [each.arg for each in tree.args.args]
    where = 1 if is_method and names[:1] == ["self"] else 0
    if not _is_unittest(item):
        tree.args.args.insert(where, ast.arg("query_growth"))
    tree.decorator_list = _decorators(item, tree)
    imports = ["from querygrowth import copied_rows"]
    if _is_unittest(item):
        imports = ["from querygrowth import assert_query_growth as query_growth, copied_rows"]
    tree.body = ast.parse("\n".join(imports)).body + body
    tree.returns = None
    source_text = ast.unparse(ast.fix_missing_locations(tree))
    return re.sub(r"\n( *query_growth\()", r"\n\n\1", source_text) + "\n"


def _decorators(item: Any, tree: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """The marks that the test needs, with the parameters of this test alone where that can be."""
    found = [each for each in tree.decorator_list if _MARKS.match(ast.unparse(each))]
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if not all(isinstance(each, str | int | float | None) for each in parameters.values()):
        return found
    kept = [each for each in found if not ast.unparse(each).startswith("pytest.mark.parametrize")]
    if len(kept) == len(found):  # fixtures, or the class or module, have the parameters
        return found
    marks = (
        f"pytest.mark.parametrize({name!r}, [{value!r}])" for name, value in parameters.items()
    )
    return [*kept, *(ast.parse(each, mode="eval").body for each in marks)]


def _is_unittest(item: Any) -> bool:
    return bool(getattr(item, "cls", None)) and hasattr(item.cls, "assertEqual")


def _line_of(code: Any, growth: Growth) -> int | None:
    """The line of the test that made the call."""
    if not growth.call or not isinstance(growth.call[0], tuple):
        return None
    name, offset = growth.call[0]
    if name != code.co_name:
        return None
    for start, end, line in code.co_lines():
        if start <= offset < end and line:
            return int(line)
    return None


def _statements(
    body: Sequence[ast.stmt], line: int, growth: Growth, source: str
) -> Iterator[ast.stmt]:
    """The statements up to the call, and the growth test in its place."""
    for statement in body:
        end = statement.end_lineno or statement.lineno
        if end < line:
            if not _is_docstring(statement):
                yield statement
            continue
        inner = getattr(statement, "body", None)
        if isinstance(statement, _BLOCKS) and inner and inner[0].lineno <= line:
            taken: list[ast.stmt] = list(_statements(inner, line, growth, source))
            statement.body = taken or [ast.Pass()]
            if hasattr(statement, "orelse"):
                statement.orelse = []
            yield statement
        else:
            yield from _growth_test(statement, growth, source)
        return


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _growth_test(statement: ast.stmt, growth: Growth, source: str) -> Iterator[ast.stmt]:
    body: list[ast.stmt] = [statement]
    value: ast.expr | None = getattr(statement, "value", None)
    if isinstance(statement, ast.Assert):
        value = _called(statement.test)
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return | ast.Assert):
        body = [ast.Return(value)] if value is not None else body
    kind = "async def" if any(map(_awaits, body)) else "def"
    action = ast.parse(f"{kind} action(_engine):\n{_INDENT}pass").body[0]
    assert isinstance(action, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101
    action.body = body
    yield action
    parent = parent_of(growth.rows)
    rows = f"copied_rows({source}, below={parent!r})" if parent else f"copied_rows({source})"
    writes = ", writes=True" if growth.writes else ""
    call = f"query_growth(action, {rows}, axes={{'copies': 1}}, scales=(1, 2, 4){writes})"
    yield ast.parse(call).body[0]


def _called(test: ast.expr) -> ast.expr:
    """The part of an assertion that calls the application."""
    parts = [test.left, *test.comparators] if isinstance(test, ast.Compare) else [test]
    return next((each for each in parts if any(map(_calls, ast.walk(each)))), test)


def _calls(node: ast.AST) -> bool:
    return isinstance(node, ast.Call)


def _awaits(statement: ast.AST) -> bool:
    kinds = (ast.Await, ast.AsyncWith, ast.AsyncFor)
    return any(isinstance(node, kinds) for node in ast.walk(statement))
